from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg import spacing
from include.adapters.ffmpeg.ffprobe import probe
from include.adapters.tools import ffprobe
from include.base.errors import MezzanineRejected, MezzanineUnreachable
from include.base.settings import Settings
from include.domain.media.rates import motion_rate
from include.domain.media.rejection import Reason
from include.stages.core import StageContext
from tests.clips import HDR10, Clips, run_ffmpeg
from tests.media_core.conftest import Server, inspected

Context = Callable[..., StageContext]
PCM = ("-c:a", "pcm_s16le")
NO_SOUND: dict[str, Any] = {"languages": ()}


def rejected(ctx: StageContext) -> MezzanineRejected:
    with pytest.raises(MezzanineRejected) as caught:
        inspected(ctx)
    return caught.value


def codes(ctx: StageContext) -> set[str]:
    return {finding.code for finding in inspected(ctx).warnings}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("plain.mp4", "h264", {}),
        ("prores.mov", "prores", {"video": ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"), "audio": PCM}),
        (
            "mpeg4.avi",
            "mpeg4",
            {
                "video": (
                    "-c:v",
                    "mpeg4",
                ),
                "audio": ("-c:a", "mp3"),
            },
        ),
        ("hevc.mkv", "hevc", {"video": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=1")}),
        ("vp8.webm", "vp8", {"video": ("-c:v", "libvpx", "-deadline", "realtime"), "audio": ("-c:a", "libvorbis")}),
        (
            "vp9.webm",
            "vp9",
            {"video": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), "audio": ("-c:a", "libopus")},
        ),
        ("mpeg2.mxf", "mpeg2video", {"video": ("-c:v", "mpeg2video", "-q:v", "5"), "audio": PCM}),
        (
            "dnxhd.mxf",
            "dnxhd",
            {"video": ("-c:v", "dnxhd", "-profile:v", "dnxhr_lb", "-pix_fmt", "yuv422p"), "audio": PCM},
        ),
        ("mpeg2.ts", "mpeg2video", {"video": ("-c:v", "mpeg2video", "-q:v", "5"), "audio": ("-c:a", "mp2")}),
        ("h264.ts", "h264", {}),
        ("disc.vob", "mpeg2video", {"video": ("-c:v", "mpeg2video", "-q:v", "5"), "audio": ("-c:a", "ac3")}),
        ("disc.mpg", "mpeg1video", {"video": ("-c:v", "mpeg1video", "-q:v", "5"), "audio": ("-c:a", "mp2")}),
        (
            "camera.avi",
            "mjpeg",
            {
                "video": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
                "audio": ("-c:a", "pcm_u8", "-ar", "11025"),
                "channels": 1,
            },
        ),
        ("raw.avi", "rawvideo", {"video": ("-c:v", "rawvideo", "-pix_fmt", "bgr24"), "audio": PCM}),
        ("raw.mov", "rawvideo", {"video": ("-c:v", "rawvideo", "-pix_fmt", "uyvy422"), "audio": PCM}),
        ("v210.mov", "v210", {"video": ("-c:v", "v210"), "audio": ("-c:a", "pcm_s24le", "-ar", "32000")}),
        ("huffyuv.avi", "huffyuv", {"video": ("-c:v", "huffyuv"), "audio": PCM}),
        ("msmpeg4.avi", "msmpeg4v2", {"video": ("-c:v", "msmpeg4v2"), "audio": ("-c:a", "mp3")}),
        ("av1.mp4", "av1", {"video": ("-c:v", "libsvtav1", "-preset", "13", "-svtav1-params", "fast-decode=0")}),
    ],
)
def test_every_container_and_codec_that_is_served_is_read(
    clips: Clips, context: Context, name: str, codec: str, options: dict[str, Any]
) -> None:
    result = inspected(context(clips(f"served-{name}", **options)))

    video = result.video
    assert (codec, 320, 180, "25") == (video.codec, video.display_width, video.display_height, video.frame_rate)
    assert not video.variable_frame_rate
    assert abs(video.duration_s - 2.0) <= 0.05
    assert len(result.audio) == 1
    assert result.tool_version


def test_streams_are_described_with_languages_and_titles(clips: Clips, context: Context, tmp_path: Path) -> None:
    srt = tmp_path / "a.srt"
    srt.write_text("1\n00:00:00,100 --> 00:00:01,000\nHello\n")
    clip = clips(
        "tracks.mkv",
        languages=("eng", "ger"),
        subtitles=srt,
        extra=("-c:s", "srt", "-metadata:s:s:0", "language=fre", "-metadata:s:a:1", "title=Kommentar"),
    )

    result = inspected(context(clip))

    assert [(each.language, each.title) for each in result.audio] == [("en", None), ("de", "Kommentar")]
    assert [(each.language, each.codec, each.text) for each in result.subtitles] == [("fr", "subrip", True)]
    assert {2} == {each.channels for each in result.audio}


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("silent.mp4", NO_SOUND, "no_audio"),
        ("untagged.mp4", {"languages": ("und",)}, "no_language"),
        ("sar.mp4", {"filters": "setsar=16/9", **NO_SOUND}, "non_square_pixels"),
        ("deep.mkv", {"video": ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), **NO_SOUND}, "high_bit_depth"),
        ("chroma.mkv", {"video": ("-c:v", "libx264", "-pix_fmt", "yuv444p"), **NO_SOUND}, "chroma"),
        (
            "combed.ts",
            {
                "video": ("-c:v", "mpeg2video", "-q:v", "5", "-flags", "+ilme+ildct", "-field_order", "tt"),
                "filters": "setfield=tff",
                **NO_SOUND,
            },
            "interlaced",
        ),
        ("late.ts", {"extra": ("-muxdelay", "0", "-output_ts_offset", "7"), **NO_SOUND}, "start_time"),
        (
            "hdr.mp4",
            {
                "video": HDR10,
                **NO_SOUND,
            },
            "hdr",
        ),
        (
            "vary.mp4",
            {"filters": "select='not(between(mod(n,10),3,6))'", "extra": ("-fps_mode", "vfr"), **NO_SOUND},
            "variable_frame_rate",
        ),
    ],
)
def test_an_odd_source_is_served_and_its_oddity_reported(
    clips: Clips, context: Context, name: str, options: dict[str, Any], code: str
) -> None:
    assert code in codes(context(clips(f"odd-{name}", **options)))


def test_a_plain_source_has_nothing_to_report_but_missing_colour_tags(clips: Clips, context: Context) -> None:
    assert codes(context(clips("served-plain.mp4"))) <= {"no_colour_tags"}


def test_what_a_viewer_sees_counts_after_rotation_and_pixel_shape(
    clips: Clips, context: Context, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.mp4"
    run_ffmpeg(["-display_rotation", "90", "-i", str(clips("served-plain.mp4")), "-c", "copy", str(turned)])

    video = inspected(context(turned)).video

    assert (video.width, video.height, video.display_width, video.display_height, video.rotation) == (
        320,
        180,
        180,
        320,
        270,
    )
    wide = inspected(context(clips("odd-sar.mp4", filters="setsar=16/9", **NO_SOUND))).video
    assert (wide.display_width, wide.display_height) == (569, 180)


def test_an_attached_picture_is_not_the_video(clips: Clips, context: Context, tmp_path: Path) -> None:
    cover, song, clip = tmp_path / "cover.png", tmp_path / "song.mp4", tmp_path / "clip.mp4"
    run_ffmpeg(["-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1", str(cover)])
    source = str(clips("served-plain.mp4"))
    attach = ["-i", str(cover), "-map", "1", "-map", "0:a", "-c", "copy", "-disposition:v:0", "attached_pic"]
    run_ffmpeg(["-i", source, *attach, str(song)])
    run_ffmpeg(
        [
            "-i",
            source,
            "-i",
            str(cover),
            "-map",
            "1",
            "-map",
            "0",
            "-c",
            "copy",
            "-disposition:v:0",
            "attached_pic",
            str(clip),
        ]
    )

    assert rejected(context(song)).reason == Reason.NO_VIDEO
    result = inspected(context(clip))
    assert (result.video.codec, result.video.width) == ("h264", 320)
    assert "attached_picture" in {finding.code for finding in result.warnings}


def test_one_frame_is_a_video(clips: Clips, context: Context) -> None:
    clip = clips("one-frame.mp4", extra=("-frames:v", "1"), **NO_SOUND)

    assert (inspected(context(clip)).video.frames, inspected(context(clip)).video.duration_s) == (1, 0.04)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("again.ts", {}, r"its times start again after \d\.\d\d s, 1\.\d\d s earlier"),
        ("again.vob", {}, r"its times start again after \d\.\d\d s, 1\.\d\d s earlier"),
        ("leap.ts", {"extra": ("-output_ts_offset", "3600")}, r"its times leap by 35\d\d s after 1\.\d\d s"),
    ],
)
def test_several_recordings_in_one_are_refused_by_name(
    clips: Clips, context: Context, tmp_path: Path, name: str, options: dict[str, Any], told: str
) -> None:
    video = {"seconds": 1.2, "video": ("-c:v", "mpeg2video", "-q:v", "5"), "audio": ("-c:a", "mp2")}
    suffix = name.rpartition(".")[2]
    first, second = clips(f"one-recording.{suffix}", **video), clips(f"other-{name}", **video, **options)
    joined = tmp_path / name
    joined.write_bytes(first.read_bytes() + second.read_bytes())

    error = rejected(context(joined))

    assert error.reason == Reason.BROKEN_CLOCK
    assert re.search(told, error.message), error.message


def test_of_a_huge_file_only_windows_are_read(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips("windows.mp4", seconds=20.0, size="64x36", rate="30000/1001", picture="color", **NO_SOUND)
    monkeypatch.setattr(spacing, "WINDOWS", 4)
    monkeypatch.setattr(spacing, "WINDOW_S", 1.0)

    found = {
        size: spacing.read_spacing(
            ffprobe(Settings()), str(clip), index=0, size_bytes=size, start_s=0.0, duration_s=20.0, timeout_s=30
        )
        for size in (1, spacing.WHOLE_BYTES + 1)
    }

    whole, windows = found.values()
    assert (whole.whole, whole.spacing.count) == (True, 599)
    assert not windows.whole
    assert 100 <= windows.spacing.count < 599
    for read in found.values():
        motion = motion_rate(read.spacing, declared=None)
        assert motion is not None
        assert motion.rate == Fraction(30000, 1001)


def test_a_container_without_a_duration_is_measured(
    context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    live = tmp_path / "live.webm"
    run_ffmpeg(
        [
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=25:duration=2",
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-f",
            "webm",
            "-live",
            "1",
            str(live),
        ]
    )
    shown = subprocess.run(
        [ffprobe(Settings()), "-v", "error", "-show_format", "-of", "json", str(live)], capture_output=True, check=True
    )
    assert "duration" not in json.loads(shown.stdout)["format"]

    result = inspected(context(live))

    assert abs(result.video.duration_s - 2.0) <= 0.05
    assert "no_duration" in {finding.code for finding in result.warnings}
    assert sum("packet=" in line for line in caplog.messages) == 1, "its packets are read once, for length and rate"


def cut(path: Path, source: Path, share: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def flip(path: Path, source: Path, *, step: int = 500) -> Path:
    data = bytearray(source.read_bytes())
    for index in range(len(data) // 4, len(data) * 3 // 4, step):
        data[index] ^= 0xFF
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("front.mp4", {"extra": ("-movflags", "+faststart")}),
        ("plain.mp4", {}),
        ("h264.mkv", {}),
    ],
)
def test_a_file_that_was_cut_is_truncated(
    clips: Clips, context: Context, tmp_path: Path, name: str, options: dict[str, Any], share: float
) -> None:
    broken = cut(tmp_path / f"cut-{name}", clips(f"whole-{name}", **options), share)

    assert rejected(context(broken)).reason == Reason.TRUNCATED


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_avi_is_refused_though_its_reader_takes_the_rest_for_all(
    clips: Clips, context: Context, tmp_path: Path, share: float
) -> None:
    whole = clips("whole-mpeg4.avi", video=("-c:v", "mpeg4"), audio=("-c:a", "mp3"))

    assert rejected(context(cut(tmp_path / "cut.avi", whole, share))).reason in {Reason.TRUNCATED, Reason.UNDECODABLE}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_long_file_that_was_cut_is_found_by_its_tail(
    clips: Clips, context: Context, tmp_path: Path, share: float
) -> None:
    options = {"seconds": 30.0, "size": "128x72", "rate": "10", "extra": ("-movflags", "+faststart"), **NO_SOUND}
    whole = clips("long-front.mp4", **options)
    inspected(context(whole))

    error = rejected(context(cut(tmp_path / "cut.mp4", whole, share)))

    assert error.reason == Reason.TRUNCATED


@pytest.mark.parametrize(("name", "step"), [("served-plain.mp4", 500), ("served-h264.ts", 700)])
def test_damaged_pictures_are_not_a_success_though_ffmpeg_ends_well(
    clips: Clips, context: Context, tmp_path: Path, name: str, step: int
) -> None:
    error = rejected(context(flip(tmp_path / name, clips(name), step=step)))

    assert error.reason in {Reason.UNDECODABLE, Reason.TRUNCATED}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", Reason.EMPTY),
        ("zeros.mp4", bytes(4096), Reason.INVALID_TYPE),
        ("text.mp4", b"This is not a video.\n" * 50, Reason.INVALID_TYPE),
        ("page.mp4", b"<!doctype html><html><body>404</body></html>", Reason.INVALID_TYPE),
        ("picture.mp4", b"\x89PNG\r\n\x1a\n" + bytes(100), Reason.INVALID_TYPE),
        ("head.mp4", b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", Reason.TRUNCATED),
    ],
)
def test_what_is_not_a_video_says_what_it_is(
    context: Context, tmp_path: Path, name: str, content: bytes, reason: Reason
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    error = rejected(context(path))

    assert reason == error.reason
    assert (reason is Reason.INVALID_TYPE) == error.message.startswith("Invalid file type")


def test_sound_alone_and_foreign_codecs_are_refused(context: Context, tmp_path: Path) -> None:
    sound, raw = tmp_path / "sound.mp4", tmp_path / "raw.mkv"
    run_ffmpeg(["-f", "lavfi", "-i", "sine=duration=1", str(sound)])
    run_ffmpeg(["-f", "lavfi", "-i", "testsrc2=size=64x64:duration=1", "-c:v", "ffv1", str(raw)])

    assert rejected(context(sound)).reason == Reason.NO_VIDEO
    error = rejected(context(raw))
    assert (error.reason, error.message) == (Reason.INVALID_TYPE, "Invalid file type: video codec ffv1 is not served")


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>file:{secret}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
        "[playlist]\nFile1={secret}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "mkv"])
def test_a_script_cannot_have_another_file_read(
    clips: Clips, context: Context, tmp_path: Path, script: str, suffix: str
) -> None:
    path = tmp_path / f"script.{suffix}"
    path.write_text(script.format(secret=clips("served-plain.mp4")))

    assert rejected(context(path)).reason == Reason.INVALID_TYPE


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("a.mp4", "ffconcat version 1.0\nfile near.ts\n"),
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nnear.ts\n#EXT-X-ENDLIST\n"),
        ("b.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{far}\n#EXT-X-ENDLIST\n"),
    ],
)
def test_what_a_script_names_is_not_even_opened(
    clips: Clips, server: Server, tmp_path: Path, name: str, script: str
) -> None:
    clip = clips("served-h264.ts").read_bytes()
    (tmp_path / "near.ts").write_bytes(clip)
    server.serve("/far.ts", clip)
    path = tmp_path / name
    path.write_text(script.format(far=server.url("/far.ts")))
    unguarded = [ffprobe(Settings()), "-v", "error", "-show_streams", "-protocol_whitelist", "file,http,tcp", str(path)]
    assert b"h264" in subprocess.run(unguarded, capture_output=True, check=True).stdout
    server.asked.clear()

    found = probe(ffprobe(Settings()), str(path), timeout_s=30)

    assert not found.readable
    assert not found.streams
    assert server.asked == []


def test_a_picture_beyond_the_limit_is_refused(context: Context, tmp_path: Path) -> None:
    huge = tmp_path / "huge.mkv"
    run_ffmpeg(["-f", "lavfi", "-i", "color=size=8320x64:rate=1:duration=1", "-c:v", "libvpx", str(huge)])

    error = rejected(context(huge))

    assert error.reason in {Reason.INVALID_TYPE, Reason.UNDECODABLE}


def test_until_its_time_a_mezzanine_may_be_missing_or_half_there(
    clips: Clips, context: Context, tmp_path: Path
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    path = tmp_path / "arriving.mp4"

    with pytest.raises(MezzanineUnreachable, match="has not arrived yet, waiting until"):
        inspected(context(path, wait_until=later))
    cut(path, clips("whole-plain.mp4"), 0.5)
    with pytest.raises(MezzanineUnreachable) as caught:
        inspected(context(path, wait_until=later))
    assert caught.value.reason == Reason.TRUNCATED
    assert rejected(context(path)).reason == Reason.TRUNCATED
    path.write_text("not a video, whenever it comes")
    assert rejected(context(path, wait_until=later)).reason == Reason.INVALID_TYPE


def test_a_workers_clock_does_not_decide_whether_a_mezzanine_may_still_arrive(context: Context, tmp_path: Path) -> None:
    """By this machine's clock the time is over; Airflow, which would have taken it out, has not said so."""
    past = datetime.now(UTC) - timedelta(hours=2)

    with pytest.raises(MezzanineUnreachable):
        inspected(context(tmp_path / "never.mp4", wait_until=past))
    assert rejected(context(tmp_path / "never.mp4")).reason == Reason.MISSING
