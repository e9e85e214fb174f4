"""The promises of a farm, looked at together: what can be kept, what is in danger, what is given up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.domain.order.promises import Promise, PromisePolicy, Standing, keepable, standings

PLAIN = PromisePolicy(reserve=0.0, margin_s=0.0)
PREMIUM, STANDARD, UGC = 2, 1, 0


def promise(seq: int, due_s: float, work_s: float = 100.0, **fields: Any) -> Promise:
    """One that can use every slot of ten, and can give up nothing."""
    known = {"rank": PREMIUM, "score": 500, "alone_s": work_s / 10, "least_work_s": work_s, "least_alone_s": 0.0}
    return Promise(seq=seq, due_s=due_s, work_s=work_s, **{**known, **fields})


def standing(
    *promises: Promise, bounds: tuple[Promise, ...] = (), occupied_s: float = 0.0, policy: PromisePolicy = PLAIN
) -> dict[int, Standing]:
    return standings(promises, bounds, slots=10, occupied_s=occupied_s, policy=policy)


def kept(*promises: Promise) -> tuple[set[int], set[int]]:
    found = keepable(promises, slots=10)
    return set(found.kept), set(found.hurried)


def test_a_promise_has_to_spare_what_is_left_after_its_own_time_and_the_work_before_it() -> None:
    found = standing(promise(1, 100), promise(2, 200))

    assert found[2].spare_s == pytest.approx(200 - 10 - 10)
    assert found[1].spare_s == pytest.approx(100 - 10)
    assert [found[seq].ahead_s for seq in (1, 2)] == [0, 100]


def test_it_has_no_more_to_spare_than_one_that_comes_after_it() -> None:
    found = standing(promise(1, 100), promise(2, 105), promise(3, 1000))

    assert {seq: each.held_by for seq, each in found.items()} == {1: 2, 2: 2, 3: 3}
    assert found[1].spare_s == found[2].spare_s == pytest.approx(105 - 10 - 10)


def test_a_burst_endangers_promises_that_would_each_be_safe_alone() -> None:
    burst = [promise(seq, 1000, work_s=1000, alone_s=100) for seq in range(10)]

    assert not any(each.endangered for seq in range(10) for each in standing(burst[seq]).values())
    found = standing(*burst)
    assert all(each.endangered for each in found.values())
    assert [found[seq].behind for seq in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_the_earliest_deadline_goes_first_and_ties_by_arrival() -> None:
    found = standing(promise(3, 100, alone_s=60), promise(2, 90, alone_s=20), promise(1, 90, alone_s=20))

    assert sorted(found, key=lambda seq: found[seq].ahead_s) == [1, 2, 3]


def test_of_the_waiting_bounds_the_earliest_latest_start_goes_first() -> None:
    found = standing(bounds=(promise(1, 90), promise(2, 100, alone_s=60)))

    assert sorted(found, key=lambda seq: found[seq].ahead_s) == [2, 1]


def test_it_is_sure_where_it_and_all_behind_it_would_be_in_time_at_once() -> None:
    policy = PromisePolicy(reserve=0.5, margin_s=1000)

    assert all(each.sure for each in standing(promise(1, 20), promise(2, 30), policy=policy).values())
    found = standing(promise(1, 20), promise(2, 30), promise(3, 25, alone_s=20), policy=policy)
    assert {seq: each.sure for seq, each in found.items()} == {1: False, 2: True, 3: False}


def test_running_tasks_of_others_the_reserve_and_the_margin_are_time_that_no_promise_has() -> None:
    one = promise(1, 1000)
    two = promise(2, 1000)

    spare_s = standing(one, two)[2].spare_s
    assert standing(one, two, occupied_s=50)[2].spare_s == pytest.approx(spare_s - 5)
    assert standing(one, two, policy=PromisePolicy(reserve=0.5, margin_s=0.0))[2].spare_s == pytest.approx(spare_s - 10)
    assert standing(one, two, policy=PromisePolicy(reserve=0.0, margin_s=7.0))[2].spare_s == pytest.approx(spare_s - 7)


def test_a_running_task_of_a_later_promise_is_not_stopped_for_an_earlier_one() -> None:
    quiet = standing(promise(1, 100), promise(2, 200))
    busy = standing(promise(1, 100), promise(2, 200, occupied_s=50))

    assert busy[1].spare_s == pytest.approx(quiet[1].spare_s - 5)
    assert busy[2].spare_s == quiet[2].spare_s, "its own task is part of its own work"


@pytest.mark.parametrize("fields", [{"reserve": 1.0, "margin_s": 0.0}, {"reserve": 0.0, "margin_s": -1.0}])
def test_no_policy_reserves_the_whole_farm_or_less_than_no_time(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PromisePolicy(**fields)


def test_what_fits_is_kept_up_to_the_last_second() -> None:
    assert kept(promise(1, 10), promise(2, 20)) == ({1, 2}, set())
    assert kept(promise(1, 10), promise(2, 19.9, score=400)) == ({1}, set())


def test_quality_is_given_up_before_a_promise_and_premium_s_last() -> None:
    may = {"least_work_s": 50.0}

    assert kept(promise(1, 10, **may), promise(2, 15, rank=UGC, **may)) == ({1, 2}, {2})
    assert kept(promise(1, 10, **may), promise(2, 10, rank=UGC, **may)) == ({1, 2}, {1, 2})
    assert kept(promise(1, 10, score=9, **may), promise(2, 15, score=8, **may)) == ({1, 2}, {2})
    assert kept(promise(1, 5, **may)) == ({1}, set()), "alone it gives up what it must by its own deadline"


def test_promises_are_given_up_by_rank_then_by_score() -> None:
    three = [promise(1, 20, rank=STANDARD, score=900), promise(2, 20, score=300), promise(3, 20, score=200)]

    assert kept(*three)[0] == {2, 3}
    assert kept(*three, promise(4, 20, score=250))[0] == {2, 4}


def test_a_promise_that_cannot_be_kept_even_alone_takes_no_time_from_others() -> None:
    lost = promise(1, 5, work_s=1000, alone_s=100, least_alone_s=5.1)

    found = standing(lost, promise(2, 10))

    assert not found[1].kept
    assert not found[1].endangered
    assert found[1].spare_s == pytest.approx(5 - 100)
    assert found[2].spare_s == 0


def test_what_was_given_up_is_hurried_no_more() -> None:
    found = kept(promise(1, 10, rank=UGC, work_s=300, least_work_s=200), promise(2, 10))

    assert found == ({2}, set())


def test_the_waiting_bound_counts_behind_the_promises_and_never_against_them() -> None:
    alone = standing(promise(1, 100), promise(2, 150))
    bounds = tuple(promise(seq, 120, work_s=5000, alone_s=10) for seq in (3, 4))

    found = standing(promise(1, 100), promise(2, 150), bounds=bounds)

    assert {seq: found[seq] for seq in (1, 2)} == alone
    assert all(found[seq].bound and found[seq].kept and found[seq].endangered for seq in (3, 4))
    assert found[3].ahead_s == 100


def test_of_bounds_that_cannot_all_be_kept_the_oldest_comes_first() -> None:
    found = standing(bounds=tuple(promise(seq, due_s, work_s=5000) for seq, due_s in ((1, -50), (2, -90), (3, 0))))

    assert sorted(found, key=lambda seq: -found[seq].behind) == [2, 1, 3]


promises = st.lists(
    st.tuples(
        st.floats(-1e3, 1e5),
        st.floats(0, 1e5),
        st.floats(0, 1),
        st.sampled_from([UGC, STANDARD, PREMIUM]),
        st.integers(0, 1000),
    ),
    max_size=12,
).map(
    lambda drawn: [
        promise(seq, due_s, work_s, rank=rank, score=score, least_work_s=work_s * least, least_alone_s=least)
        for seq, (due_s, work_s, least, rank, score) in enumerate(drawn)
    ]
)


@given(promises)
@settings(deadline=None)
def test_what_is_kept_fits_into_the_slots_up_to_each_deadline(drawn: list[Promise]) -> None:
    found = keepable(drawn, slots=10)

    assert found.hurried <= found.kept
    for at in drawn:
        due = [each for each in drawn if each.seq in found.kept and each.due_s <= at.due_s]
        # One that is alone is not hurried: it gives up what it must by its own deadline.
        gives = {each.seq for each in due if each.seq in found.hurried or each.work_s > 10 * each.due_s}
        needs = [min(each.work_s, each.least_work_s) if each.seq in gives else each.work_s for each in due]
        assert math.fsum(needs) <= 10 * max(0.0, at.due_s) * (1 + 1e-6) + 1e-3 or not due


@given(promises)
@settings(deadline=None)
def test_nothing_of_premium_is_given_up_while_a_lower_promise_due_no_later_is_kept(drawn: list[Promise]) -> None:
    found = keepable(drawn, slots=10)

    lost = [each for each in drawn if each.seq not in found.kept and each.least_alone_s <= each.due_s]
    for each in lost:
        before = [other for other in drawn if other.seq in found.kept and other.due_s <= each.due_s]
        assert all((other.rank, other.score) >= (each.rank, each.score) for other in before)


@given(promises, st.floats(0, 0.9), st.floats(0, 1e4))
@settings(deadline=None)
def test_more_to_look_after_never_gives_a_promise_more_to_spare(
    drawn: list[Promise], reserve: float, margin_s: float
) -> None:
    policy = PromisePolicy(reserve=reserve, margin_s=margin_s)
    found = standing(*drawn, policy=policy)

    assert sorted(found) == [each.seq for each in drawn]
    for each in drawn:
        alone = standing(each, policy=policy)[each.seq]
        assert found[each.seq].spare_s <= alone.spare_s + 1e-6
