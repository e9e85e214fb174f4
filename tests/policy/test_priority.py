"""The order of titles: what raises a priority, what never lowers it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.domain.order.priority import HIGHEST_PRIORITY, PINNED, Priority, priority, priority_points
from include.recipes import load_policy

POLICY = load_policy().priority
DAY_S = 86400.0

scores = st.integers(0, 1000)
# By orders of magnitude: small changes in the middle of the ranges are where an order could go wrong.
works = st.just(0.0) | st.floats(-1, 6).map(lambda power: 10**power)
laxities = st.none() | works | works.map(lambda seconds: -seconds)
waits = works
steps = works


def of(score: int = 500, work_s: float = 100, laxity_s: float | None = None, waiting_s: float = 0) -> int:
    return priority_points(score=score, work_s=work_s, laxity_s=laxity_s, waiting_s=waiting_s, policy=POLICY)


def full(score: int = 500, work_s: float = 100, laxity_s: float | None = None, *, pinned: bool = False) -> Priority:
    return priority(score=score, work_s=work_s, laxity_s=laxity_s, waiting_s=0, policy=POLICY, pinned=pinned)


@given(score=scores, work_s=works, waiting_s=waits)
@settings(deadline=None)
def test_less_laxity_never_lowers_the_priority(score: int, work_s: float, waiting_s: float) -> None:
    seconds = [10 ** (step / 40) for step in range(240, -41, -1)]

    # From a week and more to spare down to as much too late, in steps of six percent.
    points = [
        of(score, work_s, laxity_s, waiting_s) for laxity_s in (*seconds, 0.0, *(-each for each in seconds[::-1]))
    ]

    assert points == sorted(points)
    assert of(score, work_s, None, waiting_s) <= points[0], "no deadline is no less than any amount of time"


@given(score=scores, more=st.integers(0, 1000), work_s=works, laxity_s=laxities, waiting_s=waits, step=steps)
def test_more_value_less_work_and_longer_waiting_never_lower_it(
    score: int, more: int, work_s: float, laxity_s: float | None, waiting_s: float, step: float
) -> None:
    here = of(score, work_s, laxity_s, waiting_s)

    assert here <= of(min(1000, score + more), work_s, laxity_s, waiting_s)
    assert here <= of(score, max(0.0, work_s - step), laxity_s, waiting_s)
    assert here <= of(score, work_s, laxity_s, waiting_s + step)


@given(score=scores, work_s=works, laxity_s=laxities, waiting_s=waits)
def test_the_terms_are_the_priority_and_it_stays_below_a_pinned_one(
    score: int, work_s: float, laxity_s: float | None, waiting_s: float
) -> None:
    told = priority(score=score, work_s=work_s, laxity_s=laxity_s, waiting_s=waiting_s, policy=POLICY)

    assert told.points == of(score, work_s, laxity_s, waiting_s)
    assert 0 <= told.points <= HIGHEST_PRIORITY < PINNED
    assert told.points == pytest.approx(min(HIGHEST_PRIORITY, sum(term.points for term in told.terms)), abs=1)


def test_a_title_near_its_deadline_outranks_a_more_valuable_one() -> None:
    assert of(score=400, laxity_s=60) > of(score=900, laxity_s=None)
    assert of(score=400, laxity_s=DAY_S) < of(score=900, laxity_s=None)


def test_of_two_as_urgent_the_more_valuable_goes_first() -> None:
    assert of(score=900, laxity_s=0) > of(score=400, laxity_s=0)


@pytest.mark.parametrize(("score", "left", "share"), [(1000, 0, 1), (1000, 0.5, 0.25), (500, 0.5, 0.125), (1000, 1, 0)])
def test_urgency_grows_with_the_square_of_the_time_that_is_used_up_and_with_the_score(
    score: int, left: float, share: float
) -> None:
    told = full(score, laxity_s=left * POLICY.urgency_horizon_h * 3600)

    points = {term.name: term.points for term in told.terms}
    assert points["urgency"] == pytest.approx(share * POLICY.urgency_points, abs=0.1)


def test_even_the_least_valuable_title_goes_first_once_it_has_waited_for_the_bound() -> None:
    bound_s = POLICY.waiting_bound_h * 3600

    patient = of(score=0, work_s=1e6, waiting_s=bound_s)

    assert patient >= of(score=1000, work_s=0, laxity_s=0)
    assert of(score=0, work_s=1e6, waiting_s=bound_s / 6) < of(score=100)


def test_a_pinned_title_goes_before_everything() -> None:
    pinned = full(score=0, pinned=True)

    assert pinned.points == PINNED > of(score=1000, work_s=0, laxity_s=-1e6, waiting_s=1e9)
    assert str(pinned) == "10000 = pinned 10000 (by an operator)"


@pytest.mark.parametrize(
    ("work_s", "laxity_s", "words"),
    [
        (80, None, "score 500, 80 s of work) + urgency 0 (no deadline)"),
        (300, 1800, "5 min of work) + urgency"),
        (9000, -60, "2.5 h of work"),
        (10, -60, "60 s too late"),
        (10, 10_800, "3.0 h to spare"),
    ],
)
def test_a_priority_says_where_it_comes_from(work_s: float, laxity_s: float | None, words: str) -> None:
    assert words in str(full(work_s=work_s, laxity_s=laxity_s))
