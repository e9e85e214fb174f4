"""Audio tracks as the real ffmpeg makes them."""

from __future__ import annotations

import array
import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.loudness import limited_lufs, measured
from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.domain.media.choosing import chosen_tracks, sounds
from include.domain.media.media import AudioStream, Inspection
from include.domain.outcome.results import AudioResult
from include.domain.outcome.rules import audio_faults
from include.stages.audio import (
    STEREO,
    audio,
    versions,
)
from include.stages.core import StageContext
from include.stages.inspect import inspect
from include.stages.listening import Version, listen_argv
from tests.changing import TONES_HZ, Hear, Look, make_source
from tests.clips import Clips, stage_context

RATE_HZ = 48_000
BEEP_AT_S = 1.0
BEEP = f"aevalsrc='if(between(t,{BEEP_AT_S},{BEEP_AT_S}+0.1),0.8*sin(2*PI*1000*t),0.01*sin(2*PI*200*t))':s=48000"
CLICK = BEEP.replace("+0.1", "+0.002").replace("0.8*", "0.89*").replace("0.01*", "0.02*")
"""So quiet but for one peak that the gain to the target would lift it far above full scale."""


def encoded(folder: Path, clip: Path, **title: Any) -> tuple[StageContext, Inspection, AudioResult]:
    ctx = stage_context(folder, clip, **title)
    source: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]
    result: AudioResult = audio.function(ctx, ctx.title, source)  # type: ignore[assignment]
    return ctx, source, result


def samples(ctx: StageContext, key: str) -> array.array[int]:
    """The track as a player presents it, mixed to one channel."""
    argv = [ffmpeg(Settings()), "-v", "error", "-i", ctx.store.readable(key), "-ac", "1", "-f", "s16le", "-"]
    return array.array("h", subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)


def onset_s(heard: array.array[int]) -> float:
    peak = max(abs(value) for value in heard)
    return next(index for index, value in enumerate(heard) if abs(value) > peak / 2) / RATE_HZ


@pytest.mark.parametrize(
    ("name", "options", "expected_s"),
    [
        ("in-step.mp4", {"tone": BEEP}, BEEP_AT_S),
        ("limited.mp4", {"tone": CLICK, "seconds": 4.48}, BEEP_AT_S),
        ("mkv.mkv", {"tone": BEEP}, BEEP_AT_S),
        # The sound begins half a second late; on the video's clock the beep is later by that.
        ("late.mkv", {"tone": BEEP, "filters": "", "extra": ("-af", "asetpts=PTS+0.5/TB")}, BEEP_AT_S + 0.5),
        ("very-late.mkv", {"tone": BEEP, "seconds": 16, "filters": "", "extra": ("-af", "asetpts=PTS+14/TB")}, 15.0),
        ("transport.ts", {"tone": BEEP}, BEEP_AT_S),
    ],
)
def test_sound_starts_and_ends_with_the_picture(
    clips: Clips, tmp_path: Path, name: str, options: dict[str, Any], expected_s: float
) -> None:
    ctx, source, result = encoded(tmp_path, clips(name, **{"seconds": 2.48, **options}))

    heard = samples(ctx, result.renditions[0].uri)
    # Where the encoder's delay lets the sound begin before the picture, the title does, too.
    assert onset_s(heard) - source.video.start_time_s == pytest.approx(expected_s, abs=0.03)
    assert len(heard) / RATE_HZ == pytest.approx(source.video.start_time_s + source.video.duration_s, abs=0.022)
    assert result.renditions[0].duration_s == pytest.approx(len(heard) / RATE_HZ, abs=0.001)


@pytest.mark.parametrize(
    ("name", "volume"), [("quiet.mp4", 0.01), ("loud.mp4", 0.9)], ids=["a quiet track", "a loud track"]
)
def test_tracks_are_brought_to_the_target_loudness(clips: Clips, tmp_path: Path, name: str, volume: float) -> None:
    tone = f"aevalsrc='{volume}*sin(2*PI*500*t)*(0.6+0.4*sin(t))':s=48000"
    _, _, result = encoded(tmp_path, clips(name, seconds=4, tone=tone))

    track = result.renditions[0]
    assert track.loudness_lufs == pytest.approx(-23.0, abs=0.5)
    assert track.source_lufs != pytest.approx(-23.0, abs=3)
    assert track.true_peak_dbtp is not None
    assert track.true_peak_dbtp < -1.0


def test_every_language_is_kept_and_the_default_comes_first(clips: Clips, tmp_path: Path) -> None:
    clip = clips(
        "languages.mkv",
        seconds=1,
        languages=("eng", "ger", "ger"),
        extra=("-disposition:a:0", "0", "-disposition:a:1", "default"),
    )
    _, _, result = encoded(tmp_path, clip)

    assert [(track.name, track.default) for track in result.renditions] == [
        ("aac_de_stereo", True),
        ("aac_en_stereo", False),
        ("aac_de_2_stereo", False),
    ]


def test_surround_is_kept_beside_stereo(clips: Clips, tmp_path: Path) -> None:
    ctx, _, result = encoded(tmp_path, clips("surround.mkv", seconds=1, channels=6))

    assert [(track.name, track.channels) for track in result.renditions] == [
        ("aac_en_stereo", 2),
        ("aac_en_surround", 6),
    ]
    assert all(ctx.store.size(track.uri) for track in result.renditions)


def test_silence_stays_silent_and_has_no_loudness(clips: Clips, tmp_path: Path) -> None:
    clip = clips("silent.mp4", seconds=1, tone="anullsrc=r=48000:cl=stereo")
    ctx, _, result = encoded(tmp_path, clip)

    track = result.renditions[0]
    assert (track.source_lufs, track.loudness_lufs) == (None, None)
    assert max(abs(value) for value in samples(ctx, track.uri)) <= 1


def test_a_clip_of_one_frame_has_its_sound(clips: Clips, tmp_path: Path) -> None:
    _, _, result = encoded(tmp_path, clips("one-frame-sound.mp4", seconds=0.04))

    assert result.renditions[0].duration_s == pytest.approx(0.04, abs=0.001)
    assert result.renditions[0].loudness_lufs is None


def test_a_mezzanine_without_audio_is_a_finding(clips: Clips, tmp_path: Path) -> None:
    _, _, result = encoded(tmp_path, clips("mute.mp4", seconds=1, languages=()))

    assert result.renditions == ()
    assert [warning.code for warning in result.warnings] == ["no_audio"]


def stream(index: int, language: str, *, default: bool = False, channels: int = 2) -> AudioStream:
    return AudioStream(
        index=index, codec="aac", channels=channels, sample_rate_hz=48000, language=language, default=default
    )


@pytest.mark.parametrize(
    ("wanted", "expected", "warned"),
    [
        ((), [2, 1, 3], False),
        (("en",), [1], False),
        (("de", "fr"), [2, 3], False),
        (("ja",), [2, 1, 3], True),
    ],
)
def test_wished_languages_filter_and_never_leave_a_title_silent(
    wanted: tuple[str, ...], expected: list[int], warned: bool
) -> None:
    tracks = (stream(1, "en-GB"), stream(2, "de", default=True), stream(3, "fr"))

    chosen, warnings = chosen_tracks(tracks, wanted)

    assert [track.index for track in chosen] == expected
    assert bool(warnings) is warned


@pytest.mark.parametrize(("channels", "names"), [(1, ["stereo"]), (2, ["stereo"]), (6, ["stereo", "surround"])])
def test_layouts(channels: int, names: list[str]) -> None:
    (sound,), _ = sounds([stream(0, "en", channels=channels)])

    assert [layout.name for _, layout in versions(sound)] == names


@pytest.mark.parametrize(
    ("tier", "limiter_db", "told"),
    [("premium", 0.0, ["quiet_audio"]), ("standard", 3.0, ["limited_audio", "quiet_audio"])],
)
def test_the_gain_is_one_number_for_the_title(
    clips: Clips, tmp_path: Path, tier: str, limiter_db: float, told: list[str]
) -> None:
    """A quiet tone with clicks at -3 dBFS: nothing but a limiter within the tier's bound touches its dynamics."""
    click = "if(lt(mod(t,2),0.002)*gt(t,1),0.707*sin(2*PI*1000*t),0.01*sin(2*PI*200*t))"
    clip = clips(
        "clicks.mov", seconds=8, size="160x90", tone=f"aevalsrc='{click}':s=48000", audio=("-c:a", "pcm_s16le")
    )
    ctx, _, result = encoded(tmp_path, clip, tier=tier)

    track = result.renditions[0]
    # One channel played on two is 3 dB lower on each.
    assert track.gain_db == pytest.approx(-1.0 + 6.0 + limiter_db, abs=0.3)
    assert track.limited_db == limiter_db
    assert track.loudness_lufs == pytest.approx(track.due_lufs, abs=0.6)
    assert [finding.code for finding in result.warnings] == told
    assert audio_faults(track, video_s=track.duration_s, target_lufs=-23.0, ceiling_dbtp=-1.0) == ()
    heard = samples(ctx, track.uri)
    # Over whole periods of the tone between the clicks, half a second after each and before the next.
    levels = [
        math.sqrt(sum(value * value for value in part) / len(part))
        for first in (0.3, 0.9, 2.5, 3.0, 3.5, 4.5, 5.5, 6.5, 7.5)
        for part in [heard[round(first * RATE_HZ) : round((first + 0.3) * RATE_HZ)]]
    ]
    gains_db = [20 * math.log10(each / levels[0]) for each in levels]
    assert gains_db == pytest.approx([0.0] * len(gains_db), abs=0.1)


def test_progress_goes_on_while_sound_is_measured_and_encoded_and_measured_again(clips: Clips, tmp_path: Path) -> None:
    reports: list[tuple[float, str]] = []
    ctx = dataclasses.replace(
        stage_context(tmp_path, clips("progress.mkv", seconds=2, languages=("eng", "ger"))),
        report=lambda share, message: reports.append((share, message)),
    )
    source = inspect.function(ctx, ctx.title)
    reports.clear()

    audio.function(ctx, ctx.title, source)

    shares = [share for share, _ in reports]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(message.partition(":")[0] for _, message in reports)) == [
        "listening",
        "encoding 2 audio tracks",
        "measuring aac_en_stereo",
        "measuring aac_de_stereo",
    ]


def test_silence_before_a_late_track_takes_no_memory(tmp_path: Path) -> None:
    """Made at once it would be 300 MB here, and 3 GB for an hour."""
    clip, rate = tmp_path / "late.mkv", ("-f", "lavfi", "-i")
    argv = [ffmpeg(Settings()), "-v", "error", *rate, "color=s=32x32:r=1:d=370", *rate, "sine=r=48000:d=10"]
    argv += ["-af", "asetpts=PTS+360/TB", "-c:v", "mpeg4", "-c:a", "pcm_s16le", str(clip)]
    subprocess.run(argv, check=True, timeout=60)
    ctx = stage_context(tmp_path, clip)
    source: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]
    opened = open_mezzanine(ctx, source)
    version = Version(name="late", track=source.audio[0], layout=STEREO)

    # A child's highest memory begins with that of the process that it was forked from: a small one measures it.
    asked = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\n"
    asked += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    argv = listen_argv(ffmpeg(ctx.settings), opened, [[version]], duration_s=source.duration_s)
    finished = subprocess.run(
        [sys.executable, "-c", asked, *argv], check=True, capture_output=True, text=True, timeout=60
    )

    assert source.audio[0].start_time_s == pytest.approx(360, abs=0.1)
    assert measured(finished.stderr, "late").integrated_lufs == pytest.approx(-21, abs=3)
    assert int(finished.stdout.split()[-1]) < 150


def test_an_encode_whose_limiter_left_no_whole_report_runs_again(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def half_the_first_time(stderr: str, name: str) -> float | None:
        asked.append(name)
        return limited_lufs("" if len(asked) == 1 else stderr, name)

    monkeypatch.setattr("include.stages.audio.limited_lufs", half_the_first_time)
    _, _, result = encoded(tmp_path, clips("again.mp4", seconds=2, tone=CLICK), tier="standard")

    assert asked == ["aac_en_stereo"] * 2
    assert result.renditions[0].due_lufs == pytest.approx(result.renditions[0].loudness_lufs, abs=0.6)


def test_sound_above_full_scale_is_brought_down_and_said(clips: Clips, tmp_path: Path) -> None:
    """An editor's mix in floating point: loudnorm refuses a measured loudness above 0 LUFS."""
    hot = {"tone": "aevalsrc='3*sin(2*PI*440*t)':s=48000", "audio": ("-c:a", "pcm_f32le")}
    clip = clips("hot.mov", seconds=3, size="160x90", **hot)

    _, _, result = encoded(tmp_path, clip)

    track = result.renditions[0]
    assert track.source_lufs is not None
    assert track.source_lufs > 0
    assert track.loudness_lufs == pytest.approx(-23.0, abs=1.0)
    assert [finding.code for finding in result.warnings] == ["hot_audio"]


def test_a_track_that_becomes_surround_on_the_way_keeps_its_clock_and_is_published_as_both(tmp_path: Path) -> None:
    hears = (Hear(packets=32), Hear(packets=31, layout="5.1", rate_hz=44_100), Hear(packets=32))
    made = make_source(tmp_path / "changes.ts", (Look(frames=78),), hears)
    ctx, source, result = encoded(tmp_path, made.path)

    assert [(track.name, track.channels) for track in result.renditions] == [
        ("aac_und_stereo", 2),
        ("aac_und_surround", 6),
    ]
    for track in result.renditions:
        heard = samples(ctx, track.uri)
        assert len(heard) / RATE_HZ == pytest.approx(source.duration_s, abs=0.022)
        middle_s = [(start + end) / 2 for start, end in itertools.pairwise(made.hears_s)]
        assert [loudest_hz(heard, at) for at in middle_s] == list(TONES_HZ[:3])
    assert [finding.message for finding in result.warnings] == [
        "the sound (und) changes on the way: stereo at 48000 Hz from 0.00 s on, then 5.1(side) at 44100 Hz from 1.02 s "
        "on, then stereo at 48000 Hz from 2.10 s on"
    ]


def loudest_hz(heard: array.array[int], at_s: float) -> int:
    """Which of the tones is heard in the 20 ms from ``at_s`` on."""
    first, reach = round(at_s * RATE_HZ), RATE_HZ // 50

    def level(hz: int) -> float:
        turns = [2 * math.pi * hz * index / RATE_HZ for index in range(reach)]
        part = heard[first : first + reach]
        return math.hypot(
            sum(value * math.cos(turn) for value, turn in zip(part, turns, strict=True)),
            sum(value * math.sin(turn) for value, turn in zip(part, turns, strict=True)),
        )

    return max(TONES_HZ, key=level)
