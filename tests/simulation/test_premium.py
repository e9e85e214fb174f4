"""The benchmark of real encodes in two orders: its titles, the order that is blind to value, and its figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.premium import STANDING, Arm, Arrival, compared, copy_project, decile, schedule
from include.domain.order.priority import priority_points
from include.domain.order.value import score_points
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import load_policy

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLIPS = [Path("/mezzanines/a.mp4"), Path("/mezzanines/b.mp4")]


def arm(turnaround_s: float, *, vmaf: float = 95.0, recipe: str = "slow", makespan_s: float = 100.0) -> Arm:
    """What became of ten titles; the most valuable is t9."""
    names = [f"t{number}" for number in range(10)]
    return Arm(
        turnaround_s=dict.fromkeys(names, 80.0) | {"t9": turnaround_s},
        vmaf=dict.fromkeys(names, vmaf),
        recipes=dict.fromkeys(names, recipe),
        totals={"encode_cpu_s": 50.0, "stack_cpu_s": 90.0, "makespan_s": makespan_s},
    )


def arrivals() -> list[Arrival]:
    return [Arrival(request={"title_id": f"t{number}"}, value=100 * number, after=0.0) for number in range(10)]


def test_a_blind_copy_of_the_project_gives_every_title_the_same_priority(tmp_path: Path) -> None:
    policies = {
        blind: load_policy(copy_project(tmp_path / str(blind), blind=blind) / "include" / "recipes")
        for blind in (False, True)
    }

    found = {}
    for blind, policy in policies.items():
        points = score_points(
            tier=Tier.PREMIUM,
            kind=Kind.LIVE_EVENT,
            signals=Signals(predicted_views_7d=1e9),
            created_at=NOW,
            publish_at=NOW + timedelta(hours=1),
            now=NOW,
            policy=policy.value,
        )
        found[blind] = priority_points(score=points, work_s=1.0, standing=None, policy=policy.priority)
    assert found[True] == 0
    assert found[False] > 1000
    assert policies[True].parallel == policies[False].parallel


@pytest.mark.parametrize("count", [12, 40])
def test_a_queue_stands_from_the_beginning_and_the_best_titles_come_all_the_time(count: int) -> None:
    coming = schedule(CLIPS, count=count, seed=1)

    assert len({each.title_id for each in coming}) == count
    assert sum(each.after == 0 for each in coming) == round(STANDING * count)
    assert [each.after for each in coming] == sorted(each.after for each in coming)
    assert coming[-1].after == pytest.approx(count - round(STANDING * count)), "as many as the machine can encode"
    best = sorted(range(count), key=lambda place: -coming[place].value)[: decile(count)]
    parts = sorted(place * decile(count) // count for place in best)
    assert parts == list(range(decile(count))), "one of them in each part of the schedule"
    assert len({each.value for each in coming}) > count / 2


def test_the_schedule_is_the_same_for_both_orders_and_for_each_seed_another() -> None:
    assert schedule(CLIPS, count=20, seed=1) == schedule(CLIPS, count=20, seed=1)
    assert schedule(CLIPS, count=20, seed=1) != schedule(CLIPS, count=20, seed=2)


def test_the_figures_are_about_the_most_valuable_tenth() -> None:
    metrics = compared(arrivals(), arm(200.0), arm(50.0, makespan_s=101.0))

    assert metrics["top_decile_turnaround_mean_s_fifo"] == 200.0
    assert metrics["top_decile_turnaround_mean_change"] == pytest.approx(-0.75)
    assert metrics["bottom_decile_turnaround_mean_change"] == 0.0
    assert metrics["makespan_s_change"] == pytest.approx(0.01)
    assert metrics["vmaf_most_lost_by_a_title"] == 0.0
    assert metrics["recipes_that_differ"] == 0.0


def test_lost_quality_and_other_recipes_show_in_the_figures() -> None:
    metrics = compared(arrivals(), arm(200.0), arm(50.0, vmaf=93.5, recipe="veryfast"))

    assert metrics["vmaf_most_lost_by_a_title"] == pytest.approx(1.5)
    assert metrics["recipes_that_differ"] == 10.0
