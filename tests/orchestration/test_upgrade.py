"""What another release has begun: batches get a pipeline that this release has, and runs begin again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException
from sqlalchemy import create_engine, update

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.catalog.schema import titles
from include.adapters.store.opening import open_store
from include.base.settings import Settings
from include.domain.media.media import Inspection, MezzanineIdentity, VideoStream
from include.domain.outcome.results import Cost, SourceVerdict
from include.domain.title.title import State
from include.domain.title.work import FORMAT
from include.orchestration.runtimes.local import WorkerTask
from include.pipelines.core import current_pipelines
from include.services.release import release
from include.services.upgrade import begin_runs_again, foreign_batches, move_batches, outdated_batches
from tests.catalog.samples import NOW, a_batch, accept, after, find
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.lab import context

NEWEST = current_pipelines()["vod"].version
OLD = NEWEST - 1


def begun(settings: Settings, request_id: str, **values: Any) -> None:
    """Make a title's run one that another release has begun."""
    with create_engine(settings.catalog_url).begin() as connection:
        connection.execute(update(titles).where(titles.c.request_id == request_id).values(values))


def moves(catalog: Catalog) -> list[tuple[str, str | None, Any, Any]]:
    return [
        (event.kind, event.request_id, event.detail["old"], event.detail["new"])
        for event in catalog.history.events()
        if event.kind in {"batch.moved", "title.moved"}
    ]


def test_a_batch_of_a_version_that_is_gone_goes_on_under_the_newest(catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old", "a"), pipeline_version=OLD, now=NOW)
    accept(catalog, "new", "a")

    assert [stub.batch_id for stub in outdated_batches(catalog)] == ["old"]
    assert move_batches(catalog, now=after(5)) == ["old"]
    assert move_batches(catalog, now=after(6)) == []

    assert {stub.batch_id: stub.pipeline_version for stub in catalog.batches.stubs()} == {"new": NEWEST, "old": NEWEST}
    assert moves(catalog) == [("batch.moved", None, OLD, NEWEST)]
    batch = catalog.batches.get("old")
    assert batch is not None
    assert batch.moved_at == after(5)


def test_what_a_newer_release_runs_is_left_alone_and_told(catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("newer", "a"), pipeline_version=NEWEST + 1, now=NOW)

    assert move_batches(catalog, now=NOW) == []
    assert outdated_batches(catalog) == []
    assert [stub.batch_id for stub in foreign_batches(catalog)] == ["newer"]


def test_a_retired_batch_is_not_moved(catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old", "a"), pipeline_version=OLD, now=NOW)
    catalog.titles.settle("old/a", State.CANCELLED, now=NOW)
    catalog.batches.retire("old", NOW)

    assert not catalog.batches.move("old", NEWEST, now=NOW)
    assert move_batches(catalog, now=NOW) == []


@pytest.mark.parametrize(
    "values", [{"run_format": FORMAT - 1}, {"run_format": None}, {"run_pipeline_version": OLD}], ids=str
)
def test_a_run_that_another_release_has_begun_begins_again_once(
    values: dict[str, Any], catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", "b")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", **values)

    assert begin_runs_again(catalog, api, open_store(settings)) == ["spring/a"]
    assert begin_runs_again(catalog, api, open_store(settings)) == []

    assert airflow.cleared == ["a__1"]
    path = "/api/v2/dags/batch__spring/dagRuns/a__1/clear"
    body = {"dry_run": False, "only_failed": False, "run_on_latest_version": True}
    assert airflow.bodies[-1] == ("POST", path, body)
    ((kind, request_id, old, new),) = moves(catalog)
    assert (kind, request_id, new) == ("title.moved", "spring/a", {"pipeline_version": NEWEST, "format": FORMAT})
    assert old != new
    assert not find(catalog, "spring/a").begun_by_another_release


def test_a_run_that_a_newer_release_has_begun_is_left_to_it(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    """Both dispatch for a while in a rolling deploy: they would take the run from each other each minute."""
    accept(catalog, "spring", "a")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", run_format=FORMAT + 1)

    assert begin_runs_again(catalog, api, open_store(settings)) == []

    assert airflow.cleared == []
    with pytest.raises(AirflowRescheduleException):
        WorkerTask(task_id="prepare", pipeline="vod", pipeline_version=NEWEST).execute(
            context(find(catalog, "spring/a"))
        )


def test_a_run_waits_until_airflow_has_read_the_new_dag_of_its_batch(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    catalog.batches.accept(a_batch("old", "a"), pipeline_version=OLD, now=NOW)
    airflow.dags.add("batch__old")
    release(catalog, api, settings, now=NOW)
    move_batches(catalog, now=after(10))

    for parsed in (
        {"last_parsed_time": after(9).isoformat()},
        {"last_parsed_time": after(11).isoformat(), "has_import_errors": True},
        {"last_parsed_time": None},
    ):
        airflow.parsed = {"has_import_errors": False, **parsed}
        assert begin_runs_again(catalog, api, open_store(settings)) == []
    assert airflow.cleared == []
    airflow.parsed = {"has_import_errors": False, "last_parsed_time": after(11).isoformat()}
    assert begin_runs_again(catalog, api, open_store(settings)) == ["old/a"]


def test_a_run_that_airflow_refuses_holds_up_no_other_and_is_tried_again(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", "b")
    release(catalog, api, settings, now=NOW)
    for name in "ab":
        begun(settings, f"spring/{name}", run_format=1)
    airflow.fail("POST", "a__1/clear", 400, times=1)

    assert begin_runs_again(catalog, api, open_store(settings)) == ["spring/b"]
    assert begin_runs_again(catalog, api, open_store(settings)) == ["spring/a"]


def test_a_run_that_has_vanished_is_left_to_the_sweep(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", run_format=1)
    airflow.runs.clear()

    assert begin_runs_again(catalog, api, open_store(settings)) == []
    assert not find(catalog, "spring/a").begun_by_another_release


def test_a_task_of_such_a_run_waits_and_neither_works_nor_counts_as_an_attempt(
    catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    accept(catalog, "spring", "a")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", run_format=1)
    task = WorkerTask(task_id="prepare", pipeline="vod", pipeline_version=NEWEST)

    with pytest.raises(AirflowRescheduleException) as caught:
        task.execute(context(find(catalog, "spring/a")))

    assert timedelta(0) < caught.value.reschedule_date - find(catalog, "spring/a").created_at
    assert [event.kind for event in catalog.history.events() if event.kind.startswith("task.")] == []


@pytest.mark.parametrize(
    ("start_s", "duration_s", "stays"), [(0.0, 2.02, True), (0.4, 2.4, False), (0.0, 3.0, False)], ids=str
)
def test_what_was_made_on_the_containers_clock_stays_where_it_is_the_titles_as_well(
    start_s: float,
    duration_s: float,
    stays: bool,
    catalog: Catalog,
    api: AirflowApi,
    settings: Settings,
) -> None:
    accept(catalog, "spring", "a")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", run_format=2)
    store, title = open_store(settings), find(catalog, "spring/a").job()
    cost = Cost(wall_s=1, cpu_s=1, peak_memory_mb=1)
    verdict = SourceVerdict(checksum=f"sha256:{'0' * 64}", frames=50, duration_s=2, decode_errors=0, cost=cost)
    store.put_bytes(f"{title.work}/verify_source.json", verdict.to_json().encode())
    video = VideoStream(
        index=0, codec="h264", width=640, height=360, display_width=640, display_height=360, frame_rate="25",
        duration_s=2, start_time_s=start_s, pixel_format="yuv420p",
    )  # fmt: skip
    identity = MezzanineIdentity(uri="file:///a.mov", size_bytes=9, marker="1")
    inspected = Inspection(
        mezzanine=identity, container="mov", duration_s=duration_s, video=video, tool_version="9.0.2"
    )
    store.put_bytes(f"{title.work}/inspect.json", inspected.to_json().encode())

    assert begin_runs_again(catalog, api, store) == ["spring/a"]

    assert set(store.list(title.work)) == ({"verify_source.json"} if stays else set())


def test_what_this_release_cannot_read_of_a_run_is_removed_and_what_it_can_stays(
    catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    accept(catalog, "spring", "a")
    release(catalog, api, settings, now=NOW)
    begun(settings, "spring/a", run_format=1)
    store, title = open_store(settings), find(catalog, "spring/a").job()
    cost = Cost(wall_s=1, cpu_s=1, peak_memory_mb=1)
    verdict = SourceVerdict(checksum=f"sha256:{'0' * 64}", frames=50, duration_s=2, decode_errors=0, cost=cost)
    store.put_bytes(f"{title.work}/verify_source.json", verdict.to_json().encode())
    for name in ("plan.json", "encode.h264_144p.json", "jobs/plan.json", "of-a-user.json"):
        store.put_bytes(f"{title.work}/{name}", b'{"of": "before"}')

    assert begin_runs_again(catalog, api, store) == ["spring/a"]

    assert set(store.list(title.work)) == {"verify_source.json", "jobs/plan.json", "of-a-user.json"}
