"""The rate that a source's motion needs, from how far apart its pictures stand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media.rates import Motion, Spacing, declared_rate, motion_rate, source_rate

NTSC_FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)


def spaced(times_s: list[float]) -> Spacing:
    found = Spacing()
    for time_s in times_s:
        found.add(time_s)
    found.end()
    return found


def stretches(*parts: tuple[float, float]) -> list[float]:
    """Times of pictures that come at a rate for so many seconds, part after part."""
    times, now = [], 0.0
    for fps, seconds in parts:
        times += [now + number / fps for number in range(round(fps * seconds))]
        now += seconds
    return times


def moved(times_s: list[float], *, declared: Fraction | None = None) -> Motion:
    motion = motion_rate(spaced(times_s), declared=declared)
    assert motion is not None
    return motion


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(1, 8), (60, 2)], "60"),
        ([(30, 6), (1, 5)], "30"),
        ([(5, 60), (60, 2)], "60"),
        ([(25, 20), (60, 1)], "25"),
        ([(25, 60), (50, 60)], "50"),
        ([(24000 / 1001, 60), (30000 / 1001, 40)], "24000/1001"),
        ([(24000 / 1001, 40), (30000 / 1001, 60)], "30000/1001"),
        ([(30, 10), (240, 1)], "30"),
        ([(30, 10), (240, 3)], "240"),
        ([(18, 20)], "20"),
        ([(1 / 10, 100)], "5"),
    ],
)
def test_bursts_keep_their_rate_and_of_mixed_rates_the_majority_decides(
    parts: list[tuple[float, float]], expected: str
) -> None:
    assert Fraction(expected) == moved(stretches(*parts)).rate


def test_short_bursts_between_pauses_keep_their_rate() -> None:
    assert moved([pause + number / 60 for pause in range(20) for number in range(6)]).rate == 60


@pytest.mark.parametrize("jitter_s", [0.001, 0.004])
@pytest.mark.parametrize(
    ("fps", "declared", "expected"),
    [
        (29.7, None, "30000/1001"),
        (30.3, None, "30"),
        (30000 / 1001, None, "30000/1001"),
        (30.0, Fraction(30), "30"),
        (25.0, None, "25"),
        (59.94, None, "60000/1001"),
    ],
)
def test_a_phone_whose_clock_jitters_and_drops_pictures_has_its_camera_s_rate(
    fps: float, declared: Fraction | None, expected: str, jitter_s: float
) -> None:
    draw = random.Random(f"{fps} {jitter_s}")
    times = [time_s + draw.uniform(-jitter_s, jitter_s) for time_s in stretches((fps, 60)) if draw.random() > 0.02]

    assert Fraction(expected) == moved(sorted(times), declared=declared).rate


@pytest.mark.parametrize("fps", [NTSC_FILM, Fraction(24), NTSC, Fraction(30), Fraction(60000, 1001)])
def test_a_clock_of_milliseconds_tells_neighbouring_rates_apart(fps: Fraction) -> None:
    times = [round(time_s, 3) for time_s in stretches((float(fps), 40))]

    assert fps == moved(times, declared=Fraction(30)).rate


def test_the_container_s_clock_decides_where_the_measurement_cannot() -> None:
    draw = random.Random("clock")
    times = sorted(time_s + draw.uniform(-0.008, 0.008) for time_s in stretches((30, 20)))

    assert {Fraction(30), NTSC} == {moved(times, declared=rate).rate for rate in (Fraction(30), NTSC)}


def test_fields_that_are_only_flagged_to_be_repeated_are_film() -> None:
    fields = [0, 3, 5, 8]
    motion = moved([(number // 4 * 10 + fields[number % 4]) * 1001 / 60000 for number in range(144)])

    said = source_rate(motion, declared=NTSC, span_s=143 * 1001 / 24000)

    assert (said.average, said.motion) == (NTSC_FILM, None)
    assert said.told == "the container says 29.97 pictures a second, they come at 23.98"


def test_a_hole_does_not_slow_the_rate_and_is_told() -> None:
    times = [number / 25 for number in range(88)] + [6.24 + number / 25 for number in range(44)]
    motion = moved(times)

    said = source_rate(motion, declared=Fraction(33, 2), span_s=times[-1])

    assert (said.average, said.motion) == (Fraction(33, 2), Fraction(25))
    assert str(said.told).startswith("the frame rate varies around 16")


def test_what_is_dropped_of_mixed_rates_is_told() -> None:
    times = stretches((24000 / 1001, 60), (30000 / 1001, 40))

    said = source_rate(moved(times), declared=Fraction(27), span_s=times[-1])

    assert said.motion == NTSC_FILM
    assert "23.98 fps for 60.0 s, 29.97 fps for 39.8 s" in str(said.told)
    assert str(said.told).endswith("9% of them are dropped")


@pytest.mark.parametrize(
    ("fps", "declared"), [(18.0, 18), (12.5, Fraction(25, 2)), (1 / 10, Fraction(1, 10)), (25, 25)]
)
def test_a_steady_rate_stays_what_the_container_says(fps: float, declared: str) -> None:
    times = stretches((fps, 40 / fps))

    said = source_rate(moved(times), declared=Fraction(declared), span_s=times[-1])

    assert (said.average, said.motion, said.told) == (Fraction(declared), None, None)


def test_fields_that_are_coded_one_by_one_are_two_packets_to_a_picture() -> None:
    times = stretches((50, 10))

    assert source_rate(moved(times), declared=Fraction(25), span_s=times[-1]).average == 25


@pytest.mark.parametrize(
    ("average", "base", "expected"),
    [
        ("25", "25", 25),
        ("2997/100", "30000/1001", NTSC),
        ("64/5", "60", Fraction(64, 5)),
        (None, "25", 25),
        ("90000", "25", 25),
        ("90000", "90000", None),
        (None, None, None),
    ],
)
def test_the_declared_rate_is_the_clock_s_where_the_average_is_near(
    average: str | None, base: str | None, expected: Fraction | None
) -> None:
    rates = [None if text is None else Fraction(text) for text in (average, base)]

    assert expected == declared_rate(*rates, most=480)


def test_too_few_pictures_say_nothing() -> None:
    assert motion_rate(spaced([]), declared=None) is None
    assert motion_rate(spaced([1.0]), declared=None) is None
    assert source_rate(None, declared=Fraction(25), span_s=0.0).average == 25


def test_pictures_come_in_the_order_of_decoding_and_a_clock_may_be_set_back() -> None:
    shown = stretches((25, 4))
    reordered = [shown[index + (2, -1, -1)[index % 3] if index < 99 else index] for index in range(100)]

    assert [(round(pace.fps, 6), pace.pictures) for pace in moved(reordered).paces] == [(25.0, 100.0)]
    twice = moved([*shown, *shown])
    assert twice.rate == 25


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=300))
def test_no_times_break_it_and_what_is_kept_is_bounded(times: list[float]) -> None:
    found = spaced(times)
    motion = motion_rate(found, declared=None)

    assert len(found.buckets) <= 300
    assert motion is None or (motion.rate > 0 and 0 <= motion.lost <= 1)
