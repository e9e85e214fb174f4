"""Nothing that a mezzanine or a subtitle file says makes a media tool open another file or address."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from include.adapters.ffmpeg.commands import analysis_argv, loudness_argv
from include.adapters.ffmpeg.decode import decode
from include.adapters.ffmpeg.ffprobe import packets, probe
from include.adapters.ffmpeg.opening import OpenedMezzanine, input_argv, input_options
from include.adapters.process import run
from include.adapters.tools import ffmpeg, ffprobe
from include.base.errors import CallsheetError, MezzanineRejected
from include.base.settings import Settings
from include.domain.media.media import Inspection, Window
from include.domain.outcome.results import TextResult
from include.domain.title.title import SubtitleFile
from include.stages.inspect import inspect
from include.stages.subtitles import subtitles
from tests.clips import Clips, make_clip, stage_context
from tests.media_core.conftest import Server, start_server

WORD = "canary-3f9c"
"""In the file that must not be read, as picture description and as text."""


@pytest.fixture(autouse=True)
def without_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hide whether the tools are told not to follow: what it keeps from them has tests of its own."""
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")


@pytest.fixture
def listener() -> Iterator[Server]:
    """Would serve a sound clip to whoever asks; nobody must."""
    server, http = start_server()
    yield server
    http.shutdown()
    http.server_close()


@pytest.fixture(scope="module")
def clip(clips: Clips) -> Path:
    return clips("hostile_canary.mp4", seconds=0.4, size="96x64")


@pytest.fixture
def canary(tmp_path: Path, clip: Path) -> Path:
    """A sound clip that only a followed reference can show: of a size that nothing else has."""
    path = tmp_path / "elsewhere" / "canary.mp4"
    path.parent.mkdir()
    make_clip(path, seconds=0.4, size="112x80")
    path.with_suffix(".txt").write_text(WORD)
    return path


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static" minBufferTime="PT1S">'
    '<Period><AdaptationSet contentType="video" mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)


def _boxed(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _with_reference(data: bytes, location: str, *, level: int) -> bytes:
    """The MP4 ``data`` without its samples: its tracks say that they lie at ``location``.

    Args:
        data: Its samples come before its boxes, so that they lie at the same place in the file at ``location``.
        location: A path or an address.
        level: How many names of ``location`` count from the folder of the file itself; 0 for all of it.
    """
    path = location.encode() + bytes(len(location) % 2)
    # Macintosh's alias record: 130 bytes of names and dates, how many folders up and down, and the path as item 2.
    levels = struct.pack(">HH", min(level, 1), level)
    alias = bytes(130) + levels + bytes(16) + struct.pack(">hH", 2, len(path)) + path + b"\xff\xff\0\0"
    entry = _boxed(b"url ", bytes(4) + location.encode() + b"\0")
    dref = _boxed(b"dref", bytes(4) + struct.pack(">I", 2) + _boxed(b"alis", bytes(4) + alias) + entry)

    def rewritten(content: bytes) -> bytes:
        done, at = b"", 0
        while at + 8 <= len(content):
            size, name = struct.unpack(">I4s", content[at : at + 8])
            inner = content[at + 8 : at + size]
            if name == b"dref":
                done += dref
            elif name == b"mdat":
                done += _boxed(name, bytes(len(inner)))
            elif name in {b"moov", b"trak", b"mdia", b"minf", b"dinf"}:
                done += _boxed(name, rewritten(inner))
            else:
                done += content[at : at + size]
            at += size
        return done

    return rewritten(data)


def _scripts(path: Path, url: str) -> dict[str, str]:
    """What other demuxers follow, by file name."""
    imf = (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        "<Id>urn:uuid:0eb3d1b9-b77b-4d3f-bbe5-7c69b15dca84</Id><EditRate>24 1</EditRate></CompositionPlaylist>"
    )
    port = url.split(":")[2].partition("/")[0]
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><image x:href="{}"/></svg>'
    found = {
        "cpl.xml": imf,
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
        "xspf": f'<playlist version="1"><trackList><track><location>{url}</location></track></trackList></playlist>',
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "smi": f'<SAMI><BODY><SYNC Start=0><P><img src="{url}"></BODY></SAMI>',
        "idx": f"# VobSub index file, v7\n# {path}\ntimestamp: 00:00:00:000, filepos: 000000000\n",
    }
    for number, target in enumerate(_targets(path, url)):
        found[f"{number}.svg"] = svg.format(target)
        found[f"nested{number}.m3u8"] = HLS.format(target).replace("#EXTINF:1,", "#EXT-X-STREAM-INF:BANDWIDTH=1")
    # Those of these two with a protocol inside a protocol are followed by no release that was tried.
    for number, target in enumerate(_targets(path, url)[3:], start=3):
        found[f"{number}.m3u8"] = HLS.format(target)
        found[f"{number}.mpd"] = DASH.format(target)
    return found | _leading(path, url)


def _targets(path: Path, url: str) -> list[str]:
    """The same clip by several names; the first three need no more than the protocols of files and addresses."""
    return [str(path), url, f"file:{path}", f"concat:{path}", f"subfile,,start,0,end,0,,:{path}"]


def _leading(path: Path, url: str) -> dict[str, str]:
    """Scripts by file name that lead a tool to the clip, or to ask for ``url``, where nothing keeps it from that."""
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,'
    found = {"key.m3u8": HLS.format("segment.mp4").replace("#EXTINF:1,", key)}
    for number, target in enumerate(_targets(path, url)[:3]):
        found[f"{number}.m3u8"] = HLS.format(target)
        found[f"{number}.mpd"] = DASH.format(target)
    for number, target in enumerate(_targets(path, url)):
        found[f"{number}.ffconcat"] = f"ffconcat version 1.0\nfile '{target}'\n"
    return found


def test_the_scripts_lead_to_the_clip_where_nothing_keeps_a_tool_from_it(
    tmp_path: Path, canary: Path, listener: Server
) -> None:
    """Otherwise the tests below would hold whatever Callsheet does."""
    listener.serve("/canary.mp4", canary.read_bytes())
    url = listener.url("/canary.mp4")
    for name, text in _leading(canary, url).items():
        script = tmp_path / name
        script.write_text(text)
        listener.asked.clear()
        argv = [ffmpeg(Settings()), "-v", "error", "-protocol_whitelist", "file,http,tcp,concat,subfile,crypto"]
        argv += ["-safe", "0"] if script.suffix == ".ffconcat" else []
        argv += ["-i", str(script), "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]

        shown = run(argv, timeout_s=20, check=False).stdout

        assert bool(listener.asked) == (url in text), name
        assert len(shown) == 112 * 80 or name == "key.m3u8", name


@pytest.mark.parametrize("suffix", [None, "mp4", "mkv", "ts", "mxf"])
def test_playlists_and_scripts_are_no_mezzanines_whatever_they_are_called(
    suffix: str | None, tmp_path: Path, canary: Path, listener: Server
) -> None:
    for name, text in _scripts(canary, listener.url("/canary.mp4")).items():
        mezzanine = tmp_path / (name if suffix is None else f"{name}.{suffix}")
        mezzanine.write_text(text)

        with pytest.raises(MezzanineRejected) as caught:
            _raise(_inspected(tmp_path, mezzanine))

        assert caught.value.reason in {"invalid_type", "truncated", "undecodable"}, name
    assert listener.asked == []


def test_no_tool_that_opens_a_mezzanine_follows_a_playlist(tmp_path: Path, canary: Path, listener: Server) -> None:
    settings = Settings()
    window = Window(start_s=0, duration_s=1)
    for name, text in _scripts(canary, listener.url("/canary.mp4")).items():
        path = tmp_path / name
        path.write_text(text)
        address = str(path)
        source = OpenedMezzanine(address=address)
        opened = [
            run(
                analysis_argv(
                    ffmpeg(settings), source, video_index=0, window=window, from_s=0.0, threads=1, output="-"
                ),
                timeout_s=20,
                check=False,
            ),
            run(loudness_argv(ffmpeg(settings), source, audio_index=0, windows=[window]), timeout_s=20, check=False),
            run([ffmpeg(settings), *input_argv(address), "-f", "null", "-"], timeout_s=20, check=False),
        ]

        assert not probe(ffprobe(settings), address, timeout_s=20).readable, name
        assert packets(ffprobe(settings), address, index=0, timeout_s=20).count == 0, name
        assert decode(ffmpeg(settings), source, video_index=0, threads=1, timeout_s=20).frames == 0, name
        assert all(each.returncode != 0 for each in opened), name
    assert listener.asked == []


@pytest.mark.parametrize(
    ("place", "level", "followed"),
    [
        ("{path}", 0, True),
        ("{path}", 2, True),
        ("file://{path}", 0, False),
        ("{url}", 0, False),
        ("../elsewhere/canary.mp4", 0, False),
    ],
)
def test_a_track_whose_samples_lie_elsewhere_is_not_followed(
    place: str, level: int, followed: bool, tmp_path: Path, clip: Path, listener: Server
) -> None:
    elsewhere = tmp_path / "elsewhere" / "canary.mp4"
    elsewhere.parent.mkdir()
    os.link(clip, elsewhere)
    listener.serve("/canary.mp4", clip.read_bytes())
    mezzanine = tmp_path / "reference.mov"
    location = place.format(path=elsewhere, url=listener.url("/canary.mp4"))
    mezzanine.write_bytes(_with_reference(clip.read_bytes(), location, level=level))
    allowed = ["-enable_drefs", "1", *(() if level else ("-use_absolute_path", "1"))]
    argv = [ffmpeg(Settings()), *allowed, *input_argv(str(mezzanine)), "-f", "null", "-"]
    # Whoever asks the demuxer for it gets the samples of the other file, by the references that it understands.
    assert (run(argv, timeout_s=20, check=False).returncode == 0) == followed

    ended = _inspected(tmp_path, mezzanine)

    # The file itself holds no picture.
    assert isinstance(ended, MezzanineRejected), ended
    assert listener.asked == []


NAMES = [
    "plain.mp4",
    "-i.mp4",
    "a:b.mp4",
    "http:x.mp4",
    "concat:a|b.mp4",
    "pipe:0",
    "a,b;c=d'e\"f.mp4",
    "[0:v]movie=x[out].mp4",
    "shot%03d.mp4",
    "100%.mp4",
    "two\nlines.mp4",
    "\x1b[31mred.mp4",
    "fünf ☃.mp4",
    "x" * 251 + ".mp4",
    "playlist.m3u8",
    "script.ffconcat",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_whatever_it_is_called_and_its_name_stays_in_one_line(
    name: str, tmp_path: Path, clip: Path, canary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    os.link(clip, folder / name)
    # What patterns would match.
    for sibling in ("shot001.jpg", "shot001.png", "shot001.mp4", "b.mp4", "0:v.mp4"):
        os.link(canary, folder / sibling)

    with caplog.at_level("INFO"):
        ended = _inspected(tmp_path, folder / name)

    assert isinstance(ended, Inspection), ended
    assert (ended.video.width, ended.video.height) == (96, 64)
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name.startswith("include"))


@pytest.mark.parametrize("name", ["shot%03d.jpg", "shot*.png", "shot[0-9].jpg"])
def test_a_name_that_is_a_pattern_of_pictures_shows_no_other_file(
    name: str, tmp_path: Path, clip: Path, canary: Path
) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    os.link(clip, folder / name)
    for sibling in ("shot001.jpg", "shot001.png", "shot1.jpg"):
        os.link(canary, folder / sibling)

    ended = _inspected(tmp_path, folder / name)

    # ffmpeg goes by the name before it looks into the file; that demuxer is not allowed.
    assert isinstance(ended, MezzanineRejected) or (ended.video.width, ended.video.height) == (96, 64)


def test_a_name_that_is_no_utf_8_is_refused_by_name(tmp_path: Path, clip: Path) -> None:
    os.link(clip, os.fsencode(tmp_path) + b"/\xff\xfe.mp4")

    ctx = stage_context(tmp_path, f"file://{tmp_path}/%FF%FE.mp4", settings={"mezzanine_roots": (tmp_path,)})

    with pytest.raises(MezzanineRejected) as caught:
        inspect.function(ctx, ctx.title)
    assert caught.value.reason == "missing"


def test_an_address_may_use_the_protocols_of_its_scheme_alone() -> None:
    allowed = {
        address: input_options(address)["protocol_whitelist"]
        for address in ("/m/a.mp4", "https://s3.test/a", "http://s3.test/a", "ftp://s3.test/a", "rtmp://s3.test/a")
    }

    assert allowed == {
        "/m/a.mp4": "file",
        "https://s3.test/a": "https,tls,tcp",
        "http://s3.test/a": "http,tcp",
        "ftp://s3.test/a": "none",
        "rtmp://s3.test/a": "none",
    }


def test_a_presigned_address_that_leads_to_a_playlist_leads_no_further(canary: Path, listener: Server) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{listener.url('/canary.mp4')}\n#EXT-X-ENDLIST\n"
    listener.serve("/given", playlist.encode())
    listener.serve("/canary.mp4", canary.read_bytes())

    found = probe(ffprobe(Settings()), listener.url("/given"), timeout_s=20)

    assert not found.readable
    assert {path for _, path in listener.asked} == {"/given"}


ASS = (
    "[Script Info]\nScriptType: v4.00+\n; {url}\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    "Style: Default,{path},20\n[Fonts]\nfontname: {path}\n[Graphics]\nfilename: {url}\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:00.00,0:00:00.30,Default,,0,0,0,,{{\\fn{path}}}shown {{\\img({url})}}\n"
)
SUBTITLES: dict[str, tuple[str, Callable[[TextResult], bool]]] = {
    "a.ass": (ASS, lambda result: len(result.renditions) == 1),
    "style.vtt": (
        "WEBVTT\n\nSTYLE\n::cue {{ background: url({url}) }}\n\n00:00.000 --> 00:00.300\n"
        '<img src="{url}">shown <v {url}>\n',
        lambda result: len(result.renditions) == 1,
    ),
    "a.srt": (
        '1\n00:00:00,000 --> 00:00:00,300\n<font face="{path}">shown</font><img src="{url}">\n',
        lambda result: len(result.renditions) == 1,
    ),
    "playlist.vtt": ("#EXTM3U\n#EXTINF:1,\n{url}\n", lambda result: len(result.warnings) == 1),
    "script.srt": ("ffconcat version 1.0\nfile '{path}'\n", lambda result: len(result.warnings) == 1),
    "a.smi": ('<SAMI><BODY><SYNC Start=0><P><img src="{url}"></BODY></SAMI>', lambda result: len(result.warnings) == 1),
    "a.idx": ("# VobSub index file, v7\n# {path}\n", lambda result: len(result.warnings) == 1),
}


@pytest.mark.parametrize("name", SUBTITLES)
def test_subtitles_read_nothing_else_and_carry_no_reference_on(
    name: str, tmp_path: Path, clip: Path, canary: Path, listener: Server
) -> None:
    text, as_wanted = SUBTITLES[name]
    file = clip.parent / f"hostile-{tmp_path.name}-{name}"
    file.write_text(text.format(path=canary.with_suffix(".txt"), url=listener.url("/canary")))
    ctx = stage_context(tmp_path, clip, subtitles=(SubtitleFile(uri=file.as_uri(), language="en"),))

    result = subtitles.function(ctx, ctx.title, inspect.function(ctx, ctx.title))

    assert isinstance(result, TextResult)
    assert as_wanted(result), result
    assert listener.asked == []
    for rendition in result.renditions:
        written = ctx.store.get_bytes(rendition.uri).decode()
        assert "shown" in written
        assert not any(word in written for word in (WORD, "url(", "<img", "<font", str(tmp_path)))


def test_embedded_subtitles_with_attached_fonts_read_nothing_else(
    tmp_path: Path, canary: Path, listener: Server
) -> None:
    script = tmp_path / "embedded.ass"
    script.write_text(ASS.format(path=canary.with_suffix(".txt"), url=listener.url("/canary")))
    attached = ("-attach", str(canary.with_suffix(".txt")), "-metadata:s:t", "mimetype=application/x-truetype-font")
    mezzanine = make_clip(
        tmp_path / "attached.mkv", seconds=0.4, size="96x64", subtitles=script, extra=("-c:s", "ass", *attached)
    )
    ctx = stage_context(tmp_path, mezzanine)

    result = subtitles.function(ctx, ctx.title, inspect.function(ctx, ctx.title))

    assert isinstance(result, TextResult)
    assert [rendition.cues for rendition in result.renditions] == [1]
    assert WORD not in ctx.store.get_bytes(result.renditions[0].uri).decode()
    assert listener.asked == []


def _raise(ended: Inspection | CallsheetError) -> None:
    if isinstance(ended, CallsheetError):
        raise ended


def _inspected(folder: Path, mezzanine: Path) -> Inspection | CallsheetError:
    uri = f"file://{quote(str(mezzanine))}"
    ctx = stage_context(folder, uri, settings={"mezzanine_roots": (mezzanine.parent,)})
    try:
        result = inspect.function(ctx, ctx.title)
    except CallsheetError as error:
        return error
    assert isinstance(result, Inspection)
    return result
