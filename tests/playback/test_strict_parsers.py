"""The manifests in the strictest parsers there are, and against the bytes that lie beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import m3u8
import pytest
from mpegdash.parser import MPEGDASHParser

from include.adapters.cmaf import read_track
from tests.node import run_script
from tests.titles import Title

SCRIPT = Path(__file__).parent / "strict.cjs"
SEGMENT_S = 6.006
AAC_FRAME_S = 1024 / 48000


@pytest.fixture(scope="module")
def read(packaged: Title) -> dict[str, Any]:
    """What the parsers found."""
    found: dict[str, Any] = json.loads(run_script(SCRIPT, str(packaged.folder)))
    return found


def size_of(packaged: Title, uri: str) -> list[int]:
    folder = (packaged.folder / uri).parent
    return [path.stat().st_size for path in sorted(folder.glob("*.m4s"))]


def test_the_master_playlist_says_what_the_segments_measure(packaged: Title, read: dict[str, Any]) -> None:
    assert read["independent"] is True
    assert [variant["uri"] for variant in read["variants"]] == [
        "video/h264_144p/media.m3u8",
        "video/h264_240p/media.m3u8",
        "audio/aac_en_stereo/media.m3u8",
    ]
    assert (read["variants"][2]["codecs"], read["variants"][2].get("resolution")) == ("mp4a.40.2", None)
    sound = max(sum(size_of(packaged, f"audio/aac_{tag}_stereo/x")) for tag in ("en", "de"))
    for variant, (width, height) in zip(read["variants"][:2], [(256, 144), (426, 240)], strict=True):
        picture = size_of(packaged, variant["uri"])
        assert (variant["resolution"]["width"], variant["resolution"]["height"]) == (width, height)
        assert variant["frameRate"] == pytest.approx(23.976)
        assert variant["codecs"].startswith("avc1.")
        assert variant["codecs"].endswith(",mp4a.40.2")
        assert variant["average"] == pytest.approx((sum(picture) + sound) * 8 / 14.014, rel=0.01)
        assert variant["bandwidth"] >= max(picture[:2]) * 8 / SEGMENT_S + sound * 8 / 14.014 * 0.99
        assert variant["bandwidth"] <= 2 * variant["average"]
        assert variant["audio"] == [["en", "English", True, "2"], ["de", "Deutsch", False, "2"]]
        assert variant["subtitles"] == [["en", "English"]]


def test_every_playlist_is_finished_and_spans_the_title(read: dict[str, Any]) -> None:
    assert len(read["media"]) == 2 + 2 + 2 + 1
    for playlist in read["media"]:
        assert playlist["type"] == "VOD"
        assert playlist["ended"] is True
        assert playlist["target"] == 6
        assert sum(playlist["durations"]) == pytest.approx(14.014, abs=0.05)
        assert max(playlist["durations"]) <= 6.5


def test_segments_of_all_rungs_and_of_the_subtitles_are_exact_in_frames(read: dict[str, Any]) -> None:
    pictures = [each["durations"] for each in read["media"] if "audio/" not in each["uri"] and not each["iframes"]]

    assert len(pictures) == 3
    assert all(durations == pytest.approx([SEGMENT_S, SEGMENT_S, 2.002]) for durations in pictures)


def test_sound_is_cut_where_the_picture_is(read: dict[str, Any]) -> None:
    """Boundaries differ by an AAC frame at most, and do not drift; the encoder's delay comes on top, once."""
    for playlist in (each for each in read["media"] if "audio/" in each["uri"]):
        first, second, _ = playlist["durations"]
        assert first - AAC_FRAME_S == pytest.approx(SEGMENT_S, abs=AAC_FRAME_S)
        assert first + second - AAC_FRAME_S == pytest.approx(2 * SEGMENT_S, abs=AAC_FRAME_S)


def test_a_playlist_s_times_are_the_segments_decode_times(packaged: Title) -> None:
    """What shaka-player relies on after a jump."""
    for kind, name in (("audio", "aac_en_stereo"), ("audio", "aac_de_stereo"), ("video", "h264_240p")):
        playlist = m3u8.M3U8((packaged.folder / kind / name / "media.m3u8").read_text(), strict=True)
        starts = [sum(each.duration for each in playlist.segments[:index]) for index in range(3)]
        track = read_track(packaged.folder, kind, name)
        assert starts == pytest.approx([float(segment.start) for segment in track.segments], abs=1e-5)


def test_trick_play_lists_every_keyframe(packaged: Title, read: dict[str, Any]) -> None:
    frames = [each for each in read["media"] if each["iframes"]]

    assert len(frames) == len(read["iframes"]) == 2
    assert all(each["durations"] == pytest.approx([2.002] * 7) for each in frames)
    assert all(each["average"] <= each["bandwidth"] for each in read["iframes"])


def test_an_iframe_playlist_points_at_keyframes(packaged: Title) -> None:
    place = packaged.folder / "video/h264_240p"
    playlist = m3u8.M3U8((place / "iframe.m3u8").read_text(), strict=True)

    for segment in playlist.segments:
        length, _, offset = segment.byterange.partition("@")
        part = (place / segment.uri).read_bytes()[int(offset) : int(offset) + int(length)]
        assert part[4:8] == b"moof"
        assert b"mdat" in part


def test_dash_holds_both_codecs_sound_and_subtitles(packaged: Title, read: dict[str, Any]) -> None:
    dash = read["dash"]
    assert dash["missing"] == []
    assert dash["duration"] == pytest.approx(14.014, abs=0.05)
    rungs = [(each["NAME"], each["RESOLUTION"]["height"], each["segments"]) for each in dash["playlists"]]
    assert sorted(rungs) == [("h264_144p", 144, 3), ("h264_240p", 240, 3), ("vp9_144p", 144, 3), ("vp9_240p", 240, 3)]
    assert all(each["FRAME-RATE"] == pytest.approx(24000 / 1001) for each in dash["playlists"])

    period = MPEGDASHParser.parse(str(packaged.folder / "dash.mpd")).periods[0]
    sets = [(each.content_type, each.lang, each.segment_alignment) for each in period.adaptation_sets]
    assert sets == [
        ("video", None, True),
        ("video", None, True),
        ("audio", "en", True),
        ("audio", "de", True),
        ("text", "en", None),
    ]
    assert all(each.start_with_sap == 1 for each in period.adaptation_sets[:4])
