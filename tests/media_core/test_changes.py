"""Streams that change on the way: one normalised stream is published, at the source's length, order and sync."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.changes import picture_states, sound_states
from include.domain.media.changes import PictureState, SoundState, picture_finding, sound_finding, with_changes
from include.domain.media.media import Analysis, Inspection, Window
from include.domain.outcome.results import EncodeResult
from include.stages.encode import encode
from include.stages.inspect import inspect
from include.stages.plan import plan
from tests.changing import Look, make_source
from tests.clips import stage_context
from tests.media_core.samples import video
from tests.titles import fast


def test_a_picture_that_shrinks_on_the_way_leaves_the_clock_alone(tmp_path: Path) -> None:
    looks = (Look(frames=20), Look(frames=33, size="160x90"), Look(frames=27, size="240x136", pixel_format="yuv422p"))
    ctx = stage_context(tmp_path, make_source(tmp_path / "a.mkv", looks).path)
    source: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]
    analysis = Analysis(windows=(Window(start_s=0, duration_s=3),))
    decision = fast(plan.function(ctx, ctx.title, source, analysis, codecs=("h264",)))  # type: ignore[arg-type]

    made: EncodeResult = encode.function(ctx, ctx.title, source, decision, decision.jobs[-1])  # type: ignore[assignment]

    assert made.frames == 80


GRAPH = "[graph -1 input from stream 0:0 @ 0x1]"
FIRST = f"{GRAPH} [verbose] w:320 h:180 pixfmt:yuv420p tb:1/90000 fr:25/1 sar:1/1 csp:bt709 range:tv alpha:unspecified"
SECOND = (
    f"{GRAPH} [warning] filter context - w: 320 h: 180 fmt: 0 csp: bt709 range: tv alpha: unspecified, incoming frame "
    "- w: 160 h: 90 fmt: 62 csp: smpte170m range: pc alpha: unspecified pts_time: 2.5"
)
AGAIN = f"{GRAPH} [verbose] video frame properties congruent with link at pts_time: 4"


def look_of(at_s: float, **fields: Any) -> PictureState:
    known = {"width": 320, "height": 180, "pixel_format": "yuv420p", "matrix": "bt709", "range": "tv"}
    return PictureState(at_s=at_s, **{**known, **fields})


def test_what_ffmpeg_says_of_pictures_that_change_is_read() -> None:
    other = look_of(2.5, width=160, height=90, pixel_format="format 62", matrix="smpte170m", range="pc")

    assert picture_states("\n".join((FIRST, SECOND, AGAIN)), start_s=0.5) == (look_of(0.5), other, look_of(4.0))
    assert picture_states(FIRST, start_s=0.0) == (look_of(0.0),)
    assert picture_states(SECOND, start_s=0.0) == ()


def test_what_ffmpeg_says_of_sound_that_changes_is_read() -> None:
    line = (
        "[Parsed_ashowinfo_2 @ 0x7f] n:0 pts:{0} pts_time:{0} fmt:fltp channels:{1} chlayout:{2} rate:{3} nb_samples:1"
    )

    told = [line.format(0, 2, "stereo", 48_000), line.format(3.008, 6, "5.1(side)", 48_000)]

    first = SoundState(at_s=0.0, channels=2, layout="stereo", rate_hz=48_000)
    second = SoundState(at_s=3.008, channels=6, layout="5.1(side)", rate_hz=48_000)
    assert sound_states("\n".join((*told, told[1]))) == (first, second)


def test_a_change_is_told_with_its_moment() -> None:
    looks = (look_of(0.0), look_of(3.0, width=160, height=90), look_of(5.0, width=160, height=90, matrix="smpte170m"))
    hears = sound_states("") or (
        SoundState(at_s=0.0, channels=2, layout="stereo", rate_hz=44_100),
        SoundState(at_s=3.0, channels=6, layout="5.1", rate_hz=48_000),
    )
    picture = picture_finding(looks, video(width=320, height=180), sampled=False)
    sound = sound_finding(hears, "en")

    assert picture is not None
    assert picture.message == (
        "the picture changes on the way: 320×180 from 0.00 s on, then 160×90 from 3.00 s on, then colour matrix "
        "smpte170m from 5.00 s on; all of it is published as 320×180"
    )
    assert sound is not None
    assert sound.message == (
        "the sound (en) changes on the way: stereo at 44100 Hz from 0.00 s on, then 5.1 at 48000 Hz from 3.00 s on"
    )
    assert picture_finding(looks[:1], video(), sampled=False) is None
    assert sound_finding(hears[:1], "en") is None


@pytest.mark.parametrize(
    ("sizes", "expected", "reshaped"),
    [
        (((320, 180), (160, 90)), (320, 180), False),
        (((320, 180), (640, 360)), (640, 360), False),
        (((320, 180), (176, 100)), (320, 180), False),
        (((320, 180), (180, 320)), (320, 180), True),
        (((320, 180), (640, 480)), (640, 480), True),
    ],
)
def test_the_largest_picture_gives_the_size(
    sizes: Sequence[tuple[int, int]], expected: tuple[int, int], reshaped: bool
) -> None:
    looks = [look_of(float(at), width=width, height=height) for at, (width, height) in enumerate(sizes)]

    changed = with_changes(video(width=320, height=180), looks)

    assert (changed.width, changed.height, changed.display_width, changed.display_height) == (*expected, *expected)
    assert changed.reshaped is reshaped
