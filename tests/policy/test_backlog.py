"""How long a title waits: for what goes before it now, or when its deadline presses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.domain.cost.forecast import NOTHING, Forecast, spread
from include.domain.cost.work import TitleWork
from include.domain.order.backlog import Backlog, SlotDemand, occupied_s
from include.domain.order.promises import Standing
from include.recipes import load_policy

POLICY = load_policy().admission
HOUR_S = 3600.0


def demand(seq: int, points: int, work_s: float = 100.0, **fields: Any) -> SlotDemand:
    known = {"occupied_s": 0.0, "fresh": False, "slots": 100}
    given: dict[str, Any] = {**known, **fields}
    return SlotDemand(seq=seq, points=points, work_s=work_s, **given)


def wait(
    one: SlotDemand, *others: SlotDemand, slots: int = 2, standing: Standing | None = None, fresh_load: float = 0.0
) -> float:
    return waits(one, *others, slots=slots, standing=standing, fresh_load=fresh_load)[0].p50_s


def waits(
    one: SlotDemand, *others: SlotDemand, slots: int = 2, standing: Standing | None = None, fresh_load: float = 0.0
) -> tuple[Forecast, Forecast]:
    """As things are, and at the soonest."""
    return Backlog([one, *others], slots=slots, fresh_load=fresh_load, policy=POLICY).wait(one, standing)


def promised(spare_s: float, ahead_s: float = 0.0, **fields: Any) -> Standing:
    return Standing(spare_s=spare_s, sure=True, held_by=1, ahead_s=ahead_s, **fields)


@pytest.mark.parametrize(
    ("other", "expected_s"),
    [
        (demand(2, 600), 50),
        (demand(2, 400), 0),
        (demand(0, 500), 50),
        (demand(2, 500), 0),
        (demand(2, 600, occupied_s=40), 50),
        (demand(2, 400, occupied_s=40), 10),
        (demand(2, 400, occupied_s=0.4), 0.1),
    ],
)
def test_a_title_waits_for_higher_priorities_for_earlier_twins_and_for_what_runs_in_a_slot(
    other: SlotDemand, expected_s: float
) -> None:
    assert wait(demand(1, 500), other) == pytest.approx(expected_s)


def test_titles_with_a_run_beyond_the_slots_hold_none() -> None:
    running = [demand(seq, 100, occupied_s=40) for seq in range(2, 10)]

    assert wait(demand(1, 500), *running) == pytest.approx(wait(demand(1, 500), *running[:2]))


def test_of_what_will_arrive_as_much_goes_first_as_of_what_came_lately() -> None:
    lately, long_ago, behind = demand(2, 600, fresh=True), demand(3, 600), demand(4, 400)

    assert wait(demand(1, 500), lately, long_ago, behind, fresh_load=0.4) == pytest.approx(100 / (1 - 0.4))
    behind = demand(4, 400, work_s=300, fresh=True)
    assert wait(demand(1, 500), lately, long_ago, behind, fresh_load=0.4) == pytest.approx(100 / (1 - 0.1))


def test_a_long_film_ahead_leaves_the_slots_that_it_cannot_use() -> None:
    film = demand(0, 900, work_s=80_000, slots=7)

    # It gets nine of sixteen slots at once, instead of all.
    assert wait(demand(1, 500), film, slots=16) == pytest.approx(100 / 9 - 100 / 16)
    assert wait(demand(1, 500, slots=1), film, slots=16) == pytest.approx(100 / 9 - 100 / 16)
    assert wait(demand(1, 500), film, slots=7) == pytest.approx(80_000 / 7)
    # Two of them leave nothing before one has ended.
    assert wait(demand(1, 500), film, demand(2, 900, work_s=7000, slots=9), slots=16) == pytest.approx(
        7000 / 9, rel=0.01
    )
    assert wait(demand(1, 500), demand(2, 400, work_s=80_000, slots=7), slots=16) == 0


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(1, 6)), max_size=12), st.floats(0, 1e4), st.integers(1, 20))
@example([(0.1, 1)] * 10, 0.0, 10)
def test_work_is_done_when_those_ahead_have_done_what_they_can(
    ahead: list[tuple[float, int]], own_s: float, slots: int
) -> None:
    wide = [(work_s, min(slots, width)) for work_s, width in ahead]
    others = [demand(seq, 900, work_s, slots=width) for seq, (work_s, width) in enumerate(wide, start=2)]

    waited = wait(demand(1, 500, own_s), *others, slots=slots)

    done_s = waited + own_s / slots
    beside_s = sum(min(work_s, width * done_s) for work_s, width in wide)
    assert slots * done_s == pytest.approx(own_s + beside_s, rel=1e-6, abs=1e-6)
    assert 0 <= waited <= sum(work_s for work_s, _ in wide) / slots * (1 + 1e-9)


def test_a_title_with_a_far_deadline_does_not_stay_behind_until_it_is_late() -> None:
    crowd = [demand(seq, 600, work_s=2 * HOUR_S) for seq in range(2, 22)]
    modest = demand(1, 300)

    assert wait(modest, *crowd) == pytest.approx(20 * HOUR_S)
    assert wait(modest, *crowd, standing=promised(8 * HOUR_S)) == pytest.approx(8 * HOUR_S)
    assert wait(modest, *crowd, standing=promised(8 * HOUR_S, ahead_s=2 * HOUR_S)) == pytest.approx(9 * HOUR_S)
    assert wait(modest, *crowd, standing=promised(-HOUR_S)) == 0
    assert wait(modest, *crowd[:2], standing=promised(8 * HOUR_S)) == pytest.approx(2 * HOUR_S)


def test_at_the_soonest_it_waits_for_the_promises_before_it_and_for_what_runs() -> None:
    crowd = [demand(seq, 600, work_s=2 * HOUR_S) for seq in range(2, 22)]
    running = demand(30, 100, occupied_s=40)

    assert waits(demand(1, 300), *crowd, standing=promised(8 * HOUR_S, ahead_s=200))[1].p50_s == pytest.approx(100)
    found = waits(demand(1, 300), *crowd, running, standing=promised(8 * HOUR_S, ahead_s=200))[1]
    assert found.p50_s == pytest.approx((200 + 20) / 2)
    stretched = waits(demand(1, 300), *crowd, standing=promised(8 * HOUR_S, ahead_s=200), fresh_load=0.5)[1]
    assert stretched.p50_s == pytest.approx(200)


@pytest.mark.parametrize("standing", [None, promised(0.0, kept=False), promised(0.0, bound=True)])
def test_without_a_promise_that_is_kept_there_is_one_way_only(standing: Standing | None) -> None:
    now, soonest = waits(demand(1, 300), demand(2, 600, work_s=HOUR_S), standing=standing)

    assert now == soonest
    assert now.p50_s == pytest.approx(HOUR_S / 2)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.floats(0, 1e4), st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.floats(0, 2),
    st.integers(1, 8),
    st.none() | st.tuples(st.floats(-1e5, 1e5), st.floats(0, 1e4)),
)
@example([(0, 0.0, False, False), (501, 9600.0, False, True)], 1.0, 4, None)
def test_more_points_never_make_a_title_wait_longer(
    others: list[tuple[int, float, bool, bool]], fresh_load: float, slots: int, promise: tuple[float, float] | None
) -> None:
    crowd = [
        demand(seq, points, work_s, occupied_s=work_s / 3 if running else 0.0, fresh=fresh)
        for seq, (points, work_s, running, fresh) in enumerate(others, start=2)
    ]
    standing = promised(*promise) if promise else None
    # Of the two ways to wait it is the one with the lesser p90.
    found = [
        waits(demand(1, points), *crowd, standing=standing, fresh_load=fresh_load, slots=slots)
        for points in (0, 300, 600, 1000)
    ]

    for kind in (0, 1):
        p90s = [each[kind].p90_s for each in found]
        assert all(later <= earlier * (1 + 1e-9) + 1e-6 for earlier, later in itertools.pairwise(p90s))
    assert all(soonest.p90_s <= now.p90_s for now, soonest in found)


def test_a_running_task_is_met_in_its_middle_and_the_long_ones_more_often() -> None:
    work = TitleWork(
        prepare=NOTHING, encodes=(spread(30, 0.0), spread(10, 0.0)), extras=spread(10, 0.0), finish=NOTHING
    )

    assert occupied_s(work, remaining_s=50) == pytest.approx((900 + 100 + 100) / 100)
    assert occupied_s(work, remaining_s=5) == 5
    assert occupied_s(TitleWork(prepare=NOTHING, encodes=(), extras=NOTHING, finish=NOTHING), remaining_s=5) == 0
