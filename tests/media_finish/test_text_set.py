"""Subtitles as they are published: the WebVTT that players get, and what both manifests say of it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import m3u8
import pytest
import webvtt

from tests.captioned import captioned
from tests.teletext import with_teletext
from tests.titles import Title, publish_quickly

MPD = "{urn:mpeg:dash:schema:mpd:2011}"
RUSSIAN = "1\n00:00:00,500 --> 00:00:01,000\nПривет, мир!\n\n2\n00:00:01,500 --> 00:00:02,000\nКак дела?\n"
JAPANESE = "1\n00:00:00,500 --> 00:00:01,000\nこんにちは、世界\n\n2\n00:00:01,500 --> 00:00:02,000\n元気ですか\n"
SIGNS = """[Script Info]
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, Alignment
Style: Default,Arial,20,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,{\\p1}m 0 0 l 200 0{\\p0}
Dialogue: 1,0:00:00.50,0:00:01.00,Default,,0,0,0,,{\\an7\\pos(10,10)}STATION
Dialogue: 2,0:00:00.50,0:00:01.00,Default,,0,0,0,,{\\an7\\pos(10,10)\\bord4}STATION
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Title:
    """A title with captions in its picture and three files, each with flags of its own."""
    folder = tmp_path_factory.mktemp("text")
    clip = captioned(folder / "cc.mp4", "HELLO CC", show=30, hide=60, seconds=3)
    given = []
    for name, data, flags in (
        ("ru.srt", RUSSIAN.encode("koi8_r"), {"language": "ru", "default": True}),
        ("ja.srt", JAPANESE.encode("cp932"), {"language": "ja", "hearing_impaired": True}),
        ("en.ass", SIGNS.encode(), {"language": "en", "forced": True, "label": "Signs"}),
    ):
        (folder / name).write_bytes(data)
        given.append({"uri": (folder / name).as_uri(), **flags})
    return publish_quickly(folder / "work", clip, subtitles=given)


def read(title: Title, name: str) -> list[tuple[str, str, str]]:
    """The cues of a published file, by a reader that is not ours."""
    return [(cue.start, cue.end, cue.text) for cue in webvtt.read(str(title.folder / "text" / name / "full.vtt"))[:]]


def test_every_source_of_text_is_published_as_text(published: Title) -> None:
    names = [track.name for track in published.text.renditions]

    assert names == ["und", "ru", "ja", "en"]
    assert [text for _, _, text in read(published, "und")] == ["HELLO CC"]
    assert [text for _, _, text in read(published, "ru")] == ["Привет, мир!", "Как дела?"]
    assert [text for _, _, text in read(published, "ja")] == ["こんにちは、世界", "元気ですか"]
    assert read(published, "en") == [("00:00:00.500", "00:00:01.000", "STATION")]
    segment = (published.folder / "text/en/00001.vtt").read_text()
    assert "00:00:00.500 --> 00:00:01.000 line:0 position:2% align:left\nSTATION" in segment


def test_captions_are_not_in_the_published_picture_as_well(published: Title) -> None:
    mezzanine = published.source.mezzanine.uri.removeprefix("file://")

    assert b"GA94" in Path(mezzanine).read_bytes()
    assert [path for path in published.folder.rglob("*.m4s") if b"GA94" in path.read_bytes()] == []


def test_the_encoding_that_was_taken_is_told(published: Title) -> None:
    told = [each.message for each in published.text.warnings if each.code == "subtitle_encoding"]

    assert told == [
        "subtitle file 1 (ru): is not UTF-8; read as KOI8-R",
        "subtitle file 2 (ja): is not UTF-8; read as Shift_JIS",
    ]


def test_the_hls_master_tells_forced_default_and_accessible_tracks(published: Title) -> None:
    master = m3u8.loads((published.folder / "hls.m3u8").read_text())
    found = {
        media.name: (media.language, media.default, media.autoselect, media.forced, media.characteristics)
        for media in master.media
        if media.type == "SUBTITLES"
    }
    accessible = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"

    assert found == {
        "CC1": (None, "NO", "YES", "NO", accessible),
        "Русский": ("ru", "YES", "YES", "NO", None),
        "日本語 (SDH)": ("ja", "NO", "YES", "NO", accessible),
        "Signs": ("en", "NO", "YES", "YES", None),
    }


def test_the_dash_manifest_tells_the_same(published: Title) -> None:
    tree = ElementTree.parse(published.folder / "dash.mpd")
    found = {}
    for adaptation in tree.iter(f"{MPD}AdaptationSet"):
        if adaptation.get("contentType") == "text":
            roles = [role.get("value") for role in adaptation.findall(f"{MPD}Role")]
            purposes = [each.get("value") for each in adaptation.findall(f"{MPD}Accessibility")]
            found[adaptation.findtext(f"{MPD}Label")] = (adaptation.get("lang"), roles, purposes)

    assert found == {
        "CC1": (None, ["caption"], ["2"]),
        "Русский": ("ru", ["main", "subtitle"], []),
        "日本語 (SDH)": ("ja", ["caption"], ["2"]),
        "Signs": ("en", ["forced-subtitle"], []),
    }


def test_teletext_subtitles_are_text_in_time(tmp_path: Path) -> None:
    picture = captioned(tmp_path / "plain.mp4", "", show=30, hide=60, seconds=3)
    cues = [(0.5, 1.2, "HELLO TEXT"), (1.5, 2.0, "Second one")]
    clip = with_teletext(tmp_path / "ttx.ts", picture, cues, offset_s=90_000.0567)

    made = publish_quickly(tmp_path / "work", clip)

    assert read(made, "und") == [
        ("00:00:00.500", "00:00:01.200", "HELLO TEXT"),
        ("00:00:01.500", "00:00:02.000", "Second one"),
    ]
