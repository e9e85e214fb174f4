"""The packaged set: complete, measured, and refused where it is not."""

from __future__ import annotations

import dataclasses
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import m3u8
import pytest

from include.adapters.cmaf import UnreadableTrack, average_bps, peak_bps, read_track
from include.adapters.manifests.contents import AudioEntry, Contents, VideoEntry
from include.adapters.manifests.faults import faults
from include.adapters.packager import AudioInput, VideoInput, packager_argv
from include.base.errors import PackagerFailed
from include.domain.outcome.report import Report
from include.domain.outcome.results import CheckOutcome, CheckResult, PackageResult, TextResult
from include.stages.preview import render
from tests.clips import Clips, run_ffmpeg
from tests.titles import Title, fast, make_title, with_renditions


@pytest.fixture(scope="module")
def packaged(title: Title, verdicts: CheckResult) -> PackageResult:
    """The set of the shared title, with progressive files."""
    return title.package(verdicts, progressive=True)


def report_of(title: Title) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((title.folder / "report.json").read_text())
    return found


def test_a_set_holds_what_its_result_lists(title: Title, packaged: PackageResult) -> None:
    lying = {
        path.relative_to(title.folder).as_posix(): path.stat().st_size
        for path in title.folder.rglob("*")
        if path.is_file()
    }
    assert lying == packaged.files
    assert {packaged.hls, packaged.dash, packaged.preview, packaged.report} <= set(lying)
    assert {name.partition("/")[0] for name in lying if "/" in name} <= {
        "video",
        "audio",
        "images",
        "progressive",
        "player",
    }


def test_the_report_and_the_webvtt_name_the_sprite_sheets_that_are_there(title: Title, packaged: PackageResult) -> None:
    files = report_of(title)["files"]
    cues = (title.folder / files["sprite_vtt"]).read_text()

    assert files["sprites"] == ["images/sprite_001.jpg"]
    assert {f"images/{name}" for name in re.findall(r"^(\S+)#xywh=", cues, re.MULTILINE)} == set(files["sprites"])
    assert set(files["sprites"]) <= packaged.files.keys()


def test_rungs_are_measured(title: Title, packaged: PackageResult, verdicts: CheckResult) -> None:
    assert [(rung.rendition, rung.width, rung.height) for rung in packaged.rungs] == [
        ("h264_144p", 256, 144),
        ("h264_240p", 426, 240),
    ]
    for rung, verdict in zip(packaged.rungs, verdicts.renditions, strict=True):
        folder = title.folder / "video" / rung.rendition
        assert rung.size_bytes == sum(path.stat().st_size for path in folder.glob("*.m*4*") if path.suffix != ".m3u8")
        assert rung.average_bandwidth <= rung.bandwidth
        assert verdict.vmaf is not None
        assert rung.vmaf == verdict.vmaf.harmonic_mean
    assert packaged.duration_s == pytest.approx(168 * 1001 / 24000)
    assert (packaged.degraded, packaged.missing) == (False, ())


def test_the_codec_string_is_the_one_in_the_bitstream(title: Title, packaged: PackageResult) -> None:
    profile = bytes.fromhex(packaged.rungs[0].codec.partition(".")[2])
    init = (title.folder / "video/h264_144p/init.mp4").read_bytes()

    # NAL unit type 7 (0x67): profile, constraints and level follow.
    assert b"\x67" + profile in init


def test_progressive_files_hold_picture_and_sound_and_start_at_once(title: Title, packaged: PackageResult) -> None:
    assert packaged.progressive == ("progressive/h264_144p.mp4", "progressive/h264_240p.mp4")
    for name in packaged.progressive:
        data = (title.folder / name).read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")
        assert b"avc1" in data
        assert b"mp4a" in data


def test_the_report_says_why_and_what_it_cost_and_nothing_internal(title: Title, packaged: PackageResult) -> None:
    text = (title.folder / "report.json").read_text()
    report = json.loads(text)

    assert report["source"]["checksum"] == title.verified.checksum
    assert report["plan"]["notes"]
    assert [each["outcome"] for each in report["renditions"]] == ["pass", "pass"]
    assert all(each["vmaf"]["p1"] <= each["vmaf"]["harmonic_mean"] for each in report["renditions"])
    assert all(each["encode_cost"]["cpu_s"] > 0 for each in report["renditions"])
    assert report["tools"]["shaka_packager"] == packaged.packager_version
    assert report["tools"]["ffmpeg"]
    assert str(title.ctx.settings.home.parent) not in text
    assert "file://" not in text


def test_the_packager_s_command_holds_no_path_and_cuts_a_hair_before_the_keyframe() -> None:
    argv = packager_argv(
        "packager",
        [VideoInput(name="h264_144p", path=Path("/secret,in=x/a.mp4"), hls=True)],
        [AudioInput(name="aac_en_stereo", path=Path("/secret/b.mp4"), group="stereo")],
        segment_s=Fraction(100, 3),
        gop_s=Fraction(25, 12),
    )

    assert argv == [
        "packager",
        "--quiet",
        "in=inputs/h264_144p.mp4,stream=video,init_segment=video/h264_144p/init.mp4,"
        "segment_template=video/h264_144p/$Number%05d$.m4s,playlist_name=video/h264_144p/media.m3u8,"
        "iframe_playlist_name=video/h264_144p/iframe.m3u8",
        "in=inputs/aac_en_stereo.mp4,stream=audio,init_segment=audio/aac_en_stereo/init.mp4,"
        "segment_template=audio/aac_en_stereo/$Number%05d$.m4s,playlist_name=audio/aac_en_stereo/media.m3u8,"
        "hls_group_id=stereo,hls_name=aac_en_stereo,dash_label=aac_en_stereo",
        *("--segment_duration", "33.333333", "--fragment_duration", "2.083333"),
        *("--hls_master_playlist_output", "packager.m3u8", "--hls_playlist_type", "VOD"),
        *("--mpd_output", "dash.mpd", "--generate_static_live_mpd", "--io_cache_size", "2097152", "--force_cl_index"),
    ]


@pytest.mark.parametrize(
    ("hls", "dash", "said"), [(True, True, None), (False, True, "dash_only=1"), (True, False, "hls_only=1")]
)
def test_the_packager_is_told_of_a_rung_that_only_one_manifest_may_list(
    hls: bool, dash: bool, said: str | None
) -> None:
    rung = VideoInput(name="h264_144p", path=Path("/a.mp4"), hls=hls, dash=dash)
    stream = packager_argv("packager", [rung], [], segment_s=Fraction(6), gop_s=Fraction(2))[2].split(",")

    assert ([said] if said else []) == [part for part in stream if part.endswith("_only=1")]
    assert hls == any(part.startswith("playlist_name=") for part in stream)


def test_packaging_again_gives_the_same_manifests(title: Title, packaged: PackageResult, verdicts: CheckResult) -> None:
    before = {name: (title.folder / name).read_bytes() for name in ("hls.m3u8", "dash.mpd")}

    assert title.package(verdicts, progressive=True) == packaged

    assert {name: (title.folder / name).read_bytes() for name in before} == before


def test_a_degraded_set_lacks_the_rung_and_says_so(title: Title, verdicts: CheckResult) -> None:
    failed = verdicts.renditions[1].model_copy(update={"outcome": CheckOutcome.FAIL, "reasons": ("is <b>green</b>",)})
    worse = verdicts.model_copy(update={"renditions": (verdicts.renditions[0], failed), "degraded": True})

    result = title.package(worse)

    assert (result.degraded, result.missing) == (True, ("h264_240p",))
    assert not any("h264_240p" in name for name in result.files)
    assert "h264_240p" not in (title.folder / "hls.m3u8").read_text()
    assert report_of(title)["renditions"][1]["packaged"] is None
    page = (title.folder / "preview.html").read_text()
    assert "left out: is &lt;b&gt;green&lt;/b&gt;" in page


ODD = [
    pytest.param("one-frame-package.mp4", {"seconds": 0.04}, id="one frame"),
    pytest.param("mute-package.mp4", {"seconds": 1, "languages": ()}, id="no audio"),
    pytest.param("portrait-package.mp4", {"seconds": 1, "size": "240x426"}, id="portrait"),
    pytest.param("surround-package.mkv", {"seconds": 1, "channels": 6, "languages": ("eng", "fre")}, id="5.1"),
    pytest.param("unknown.mkv", {"seconds": 1, "languages": ("und", "und")}, id="two tracks of no language"),
    pytest.param("strange.mkv", {"seconds": 1, "languages": ("xx", "EN-gb")}, id="languages that nobody speaks"),
]


@pytest.mark.parametrize(("name", "options"), ODD)
def test_odd_titles_are_packaged_whole(clips: Clips, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    made = make_title(tmp_path, clips(name, **options), change=fast)

    result = made.package(made.check(), progressive=True)

    master = m3u8.M3U8((made.folder / "hls.m3u8").read_text(), strict=True)
    groups = {track.group_id for track in master.media}
    assert {playlist.stream_info.audio for playlist in master.playlists} == (groups or {None})
    assert len(master.playlists) == len(result.rungs) * max(1, len(groups)) + bool(groups)
    for group in groups:
        names = [track.name for track in master.media if track.group_id == group]
        assert len(set(names)) == len(names)
        assert next(track.default for track in master.media if track.group_id == group) == "YES"
    for playlist in master.playlists:
        assert ("mp4a" in playlist.stream_info.codecs) == bool(groups)
    assert ElementTree.parse(made.folder / "dash.mpd").getroot().get("type") == "static"


def test_a_long_gop_that_the_plan_did_not_ask_for_is_refused(title: Title, verdicts: CheckResult) -> None:
    """The packager cuts at keyframes alone: such a rung's segments would lie elsewhere than its neighbours'."""
    file = title.ctx.scratch / "long.mp4"
    title.ctx.scratch.mkdir(exist_ok=True)
    top = title.renditions[1]
    run_ffmpeg(["-i", title.ctx.store.readable(top.uri), "-c:v", "libx264", "-g", "500", "-an", str(file)])
    key = title.ctx.key("renditions/long.mp4")
    title.ctx.store.put_file(key, file)
    other = dataclasses.replace(title, renditions=(title.renditions[0], top.model_copy(update={"uri": key})))

    with pytest.raises(PackagerFailed, match=r"^the packaged set is not sound: .*do not start where those of"):
        other.package(verdicts)


def test_a_rendition_that_is_no_mp4_is_the_packager_s_failure(title: Title, verdicts: CheckResult) -> None:
    key = title.ctx.key("renditions/garbage.mp4")
    title.ctx.store.put_bytes(key, b"garbage" * 100)
    broken = tuple(each.model_copy(update={"uri": key}) for each in title.renditions)

    with pytest.raises(PackagerFailed) as caught:
        dataclasses.replace(title, renditions=broken).package(verdicts)

    assert "packager" in caught.value.command


@pytest.fixture
def contents(title: Title, verdicts: CheckResult) -> Contents:
    """The shared title's set, fresh, and what its manifests were written from."""
    title.package(verdicts)
    videos = tuple(
        VideoEntry(track=read_track(title.folder, "video", name), hls=True) for name in ("h264_144p", "h264_240p")
    )
    audios = tuple(
        AudioEntry(
            track=read_track(title.folder, "audio", f"aac_{tag}_stereo"),
            language=tag,
            label=tag,
            group="stereo",
            default=tag == "en",
        )
        for tag in ("en", "de")
    )
    return Contents(videos=videos, audios=audios, texts=(), target_s=6)


def test_a_sound_set_has_no_faults(title: Title, contents: Contents) -> None:
    assert faults(title.folder, contents) == []


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert re.search(old, text), f"{old} is not in {path.name}"
    path.write_text(re.sub(old, new, text))


MEDIA = "video/h264_240p/media.m3u8"


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        pytest.param(MEDIA, "00002.m4s", "00009.m4s", "does not list the segments", id="unknown segment"),
        pytest.param(MEDIA, "EXTINF:6.006", "EXTINF:6.400", "lasts 6.006 s, listed are 6.400 s", id="wrong duration"),
        pytest.param(MEDIA, "DURATION:6", "DURATION:5", "lasts 6.006 s, the target is 5 s", id="target too small"),
        pytest.param(MEDIA, "#EXT-X-ENDLIST", "", "is not a finished VOD playlist", id="no end"),
        pytest.param(MEDIA, "TYPE:VOD", "TYPE:EVENT", "is not a finished VOD playlist", id="not VOD"),
        pytest.param(MEDIA, "init.mp4", "gone.mp4", "gone.mp4 is missing or empty", id="no init segment"),
        pytest.param(MEDIA, "#EXTM3U", "#EXTM3V", "media.m3u8: ", id="not a playlist"),
        pytest.param("video/h264_240p/iframe.m3u8", r"BYTERANGE:\d+", "BYTERANGE:999999999", "too short", id="range"),
        pytest.param("hls.m3u8", r"#EXT-X-STREAM-INF[^\n]*\n[^\n]*\n", "", "variants instead of 3", id="no variants"),
        pytest.param("hls.m3u8", "audio/aac_de_stereo", "audio/aac_xx_stereo", "No such file", id="no playlist"),
        pytest.param("dash.mpd", 'startNumber="1"', 'startNumber="2"', "00003.m4s is missing", id="DASH counts on"),
        pytest.param("dash.mpd", "</MPD>", "", "dash.mpd: ", id="broken XML"),
    ],
)
def test_every_lie_of_a_manifest_is_found(
    title: Title, contents: Contents, name: str, old: str, new: str, said: str
) -> None:
    edit(title.folder / name, old, new)

    found = faults(title.folder, contents)

    assert any(said in fault for fault in found), found


def test_a_broken_master_is_one_fault(title: Title, contents: Contents) -> None:
    (title.folder / "hls.m3u8").write_text("hello")

    assert len(faults(title.folder, contents)) == 1


@pytest.mark.parametrize("cut", [0, 8, 100, 2000])
def test_a_track_that_is_cut_short_is_unreadable(title: Title, contents: Contents, cut: int) -> None:
    path = title.folder / "video/h264_144p/00001.m4s"
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(UnreadableTrack, match="video/h264_144p"):
        read_track(title.folder, "video", "h264_144p")


def test_a_track_of_an_unknown_codec_is_unreadable(title: Title, contents: Contents) -> None:
    path = title.folder / "video/h264_144p/init.mp4"
    path.write_bytes(path.read_bytes().replace(b"avc1", b"evc1"))

    with pytest.raises(UnreadableTrack, match="evc1"):
        read_track(title.folder, "video", "h264_144p")


def test_bit_rates_follow_the_definition_of_hls() -> None:
    segments = [(6000, Fraction(6)), (12_000, Fraction(6)), (3000, Fraction(1))]

    assert average_bps(segments) == -(-21_000 * 8 // 13)
    # The last second alone is too short to count; together with the segment before it makes the peak.
    assert peak_bps(segments, 6) == -(-15_000 * 8 // 7)
    assert peak_bps([(1000, Fraction(1, 25))], 6) == 200_000


def test_the_page_works_without_the_player_s_script(title: Title, packaged: PackageResult) -> None:
    report = Report.from_json((title.folder / "report.json").read_text())
    page = render(report.model_copy(update={"name": "</script><script>alert(1)</script>"}), player=None)

    assert "player/hls.min.js" not in page
    assert "<script>alert(1)" not in page
    assert page.count("<script") == 1
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert re.sub(r"'sha256-[A-Za-z0-9+/]{43}='", "HASH", policy).split("; ") == [
        "default-src 'none'", "script-src 'self' HASH", "style-src HASH", "img-src 'self'",
        "media-src 'self' blob: data:", "connect-src 'self'", "worker-src blob:", "base-uri 'none'",
        "form-action 'none'",
    ]  # fmt: skip


def test_text_that_reaches_over_the_end_of_a_title_is_in_the_last_segment(clips: Clips, tmp_path: Path) -> None:
    clip = clips("text-package.mp4", seconds=1, languages=())
    srt = clip.with_name("text-package.srt")
    srt.write_text("1\n00:00:00,500 --> 00:00:05,000\nTo the end\n")
    made = make_title(
        tmp_path,
        clip,
        change=lambda decision: with_renditions(fast(decision), lambda each: each.model_copy(update={"core": True})),
        subtitles=[{"uri": srt.as_uri(), "language": "pt-BR"}],
    )

    made.package(made.check())

    assert isinstance(made.text, TextResult)
    text = (made.folder / "text/pt-BR/00001.vtt").read_text()
    assert "00:00:00.500 --> 00:00:01.000" in text
    assert 'LANGUAGE="pt-BR"' in (made.folder / "hls.m3u8").read_text()
