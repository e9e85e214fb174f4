"""The whole queue at once: who goes first, and who will be late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.domain.cost.forecast import NOTHING
from include.domain.cost.rates import SourceShape
from include.domain.cost.work import title_work
from include.domain.order.admission import Verdict
from include.domain.order.backlog import FRESH_S
from include.domain.order.valuation import FarmState, QueuedTitle, Valuation, Work, value_titles
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import load_ladders, load_policy, load_recipes, load_tiers

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY, PRIOR, H264, TIERS = load_policy(), load_recipes().prior, load_ladders()["h264"], load_tiers()


def work(seconds: float = 60, tier: Tier = Tier.STANDARD) -> Work:
    source = SourceShape(duration_s=seconds, width=640, height=360, fps=25)
    full = title_work(source, [H264], TIERS[tier], predictor=PRIOR)
    quick = TIERS[tier].model_copy(update={"presets": {"h264": "ultrafast"}})
    return Work(full=full, least=title_work(source, [H264], quick, predictor=PRIOR))


def standing(name: str, seq: int, *, due: timedelta | None = None, seconds: float = 60, **fields: Any) -> QueuedTitle:
    given: dict[str, Any] = {
        "tier": Tier.STANDARD,
        "kind": Kind.SERIES,
        "signals": Signals(),
        "created_at": NOW,
        "running": False,
        "progress": 0.0,
        **fields,
    }
    return QueuedTitle(
        request_id=name,
        seq=seq,
        publish_at=None if due is None else NOW + due,
        work=work(seconds, given["tier"]),
        **given,
    )


def valued(*standings: QueuedTitle, slots: int = 2, **farm: Any) -> dict[str, Valuation]:
    return value_titles(standings, farm=FarmState(slots=slots, **farm), now=NOW, policy=POLICY)


def test_titles_go_by_priority_and_ties_by_arrival_and_running_ones_are_before_them() -> None:
    order = list(
        valued(
            standing("late-twin", 3),
            standing("twin", 2),
            standing("premium", 4, tier=Tier.PREMIUM),
            standing("running", 5, tier=Tier.UGC, running=True, progress=0.5),
            standing("held", 1, tier=Tier.PREMIUM, held=True),
            standing("pinned", 6, tier=Tier.UGC, pinned=True),
        )
    )

    assert order == ["running", "pinned", "premium", "twin", "late-twin", "held"]


def test_one_title_s_valuation_is_the_same_without_those_of_the_others() -> None:
    titles = [
        standing("running", 1, tier=Tier.PREMIUM, running=True, progress=0.2),
        standing("held", 2, tier=Tier.PREMIUM, held=True),
        standing("first", 3, tier=Tier.PREMIUM),
        standing("due", 4, due=timedelta(minutes=3)),
        standing("last", 5, tier=Tier.UGC),
    ]
    every = valued(*titles)
    assert [each.ahead for each in every.values()] == [0, 0, 1, 2, 3]

    for name, valuation in every.items():
        farm = FarmState(slots=2)
        assert value_titles(titles, farm=farm, now=NOW, policy=POLICY, only={name}) == {name: valuation}


def test_a_title_waits_for_what_goes_before_it_and_for_no_held_one() -> None:
    alone = valued(standing("b", 2))["b"]
    behind = valued(standing("b", 2), standing("a", 1, tier=Tier.PREMIUM))["b"]
    unhindered = valued(standing("b", 2), standing("a", 1, tier=Tier.PREMIUM, held=True))["b"]

    assert (alone.ahead, behind.ahead, unhindered.ahead) == (0, 1, 0)
    assert alone.admission.wait.p50_s == unhindered.admission.wait.p50_s == 0
    assert valued(standing("b", 2, tier=Tier.PREMIUM), standing("a", 1))["b"].admission.wait.p50_s == 0, (
        "it holds no slot"
    )
    assert behind.admission.wait.p50_s > 30
    assert behind.admission.finish_p50 > alone.admission.finish_p50


def test_only_what_came_lately_says_how_much_more_will_come_before_a_title() -> None:
    first = standing("first", 1, tier=Tier.PREMIUM, created_at=NOW - timedelta(seconds=FRESH_S + 1))
    queue = (first, standing("second", 2, tier=Tier.UGC))

    assert valued(*queue, fresh_load=0.4)["second"].admission.wait == valued(*queue)["second"].admission.wait


def test_a_title_holds_no_more_slots_than_it_has_tasks_however_large_its_share() -> None:
    film = standing("film", 1, tier=Tier.PREMIUM, pinned=True, seconds=600_000)
    tasks = len(film.work.full.encodes) + 1
    slots = 4 * tasks

    found = valued(film, standing("clip", 2, tier=Tier.UGC), slots=slots)

    assert found["film"].slots > tasks
    own_s = found["clip"].remaining.mean_s
    assert found["clip"].admission.wait.p50_s == pytest.approx(own_s / (slots - tasks) - own_s / slots)


def test_what_is_given_up_for_a_deadline_is_reckoned_on_all_slots() -> None:
    slots, overhead_s = 4, 5.0
    known = work(60_000, Tier.UGC)
    due = timedelta(seconds=known.full.elapsed(slots).p90_s + overhead_s + POLICY.promises.margin_s + 1)

    title = valued(standing("a", 1, tier=Tier.UGC, seconds=60_000, due=due), slots=slots, overhead_s=overhead_s)["a"]

    assert title.slots < slots
    assert title.admission.verdict is not Verdict.FEASIBLE
    taken_s = (title.admission.finish_p50 - NOW).total_seconds()
    assert taken_s == pytest.approx(known.least.elapsed(slots).p50_s + overhead_s, abs=0.01)


def test_what_a_running_title_has_done_is_ahead_of_nobody() -> None:
    def wait(progress: float) -> float:
        queue = valued(standing("b", 2), standing("a", 1, running=True, progress=progress))
        assert queue["a"].admission.wait.p50_s == 0
        return queue["b"].admission.wait.p50_s

    assert wait(0.0) == pytest.approx(2 * wait(0.5))
    assert wait(1.0) == 0


@pytest.mark.parametrize(
    ("due", "verdict", "at_risk"),
    [
        (None, Verdict.FEASIBLE, False),
        (timedelta(hours=1), Verdict.FEASIBLE, False),
        (timedelta(seconds=60), Verdict.FEASIBLE_DEGRADED, True),
        (timedelta(seconds=20), Verdict.INFEASIBLE, True),
        (timedelta(seconds=-20), Verdict.INFEASIBLE, True),
    ],
)
def test_a_deadline_is_judged_by_wait_work_and_overhead(due: timedelta | None, verdict: Verdict, at_risk: bool) -> None:
    found = valued(standing("a", 1, due=due, tier=Tier.PREMIUM), overhead_s=12)["a"]

    assert (found.admission.verdict, found.at_risk) == (verdict, at_risk)
    assert (found.laxity_s is None) == (due is None)


def test_laxity_is_what_is_left_after_the_work_that_may_take_long() -> None:
    found = valued(standing("a", 1, due=timedelta(hours=1)), overhead_s=12)["a"]
    needed = work().full.elapsed(2)

    assert found.laxity_s == pytest.approx(3600 - needed.p90_s - 12, abs=0.1)


def test_a_busy_farm_makes_titles_wait_longer_that_others_will_overtake() -> None:
    queue = (standing("b", 2), standing("a", 1, tier=Tier.PREMIUM))

    quiet, busy = valued(*queue), valued(*queue, fresh_load=0.5)

    # Of what came lately "a" is the better part: that much of what keeps coming overtakes "b".
    better = quiet["a"].remaining.mean_s / sum(each.remaining.mean_s for each in quiet.values())
    waits = [found["b"].admission.wait.p50_s for found in (quiet, busy)]
    assert waits[1] == pytest.approx(waits[0] / (1 - 0.5 * better))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Tier)),
            st.booleans(),
            st.booleans(),
            st.floats(0, 1),
            st.none() | st.integers(-10_000, 100_000),
        ),
        max_size=8,
    ),
    st.integers(1, 50),
)
@settings(deadline=None)
def test_every_open_title_is_valued_once_and_the_order_follows_the_priority(
    drawn: list[tuple[Tier, bool, bool, float, int | None]], slots: int
) -> None:
    queue = [
        standing(
            str(number),
            number,
            tier=tier,
            running=running,
            held=held,
            progress=progress,
            due=None if due is None else timedelta(seconds=due),
        )
        for number, (tier, running, held, progress, due) in enumerate(drawn)
    ]

    found = valued(*queue, slots=slots)

    assert sorted(found) == sorted(each.request_id for each in queue)
    free = [each for each in queue if not each.running and not each.held]
    points = [found[name].priority.points for name in found if name in {each.request_id for each in free}]
    assert points == sorted(points, reverse=True)
    assert all(each.admission.finish_p50 <= each.admission.finish_p90 for each in found.values())


def test_until_a_first_version_plays_its_work_alone_counts_against_the_deadline_and_then_nothing_does() -> None:
    one = standing("one", 1, due=timedelta(hours=2), seconds=600, running=True)
    full = one.work.full
    core = full.model_copy(update={"encodes": full.encodes[:1]})
    two = one.model_copy(update={"work": one.work.model_copy(update={"playable": core})})
    played = two.model_copy(update={"playable": True})

    whole, first, done = (valued(each)["one"] for each in (one, two, played))

    assert whole.laxity_s is not None
    assert first.laxity_s is not None
    assert first.laxity_s > whole.laxity_s
    assert first.admission.finish_p50 < whole.admission.finish_p50
    assert first.remaining == whole.remaining
    assert (done.laxity_s, done.admission.miss_chance, done.at_risk) == (None, None, False)
    assert done.admission.finish_p50 == whole.admission.finish_p50


@given(st.floats(0, 1))
def test_progress_is_that_of_the_first_version_until_that_is_done(progress: float) -> None:
    one = standing("one", 1, due=timedelta(hours=1), seconds=600, running=True, progress=progress)
    full = one.work.full
    core = full.model_copy(update={"encodes": full.encodes[:1]})
    two = one.model_copy(update={"work": one.work.model_copy(update={"playable": core})})

    needed, left = two.timed

    assert needed == core
    assert left * core.total.p50_s == pytest.approx(max(0.0, core.total.p50_s - progress * full.total.p50_s))
    nothing = core.model_copy(update=dict.fromkeys(("prepare", "extras", "finish"), NOTHING) | {"encodes": (NOTHING,)})
    assert one.model_copy(update={"work": one.work.model_copy(update={"playable": nothing})}).timed[1] == 0


def test_a_title_without_a_deadline_waits_while_a_promise_has_no_time_to_spare() -> None:
    names = list(valued(standing("valuable", 1, tier=Tier.PREMIUM), standing("due", 2, due=timedelta(minutes=5))))
    far = list(valued(standing("valuable", 1, tier=Tier.PREMIUM), standing("due", 2, due=timedelta(days=2))))

    assert names == ["due", "valuable"]
    assert far == ["valuable", "due"]


def test_many_promises_due_together_are_in_danger_long_before_each_would_be_alone() -> None:
    due = timedelta(hours=4)
    alone = valued(standing("0", 0, seconds=3600, due=due))["0"]
    burst = valued(*(standing(str(seq), seq, seconds=3600, due=due) for seq in range(12)))

    assert alone.spare_s is not None
    assert alone.spare_s > 2 * 3600
    assert alone.laxity_s == pytest.approx(alone.spare_s + POLICY.promises.margin_s, abs=0.2)
    for each in burst.values():
        assert each.spare_s is not None
        assert each.laxity_s == alone.laxity_s
        assert each.spare_s < 0
        assert each.pressing_s == each.spare_s
        assert each.slots == 2
    assert [each.priority.points for each in burst.values()] == list(range(7011, 6999, -1))
    assert all("among all deadlines, for 11)" in str(burst[str(seq)].priority) for seq in range(11))
    assert "among all deadlines)" in str(burst["11"].priority), "it is held by nobody but itself"


def test_what_a_running_task_of_a_title_without_deadline_takes_is_not_there_for_a_promise() -> None:
    due = standing("due", 1, due=timedelta(hours=5))
    beside = [standing(str(seq), seq, seconds=3600, running=True) for seq in range(2, 6)]

    quiet, busy = valued(due)["due"], valued(due, *beside)["due"]

    assert quiet.spare_s is not None
    assert busy.spare_s is not None
    assert busy.spare_s < quiet.spare_s - 60
    # More titles with a run than slots hold no more slots than there are.
    assert valued(due, *beside[:2])["due"].spare_s == pytest.approx(busy.spare_s, abs=0.2)


def test_in_overload_quality_goes_first_and_then_the_promises_of_lower_tiers() -> None:
    due = timedelta(minutes=60)
    news = [standing(f"news{seq}", seq, seconds=2400, due=due) for seq in range(2)]
    film = standing("film", 9, tier=Tier.PREMIUM, seconds=2400, due=due)

    assert not any(each.hurried for each in valued(*news, slots=1).values())
    found = valued(*news, film, slots=1)
    assert all(each.kept for each in found.values())
    assert {name for name, each in found.items() if each.hurried} == {"news0", "news1"}

    *stubborn, proud = (
        each.model_copy(update={"work": each.work.model_copy(update={"least": each.work.full})})
        for each in (*news, film)
    )
    found = valued(*stubborn, proud, slots=1)
    lost = {name for name, each in found.items() if not each.kept}
    assert lost
    assert "film" not in lost
    assert found["film"].admission.verdict is not Verdict.INFEASIBLE
    assert all(found[name].admission.verdict is Verdict.INFEASIBLE and found[name].at_risk for name in lost)

    farm = FarmState(slots=1)
    quote = value_titles([*stubborn, proud], farm=farm, now=NOW, policy=POLICY, only={"film"})["film"].admission
    assert set(quote.displaces) == lost
    assert not value_titles([*stubborn, proud], farm=farm, now=NOW, policy=POLICY)["film"].admission.displaces


def test_the_oldest_titles_go_first_once_the_waiting_bound_is_in_danger() -> None:
    bound = timedelta(hours=POLICY.priority.waiting_bound_h)
    old = standing("old", 1, tier=Tier.UGC, seconds=3600, created_at=NOW - bound)
    older = standing("older", 2, tier=Tier.UGC, seconds=3600, created_at=NOW - bound - timedelta(hours=1))
    fresh = standing("fresh", 3, tier=Tier.PREMIUM)
    due = standing("due", 4, due=timedelta(minutes=5))

    assert list(valued(old, older, fresh, due)) == ["due", "older", "old", "fresh"]
    young = old.model_copy(update={"created_at": NOW - bound / 2})
    assert list(valued(young, fresh)) == ["fresh", "old"]
