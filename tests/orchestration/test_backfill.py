"""What a title gave up for its deadline, made good when the farm is idle."""

from __future__ import annotations

import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.domain.title.steering import Steering
from include.domain.title.title import Origin, State
from include.domain.title.work import result_key
from include.services.lost_runs import LOST_AFTER, settle_lost_runs
from include.services.replay import replay_title, take_backfills, take_repairs
from include.services.valuation import revalue
from tests.catalog.samples import NOW, accept, after, find, given_up, packaged, publish, start
from tests.orchestration.airflow_server import AirflowServer

TWO_SLOTS = Settings(encode_slots=2)


def degraded_title(catalog: Catalog, request_id: str) -> None:
    start(catalog, request_id)
    publish(catalog, request_id, degraded=True)
    catalog.titles.settle(request_id, State.DEGRADED, now=NOW)


def gave_up(catalog: Catalog, name: str = "alpha") -> str:
    """A title that was published degraded for its deadline, and is to be back-filled."""
    accept(catalog, f"rush-{name}", name, publish_at=after(600).isoformat())
    degraded_title(catalog, f"rush-{name}/{name}")
    catalog.repairs.queue(f"rush-{name}/{name}", [], NOW, kind=Origin.BACKFILL)
    return f"rush-{name}/{name}"


def test_a_back_fill_is_a_new_request_without_a_deadline_that_gives_nothing_up(catalog: Catalog) -> None:
    request_id = gave_up(catalog)

    assert take_repairs(catalog, TWO_SLOTS, now=NOW, limit=5) == []
    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == ["rush-alpha-backfill1"]
    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == []
    again = find(catalog, "rush-alpha-backfill1/alpha")
    assert (again.origin_request_id, again.deadline, again.binding_deadline) == (request_id, None, None)
    assert again.is_repair
    assert again.request == find(catalog, request_id).request.model_copy(update={"publish_at": None})


def test_back_fills_wait_until_the_farm_is_idle_and_come_one_by_one(catalog: Catalog) -> None:
    for name in "ab":
        gave_up(catalog, name)
    accept(catalog, "spring", "c")

    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == []
    running = start(catalog, "spring/c")
    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == []
    revalue(catalog, TWO_SLOTS, now=NOW)
    work = find(catalog, running.request_id).work
    assert work is not None
    encodes = len(work.full.encodes)
    assert take_backfills(catalog, Settings(encode_slots=encodes), now=NOW) == []
    assert take_backfills(catalog, Settings(encode_slots=encodes + 1), now=NOW) == ["rush-a-backfill1"]
    # The first one waits for its run now.
    assert take_backfills(catalog, Settings(encode_slots=100), now=NOW) == []


def test_a_title_on_hold_keeps_no_back_fill_waiting(catalog: Catalog) -> None:
    gave_up(catalog)
    accept(catalog, "spring", "c")
    catalog.queue.steer("spring/c", Steering(hold=True, why="rights"), by="ops", now=NOW)

    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == ["rush-alpha-backfill1"]


def test_a_title_with_a_newer_request_is_not_back_filled_over_it(catalog: Catalog) -> None:
    gave_up(catalog)
    accept(catalog, "later", "alpha")
    start(catalog, "later/alpha")
    publish(catalog, "later/alpha")
    catalog.titles.settle("later/alpha", State.PUBLISHED, now=NOW)

    assert take_backfills(catalog, TWO_SLOTS, now=NOW) == []
    assert catalog.repairs.pending(kind=Origin.BACKFILL) == []
    assert [each.request_id for each in catalog.titles.find(title_id="alpha")] == ["rush-alpha/alpha", "later/alpha"]


def test_a_lost_run_of_a_title_that_gave_something_up_is_back_filled_not_repaired(
    catalog: Catalog, airflow: AirflowServer, settings: Settings, store: LocalStore
) -> None:
    accept(catalog, "spring", "alpha")
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", degraded=True)
    made = packaged(degraded=True).model_copy(update={"missing": (), "given_up": (given_up(),)})
    store.put_bytes(result_key(find(catalog, "spring/alpha").job(), "package"), made.to_json().encode())

    with airflow.api() as api:
        assert settle_lost_runs(catalog, api, settings, now=NOW + LOST_AFTER * 2) == ["spring/alpha"]

    title = find(catalog, "spring/alpha")
    assert (title.state, title.reason) == (State.DEGRADED, "for_deadline")
    assert "veryfast instead of slow" in (title.message or "")
    assert (len(catalog.repairs.pending()), len(catalog.repairs.pending(kind=Origin.BACKFILL))) == (0, 1)


@pytest.mark.parametrize(
    ("publish_at", "origin", "counts"),
    [(600, None, True), (None, None, False), (0, None, False), (-600, None, False), (600, Origin.REPAIR, False)],
)
def test_only_a_deadline_that_can_still_be_kept_is_worth_quality(
    publish_at: float | None, origin: Origin | None, counts: bool, catalog: Catalog
) -> None:
    accept(catalog, "spring", publish_at=None if publish_at is None else after(publish_at).isoformat())
    request_id = "spring/alpha"
    if origin:
        degraded_title(catalog, request_id)
        request_id = f"{replay_title(catalog, TWO_SLOTS, request_id, now=NOW, origin=origin)}/alpha"

    title = find(catalog, request_id)
    assert title.job().binding_deadline == title.binding_deadline == (title.deadline if counts else None)


def test_a_request_that_makes_good_what_is_missing_takes_no_rung_away_meanwhile(catalog: Catalog) -> None:
    accept(catalog, "spring", playable_first=True)
    degraded_title(catalog, "spring/alpha")
    asked, repair, replay = (
        find(catalog, request_id).job().playable_first
        for request_id in (
            "spring/alpha",
            f"{replay_title(catalog, TWO_SLOTS, 'spring/alpha', now=NOW, origin=Origin.REPAIR)}/alpha",
            f"{replay_title(catalog, TWO_SLOTS, 'spring/alpha', now=NOW)}/alpha",
        )
    )

    assert (asked, repair, replay) == (True, False, True)
