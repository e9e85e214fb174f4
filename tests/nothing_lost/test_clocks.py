"""Machines whose clocks differ by hours: nothing waits for a time that only another machine has."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.adapters.arrival import look_at
from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.services.lost_runs import settle_lost_runs
from tests.catalog.samples import NOW, accept, after, find, start
from tests.nothing_lost.conftest import Life
from tests.nothing_lost.farm import Farm
from tests.orchestration.airflow_server import AirflowServer

SKEW = timedelta(hours=3)


@pytest.fixture
def catalog(tmp_path: Path, life: Life) -> Catalog:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.migrate()
    accept(catalog, "spring", "alpha")
    return catalog


@pytest.mark.parametrize("theirs", [NOW + SKEW, NOW - SKEW], ids=["ahead", "behind"])
def test_a_claim_of_a_dead_machine_with_another_clock_holds_nobody_up(theirs: datetime, catalog: Catalog) -> None:
    assert len(catalog.titles.claim(window=1, now=theirs, claimant="dead")) == 1

    assert [title.request_id for title in catalog.titles.claim(window=1, now=after(61), claimant="me")] == [
        "spring/alpha"
    ]


def test_a_claim_of_a_clock_that_is_a_little_ahead_is_believed(catalog: Catalog) -> None:
    assert len(catalog.titles.claim(window=1, now=after(100), claimant="other")) == 1

    assert catalog.titles.claim(window=1, now=NOW, claimant="me") == []


def test_a_webhook_and_an_alert_of_a_clock_that_is_ahead_go_out_now(catalog: Catalog) -> None:
    start(catalog, "spring/alpha", now=NOW + SKEW)
    assert catalog.outbox.of_request("spring/alpha")

    first = catalog.outbox.claim_due(now=NOW, limit=10, ttl_s=60)
    assert [row.request_id for row in first] == ["spring/alpha"]
    assert catalog.outbox.claim_due(now=NOW, limit=10, ttl_s=60) == []
    # Whoever claimed it had a clock that is ahead, and died.
    assert catalog.outbox.claim_due(now=NOW - SKEW, limit=10, ttl_s=60)


@pytest.mark.parametrize(
    ("age_s", "arrived"), [(-SKEW.total_seconds(), True), (2, False), (3600, True)], ids=["ahead", "growing", "old"]
)
def test_a_file_servers_clock_does_not_keep_a_mezzanine_from_arriving(
    age_s: float, arrived: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.mov"
    path.touch()
    os.utime(path, (NOW.timestamp() - age_s, NOW.timestamp() - age_s))

    look = look_at(path.as_uri(), Settings(home=tmp_path, mezzanine_roots=(tmp_path,)), now=NOW)
    assert look.arrived is arrived


def test_a_run_that_another_clock_dated_into_the_future_is_found_lost_today(
    catalog: Catalog, airflow: AirflowServer, tmp_path: Path, empty: Farm
) -> None:
    title = start(catalog, "spring/alpha", now=NOW + SKEW)
    key = (title.dag_id, title.run_id or "")
    before = airflow.runs.pop(key, None)
    try:
        with airflow.api() as api:
            assert settle_lost_runs(catalog, api, Settings(home=tmp_path), now=NOW) == ["spring/alpha"]
    finally:
        if before is not None:
            airflow.runs[key] = before
    assert find(catalog, "spring/alpha").reason == "run_lost"
