"""One clock for a title: its zero and its length, whatever its container's clock does, and samples that are found."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.decode import Decoded
from include.adapters.ffmpeg.landing import reach
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.tools import ffmpeg
from include.base.errors import MezzanineRejected
from include.base.settings import Settings
from include.domain.media.clock import origin, title_frames, title_length
from include.domain.media.media import AudioStream, Inspection
from include.domain.media.rejection import Reason
from include.domain.outcome.results import Cost
from include.stages import samples
from include.stages.core import StageContext
from include.stages.inspect import inspect
from tests.clips import H264, Clips, stage_context
from tests.media_core.samples import video
from tests.reader import assert_in_sync, beeps, flashes, read_hls
from tests.synced import make_synced
from tests.titles import publish_quickly

MP2 = ("-c:a", "mp2")
B_FRAMES = (*H264, "-bf", "2")
LONG_GOP = (*H264, "-g", "100", "-sc_threshold", "0")
PACKET = 188


def sound(**fields: Any) -> AudioStream:
    return AudioStream(**{"index": 1, "codec": "aac", "channels": 2, "sample_rate_hz": 48_000, **fields})


def inspected(folder: Path, path: Path) -> Inspection:
    folder.mkdir(exist_ok=True)
    ctx = stage_context(folder, path)
    return inspect.function(ctx, ctx.title)


def codes(source: Inspection) -> set[str]:
    return {each.code for each in source.warnings}


@pytest.mark.parametrize(
    ("picture_s", "sounds_s", "fps", "zero"),
    [
        (1.4, (1.9,), "25", 1.4),
        (1.8, (1.4,), "25", 1.4),
        (2.0, (), "25", 2.0),
        (-0.5, (0.0,), "25", -0.5),
        # The zero lies whole pictures before the first: none of them falls between two of the grid.
        (1.81, (1.4,), "25", 1.41),
        (1.0, (0.99,), "25", 1.0),
        (10.0, (9.5,), "1", 9.52),
    ],
)
def test_the_zero_is_the_earlier_of_picture_and_sound_on_the_grid_of_the_pictures(
    picture_s: float, sounds_s: tuple[float, ...], fps: str, zero: float
) -> None:
    assert origin(picture_s, sounds_s, Fraction(fps)) == pytest.approx(zero)


@pytest.mark.parametrize(
    ("audio", "length"),
    [
        ((), 10.0),
        ((sound(duration_s=8.0),), 10.0),
        ((sound(duration_s=10.021),), 10.0),
        ((sound(duration_s=10.04, codec="pcm_s16le"),), 10.04),
        ((sound(duration_s=10.0, start_time_s=0.52),), 10.52),
        ((sound(duration_s=9.0), sound(duration_s=25.0)), 25.0),
        ((sound(duration_s=None),), 10.0),
    ],
)
def test_a_title_is_as_long_as_the_longer_of_picture_and_sound_but_for_padding(
    audio: tuple[AudioStream, ...], length: float
) -> None:
    assert title_length(video(), audio) == pytest.approx(length)


def test_a_title_of_a_fractional_rate_has_whole_pictures() -> None:
    assert title_frames(10.01, Fraction(24000, 1001)) == 240
    assert title_frames(0.001, Fraction(25)) == 1


@pytest.mark.parametrize(
    ("name", "options", "late"),
    [
        ("sound.ts", {"sound_from": 0.5, "audio": MP2}, ("late_audio", 0.5)),
        ("picture.ts", {"picture_from": 0.4, "audio": MP2}, ("late_video", 0.4)),
        ("picture.m2ts", {"picture_from": 0.12, "audio": ("-c:a", "ac3")}, ("late_video", 0.12)),
    ],
)
def test_streams_that_start_apart_are_published_in_sync(
    tmp_path: Path, name: str, options: dict[str, Any], late: tuple[str, float]
) -> None:
    path = make_synced(tmp_path / name, at=(0.6, 1.2), seconds=2, video=B_FRAMES, **options)

    made = publish_quickly(tmp_path / "title", path)

    assert_in_sync(read_hls(made.folder), at=(0.6, 1.2))
    assert made.source.duration_s == 2.0
    code, start_s = late
    assert code in codes(made.source)
    late_s = made.source.audio[0].start_time_s if code == "late_audio" else made.source.video.start_time_s
    assert late_s == pytest.approx(start_s, abs=0.02)


def cut_at_the_front(path: Path, packets: int) -> Path:
    """The transport stream without its first packets: a recording that begins between two keyframes."""
    data = path.read_bytes()
    path.write_bytes(data[packets * PACKET :])
    return path


@pytest.mark.parametrize(
    "codec",
    [(*H264, "-g", "25", "-bf", "2"), ("-c:v", "mpeg2video", "-g", "25", "-bf", "2", "-q:v", "5")],
    ids=["h264", "mpeg2"],
)
def test_a_recording_that_begins_between_two_keyframes_is_published_in_sync(
    tmp_path: Path, codec: tuple[str, ...]
) -> None:
    at = (1.6, 2.2)
    path = make_synced(tmp_path / "cut.ts", at=at, seconds=3, video=codec, audio=MP2)
    path = cut_at_the_front(path, len(path.read_bytes()) // PACKET // 6)

    made = publish_quickly(tmp_path / "title", path)

    published = read_hls(made.folder)
    seen, heard = flashes(published.pictures()), beeps(published.sound())
    assert len(seen) == len(heard) == 2
    assert heard == pytest.approx(seen, abs=0.02)
    assert made.source.missing_s > 0
    assert "starts_mid_gop" in codes(made.source)
    assert made.verified.frames == title_frames(made.source.duration_s, Fraction(25))


def test_a_clock_that_wraps_on_the_way_is_steady(tmp_path: Path) -> None:
    wraps = make_synced(
        tmp_path / "wraps.ts", at=(1.0,), seconds=4, audio=MP2, extra=("-output_ts_offset", f"{2**33 / 90_000 - 2}")
    )

    found = inspected(tmp_path / "wraps", wraps)

    assert (found.duration_s, found.video.start_time_s) == (4.0, 0.0)


def test_the_last_picture_is_held_while_the_sound_goes_on(tmp_path: Path) -> None:
    at = (0.4, 1.0)
    path = make_synced(
        tmp_path / "still.webm",
        at=at,
        seconds=4,
        video=("-c:v", "libvpx", "-deadline", "realtime"),
        audio=("-c:a", "libopus"),
        filters="trim=end=1.2",
    )

    made = publish_quickly(tmp_path / "title", path)

    published = read_hls(made.folder)
    assert_in_sync(published, at=at)
    assert made.source.duration_s == pytest.approx(4.0, abs=0.04)
    assert published.pictures().frames == made.verified.frames == round(made.source.duration_s * 25)
    assert abs(published.sound().end_s - made.source.duration_s) <= 1024 / 48_000
    assert "short_video" in codes(made.source)


def test_pictures_of_an_avi_are_shown_when_they_are_meant_not_when_the_decoder_lets_them_go(tmp_path: Path) -> None:
    at = (0.4, 1.2)
    path = make_synced(tmp_path / "late.avi", at=at, seconds=2, video=B_FRAMES, audio=("-c:a", "pcm_s16le"))

    made = publish_quickly(tmp_path / "title", path)

    assert_in_sync(read_hls(made.folder), at=at)
    assert made.source.video.lag_s > 0
    assert made.source.duration_s == 2.0


def test_a_transport_stream_with_few_keyframes_is_sound_and_compared_in_step(tmp_path: Path) -> None:
    path = make_synced(tmp_path / "long.ts", at=(0.5, 23.0), seconds=24, rate="10", video=LONG_GOP, audio=MP2)

    made = publish_quickly(tmp_path / "title", path)

    assert (made.source.seeks, made.verified.frames) == (True, 240)
    assert_in_sync(read_hls(made.folder), at=(0.5, 23.0))
    score = made.check().renditions[0].vmaf
    assert score is not None
    assert score.sampled
    # Pictures of another time would score far below: the clip's counter and bars move in every picture.
    assert score.mean > 60


def test_a_stretch_is_read_from_a_keyframe_that_was_found(tmp_path: Path, clips: Clips) -> None:
    program = ffmpeg(Settings())
    path = make_synced(tmp_path / "long.ts", at=(1.0,), seconds=24, rate="10", video=LONG_GOP, audio=MP2)
    opened = OpenedMezzanine(address=str(path), origin_s=inspected(tmp_path / "work", path).origin_s)

    # A second before lies no keyframe that a seek finds, twelve seconds before one does.
    assert reach(program, opened, index=0, at_s=23.0, timeout_s=60) == 11.0
    assert reach(program, opened, index=0, at_s=9.0, timeout_s=60) == 0.0
    unsafe = OpenedMezzanine(address=str(path), origin_s=opened.origin_s, seeks=False)
    assert reach(program, unsafe, index=0, at_s=23.0, timeout_s=60) == 0.0
    assert "-ss" not in unsafe.argv(from_s=11.0)


def found(*, errors: int = 0, first_s: float | None = 0.0, last_s: float = 29.96, frames: int = 750) -> Decoded:
    cost = Cost(wall_s=0, cpu_s=0, peak_memory_mb=0)
    return Decoded(
        frames=frames, errors=errors, audio_errors=0, first_s=first_s, last_s=last_s, sounds={},
        looks=(), cut_short=False, message="", cost=cost,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("damaged_from_start", "seeks"), [(0, False), (700, None)], ids=["sound from the start", "damaged"]
)
def test_damage_behind_a_seek_is_a_suspicion_that_a_decode_from_the_start_settles(
    tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch, damaged_from_start: int, seeks: bool | None
) -> None:
    """What it takes to decode may stand in the first picture alone: an x264 of before 2017 says its build there."""
    asked: list[tuple[float, float | None]] = []

    def decode(*_: Any, from_s: float, to_s: float | None, **__: Any) -> Decoded:
        asked.append((from_s, to_s))
        if from_s > 0:
            return found(errors=122, first_s=from_s, frames=135)
        return found() if to_s is not None else found(errors=damaged_from_start)

    monkeypatch.setattr(samples, "decode", decode)
    ctx: StageContext = stage_context(tmp_path, tmp_path / "unread.mp4")
    timed = samples.Timed(opened=OpenedMezzanine(address="unread.mp4"), video=video(duration_s=30.0), audio=())

    if seeks is None:
        with pytest.raises(MezzanineRejected, match="700 of 750 frames are damaged"):
            samples.decode_samples(ctx, timed)
    else:
        assert samples.decode_samples(ctx, timed).opened.seeks is seeks
    assert asked[-1] == (0.0, None)


def test_a_source_whose_sound_goes_on_for_hours_is_refused_by_name(tmp_path: Path) -> None:
    timed = samples.Timed(
        opened=OpenedMezzanine(address="a.mp4"), video=video(duration_s=30.0), audio=(sound(duration_s=7200.0),)
    )

    with pytest.raises(MezzanineRejected, match="the picture ends at 30 s and the sound at 7200 s") as caught:
        samples.length_s(timed)
    assert caught.value.reason == Reason.BROKEN_CLOCK
