"""The order of open titles, and what is changed about them, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.base.errors import SteeringRefused
from include.domain.cost.forecast import NOTHING, Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import Admission, Verdict
from include.domain.order.priority import Priority
from include.domain.order.valuation import Valuation, Work
from include.domain.order.value import Score
from include.domain.title.request import Signals, SourceExtent
from include.domain.title.steering import Steering
from include.domain.title.title import State
from tests.catalog.samples import NOW, a_batch, accept, after, find, publish, start

HOUR = Forecast(p50_s=3600, p90_s=5000)
WORK = Work(
    full=TitleWork(prepare=NOTHING, encodes=(HOUR,), extras=NOTHING, finish=NOTHING),
    least=TitleWork(prepare=NOTHING, encodes=(NOTHING,), extras=NOTHING, finish=NOTHING),
)


def valued(priority: int, *, score: int = 500, verdict: Verdict = Verdict.FEASIBLE) -> tuple[Work, Valuation]:
    admission = Admission(
        verdict=verdict, finish_p50=after(60), finish_p90=after(90), miss_chance=0.25, wait=NOTHING, work=HOUR
    )
    return WORK, Valuation(
        at=NOW, score=Score(points=score, terms=()), priority=Priority(points=priority, terms=()), laxity_s=None,
        remaining=HOUR, admission=admission, ahead=0,
    )  # fmt: skip


def value(catalog: Catalog, **priorities: int) -> None:
    """Titles of the batch ``spring`` by name."""
    catalog.queue.value({f"spring/{name}": valued(priority) for name, priority in priorities.items()}, now=NOW)


def change(**fields: Any) -> Steering:
    return Steering(why="because of the test", **fields)


def claimed(catalog: Catalog, **how: Any) -> list[str]:
    found = catalog.titles.claim(**{"window": 100, "now": NOW, "claimant": "one", **how})
    return [title.title_id for title in found]


def events(catalog: Catalog, kind: str) -> list[dict[str, Any]]:
    return [event.detail for event in catalog.history.events() if event.kind == kind]


def test_the_highest_priority_is_claimed_first_and_ties_in_the_order_of_arrival(catalog: Catalog) -> None:
    accept(catalog, "spring", *"abcd")
    value(catalog, a=10, b=70, c=10, d=90)

    assert claimed(catalog, window=3) == ["d", "b", "a"]


def test_a_held_title_is_not_claimed_until_it_is_let_go(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    value(catalog, a=90, b=10)
    catalog.queue.steer("spring/a", change(hold=True), by="eve", now=NOW)

    assert claimed(catalog) == ["b"]
    catalog.queue.steer("spring/a", change(hold=False), by="eve", now=NOW)
    assert claimed(catalog) == ["a"]


def test_a_title_above_all_that_are_open_goes_beyond_the_window_and_only_so_far(catalog: Catalog) -> None:
    accept(catalog, "spring", *"abcdef")
    value(catalog, a=50, b=40, c=30, d=51, e=52, f=53)
    for title in ("d", "e", "f"):
        catalog.queue.steer(f"spring/{title}", change(hold=True), by="eve", now=NOW)
    assert claimed(catalog, window=2, express=2) == ["a", "b"]
    assert claimed(catalog, window=2, express=2) == [], "c is not above those that are open"

    for title in ("d", "e", "f"):
        catalog.queue.steer(f"spring/{title}", change(hold=False), by="eve", now=NOW)

    assert claimed(catalog, window=2, express=0) == []
    assert claimed(catalog, window=2, express=1) == ["f"]
    assert claimed(catalog, window=2, express=2) == [], "e is not above f"


def test_a_place_beyond_the_window_is_not_for_a_title_as_high_as_one_that_is_open(catalog: Catalog) -> None:
    accept(catalog, "spring", *"abc")
    value(catalog, a=50, b=50, c=50)

    assert claimed(catalog, window=1, express=1) == ["a"]
    assert claimed(catalog, window=1, express=1) == []
    value(catalog, b=51)
    assert claimed(catalog, window=1, express=1) == ["b"]


def test_the_queue_shows_running_titles_first_then_by_priority_and_held_ones_last(catalog: Catalog) -> None:
    accept(catalog, "spring", *"abcde")
    accept(catalog, "other", "x")
    catalog.queue.value({"other/x": valued(60)}, now=NOW)
    value(catalog, a=5, b=90, c=70, d=70, e=99)
    catalog.queue.steer("spring/e", change(hold=True), by="eve", now=NOW)
    (first,) = catalog.titles.claim(window=1, now=NOW, claimant="one")
    catalog.titles.mark_released(first.request_id, claimant="one", run_id="b__1", now=NOW)
    value(catalog, b=1)
    catalog.titles.settle("spring/d", State.FAILED, now=NOW)

    assert [title.title_id for title in catalog.queue.in_order(limit=100)] == ["b", "c", "x", "a", "e"]
    assert [title.title_id for title in catalog.queue.in_order(limit=2)] == ["b", "c"]
    assert [title.title_id for title in catalog.queue.in_order(limit=9, batch_ids=["other"])] == ["x"]
    assert catalog.queue.in_order(limit=9, batch_ids=[]) == []
    assert [title.title_id for title in catalog.queue.open_titles()] == ["a", "b", "c", "e", "x"]
    assert catalog.queue.counts() == {"spring": {State.WAITING: 3, State.QUEUED: 1}, "other": {State.WAITING: 1}}


def test_a_valuation_is_entered_for_open_titles_and_a_changed_verdict_is_told(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    catalog.titles.settle("spring/b", State.FAILED, now=NOW)
    value(catalog, a=10, b=20, stranger=30)
    first = find(catalog, "spring/a")
    assert (first.priority, first.score, first.work) == (10, 500, WORK)
    assert find(catalog, "spring/b").valuation is None

    catalog.queue.value({"spring/a": valued(11)}, now=NOW)
    assert events(catalog, "title.admission") == []
    catalog.queue.value({"spring/a": valued(12, verdict=Verdict.INFEASIBLE)}, now=after(1))

    assert events(catalog, "title.admission") == [{"old": "feasible", "new": "infeasible", "miss_chance": 0.25}]
    told = catalog.outbox.of_request("spring/a")[-1]
    assert (told.type, told.data["was"], told.data["admission"]["verdict"]) == (
        "title.admission", "feasible", "infeasible",
    )  # fmt: skip
    catalog.queue.value({}, now=NOW)


def test_a_cms_is_told_a_finish_where_length_and_size_are_known_and_else_that_they_are_not(catalog: Catalog) -> None:
    source = {"duration_s": 60, "width": 640, "height": 360}
    for batch_id, fields in (("spring", {}), ("summer", {"source": source}), ("winter", {})):
        entered = {"a": valued(10)}
        catalog.batches.accept(a_batch(batch_id, "a", **fields), pipeline_version=3, now=NOW, valued=entered)
    catalog.queue.note_headers({"winter/a": (SourceExtent(**source), None)})
    catalog.queue.value({f"{name}/a": valued(12, verdict=Verdict.INFEASIBLE) for name in ("spring", "winter")}, now=NOW)

    told = {
        (name, webhook.type): (webhook.data["source_known"], webhook.data["admission"]["finish_p50"] is not None,
                               webhook.data["admission"]["finish_p90"] is not None)
        for name in ("spring", "summer", "winter")
        for webhook in catalog.outbox.of_request(f"{name}/a")
    }  # fmt: skip
    assert told == {
        ("spring", "title.accepted"): (False, False, False),
        ("spring", "title.admission"): (False, False, False),
        ("summer", "title.accepted"): (True, True, True),
        ("winter", "title.accepted"): (False, False, False),
        ("winter", "title.admission"): (True, True, True),
    }


def test_a_valuation_that_was_begun_before_a_plan_does_not_take_back_what_the_plan_says(catalog: Catalog) -> None:
    accept(catalog, "spring", "a")
    value(catalog, a=10)
    planned = WORK.model_copy(update={"planned": True})
    catalog.queue.note_work("spring/a", planned)

    value(catalog, a=20)

    assert (find(catalog, "spring/a").work, find(catalog, "spring/a").priority) == (planned, 20)


def test_headers_to_look_at_are_those_of_open_titles_whose_mezzanines_should_be_there(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b", "c")
    accept(catalog, "late", "l", wait_until=after(600).isoformat())
    catalog.titles.settle("spring/b", State.FAILED, now=NOW)
    catalog.queue.note_headers({"spring/c": (SourceExtent(), None)})

    def unseen(seconds: float, *, limit: int = 9, batch_id: str | None = None) -> list[str]:
        found = catalog.queue.unseen(after(seconds), limit=limit, batch_id=batch_id)
        return [title.request_id for title in found]

    assert unseen(1) == ["spring/a"]
    assert unseen(601) == ["spring/a", "late/l"]
    assert unseen(601, limit=1) == ["spring/a"]
    assert unseen(601, batch_id="late") == ["late/l"]


def test_new_signals_are_added_to_the_known_ones_with_who_and_why(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", signals={"predicted_views_7d": 100})

    known = catalog.queue.signal("spring/a", Signals(views_last_hour=7), by="cms", why="viral", now=NOW)

    assert known == Signals(predicted_views_7d=100, views_last_hour=7)
    assert find(catalog, "spring/a").request.signals == known
    (event,) = events(catalog, "title.signals")
    assert (event["by"], event["why"], event["old"]["views_last_hour"], event["new"]["views_last_hour"]) == (
        "cms", "viral", None, 7,
    )  # fmt: skip


def test_a_change_is_written_down_with_who_what_and_why(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", publish_at=after(600).isoformat())

    title = catalog.queue.steer("spring/a", change(publish_at=after(60), tier="premium", pin=True), by="eve", now=NOW)

    assert (title.deadline, title.request.tier, title.pinned) == (after(60), "premium", True)
    assert catalog.titles.overdue(after(61))[0].request_id == "spring/a", "the column moves with the request"
    (event,) = events(catalog, "title.steered")
    assert (event["by"], event["why"]) == ("eve", "because of the test")
    assert event["old"] == {"publish_at": after(600).isoformat(), "tier": "standard", "pin": False}
    assert event["new"].keys() == event["old"].keys()


def test_a_cancelled_title_is_settled_and_told_in_one_go(catalog: Catalog) -> None:
    accept(catalog)

    title = catalog.queue.steer("spring/alpha", change(cancel=True), by="eve", now=NOW)

    assert (title.state, title.reason, title.message) == ("cancelled", "cancelled", "by eve: because of the test")
    assert catalog.outbox.of_request("spring/alpha")[-1].type == "title.cancelled"
    assert events(catalog, "title.steered")[0]["old"] == {"cancel": False}


def test_what_comes_too_late_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    before = find(catalog, "spring/a")
    with pytest.raises(SteeringRefused, match="hold: spring/a is running already"):
        catalog.queue.steer("spring/a", change(hold=True), by="eve", now=NOW)
    publish(catalog, "spring/a")
    with pytest.raises(SteeringRefused, match="cancel: spring/a is published already as v1"):
        catalog.queue.steer("spring/a", change(cancel=True), by="eve", now=NOW)
    catalog.titles.settle("spring/a", State.PUBLISHED, now=NOW)
    with pytest.raises(SteeringRefused, match="settled as published: callsheet replay spring/a"):
        catalog.queue.steer("spring/a", change(pin=True), by="eve", now=NOW)
    with pytest.raises(SteeringRefused, match="settled as published"):
        catalog.queue.signal("spring/a", Signals(views_last_hour=7), by="cms", why="viral", now=NOW)
    with pytest.raises(LookupError, match="nobody"):
        catalog.queue.steer("spring/nobody", change(pin=True), by="eve", now=NOW)
    assert events(catalog, "title.steered") == []
    assert not before.held
    assert not find(catalog, "spring/a").pinned


def test_a_title_that_is_being_started_can_no_longer_be_held_but_one_given_back_can(catalog: Catalog) -> None:
    accept(catalog)
    assert claimed(catalog) == ["alpha"]
    with pytest.raises(SteeringRefused, match="being started this moment"):
        catalog.queue.steer("spring/alpha", change(hold=True), by="eve", now=NOW)

    catalog.titles.unclaim("spring/alpha", claimant="one")
    assert catalog.queue.steer("spring/alpha", change(hold=True), by="eve", now=NOW).held


def test_a_run_is_told_until_it_knows_priority_and_deadline(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b", "waits")
    value(catalog, a=10, b=20, waits=5)
    assert catalog.queue.untold() == [], "a waiting title has no run to tell"
    start(catalog, "spring/a")
    catalog.queue.steer("spring/waits", change(cancel=True), by="eve", now=NOW)
    untold = catalog.queue.untold()
    assert [title.title_id for title in untold] == ["a", "b"], "each is told once after its release"

    for title in untold:
        catalog.queue.told(title)
    assert catalog.queue.untold() == []
    value(catalog, a=11)
    assert [(title.title_id, title.priority) for title in catalog.queue.untold()] == [("a", 11)]
    (stale,) = catalog.queue.untold()
    value(catalog, a=12)
    catalog.queue.told(stale)
    assert [title.priority for title in catalog.queue.untold()] == [12], "what was told is old by now"


@pytest.mark.parametrize("due", [None, after(600)])
def test_a_new_deadline_is_told_even_where_the_priority_stays(catalog: Catalog, due: datetime | None) -> None:
    accept(catalog, "spring", "a", publish_at=due.isoformat() if due else None)
    old = start(catalog, "spring/a")
    catalog.queue.told(old)
    assert catalog.queue.untold() == []

    catalog.queue.steer("spring/a", change(publish_at=after(60)), by="eve", now=NOW)
    catalog.queue.told(old)

    (untold,) = catalog.queue.untold()
    assert untold.deadline == after(60)
    catalog.queue.told(untold)
    assert catalog.queue.untold() == []


def test_what_a_change_did_to_score_and_priority_is_an_event(catalog: Catalog) -> None:
    accept(catalog, "spring", "a")
    value(catalog, a=10)
    before = find(catalog, "spring/a")
    catalog.queue.value({"spring/a": valued(90, score=800)}, now=NOW)

    assert catalog.queue.note_revalued(before, by="cms", why="viral", now=after(1)).priority == 90

    (event,) = events(catalog, "title.revalued")
    assert event == {
        "by": "cms", "why": "viral", "old": {"score": 500, "priority": 10}, "new": {"score": 800, "priority": 90},
    }  # fmt: skip


def test_a_quote_can_ask_whether_a_batch_is_new_without_entering_it(catalog: Catalog) -> None:
    batch = a_batch("spring", "a")
    assert catalog.batches.check_new(batch)
    assert catalog.batches.newest() == []
    accept(catalog, "spring", "a")
    assert not catalog.batches.check_new(batch)


def test_a_title_that_waits_for_its_mezzanine_can_be_held(catalog: Catalog) -> None:
    accept(catalog)
    claimed(catalog)
    catalog.titles.unclaim("spring/alpha", claimant="one", until=NOW + timedelta(seconds=90))

    assert catalog.queue.steer("spring/alpha", change(hold=True), by="eve", now=NOW).held
    assert claimed(catalog, now=after(90)) == []
