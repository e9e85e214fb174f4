"""The order of titles: what raises a priority, what never lowers it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.order.priority import (
    BOUND_FROM,
    HIGHEST_PRIORITY,
    HIGHEST_VALUE,
    PINNED,
    PROMISE_FROM,
    Priority,
    priority,
    priority_points,
)
from include.domain.order.promises import Standing
from include.recipes import load_policy

POLICY = load_policy().priority
DAY_S = 86400.0

scores = st.integers(0, 1000)
# By orders of magnitude: small changes in the middle of the ranges are where an order could go wrong.
works = st.just(0.0) | st.floats(-1, 6).map(lambda power: 10**power)
steps = works
standings = st.none() | st.builds(
    Standing,
    spare_s=works | works.map(lambda seconds: -seconds),
    held_by=st.just(1),
    sure=st.booleans(),
    behind=st.integers(0, 10_000),
    kept=st.booleans(),
    bound=st.booleans(),
    hurried=st.booleans(),
)


def stands(spare_s: float, **fields: Any) -> Standing:
    return Standing(spare_s=spare_s, sure=True, held_by=1, **fields)


def of(score: int = 500, work_s: float = 100, standing: Standing | None = None) -> int:
    return priority_points(score=score, work_s=work_s, standing=standing, policy=POLICY)


def full(
    score: int = 500,
    work_s: float = 100,
    standing: Standing | None = None,
    *,
    waiting_s: float = 0.0,
    pinned: bool = False,
) -> Priority:
    return priority(score=score, work_s=work_s, standing=standing, waiting_s=waiting_s, policy=POLICY, pinned=pinned)


@given(score=scores, more=st.integers(0, 1000), work_s=works, standing=standings, step=steps)
def test_more_value_and_less_work_never_lower_it(
    score: int, more: int, work_s: float, standing: Standing | None, step: float
) -> None:
    here = of(score, work_s, standing)

    assert here <= of(min(1000, score + more), work_s, standing)
    assert here <= of(score, max(0.0, work_s - step), standing)


@given(score=scores, work_s=works, standing=standings)
def test_the_terms_are_the_priority_and_it_stays_below_a_pinned_one(
    score: int, work_s: float, standing: Standing | None
) -> None:
    told = full(score, work_s, standing)

    assert told.points == of(score, work_s, standing) == sum(term.points for term in told.terms)
    assert 0 <= told.points <= HIGHEST_PRIORITY < PINNED


@given(score=scores, other=scores, work_s=works, longer_s=works, behind=st.integers(0, 10_000))
def test_a_promise_in_danger_goes_before_a_bound_in_danger_and_that_before_all_value(
    score: int, other: int, work_s: float, longer_s: float, behind: int
) -> None:
    promise, bound = stands(0.0, behind=behind), stands(-1.0, behind=behind, bound=True)

    assert of(score, work_s, promise) >= PROMISE_FROM
    assert BOUND_FROM <= of(score, work_s, bound) < PROMISE_FROM
    for safe in (None, stands(1.0), stands(1.0, bound=True), stands(-1.0, kept=False)):
        assert of(other, longer_s, safe) <= HIGHEST_VALUE < BOUND_FROM


@pytest.mark.parametrize("bound", [False, True])
def test_of_titles_in_danger_the_one_with_more_of_them_behind_it_goes_first(bound: bool) -> None:
    assert of(10, 1e5, stands(0.0, behind=3, bound=bound)) > of(900, 10, stands(0.0, behind=2, bound=bound))


def test_value_per_work_decides_while_every_promise_has_time() -> None:
    assert of(score=400, standing=stands(60.0)) < of(score=900)
    assert of(score=400, work_s=10) > of(score=900, work_s=2000)


def test_titles_of_every_size_are_told_apart() -> None:
    hours = [of(score=40, work_s=3600 * count) for count in range(1, 30)]

    assert hours == sorted(set(hours), reverse=True)


def test_a_title_that_is_late_already_is_worth_more_than_its_like() -> None:
    late = of(score=500, standing=stands(-60.0, kept=False))

    assert of(score=500) < late
    assert late == pytest.approx(of(score=500, work_s=0) if late == HIGHEST_VALUE else late)
    assert late < of(score=1000, work_s=0, standing=stands(-60.0, kept=False))


def test_no_worth_is_no_points() -> None:
    assert of(score=0) == 0
    assert of(score=1000, work_s=0, standing=stands(-1.0, kept=False)) == HIGHEST_VALUE


def test_a_pinned_title_goes_before_everything() -> None:
    pinned = full(score=0, pinned=True)

    assert pinned.points == PINNED > of(score=1000, work_s=0, standing=stands(-1e6, behind=9999))
    assert str(pinned) == "10000 = pinned 10000 (by an operator)"


@pytest.mark.parametrize(
    ("work_s", "standing", "words"),
    [
        (80, None, "score 500, 80 s of work) + promise 0 (no deadline) + waiting 0 (for 0 s)"),
        (300, stands(1800.0), "5 min of work) + promise 0 (30 min to spare among all deadlines)"),
        (9000, stands(-60.0), "2.5 h of work) + promise "),
        (10, stands(-60.0, hurried=True), "(no time to spare among all deadlines, gives up quality for them)"),
        (10, stands(10_800.0), "3.0 h to spare"),
        (10, stands(-1.0, kept=False), "promise 0 (its deadline cannot be kept)"),
        (10, stands(5.0, bound=True), "promise 0 (no deadline) + waiting 0 (for 0 s)"),
        (10, stands(-5.0, bound=True), "(for 0 s, and the bound of 24 h is in danger)"),
    ],
)
def test_a_priority_says_where_it_comes_from(work_s: float, standing: Standing | None, words: str) -> None:
    assert words in str(full(work_s=work_s, standing=standing))


def test_a_priority_names_the_title_for_which_it_has_no_more_time() -> None:
    told = priority(score=500, work_s=10, standing=stands(1800.0), waiting_s=0, policy=POLICY, held_by="spring/film")

    assert "30 min to spare among all deadlines, for spring/film)" in str(told)
