"""What is added up of a proof, and what in it is conspicuous."""

from __future__ import annotations

import pytest

from include.domain.outcome import rules as qc
from include.domain.outcome.proof import MOMENTS, Tally, outdone, stretches

EMPTY = Tally(rendition="h264_360p", key="k")


def tally(*scores: float, rate: str = "25") -> Tally:
    return EMPTY.with_scores(scores, frame_rate=rate, wanted=len(scores))


def test_scores_that_come_stretch_by_stretch_are_pooled_like_those_that_come_at_once() -> None:
    scores = [float(number % 97) for number in range(3000)]
    parts = EMPTY
    for start in range(0, 3000, 700):
        part = scores[start : start + 700]
        parts = parts.with_scores(part, frame_rate="25", wanted=len(part))

    assert parts.score("m") == qc.pool(scores, sampled=False, model="m")
    assert (parts.reached, parts.compared, parts.median) == (3000, 3000, 48.0)


def test_without_a_score_nothing_is_known_and_nothing_conspicuous() -> None:
    assert (EMPTY.score("m"), EMPTY.median, EMPTY.suspicious("m")) == (None, 0.0, ())


def test_what_is_kept_does_not_grow_with_the_title() -> None:
    long = tally(*([90.0, 91.0] * 25 * 60))

    assert len(long.lowest) == MOMENTS
    assert len(long.counts) == 2


@pytest.mark.parametrize(
    ("scores", "frames"),
    [
        ([90.0] * 100, []),
        # One second each: the worst frame stands for it, and the worst second comes first.
        ([90.0] * 30 + [40.0, 20.0] + [90.0] * 100 + [10.0] + [90.0] * 300, [132, 31]),
        # Low all over: a small rendition, or the picture of another film. The excerpts know which.
        ([12.0] * 24 + [11.0] + [12.0] * 25, [24, 25]),
    ],
)
def test_what_is_far_below_the_rest_or_never_like_the_source_is_looked_at_again(
    scores: list[float], frames: list[int]
) -> None:
    assert [each.frame for each in tally(*scores).suspicious("m")] == frames


def test_places_are_counted_from_the_titles_first_frame() -> None:
    later = tally(*[90.0] * 200).with_scores([90.0, 5.0, 90.0], frame_rate="25", wanted=3)

    assert [each.frame for each in later.suspicious("m")] == [201]


@pytest.mark.parametrize(
    ("own", "smaller", "found"),
    [
        ([90.0, 20.0], [80.0, 70.0], (20.0, 70.0)),
        ([90.0, 20.0], [80.0, 30.0], None),
        ([50.0, 90.0], [80.0, 80.0], None),
        ([], [], None),
    ],
)
def test_a_smaller_rendition_never_looks_much_better_where_a_larger_one_is_sound(
    own: list[float], smaller: list[float], found: tuple[float, float] | None
) -> None:
    assert outdone(own, smaller, least=45.0) == found


@pytest.mark.parametrize(
    ("total", "reached", "seeks", "parts"),
    [
        (1200, 0, True, [(0, 500), (500, 500), (1000, 200)]),
        (1200, 1000, True, [(1000, 200)]),
        (1200, 1200, True, []),
        (60_000, 55_000, False, [(55_000, 5000)]),
        (100, 0, False, [(0, 100)]),
    ],
)
def test_a_title_is_compared_in_stretches_and_in_few_where_each_is_read_from_the_start(
    total: int, reached: int, seeks: bool, parts: list[tuple[int, int]]
) -> None:
    assert list(stretches(total, reached=reached, frame_rate="25", seeks=seeks)) == parts
