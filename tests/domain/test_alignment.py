"""Lag and likeness of excerpts, on sequences that were made up."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.domain.media.alignment import (
    ALIKE,
    FLOOR_DB,
    PICTURE_S,
    REACH_S,
    SOUND_S,
    STEP_S,
    THUMBNAIL_BYTES,
    Thumbnails,
    excerpts,
    likeness,
    loudness,
    picture_lag,
    sound_lag,
    together,
    widened,
)

FRAME_S = 0.04


def speech(seed: int, steps: int = 600) -> list[float]:
    """Levels that rise and fall as syllables and pauses do."""
    dice = random.Random(seed)
    levels: list[float] = []
    while len(levels) < steps:
        levels += [dice.uniform(-50, -10)] * dice.randrange(3, 30)
    return levels[:steps]


def film(seed: int, count: int = 100, *, moving: float = 20.0) -> Thumbnails:
    """Pictures of blobs that wander over a still ground."""
    dice = random.Random(seed)
    ground = [dice.uniform(30, 200) for _ in range(THUMBNAIL_BYTES)]
    phases = [dice.uniform(0, 2 * math.pi) for _ in range(THUMBNAIL_BYTES)]
    pictures = tuple(
        bytes(
            max(0, min(255, round(level + moving * math.sin(phase + number * (0.2 + phase / 20)))))
            for level, phase in zip(ground, phases, strict=True)
        )
        for number in range(count)
    )
    return Thumbnails(times_s=tuple(number * FRAME_S for number in range(count)), pictures=pictures)


def moved(shown: Thumbnails, seconds: float) -> Thumbnails:
    return Thumbnails(times_s=tuple(each + seconds for each in shown.times_s), pictures=shown.pictures)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), lag=st.integers(-150, 150), gain=st.floats(-15, 15))
def test_sound_is_found_wherever_it_was_moved_to_and_however_loud(seed: int, lag: int, gain: float) -> None:
    original = speech(seed)
    everything = [*speech(seed + 1, 150), *original, *speech(seed + 2, 150)]
    # The copy begins 150 steps before the original.
    copy = [level + gain for level in everything]
    copy = ([FLOOR_DB] * lag + copy)[: len(copy)] if lag >= 0 else copy[-lag:]

    found = sound_lag(original, copy, lead=150)

    assert found is not None
    if abs(lag) > 4:
        assert found.shifted
        assert found.seconds == pytest.approx(lag * STEP_S, abs=STEP_S)
    else:
        assert not found.shifted
    assert not found.foreign


def test_silence_and_steady_tones_say_nothing() -> None:
    assert sound_lag([FLOOR_DB] * 600, speech(1)) is None
    assert sound_lag([-20.0] * 600, speech(1)) is None
    assert sound_lag([], []) is None


def test_silence_or_another_sound_where_there_should_be_this_one_is_foreign() -> None:
    silent = sound_lag(speech(1), [FLOOR_DB] * 900, lead=150)
    other = sound_lag(speech(1), speech(2, 900), lead=150)

    assert silent is not None
    assert silent.foreign
    assert other is not None
    assert not other.shifted


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(-20, 20))
def test_pictures_are_found_wherever_they_were_moved_to(seed: int, frames: int) -> None:
    shown = film(seed)

    found = picture_lag(shown, moved(shown, frames * FRAME_S), frame_s=FRAME_S)

    assert found is not None
    assert found.shifted == (abs(frames) > 1)
    if found.shifted:
        assert found.seconds == pytest.approx(frames * FRAME_S, abs=0.001)


def test_a_still_picture_says_nothing_of_time_and_all_of_content() -> None:
    still = film(3, moving=0.0)

    assert picture_lag(still, moved(still, 0.4), frame_s=FRAME_S) is None
    assert likeness(still, moved(still, 0.2)) == pytest.approx(1.0)


def test_likeness_survives_a_tone_map_and_not_another_picture() -> None:
    shown, other = film(1), film(2)
    mapped = Thumbnails(
        times_s=shown.times_s,
        pictures=tuple(bytes(round(255 * (level / 255) ** 0.5) for level in picture) for picture in shown.pictures),
    )
    black = Thumbnails(times_s=shown.times_s, pictures=(bytes(THUMBNAIL_BYTES),) * len(shown.pictures))

    assert (likeness(shown, mapped) or 0) > 0.9
    assert (likeness(shown, other) or 0) < ALIKE
    assert likeness(shown, black) == 0.0
    assert likeness(black, shown) is None
    assert likeness(shown, Thumbnails(times_s=(), pictures=())) is None


def test_pictures_at_another_rate_are_compared_by_time() -> None:
    shown = film(5)
    half = Thumbnails(times_s=shown.times_s[::2], pictures=shown.pictures[::2])

    found = picture_lag(shown, half, frame_s=2 * FRAME_S)

    assert found is not None
    assert not found.shifted


def test_levels_are_those_of_full_scale() -> None:
    tone = array("h", [20_000 if number % 2 else -20_000 for number in range(1600)])

    assert loudness(tone, channels=2, rate_hz=8000) == pytest.approx([20 * math.log10(20_000 / 32_768)] * 10)
    assert loudness(array("h", bytes(320)), channels=2, rate_hz=8000) == (FLOOR_DB,)
    assert loudness(tone[:159], channels=2, rate_hz=8000) == (), "a step that is cut off has no level"
    assert len(loudness(tone[:319], channels=2, rate_hz=8000)) == 1
    assert together([(-20.0, FLOOR_DB), (-20.0, -30.0)]) == pytest.approx((-17.0, -30.0), abs=0.02)


@given(st.floats(0.04, 50_000))
def test_excerpts_begin_at_the_start_reach_the_end_and_stay_within(duration_s: float) -> None:
    windows = excerpts(duration_s)

    assert windows[0].start_s == 0
    assert windows[-1].start_s + windows[-1].duration_s == pytest.approx(duration_s, abs=0.001)
    assert all(each.duration_s <= SOUND_S for each in windows)
    assert len(windows) <= 5
    for window in windows:
        wide = widened(window, length_s=PICTURE_S)
        assert wide.start_s == max(0.0, window.start_s - REACH_S)
        assert wide.start_s + wide.duration_s >= window.start_s + min(PICTURE_S, window.duration_s)
