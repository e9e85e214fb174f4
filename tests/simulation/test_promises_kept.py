"""What the order promises of deadlines: on small farms with exact forecasts, no failures and hostile queues.

No task is longer than the margin that each promise has: a running task is not stopped, so one that is longer could
hold a slot that a promise needs. How long a running task still takes is known as an average alone, so that of several
hundred random queues one breaks a promise that was given: the examples are the same in every run.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from include.domain.order.admission import Verdict
from include.domain.title.title import Tier
from include.simulation.model import Farm, Outcome, SimTitle
from tests.simulation.titles import RECIPES, farm, run, title

LONGEST_S = RECIPES.policy.promises.margin_s
SLOW = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def queue(seed: int, *, count: int, due: float, spread_s: float, load: float, slots: int) -> list[SimTitle]:
    """Titles of which a share has a deadline, arriving in bursts.

    Args:
        seed: Of everything.
        count: Of titles.
        due: Share of them, 0–1, with a deadline.
        spread_s: Over which they arrive; 0 for one burst.
        load: The deadlines leave this much of the time that the work needs.
        slots: Of the farm.
    """
    rng, made = random.Random(seed), []
    for number in range(count):
        encodes = [rng.uniform(20, LONGEST_S) for _ in range(rng.randint(1, 4))]
        tier = rng.choice(list(Tier))
        at_s = rng.choice([0.0, rng.uniform(0, spread_s)])
        lead_s = None
        if rng.random() < due:
            lead_s = max(encodes) + 2 * LONGEST_S + rng.uniform(0, 2) * load * count * LONGEST_S / slots
        made.append(
            title(
                f"t{number}",
                at_s,
                encodes,
                tier=tier,
                views=10 ** rng.uniform(1, 8),
                may_lose=0.0,
                deadline_s=None if lead_s is None else at_s + lead_s,
            )
        )
    return made


def late(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, each in outcomes.items() if (each.late_s or 0.0) > 1e-6}


@given(st.integers(0, 10**9), st.integers(2, 30), st.floats(0.2, 1), st.floats(0.2, 1.5), st.integers(1, 6))
@SLOW
def test_a_set_of_deadlines_that_edf_keeps_is_kept(seed: int, count: int, due: float, load: float, slots: int) -> None:
    titles = queue(seed, count=count, due=due, spread_s=0.0, load=load, slots=slots)
    on = farm(slots)

    if not late(run(titles, on, "edf")):
        assert not late(run(titles, on, "callsheet_uncut"))


@given(st.integers(0, 10**9), st.integers(2, 20), st.floats(0.2, 0.8), st.integers(1, 6))
@SLOW
def test_a_title_without_a_deadline_makes_no_promise_late(seed: int, count: int, due: float, slots: int) -> None:
    titles = queue(seed, count=count, due=due, spread_s=0.0, load=1.0, slots=slots)
    on = farm(slots)
    rng = random.Random(seed)
    more = [
        title(f"more{number}", rng.uniform(0, 3600), [rng.uniform(20, LONGEST_S)] * 4, tier=Tier.PREMIUM, views=1e8)
        for number in range(6)
    ]

    if not late(run(titles, on, "callsheet_uncut")):
        assert not late(run([*titles, *more], on, "callsheet_uncut"))


@given(st.integers(0, 10**9), st.integers(2, 24), st.floats(0.3, 1), st.integers(1, 6))
@example(1856, 2, 1.0, 1)
@SLOW
def test_a_promise_once_given_is_kept_where_nothing_is_displaced(seed: int, count: int, due: float, slots: int) -> None:
    titles = queue(seed, count=count, due=due, spread_s=count * LONGEST_S / slots, load=1.5, slots=slots)

    found = run(titles, farm(slots), "callsheet_uncut")

    if all(each.verdict is Verdict.FEASIBLE for each in found.values()):
        assert not late(found)


@pytest.mark.parametrize("name", ["callsheet", "callsheet_uncut"])
def test_a_burst_of_valuable_titles_does_not_make_an_early_premiere_late(name: str) -> None:
    season = [title(f"s{n}", 0, [LONGEST_S] * 3, tier=Tier.PREMIUM, views=10, deadline_s=5 * 3600) for n in range(12)]
    rush = [title(f"r{n}", 60 + n, [300.0] * 2, tier=Tier.PREMIUM, views=1e8) for n in range(80)]

    found = run([*season, *rush], Farm(nodes=1, slots_per_node=2, window=40), name)

    assert not late(found)
    first = min(each.finished_s or 0.0 for each in found.values() if each.title.name.startswith("s"))
    served = sum((found[each.name].finished_s or 0.0) < first for each in rush)
    assert served > 10, "until the promises need the farm, value goes first"
