"""Subtitles from the mezzanine and from the request, most of them hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import webvtt

from include.domain.media.media import SubtitleStream
from include.domain.outcome.results import TextResult
from include.stages.core import StageContext
from include.stages.inspect import inspect
from include.stages.subtitles import MAX_BYTES, BadSubtitles, recognised, subtitles
from tests.clips import Clips, run_ffmpeg, stage_context

SRT = "1\n00:00:00,200 --> 00:00:00,900\n<i>Grüße</i> & <script>x</script>\n\n2\n00:00:01,500 --> 00:00:09,000\nEnd\n"
VTT = "WEBVTT\n\nSTYLE\n::cue { background: url(x) }\n\nNOTE hi\n\n00:00.200 --> 00:00.900 align:start\nGrüße\n"
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.20,0:00:00.90,Default,,0,0,0,,{\\an8}Grüße\\Nda

[Fonts]
fontname: evil.ttf
/etc/passwd
"""
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile /etc/passwd\n"


def made(folder: Path, clip: Path, *files: tuple[str, bytes], **title: Any) -> tuple[StageContext, TextResult]:
    """Run the stage with these files (language, content) beside a mezzanine."""
    requests = []
    for number, (language, content) in enumerate(files):
        path = folder / "files" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        requests.append({"uri": path.as_uri(), "language": language})
    roots = {"mezzanine_roots": (clip.parent, folder / "files")}
    ctx = stage_context(folder, clip, settings=roots, **{"subtitles": requests, **title})
    source = inspect.function(ctx, ctx.title)
    result: TextResult = subtitles.function(ctx, ctx.title, source)  # type: ignore[assignment]
    return ctx, result


def shown(ctx: StageContext, result: TextResult, index: int = 0) -> list[tuple[str, str, str]]:
    text = ctx.store.get_bytes(result.renditions[index].uri).decode()
    return [(caption.start, caption.end, caption.raw_text) for caption in webvtt.from_string(text)[:]]


@pytest.mark.parametrize(
    ("content", "first", "said"),
    [
        pytest.param(SRT.encode(), "<i>Grüße</i> &amp; x", [], id="SubRip"),
        pytest.param(
            SRT.replace("\n", "\r\n").encode("utf-8-sig"), "<i>Grüße</i> &amp; x", [], id="with a byte order mark"
        ),
        pytest.param(SRT.encode("utf-16"), "<i>Grüße</i> &amp; x", [], id="UTF-16"),
        pytest.param(SRT.encode("cp1252"), "<i>Grüße</i> &amp; x", ["windows-1252"], id="Windows-1252"),
        pytest.param(VTT.encode(), "Grüße", [], id="WebVTT with styles"),
        pytest.param(ASS.encode(), "Grüße\nda", [], id="ASS with a font"),
    ],
)
def test_a_request_s_file_becomes_safe_webvtt(
    clips: Clips, tmp_path: Path, content: bytes, first: str, said: list[str]
) -> None:
    ctx, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("de", content))

    # One cue of the SubRip file reaches far beyond the title's end.
    told = [each.message for each in result.warnings if each.code != "subtitles_too_long"]
    assert [message.rpartition("read as ")[2] for message in told] == said
    assert (result.renditions[0].name, result.renditions[0].label) == ("de", "Deutsch")
    assert shown(ctx, result)[0] == ("00:00:00.200", "00:00:00.900", first)


def test_the_last_cue_ends_with_the_title(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("de", SRT.encode()))

    assert shown(ctx, result)[1][:2] == ("00:00:01.500", "00:00:02.000")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "is neither SubRip, WebVTT nor ASS", id="empty"),
        pytest.param(PLAYLIST.encode(), "is neither SubRip, WebVTT nor ASS", id="a playlist"),
        pytest.param(CONCAT.encode(), "is neither SubRip, WebVTT nor ASS", id="a concat script"),
        pytest.param(b"\x00\x01\x02" * 50, "is not text", id="binary"),
        pytest.param(b"WEBVTT\n\n", "has nothing to show within the title", id="no cues"),
        pytest.param(
            SRT.replace("00:00:0", "00:01:0").encode(), "has nothing to show within the title", id="cues after the end"
        ),
        pytest.param(SRT.encode() + b" " * (MAX_BYTES + 1), "was not fetched", id="too large"),
        pytest.param(ASS.partition("[Events]")[0].encode(), "", id="ASS without events"),
    ],
)
def test_a_bad_file_is_a_finding_and_the_title_goes_on(
    clips: Clips, tmp_path: Path, content: bytes, reason: str
) -> None:
    clip = clips("mute-text.mp4", seconds=2, languages=())

    _, result = made(tmp_path, clip, ("de", content), ("en", VTT.encode()))

    assert [warning.code for warning in result.warnings] == ["bad_subtitles"]
    assert result.warnings[0].message.startswith("subtitle file 1 (de): ")
    assert reason in result.warnings[0].message
    assert [rendition.language for rendition in result.renditions] == ["en"]


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "file:///nowhere/x.srt", "https://127.0.0.1:1/x.srt", "http://169.254.169.254/x"]
)
def test_a_forbidden_or_missing_file_is_a_finding_that_names_no_address(clips: Clips, tmp_path: Path, uri: str) -> None:
    clip = clips("mute-text.mp4", seconds=2, languages=())

    _, result = made(tmp_path, clip, subtitles=[{"uri": uri, "language": "en"}])

    assert result.renditions == ()
    assert "was not fetched" in result.warnings[0].message
    assert "//" not in result.warnings[0].message


def test_no_file_is_read_that_a_subtitle_names(clips: Clips, tmp_path: Path) -> None:
    secret = tmp_path / "secret.srt"
    secret.write_text("1\n00:00:00,000 --> 00:00:01,000\nSECRET\n")
    lure = ASS.replace("/etc/passwd", str(secret)) + f"\n[Graphics]\nfilename: {secret}\n"

    ctx, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("en", lure.encode()))

    assert "SECRET" not in ctx.store.get_bytes(result.renditions[0].uri).decode()


def test_embedded_tracks_are_kept_with_their_language(clips: Clips, tmp_path: Path) -> None:
    srt = tmp_path / "embedded.srt"
    srt.write_text(SRT)
    clip = tmp_path / "embedded.mkv"
    run_ffmpeg(
        [
            *("-i", str(clips("mute-text.mp4", seconds=2, languages=())), "-i", str(srt)),
            *("-map", "0:v", "-map", "1:s", "-c:v", "copy", "-c:s", "srt"),
            *("-metadata:s:s:0", "language=ger", "-metadata:s:s:0", "title=Untertitel"),
            *("-disposition:s:0", "forced", str(clip)),
        ]
    )

    ctx, result = made(tmp_path, clip)

    rendition = result.renditions[0]
    assert (rendition.language, rendition.label, rendition.forced, rendition.cues) == ("de", "Untertitel", True, 2)
    assert shown(ctx, result)[0][2] == "<i>Grüße</i> &amp; x"


def test_two_tracks_of_one_language_have_two_names(clips: Clips, tmp_path: Path) -> None:
    clip = clips("mute-text.mp4", seconds=2, languages=())

    _, result = made(tmp_path, clip, ("en", VTT.encode()), ("en", SRT.encode()))

    assert [rendition.name for rendition in result.renditions] == ["en", "en_2"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("WEBVTT\n", "webvtt"), ("WEBVTT - x\n", "webvtt"), ("[Script Info]\n", "ass"), ("\n1\n00:00:01,000 --> ", "srt")],
)
def test_formats_are_recognised_by_content(text: str, kind: str) -> None:
    assert recognised(text) == kind


@pytest.mark.parametrize("text", ["WEBVTTX\n", "<svg>", "[HLS]\n", "1\nhello"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadSubtitles, match="neither"):
        recognised(text)


def test_a_flood_of_cues_is_refused(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.stages.subtitles.MAX_CUES", 1)

    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("de", SRT.encode()))

    assert [warning.code for warning in result.warnings] == ["bad_subtitles"]
    assert "has 2 cues, the limit is 1" in result.warnings[0].message


@pytest.mark.parametrize(
    ("track", "code"),
    [
        pytest.param(SubtitleStream(index=9, codec="hdmv_pgs_subtitle", text=False), "bitmap_subtitles", id="pictures"),
        pytest.param(SubtitleStream(index=9, codec="mov_text"), "bad_subtitles", id="a track that is not there"),
    ],
)
def test_an_embedded_track_that_cannot_become_text_is_a_finding(
    clips: Clips, tmp_path: Path, track: SubtitleStream, code: str
) -> None:
    ctx = stage_context(tmp_path, clips("mute-text.mp4", seconds=2, languages=()))
    source = inspect.function(ctx, ctx.title)

    result = subtitles.function(ctx, ctx.title, source.model_copy(update={"subtitles": (track,)}))

    assert isinstance(result, TextResult)
    assert [warning.code for warning in result.warnings] == [code]
