"""The simulated farm: queues that can be reckoned by hand or by theory, failures, deadlines, admission."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.domain.order.admission import Verdict
from include.domain.order.backlog import FRESH_S
from include.domain.order.parallel import EXPRESS_SHARE, slots_for
from include.domain.order.priority import priority_points
from include.domain.order.valuation import FarmState, QueuedTitle, Work, value_titles
from include.domain.title.request import Signals
from include.domain.title.title import Tier
from include.simulation.farm import Simulation
from include.simulation.model import EPOCH, End, Farm, SimTitle
from include.simulation.orders import ORDERS, order
from include.simulation.scenarios import Load, draw
from tests.simulation.titles import RECIPES, farm, run, title

BUSY = Farm(nodes=2, window=8, node_failures_per_day=20.0, node_repair_s=600.0, seed=5)


def loaded(count: int = 120, *, seed: int = 3) -> list[SimTitle]:
    """Every tenth title is corrupt."""
    drawn = draw(Load(titles=count, load=0.9, seed=seed), BUSY, RECIPES)
    return [replace(each, corrupt=number % 10 == 0) for number, each in enumerate(drawn)]


def test_first_come_first_served_is_what_can_be_reckoned_by_hand() -> None:
    found = run([title("a", 0, [10]), title("b", 1, [4]), title("c", 2, [3]), title("d", 2.5, [1])], farm(2))

    assert {name: (each.started_s, each.finished_s) for name, each in found.items()} == {
        "a": (0, 10),
        "b": (1, 5),
        "c": (5, 8),
        "d": (8, 9),
    }


def test_a_title_passes_its_tasks_with_the_latencies_of_airflow() -> None:
    one = title("a", 0, [10, 4], prepare_s=3, extras_s=5, finish_s=2)

    found = run([one], farm(2, start_delay_s=1, control_s=2))["a"]

    # Prepare 0–4, plan until 6; extras 6–12 beside the first encode 6–17, the second 12–17; finish until 20.
    assert found.finished_s == 20 + 2 * 2
    assert found.work_s == (3 + 10 + 4 + 5 + 2) + 5 * 1


def test_the_mean_wait_is_that_of_queueing_theory() -> None:
    servers, load, count, rng = 4, 0.8, 20_000, random.Random(11)
    titles, now_s = [], 0.0
    template = title("t", 0, [1.0])
    for number in range(count):
        now_s += rng.expovariate(servers * load)
        job = replace(template.encodes[0], true_s=rng.expovariate(1.0))
        titles.append(replace(template, name=f"{number}", arrival_s=now_s, encodes=(job,)))

    found = run(titles, farm(servers))

    waits = [(each.started_s or 0.0) - each.title.arrival_s for each in found.values()]
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    erlang_c = last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)
    assert sum(waits) / count == pytest.approx(erlang_c / (servers - offered), rel=0.04)


def test_on_one_slot_titles_start_in_the_order_of_their_priority() -> None:
    rng = random.Random(2)
    first = title("first", 0, [100])
    others = [
        title(f"{n}", 1 + n / 100, [rng.uniform(5, 500)], tier=rng.choice(list(Tier)), views=10 ** rng.uniform(1, 8))
        for n in range(30)
    ]

    found = run([first, *others], farm(1), "callsheet_uncut")

    def priority(each: SimTitle) -> int:
        return priority_points(score=each.value, work_s=each.true_work_s, standing=None, policy=RECIPES.policy.priority)

    started = sorted(others, key=lambda each: found[each.name].started_s or 0.0)
    assert [each.name for each in started] == [
        each.name for each in sorted(others, key=lambda each: (-priority(each), each.arrival_s))
    ]


def test_a_boosted_title_is_the_next_to_start() -> None:
    queue = [title(f"{n}", n / 100, [100], tier=Tier.PREMIUM, views=1e6) for n in range(5)]
    viral = title("viral", 1, [100], tier=Tier.UGC, boost=(150.0, Signals(views_last_hour=1e7)))

    assert run([*queue, viral], farm(1), "callsheet")["viral"].started_s == 500
    early = replace(viral, tier=Tier.PREMIUM)
    assert run([*queue, early], farm(1), "callsheet")["viral"].started_s == 200


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fifo", ["ugc", "premium", "due", "small"]),
        ("tiers", ["premium", "due", "small", "ugc"]),
        ("edf", ["due", "ugc", "premium", "small"]),
        ("oracle", ["small", "premium", "due", "ugc"]),
    ],
)
def test_each_order_has_its_rule(name: str, expected: list[str]) -> None:
    waiting = [
        title("ugc", 1, [90], tier=Tier.UGC, views=1),
        title("premium", 2, [80], tier=Tier.PREMIUM, views=1e7),
        title("due", 3, [85], deadline_s=500.0, views=1e4),
        title("small", 4, [1], views=1e3),
    ]

    found = run([title("first", 0, [50]), *waiting], farm(1), name)

    assert sorted(expected, key=lambda each: found[each].started_s or 0.0) == expected


def test_even_the_least_valuable_title_starts_within_the_bound() -> None:
    bound_s = RECIPES.policy.priority.waiting_bound_h * 3600
    stream = [title(f"{n}", n * 550.0, [600], tier=Tier.PREMIUM, views=1e7) for n in range(180)]
    least = title("least", 1, [600], tier=Tier.UGC, views=0)

    found = run([*stream, least], farm(1), "callsheet_uncut")["least"]

    assert bound_s / 2 < found.turnaround_s <= bound_s + 600


def test_titles_beyond_the_release_window_have_no_run() -> None:
    queue = [title("a", 0, [10]), title("b", 0, [10])]

    assert run(queue, farm(2, window=1))["b"].started_s == 10
    assert run(queue, farm(2, window=2))["b"].started_s == 0


def test_a_title_before_all_that_have_a_run_goes_beyond_the_window_by_a_quarter() -> None:
    usual = [title(f"{n}", 0, [100], tier=Tier.UGC) for n in range(8)]
    # Each is worth more than the one before it: all could go before those that have a run.
    better = [title(f"better {n}", 10 + n, [100], tier=Tier.PREMIUM, views=10.0 ** (4 + n)) for n in range(3)]

    found = run([*usual, *better], farm(20, window=8), "callsheet")

    assert [found[each.name].started_s for each in better] == [10, 11, 100]
    assert run([*usual, *better], farm(20, window=8))["better 0"].started_s == 100, "first come, first served"


def test_the_window_is_that_of_the_product() -> None:
    assert (Farm(window=24).express, Farm(window=3).express) == (24 // EXPRESS_SHARE, 1)


@pytest.mark.parametrize("name", ORDERS)
def test_every_title_ends_once_and_no_work_is_lost_or_made(name: str) -> None:
    simulation = Simulation(loaded(), BUSY, order(name, RECIPES.policy))

    outcomes = simulation.run()

    assert {each.ends for each in outcomes} == {1}
    assert Counter(each.end for each in outcomes) == {End.REJECTED: 12, End.PUBLISHED: 108}
    assert all((each.end is End.REJECTED) == each.title.corrupt for each in outcomes)
    assert sum(each.work_s + each.lost_s for each in outcomes) == pytest.approx(simulation.busy_s)
    assert sum(each.retries for each in outcomes) > 0
    if name in {"fifo", "tiers", "edf", "oracle"}:
        offered = [each.title.true_work_s + each.title.tasks * BUSY.start_delay_s for each in outcomes]
        assert [each.work_s for each in outcomes] == pytest.approx(offered)


@st.composite
def any_title(draw_: st.DrawFn, number: int) -> SimTitle:
    """One of any tier and size, sound or corrupt, with or without a deadline and new signals; some do nothing."""
    arrival_s = draw_(st.floats(0, 5000))
    lead_s = draw_(st.none() | st.floats(1, 5000))
    boost = draw_(st.none() | st.floats(-100, 5000))
    made = title(
        f"{number}",
        arrival_s,
        draw_(st.lists(st.floats(0, 2000), max_size=4)),
        prepare_s=draw_(st.sampled_from([0.0, 3.0])),
        extras_s=draw_(st.sampled_from([0.0, 5.0])),
        finish_s=draw_(st.sampled_from([0.0, 2.0])),
        tier=draw_(st.sampled_from(list(Tier))),
        views=draw_(st.none() | st.floats(0, 1e8)),
        may_lose=draw_(st.sampled_from([0.0, 0.2, 2.0, 6.0])),
        deadline_s=None if lead_s is None else arrival_s + lead_s,
        corrupt=draw_(st.booleans()),
        boost=None if boost is None else (arrival_s + boost, Signals(views_last_hour=1e6)),
    )
    spare = draw_(st.integers(0, 4))
    encodes = tuple(
        replace(each, dropped_loss=12.0 if place < spare else None) for place, each in enumerate(made.encodes)
    )
    return replace(made, encodes=encodes)


@given(data=st.data(), name=st.sampled_from(ORDERS), count=st.integers(1, 12), window=st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_every_title_that_is_submitted_ends_once_and_above_its_floor(
    data: st.DataObject, name: str, count: int, window: int
) -> None:
    titles = [data.draw(any_title(number)) for number in range(count)]
    failures = data.draw(st.sampled_from([0.0, 100.0]))
    on = Farm(
        nodes=2, window=window, start_delay_s=1.0, node_failures_per_day=failures, node_repair_s=60.0, detection_s=5.0
    )

    outcomes = Simulation(titles, on, order(name, RECIPES.policy)).run()

    assert [each.ends for each in outcomes] == [1] * count
    assert all((each.end is End.REJECTED) == each.title.corrupt for each in outcomes)
    for each in outcomes:
        floor = max((job.may_lose for job in each.title.encodes), default=0.0)
        kept = [loss for _, loss in each.losses if loss != 12.0]
        assert all(loss <= floor for loss in kept)
        assert len(each.losses) - len(kept) <= sum(job.dropped_loss is not None for job in each.title.encodes)


def test_the_same_seed_gives_the_same_outcomes_and_another_one_others() -> None:
    def finishes(seed: int, failures: int) -> list[float | None]:
        on = replace(BUSY, seed=failures)
        return [
            each.finished_s for each in Simulation(loaded(60, seed=seed), on, order("callsheet", RECIPES.policy)).run()
        ]

    assert finishes(3, 5) == finishes(3, 5)
    assert finishes(3, 5) != finishes(4, 5)
    assert finishes(3, 5) != finishes(3, 6)


def test_a_task_that_its_node_took_with_it_is_done_again() -> None:
    on = farm(1, node_failures_per_day=86400 / 300, node_repair_s=50.0, detection_s=20.0, seed=1)

    found = run([title("a", 0, [200])], on)["a"]

    assert found.retries >= 1
    assert found.work_s == pytest.approx(200)
    assert found.lost_s > 0
    assert found.turnaround_s >= 200 + found.lost_s + 50 * found.retries


@pytest.mark.parametrize(
    ("name", "deadline_s", "expected_loss"),
    [
        ("callsheet_uncut", None, 0.0),
        ("callsheet_uncut", 1e6, 0.0),
        ("callsheet_uncut", 700, 0.2),
        ("callsheet_uncut", 400, 1.8),
        ("callsheet_uncut", 5, 1.8),
        ("fifo", 400, 0.0),
    ],
)
def test_an_encode_gives_up_what_its_deadline_asks_for_and_never_more_than_its_tier_allows(
    name: str, deadline_s: float | None, expected_loss: float
) -> None:
    found = run([title("a", 0, [1000], deadline_s=deadline_s)], farm(1), name)["a"]

    assert found.vmaf_loss == expected_loss
    assert found.finished_s == {0.0: 1000, 0.2: 600, 1.8: 300}[expected_loss]
    assert found.refused == (deadline_s == 5)


def test_a_rung_is_left_out_where_no_preset_is_in_time_and_only_one_that_is_not_core() -> None:
    late = title("a", 0, [1000, 1000], deadline_s=250.0)
    spare, core = replace(late.encodes[0], dropped_loss=12.0), late.encodes[1]
    first = replace(late, encodes=(spare, core))

    found = run([first], farm(1), "callsheet_uncut")["a"]

    assert [loss for _, loss in found.losses] == [12.0, 1.8]
    assert (found.dropped, found.finished_s) == (1, 300)
    assert run([replace(first, deadline_s=1e6)], farm(1), "callsheet_uncut")["a"].dropped == 0
    assert run([replace(first, deadline_s=None)], farm(1), "callsheet_uncut")["a"].dropped == 0
    assert run([first], farm(1), "fifo")["a"].dropped == 0


def test_no_chunk_of_a_rung_is_left_out_alone() -> None:
    film = title("film", 0, [6000], tier=Tier.PREMIUM, views=1e8, deadline_s=20.0)
    whole = replace(film, encodes=(replace(film.encodes[0], dropped_loss=12.0),))

    found = run([whole], farm(8), "callsheet")["film"]

    assert len(found.losses) > 1
    assert {loss for _, loss in found.losses} == {1.8}
    assert found.dropped == 0


def test_rungs_that_may_be_left_out_are_those_that_the_plan_would() -> None:
    drawn = draw(Load(titles=200, seed=6), BUSY, RECIPES)
    names = [rung.name for rung in RECIPES.ladders["h264"].rungs]

    for each in drawn:
        core = [name for name, job in zip(names, each.encodes, strict=False) if job.dropped_loss is None]
        assert core == [name for name in RECIPES.tiers[each.tier].core if name in names[: len(each.encodes)]]


def test_encodes_of_one_title_share_the_time_that_is_left() -> None:
    found = run([title("a", 0, [1000, 1000], deadline_s=1300.0)], farm(1), "callsheet_uncut")["a"]

    assert [loss for _, loss in found.losses] == [0.2, 0.2]
    assert found.finished_s == 1200


def test_a_valuable_title_is_cut_into_chunks_that_are_no_longer_than_the_policy_says() -> None:
    policy = RECIPES.policy.parallel
    film = title("film", 0, [6000], tier=Tier.PREMIUM, views=1e8)

    cut = run([film], farm(8), "callsheet")["film"]

    assert run([film], farm(8), "callsheet_uncut")["film"].turnaround_s == 6000
    assert len(cut.losses) == 6000 / policy.longest_chunk_s
    assert cut.work_s == pytest.approx(6000 * (1 + policy.chunk_overhead))
    assert cut.turnaround_s == pytest.approx(2 * policy.longest_chunk_s * (1 + policy.chunk_overhead))


def test_a_title_keeps_to_its_share_of_the_slots_while_others_wait() -> None:
    others = [title(f"{n}", 0, [600], tier=Tier.UGC, views=1) for n in range(24)]
    film = title("film", 1, [6000], tier=Tier.PREMIUM, views=1e5, deadline_s=20_000.0)
    share = slots_for(score=film.value, laxity_s=20_000 - 6000 - 600, slots=8, policy=RECIPES.policy.parallel)

    found = run([*others, film], farm(8), "callsheet")

    assert 2 < share < 8
    assert found["film"].started_s == 600
    assert sum(each.started_s == 600 for name, each in found.items() if name != "film") == 8 - share


def test_the_admission_says_what_the_product_says_of_the_same_queue() -> None:
    on, titles = Farm(nodes=1, window=3), []
    leads_s = [None, 90, 400, 900, 2000, 4000, 30_000]
    for number in range(28):
        lead = leads_s[number % 7]
        made = title(
            f"{number}",
            0,
            [100, 40 + 10 * number],
            prepare_s=2,
            finish_s=10,
            tier=list(Tier)[number % 3],
            views=10.0 ** (number % 6 + 1),
            deadline_s=lead,
        )
        titles.append(made)

    outcomes = Simulation(titles, on, order("callsheet", RECIPES.policy)).run()

    for number, outcome in enumerate(outcomes):
        # Released are the first ones; no slot of theirs has done anything yet.
        present = [
            QueuedTitle(
                request_id=each.name,
                seq=seq,
                tier=each.tier,
                kind=each.kind,
                signals=each.signals,
                created_at=EPOCH,
                publish_at=None if each.deadline_s is None else EPOCH + timedelta(seconds=each.deadline_s),
                running=seq < min(on.window, number),
                progress=0.0,
                work=Work(full=each.expected, least=each.least),
            )
            for seq, each in enumerate(titles[: number + 1])
        ]
        fresh = sum(each.work.full.total.p50_s for each in present) / (on.slots * FRESH_S)
        state = FarmState(slots=on.slots, fresh_load=fresh, overhead_s=on.overhead_s)
        valued = value_titles(present, farm=state, now=EPOCH, policy=RECIPES.policy)
        assert outcome.verdict is valued[outcome.title.name].admission.verdict, outcome.title.name
    assert set(Verdict) == {each.verdict for each in outcomes}
