from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.errors import PlatformUnavailable
from include.domain.title.title import State
from include.services.housekeeping import clean, clean_work, retire, retire_batches
from tests.catalog.samples import NOW, accept, after, start
from tests.orchestration.airflow_server import AirflowServer


def retired(catalog: Catalog) -> list[str]:
    return [batch.batch_id for batch in catalog.batches.newest() if batch.retired_at]


def test_a_batch_retires_when_all_its_titles_are_settled(catalog: Catalog, api: AirflowApi) -> None:
    accept(catalog, "spring", "a", "b")
    accept(catalog, "summer", "c")
    for name in ("spring/a", "summer/c"):
        catalog.titles.settle(name, State.FAILED, now=NOW)

    assert retire(catalog, api, now=after(1)) == ["summer"]
    catalog.titles.settle("spring/b", State.REJECTED, now=after(2))
    assert retire(catalog, api, now=after(3)) == ["spring"]
    assert [stub.batch_id for stub in catalog.batches.stubs()] == []


def test_a_batch_with_an_active_run_stays(catalog: Catalog, api: AirflowApi, airflow: AirflowServer) -> None:
    """The scheduler ignores runs of a DAG that is gone: they would run for ever."""
    accept(catalog, "spring", "a")
    start(catalog, "spring/a")
    catalog.titles.settle("spring/a", State.FAILED, now=NOW)
    api.trigger("batch__spring", "a__1", conf={})

    assert retire(catalog, api, now=after(1)) == []
    airflow.end("batch__spring", "a__1", "failed", after(1).isoformat())
    assert retire(catalog, api, now=after(2)) == ["spring"]


def test_an_airflow_that_cannot_say_retires_nothing(catalog: Catalog, api: AirflowApi, airflow: AirflowServer) -> None:
    accept(catalog, "spring", "a")
    catalog.titles.settle("spring/a", State.FAILED, now=NOW)
    airflow.fail("GET", "dagRuns", 500)

    with pytest.raises(PlatformUnavailable):
        retire(catalog, api, now=after(1))
    assert retired(catalog) == []


def test_the_nightly_task_retires_through_the_connection(catalog: Catalog, airflow: AirflowServer) -> None:
    accept(catalog, "spring", "a")
    catalog.titles.settle("spring/a", State.FAILED, now=NOW)

    assert retire_batches() == ["spring"]
    assert retire_batches() == []


def test_work_is_removed_after_the_grace_and_published_versions_never(catalog: Catalog, store: LocalStore) -> None:
    accept(catalog, "spring", "old", "new", "open")
    for name in ("old", "new", "open"):
        store.put_bytes(f"work/{name}/spring.1/renditions/x.mp4", b"x")
        store.put_bytes(f"titles/{name}/v1/hls.m3u8", b"x")
    catalog.titles.settle("spring/old", State.FAILED, now=NOW)
    catalog.titles.settle("spring/new", State.FAILED, now=after(10))

    assert clean(catalog, store, before=after(10)) == ["work/old/spring.1"]
    assert clean(catalog, store, before=after(10)) == []
    assert set(store.list("work")) == {"new/spring.1/renditions/x.mp4", "open/spring.1/renditions/x.mp4"}
    assert len(store.list("titles")) == 3


def test_another_request_of_the_same_title_keeps_its_work(catalog: Catalog, store: LocalStore) -> None:
    accept(catalog, "spring", "alpha")
    accept(catalog, "summer", "alpha")
    store.put_bytes("work/alpha/spring.1/plan.json", b"x")
    store.put_bytes("work/alpha/summer.1/plan.json", b"x")
    catalog.titles.settle("spring/alpha", State.FAILED, now=NOW)

    clean(catalog, store, before=after(10))

    assert set(store.list("work/alpha")) == {"summer.1/plan.json"}


def test_the_nightly_task_keeps_to_the_configured_grace(
    catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(catalog, "spring", "alpha")
    store.put_bytes("work/alpha/spring.1/plan.json", b"x")
    catalog.titles.settle("spring/alpha", State.FAILED, now=datetime.now(UTC) - timedelta(hours=5))

    monkeypatch.setenv("CALLSHEET_WORK_RETENTION_H", "6")
    assert clean_work() == []
    monkeypatch.setenv("CALLSHEET_WORK_RETENTION_H", "4")
    assert clean_work() == ["work/alpha/spring.1"]
