"""Subtitles from the mezzanine and from the request, most of them hostile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import webvtt

from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.domain.media.media import SubtitleStream
from include.domain.outcome.results import TextResult
from include.stages.core import StageContext
from include.stages.embedded_text import MAX_BYTES, BadSubtitles
from include.stages.inspect import inspect
from include.stages.subtitles import recognised, subtitles
from tests.captioned import captioned, packet
from tests.clips import H264, Clips, run_ffmpeg, stage_context

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


def test_cues_that_would_fill_every_segment_are_refused(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.stages.subtitles.MAX_SHOWN_S", 0.5)

    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("de", SRT.encode()))

    assert [warning.code for warning in result.warnings] == ["bad_subtitles"]
    assert "has cues of 0 h together" in result.warnings[0].message


@pytest.mark.parametrize(
    ("track", "code"),
    [
        pytest.param(SubtitleStream(index=9, codec="hdmv_pgs_subtitle", text=False), "bitmap_subtitles", id="pictures"),
        pytest.param(SubtitleStream(index=9, codec="ttml", text=False), "bad_subtitles", id="text that is not read"),
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


@pytest.mark.parametrize(
    ("name", "offset_s", "second_field", "language", "label"),
    [
        ("cc.mp4", 0, False, "und", "CC1"),
        ("cc-late.ts", 7200, False, "und", "CC1"),
        ("cc.mkv", 0, False, "und", "CC1"),
        ("cc3.mp4", 0, True, "und", "CC3"),
    ],
)
def test_captions_in_the_picture_become_a_track_in_time(
    tmp_path: Path, name: str, offset_s: float, second_field: bool, language: str, label: str
) -> None:
    clip = captioned(
        tmp_path / name, "HELLO CC", show=30, hide=60, seconds=3, offset_s=offset_s, second_field=second_field
    )

    ctx, result = made(tmp_path, clip)

    (track,) = result.renditions
    assert (track.language, track.label, track.hearing_impaired, track.forced) == (language, label, True, False)
    ((start, end, text),) = shown(ctx, result)
    assert text == "HELLO CC"
    # Picture 30 and 60 of 29.97 a second; the text format in between has hundredths.
    assert abs(seconds(start) - 30 * 1001 / 30000) < 0.03
    assert abs(seconds(end) - 60 * 1001 / 30000) < 0.03


WINDOW = b"\x98\x00\x46\x50\x71\x1f\x09"
"""DefineWindow 0 of CEA-708: two rows of 32 near the bottom, not visible."""
DIGITAL = {
    20: packet(0, (1, WINDOW + b"HELLO \xe9"), (2, WINDOW + b"HOLA")),
    30: packet(1, (1, b"\x89\x01"), (2, b"\x89\x01")),
    60: packet(2, (1, b"\x8a\x01"), (2, b"\x8a\x01")),
}
"""Two services by picture: sent at picture 20, shown at 30, taken away at 60."""


@pytest.mark.parametrize(
    ("name", "offset_s", "reordered"),
    [("a.mp4", 0, False), ("late.ts", 7200, False), ("a.mkv", 0, True), ("reordered.mp4", 0, True)],
)
def test_captions_in_cea_708_alone_become_a_track_of_each_service_in_time(
    tmp_path: Path, name: str, offset_s: float, reordered: bool
) -> None:
    clip = captioned(tmp_path / name, None, packets=DIGITAL, offset_s=offset_s, reordered=reordered)

    ctx, result = made(tmp_path, clip)

    assert result.warnings == ()
    assert [(each.name, each.label, each.hearing_impaired) for each in result.renditions] == [
        ("und", "Service 1 (CC)", True),
        ("und_2", "Service 2 (CC)", True),
    ]
    # Where the container has the sound begin earlier, or the pictures are reordered, the first one is not at zero.
    first = inspect.function(ctx, ctx.title).video.start_time_s
    for number, text in enumerate(("HELLO é", "HOLA")):
        ((start, end, found),) = shown(ctx, result, number)
        assert found == text
        assert abs(seconds(start) - first - 30 * 1001 / 30000) < 0.002
        assert abs(seconds(end) - first - 60 * 1001 / 30000) < 0.002


def told_while_read(folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What the stage tells of its progress, with an ffmpeg that tells its own each 5 ms instead of each half second."""
    talking = folder / "ffmpeg"
    talking.write_text(f'#!/bin/sh\nexec {ffmpeg(Settings())} -stats_period 0.005 "$@"\n')
    talking.chmod(0o755)
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")
    ctx = stage_context(folder, clip)
    source = inspect.function(ctx, ctx.title)
    told: list[tuple[float, str]] = []
    settings = ctx.settings.model_copy(update={"ffmpeg": str(talking)})
    listening = replace(ctx, settings=settings, report=lambda share, message: told.append((share, message)))
    subtitles.function(listening, ctx.title, source)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    return told


@pytest.mark.parametrize("name", ["hours.mkv", "hours.mov"])
def test_reading_hours_for_two_cues_tells_how_far_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve hours of a picture each ten seconds: the cues stand at their beginning and at their end."""
    cues = tmp_path / "cues.srt"
    cues.write_text("1\n00:00:01,000 --> 00:00:02,000\nOne\n\n2\n11:59:01,000 --> 11:59:02,000\nTwo\n")
    clip = tmp_path / "in" / name
    clip.parent.mkdir()
    picture = [
        "-f",
        "lavfi",
        "-i",
        "color=c=white:size=160x90:rate=1/10",
        "-i",
        str(cues),
        "-map",
        "0:v",
        "-map",
        "1:s",
    ]
    coded = [*H264, "-g", "2", "-frames:v", "4320", "-c:s", "mov_text" if name.endswith("mov") else "srt"]
    run_ffmpeg([*picture, *coded, str(clip)])

    told = told_while_read(tmp_path, clip, monkeypatch)

    reading = {message for _, message in told if message.startswith("subtitle track 1: ")}
    assert len(reading) >= (3 if name.endswith("mkv") else 1), "of MOV nothing but the two cues is read"
    assert len({message for _, message in told if message.startswith("looking for captions: ")}) >= 3


def test_decoding_a_picture_for_its_captions_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line_21 = captioned(tmp_path / "line21.mp4", "HELLO CC", show=30, hide=60, seconds=60)
    digital = captioned(tmp_path / "digital.mp4", None, packets=DIGITAL, seconds=60)

    for clip, what in ((line_21, "captions of field 1: "), (digital, "captions: ")):
        folder = tmp_path / clip.stem
        folder.mkdir()
        told = told_while_read(folder, clip, monkeypatch)
        assert len({message for _, message in told if message.startswith(what)}) >= 5


def test_a_caption_that_goes_on_in_pictures_coded_out_of_order_is_read_as_shown(tmp_path: Path) -> None:
    # Picture 30 is coded before 28 and 29.
    packets = {28: packet(0, (1, WINDOW + b"ONE")), 29: packet(1, (1, b" TWO")), 30: packet(2, (1, b"\x89\x01"))}
    clip = captioned(tmp_path / "a.mp4", None, packets=packets, reordered=True)

    ctx, result = made(tmp_path, clip)

    ((start, _, text),) = shown(ctx, result)
    assert text == "ONE TWO"
    assert abs(seconds(start) - 31 * 1001 / 30000) < 0.002


def test_captions_that_are_sent_in_both_standards_appear_once(tmp_path: Path) -> None:
    clip = captioned(tmp_path / "both.mp4", "HELLO CC", show=30, hide=60, packets=DIGITAL)

    ctx, result = made(tmp_path, clip)

    assert [each.label for each in result.renditions] == ["CC1"]
    assert [text for _, _, text in shown(ctx, result)] == ["HELLO CC"]


def test_cea_608_without_text_does_not_hide_cea_708(tmp_path: Path) -> None:
    clip = captioned(tmp_path / "both.mp4", "", show=30, hide=60, packets=DIGITAL)

    _, result = made(tmp_path, clip)

    assert [each.label for each in result.renditions] == ["Service 1 (CC)", "Service 2 (CC)"]


def test_the_first_service_has_the_language_of_the_main_sound(tmp_path: Path) -> None:
    plain = captioned(tmp_path / "a.mp4", None, packets=DIGITAL)
    clip = tmp_path / "es.mp4"
    run_ffmpeg(["-i", str(plain), "-map", "0", "-c", "copy", "-metadata:s:a:0", "language=spa", str(clip)])

    _, result = made(tmp_path, clip)

    assert [(each.language, each.label) for each in result.renditions] == [
        ("es", "Español (CC)"),
        ("und", "Service 2 (CC)"),
    ]


def test_cea_708_without_a_whole_packet_is_a_finding(tmp_path: Path) -> None:
    clip = captioned(tmp_path / "a.mp4", None, packets={30: packet(0, (1, WINDOW + b"HELLO"))[:-2]})

    _, result = made(tmp_path, clip)

    assert result.renditions == ()
    assert [each.code for each in result.warnings] == ["captions_not_read"]


def test_a_picture_without_captions_makes_no_track_of_them(clips: Clips, tmp_path: Path) -> None:
    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()))

    assert result == TextResult()


def test_a_track_of_captions_in_mov_is_read(tmp_path: Path) -> None:
    picture = captioned(tmp_path / "cc.mp4", "HELLO CC", show=30, hide=60, seconds=3)
    clip = tmp_path / "c608.mov"
    source = f"movie=filename={picture}[out+subcc]"
    run_ffmpeg(["-f", "lavfi", "-i", source, "-map", "0:v", "-map", "0:s", *H264, "-c:s", "copy", str(clip)])

    ctx, result = made(tmp_path, clip)

    assert [text for _, _, text in shown(ctx, result)] == ["HELLO CC"]


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
def test_embedded_text_is_in_time_in_every_container(clips: Clips, tmp_path: Path, name: str) -> None:
    srt = tmp_path / "embedded.srt"
    srt.write_text(
        "1\n00:00:00,207 --> 00:00:00,903\n{\\an8}<i>one\ntwo</i>\n\n2\n00:00:01,500 --> 00:00:01,800\nEnd\n"
    )
    clip = tmp_path / name
    codec = "srt" if name.endswith("mkv") else "mov_text"
    run_ffmpeg(
        [
            *("-i", str(clips("mute-text.mp4", seconds=2, languages=())), "-i", str(srt)),
            *("-map", "0:v", "-map", "1:s", "-c:v", "copy", "-c:s", codec),
            *("-metadata:s:s:0", "language=ger", "-disposition:s:0", "default+hearing_impaired", str(clip)),
        ]
    )

    ctx, result = made(tmp_path, clip)

    first, last = shown(ctx, result)
    assert first == ("00:00:00.207", "00:00:00.903", "<i>one</i>\n<i>two</i>")
    assert last[:2] == ("00:00:01.500", "00:00:01.800")
    (track,) = result.renditions
    assert (track.language, track.label) == ("de", "Deutsch (SDH)" if track.hearing_impaired else "Deutsch")
    assert track.default is True
    # MOV has no such flag.
    assert track.hearing_impaired is not name.endswith("mov")


@pytest.mark.parametrize("start_s", [0.4, 3600])
def test_embedded_text_counts_from_the_title_s_zero(clips: Clips, tmp_path: Path, start_s: float) -> None:
    srt = tmp_path / "embedded.srt"
    srt.write_text("1\n00:00:00,207 --> 00:00:00,903\none\n\n2\n00:00:01,500 --> 00:00:01,800\nEnd\n")
    clip = tmp_path / "shifted.mkv"
    # Picture and text begin together, at another time of the container.
    run_ffmpeg(
        [
            *("-copyts", "-itsoffset", str(start_s), "-i", str(clips("mute-text.mp4", seconds=2, languages=()))),
            *("-itsoffset", str(start_s), "-i", str(srt), "-map", "0:v", "-map", "1:s"),
            *("-c:v", "copy", "-c:s", "srt", "-avoid_negative_ts", "disabled", str(clip)),
        ]
    )

    ctx, result = made(tmp_path, clip)

    found = [(seconds(start), seconds(end), text) for start, end, text in shown(ctx, result)]
    # Matroska has no times below zero: there the picture starts at zero.
    assert [text for _, _, text in found] == ["one", "End"]
    assert found[0][:2] == pytest.approx((0.207, 0.903), abs=0.02)
    assert found[1][:2] == pytest.approx((1.5, 1.8), abs=0.02)


def test_embedded_ass_keeps_text_place_and_italics_and_no_drawing(clips: Clips, tmp_path: Path) -> None:
    script = ASS.partition("[Fonts]")[0].rstrip() + (
        "\nDialogue: 1,0:00:00.20,0:00:00.90,Default,,0,0,0,,{\\an7\\p1}m 0 0 l 200 0 200 40{\\p0}"
        "\nDialogue: 0,0:00:01.00,0:00:01.90,Default,,0,0,0,,{\\i1}sung{\\i0} and said\n"
    )
    (tmp_path / "embedded.ass").write_text(script)
    clip = tmp_path / "ass.mkv"
    run_ffmpeg(
        [
            *("-i", str(clips("mute-text.mp4", seconds=2, languages=())), "-i", str(tmp_path / "embedded.ass")),
            *("-map", "0:v", "-map", "1:s", "-c:v", "copy", "-c:s", "copy", str(clip)),
        ]
    )

    ctx, result = made(tmp_path, clip)

    assert [text for _, _, text in shown(ctx, result)] == ["Grüße\nda", "<i>sung</i> and said"]
    assert "00:00:00.200 --> 00:00:00.900 line:0" in ctx.store.get_bytes(result.renditions[0].uri).decode()


def test_flags_and_labels_of_a_request_s_files_are_kept(clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.vtt").write_text(VTT)
    uri = (tmp_path / "files" / "a.vtt").as_uri()
    given = [
        {"uri": uri, "language": "de", "default": True},
        {"uri": uri, "language": "de", "hearing_impaired": True},
        {"uri": uri, "language": "de", "forced": True, "default": True},
        {"uri": uri, "language": "de", "label": "Deutsch für Kinder"},
    ]

    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), subtitles=given)

    assert [(each.label, each.default, each.hearing_impaired, each.forced) for each in result.renditions] == [
        ("Deutsch", True, False, False),
        ("Deutsch (SDH)", False, True, False),
        # Only one track can be shown by itself.
        ("Deutsch (forced)", False, False, True),
        ("Deutsch für Kinder", False, False, False),
    ]


def test_a_language_is_told_by_its_shortest_tag(clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.vtt").write_text(VTT)
    given = [{"uri": (tmp_path / "files" / "a.vtt").as_uri(), "language": "pol"}]

    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), subtitles=given)

    assert [(each.name, each.language, each.label) for each in result.renditions] == [("pl", "pl", "Polski")]


def test_a_file_in_an_unknown_encoding_is_refused_by_name(clips: Clips, tmp_path: Path) -> None:
    text = "1\n00:00:00,200 --> 00:00:00,900\nВсе люди рождаются свободными и равными.\n"

    _, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("en", text.encode("cp1251")))

    assert result.renditions == ()
    assert [each.code for each in result.warnings] == ["bad_subtitles"]
    assert "send it as UTF-8" in result.warnings[0].message


def test_odd_cues_are_named_and_the_others_kept(clips: Clips, tmp_path: Path) -> None:
    text = "1\n-00:00:02,000 --> -00:00:01,000\nlost\n\n2\n00:00:00,200 --> 00:00:00,900\ngood\n\nstill good\n"

    ctx, result = made(tmp_path, clips("mute-text.mp4", seconds=2, languages=()), ("en", text.encode()))

    assert [each[2] for each in shown(ctx, result)] == ["good\nstill good"]
    assert [(each.code, each.message) for each in result.warnings] == [
        (
            "odd_cues",
            "subtitle file 1 (en): odd cues (1): cue 1 at -00:00:02.000 is left out: it ends before the title's zero",
        )
    ]
