"""Streams that change on the way: one normalised stream is published, at the source's length, order and sync."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np  # noqa: TID253
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from include.adapters.ffmpeg.changes import picture_states, sound_states
from include.base.errors import MezzanineRejected
from include.domain.media.changes import PictureState, SoundState, picture_finding, sound_finding, with_changes
from include.domain.media.media import Inspection
from include.domain.media.rejection import Reason
from include.domain.outcome.results import AudioResult, EncodeResult
from include.stages.analyse import analyse
from include.stages.audio import audio
from include.stages.encode import encode
from include.stages.inspect import inspect
from include.stages.plan import plan
from include.stages.verify_source import verify_source
from tests.changing import COLOURS, FPS, TONES_HZ, Hear, Look, Source, make_source
from tests.clips import run_ffmpeg, stage_context
from tests.media_core.samples import video
from tests.titles import fast

NEAR_S = 0.02
STEP = 96
"""Samples between two looks at the sound: 2 ms."""
REACH = 480
"""Samples looked at: 10 ms."""


class Published:
    """One rendition and one sound track of a source, and what the stages said of it."""

    def __init__(self, folder: Path, source: Source, **title: Any) -> None:
        ctx = self.ctx = stage_context(folder, source.path, **title)
        self.source: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]
        analysis = analyse.function(ctx, ctx.title, self.source)
        decision = fast(plan.function(ctx, ctx.title, self.source, analysis, codecs=("h264",)))  # type: ignore[arg-type]
        self.job = decision.jobs[-1]
        self.rendition: EncodeResult = encode.function(ctx, ctx.title, self.source, decision, self.job)  # type: ignore[assignment]
        self.sound: AudioResult = audio.function(ctx, ctx.title, self.source)  # type: ignore[assignment]
        self.verdict = verify_source.function(ctx, ctx.title, self.source)

    def pictures(self) -> list[tuple[float, int]]:
        """Time of each decoded picture and the number of the colour in its middle."""
        seen = []
        with av.open(self.ctx.store.readable(self.rendition.uri)) as opened:
            for frame in opened.decode(video=0):
                picture = frame.to_ndarray(format="rgb24").astype(float)
                height, width, _ = picture.shape
                middle = picture[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4].mean(axis=(0, 1))
                distances = [float(np.abs(middle - np.array(colour)).max()) for colour in COLOURS]
                assert min(distances) < 24, f"{middle} at {frame.time} s is the colour of no piece"
                seen.append((float(frame.time), distances.index(min(distances))))
        return seen

    def samples(self, name: str = "") -> Any:
        """The first channel of the track of that name, at 48 kHz."""
        track = next(each for each in self.sound.renditions if name in each.name)
        with av.open(self.ctx.store.readable(track.uri)) as opened:
            return np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])


def starts(numbers: Sequence[tuple[float, int]]) -> list[tuple[int, float]]:
    """When each piece begins, in order."""
    return [(number, next(group)[0]) for number, group in itertools.groupby(numbers, key=lambda each: each[1])]


def heard(samples: Any, tones: int) -> list[tuple[float, int]]:
    """Time and number of the loudest of the first ``tones`` tones, every 2 ms."""
    at = np.arange(REACH) / 48_000
    window = np.hanning(REACH)
    waves = [window * np.exp(-2j * np.pi * hz * at) for hz in TONES_HZ[:tones]]
    times = range(0, len(samples) - REACH, STEP)
    loud = [[abs(np.dot(samples[first : first + REACH], wave)) for wave in waves] for first in times]
    return [
        ((first + REACH / 2) / 48_000, int(np.argmax(each)))
        for first, each in zip(times, loud, strict=True)
        if max(each) > 1.0
    ]


def assert_kept(made: Published, source: Source) -> None:
    """Duration, order and sync of picture and sound."""
    expected_s = max(*source.looks_s, *source.hears_s)
    # Sound that goes on for less than a frame of its codec may be padding, and is not shown a held picture for.
    assert made.source.duration_s == pytest.approx(expected_s, abs=0.06)
    expected_s = made.source.duration_s
    pictures = made.pictures()
    assert len(pictures) == pytest.approx(expected_s * FPS, abs=1)
    assert len(pictures) == made.rendition.frames == made.verdict.frames  # type: ignore[attr-defined]
    seen = starts(pictures)
    assert [number for number, _ in seen] == list(range(len(source.looks_s) - 1))
    assert [at for _, at in seen] == pytest.approx(source.looks_s[:-1], abs=NEAR_S)
    if not source.hears_s:
        return
    samples = made.samples()
    assert len(samples) == pytest.approx(made.source.duration_s * 48_000, abs=1024)
    pieces = len(source.hears_s) - 1
    tones = starts(heard(samples, pieces))
    assert [number for number, _ in tones] == list(range(pieces))
    assert [at for _, at in tones][1:] == pytest.approx(source.hears_s[1:-1], abs=NEAR_S)


LOOKS = (Look(frames=20), Look(frames=33, size="160x90"), Look(frames=27, size="240x136", pixel_format="yuv422p"))
HEARS = (
    Hear(packets=25),
    Hear(packets=30, layout="5.1", rate_hz=44_100),
    Hear(packets=20, layout="mono", rate_hz=32_000),
    Hear(packets=20),
)
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k", "-auto-alt-ref", "0")
FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}


@pytest.mark.parametrize(
    ("name", "looks", "hears", "options"),
    [
        ("a.ts", LOOKS, HEARS, {}),
        ("a.mkv", LOOKS, HEARS, {}),
        ("a.mp4", LOOKS, HEARS, {}),
        ("fragmented.mp4", LOOKS, HEARS, {"options": FRAGMENTED}),
        ("a.webm", LOOKS[:2], (Hear(packets=106),), {"video": VP8, "sound": "libopus"}),
    ],
)
def test_what_changes_on_the_way_is_published_as_one_stream_and_said(
    tmp_path: Path, name: str, looks: Sequence[Look], hears: Sequence[Hear], options: dict[str, Any]
) -> None:
    source = make_source(tmp_path / name, looks, hears, **options)

    made = Published(tmp_path, source)

    assert_kept(made, source)
    assert (made.job.rendition.width, made.job.rendition.height) == (320, 180)
    codes = [finding.code for finding in (*made.source.warnings, *made.sound.warnings)]
    assert codes.count("picture_changes") == 1
    assert ("sound_changes" in codes) == (len(hears) > 1)
    assert [each.channels for each in made.sound.renditions] == ([2, 6] if len(hears) > 1 else [2])


def test_a_picture_that_grows_is_published_at_the_larger_size(tmp_path: Path) -> None:
    looks = (Look(frames=25, size="160x90"), Look(frames=25))
    source = make_source(tmp_path / "grows.mkv", looks, (Hear(packets=63),))

    made = Published(tmp_path, source)

    assert (made.source.video.width, made.source.video.height) == (320, 180)
    assert (made.job.rendition.width, made.job.rendition.height) == (320, 180)
    assert_kept(made, source)


def test_a_telephone_that_is_turned_is_shown_with_black_beside_it(tmp_path: Path) -> None:
    looks = (Look(frames=25, size="180x320"), Look(frames=25))
    source = make_source(tmp_path / "turned.webm", looks, video=VP8)

    made = Published(tmp_path, source)

    assert_kept(made, source)
    with av.open(made.ctx.store.readable(made.rendition.uri)) as opened:
        picture = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    height, width, _ = picture.shape
    assert (width, height) == (180, 320) or (width, height) == (320, 180)


def test_a_picture_that_changes_and_has_to_be_turned_is_refused_by_name(tmp_path: Path) -> None:
    source = make_source(tmp_path / "lying.mp4", LOOKS[:2])
    turned = tmp_path / "turned.mp4"
    run_ffmpeg(["-display_rotation", "90", "-i", str(source.path), "-c", "copy", str(turned)])
    ctx = stage_context(tmp_path, turned)

    with pytest.raises(
        MezzanineRejected, match=r"320×180 from 0\.00 s on, then 160×90 from 0\.80 s on; that"
    ) as caught:
        inspect.function(ctx, ctx.title)

    assert caught.value.reason == Reason.UNSUPPORTED_PICTURE


def test_the_largest_picture_is_found_between_samples(tmp_path: Path) -> None:
    looks = (Look(frames=200, size="160x90"), Look(frames=25), Look(frames=100, size="160x90"))
    source = make_source(tmp_path / "between.webm", looks, video=VP8)
    ctx = stage_context(tmp_path, source.path)

    inspected: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]

    assert (inspected.video.width, inspected.video.height) == (320, 180)
    assert "picture_changes" in [finding.code for finding in inspected.warnings]


@given(
    looks=st.lists(
        st.tuples(
            st.integers(8, 30),
            st.sampled_from(("320x180", "160x90", "240x136")),
            st.sampled_from(("yuv420p", "yuv422p")),
        ),
        min_size=1,
        max_size=4,
    ),
    hears=st.lists(
        st.tuples(
            st.integers(8, 24), st.sampled_from(("mono", "stereo", "5.1")), st.sampled_from((32_000, 44_100, 48_000))
        ),
        min_size=1,
        max_size=4,
    ),
    suffix=st.sampled_from((".ts", ".mkv", ".mp4")),
)
@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_any_partition_into_changes_keeps_duration_order_and_sync(
    tmp_path_factory: pytest.TempPathFactory, looks: Any, hears: Any, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("partition")
    source = make_source(
        folder / f"a{suffix}",
        [Look(frames=frames, size=size, pixel_format=form) for frames, size, form in looks],
        [Hear(packets=packets, layout=layout, rate_hz=rate) for packets, layout, rate in hears],
    )
    assert_kept(Published(folder, source), source)


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
    line = "[ashowinfo@main @ 0x7f] n:0 pts:{0} pts_time:{0} fmt:fltp channels:{1} chlayout:{2} rate:{3} nb_samples:1"

    told = [line.format(0, 2, "stereo", 48_000), line.format(3.008, 6, "5.1(side)", 48_000)]

    first = SoundState(at_s=0.0, channels=2, layout="stereo", rate_hz=48_000)
    second = SoundState(at_s=3.008, channels=6, layout="5.1(side)", rate_hz=48_000)
    assert sound_states("\n".join((*told, told[1])), "main") == (first, second)


def test_a_change_is_told_with_its_moment() -> None:
    looks = (look_of(0.0), look_of(3.0, width=160, height=90), look_of(5.0, width=160, height=90, matrix="smpte170m"))
    hears = sound_states("", "main") or (
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


@pytest.mark.parametrize(
    ("first", "aspect", "later", "shown", "reshaped"),
    [
        ((720, 576), "64:45", (1920, 1080), (1920, 1080), False),
        ((720, 576), "16:15", (1920, 1080), (1920, 1080), True),
        ((1440, 1080), "4:3", (1280, 720), (1920, 1080), False),
        ((360, 288), "16:15", (720, 576), (768, 576), False),
    ],
)
def test_pixels_that_are_not_square_count_for_their_own_pictures(
    first: tuple[int, int], aspect: str, later: tuple[int, int], shown: tuple[int, int], reshaped: bool
) -> None:
    across, down = (int(part) for part in aspect.split(":"))
    source = video(width=first[0], height=first[1], sample_aspect_ratio=aspect)
    source = source.model_copy(update={"display_width": round(first[0] * across / down)})
    looks = [look_of(float(at), width=width, height=height) for at, (width, height) in enumerate((first, later))]

    changed = with_changes(source, looks)

    assert (changed.display_width, changed.display_height, changed.reshaped) == (*shown, reshaped)
