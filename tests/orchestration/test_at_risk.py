"""Before a deadline is missed: the sweep that says so, once, with the reason and what is done about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.domain.title.title import State
from include.services.housekeeping import todays_digest
from include.services.risks import note_at_risk
from include.services.valuation import revalue
from tests.catalog.samples import NOW, accept, after, find, publish, start

SOURCE = {"duration_s": 600, "width": 1920, "height": 1080, "frame_rate": 25}


def alerts(catalog: Catalog) -> dict[str, str]:
    return {
        str(event.request_id): event.detail["cause"] + ": " + event.detail["message"]
        for event in catalog.history.events()
        if event.kind == "alert.at_risk"
    }


def sweep(catalog: Catalog, settings: Settings, seconds: float = 0) -> list[str]:
    return note_at_risk(catalog, revalue(catalog, settings, now=after(seconds)), now=after(seconds))


def due(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"publish_at": (NOW + timedelta(seconds=seconds)).isoformat(), "source": SOURCE, **fields}


def test_a_predicted_miss_is_told_once_with_its_reason(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", "hopeless", **due(120))
    accept(catalog, "summer", "easy", **due(86_400))

    assert sweep(catalog, settings) == ["spring/hopeless"]
    assert sweep(catalog, settings, 1) == []

    (told,) = alerts(catalog).values()
    assert told.startswith("too little time: due at 2026-03-01 12:02:00 UTC, expected at ")
    assert "chance of a miss 100%: 0 titles go before it" in told
    assert "its encodes give up quality as far as its tier allows" in told


def test_a_queue_is_named_as_the_cause_where_it_is(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", *(f"p{number}" for number in range(8)), **due(1800, tier="premium"))
    accept(catalog, "summer", "behind", **due(2400, tier="ugc"))

    assert "summer/behind" in sweep(catalog, settings)
    assert alerts(catalog)["summer/behind"].startswith("queue ahead: ")


@pytest.mark.parametrize(("tier", "told"), [("premium", True), ("standard", False)])
def test_a_premium_title_is_told_of_when_only_lost_quality_keeps_its_deadline(
    tier: str, told: bool, catalog: Catalog, settings: Settings
) -> None:
    accept(catalog, "spring", "tight", **due(1, tier=tier))
    # A deadline between what the full recipe and the quickest one take.
    revalue(catalog, settings, now=NOW)
    work = find(catalog, "spring/tight").work
    assert work is not None
    slots = settings.encode_slots
    middle = (work.full.elapsed(slots).p90_s + work.least.elapsed(slots).p90_s) / 2 + 12
    accept(catalog, "summer", "tight", **due(middle, tier=tier))
    catalog.titles.settle("spring/tight", State.CANCELLED, now=NOW)

    assert sweep(catalog, settings) == (["summer/tight"] if told else [])
    record = find(catalog, "summer/tight")
    assert record.valuation is not None
    assert record.valuation.admission.verdict == "feasible_degraded"
    if told:
        assert "kept by giving up quality; it is encoded in full afterwards" in alerts(catalog)["summer/tight"]


def test_nothing_is_told_of_a_title_that_is_out_that_ended_or_whose_deadline_is_past(
    catalog: Catalog, settings: Settings
) -> None:
    accept(catalog, "spring", "out", "failed", "late", **due(60))
    start(catalog, "spring/out")
    publish(catalog, "spring/out")
    valuations = revalue(catalog, settings, now=NOW)
    catalog.titles.settle("spring/failed", State.FAILED, now=NOW)

    assert "spring/out" in valuations
    assert note_at_risk(catalog, valuations, now=after(61)) == []
    assert note_at_risk(catalog, {"spring/out": valuations["spring/out"]}, now=NOW) == []
    assert note_at_risk(catalog, {"spring/failed": valuations["spring/failed"]}, now=NOW) == []
    assert note_at_risk(catalog, {"gone/gone": valuations["spring/late"]}, now=NOW) == []


def test_the_digest_reads_the_day_from_the_catalog(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", "out", "late", **due(60))
    accept(catalog, "summer", "undated")
    start(catalog, "spring/out")
    publish(catalog, "spring/out")
    catalog.titles.settle("spring/out", State.PUBLISHED, now=after(5))
    revalue(catalog, settings, now=NOW)

    digest = todays_digest(catalog, now=after(10))

    assert (digest.published, digest.deadlines, digest.missed, digest.due) == (1, 1, (), 1)
    assert [each.name for each in digest.at_risk] == ["late"]
    assert digest.cpu_h == 0
