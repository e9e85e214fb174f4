"""Live runs are told priority and deadline, on Airflow's own database and with the real DAG of a batch.

Run in a process of its own, so that Airflow loads Callsheet's plugin and local settings as it does in production;
prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.pool import Pool
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskmap import TaskMap
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from include.adapters.catalog import Catalog, TitleRecord
from include.base.settings import load_settings
from include.domain.title.steering import Steering
from include.orchestration.live_runs import share_slots, tell_runs
from include.services.release import run_conf
from tests.catalog.samples import accept
from tests.catalog.test_queue import valued

DAG = """
# A dag of airflow.
from include.orchestration.factory import batch_dag

dag = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=3)
"""
NOW = datetime.now(UTC).replace(microsecond=0)
DUE = NOW + timedelta(hours=5)
SOONER = NOW + timedelta(hours=1)
JOBS, SLOTS = 4, 2
TITLES = ("due", "free", "missed", "gone")


def main(folder: Path) -> dict[str, Any]:
    """What the database holds before and after each telling."""
    initdb()
    catalog = Catalog(load_settings().catalog_url)
    catalog.migrate()
    accept(catalog, "spring", *TITLES)
    for name in ("due", "missed"):
        steer(catalog, name, DUE)
    value(catalog, **dict.fromkeys(TITLES, 100))
    (folder / "spring.py").write_text(DAG)
    with create_session() as session:
        session.add(DagBundleModel(name="batches"))
        for pool in ("control", "cpu_encode", "gpu_encode"):
            Pool.create_or_update_pool(pool, slots=1, description="", include_deferred=True, session=session)
    bag = DagBag(str(folder), bundle_path=folder, bundle_name="batches")
    assert not bag.import_errors, bag.import_errors
    sync_bag_to_db(bag, "batches", None)
    for title in catalog.titles.claim(window=100, now=NOW, claimant="test"):
        catalog.titles.mark_released(title.request_id, claimant="test", run_id=title.run_id or "", now=NOW)
        if title.title_id != "gone":
            create_run(title)
    with create_session() as session:
        for task, state in (("prepare", TaskInstanceState.RUNNING), ("plan", TaskInstanceState.SUCCESS)):
            instance(session, "due", task).state = state
        resumed = instance(session, "due", "extras")
        resumed.state, resumed.next_method = TaskInstanceState.SCHEDULED, "trigger_reentry"
        for each in deadlines(session, "missed"):
            each.missed = True
    seen: dict[str, Any] = {"first": told(catalog), "before": shown()}

    value(catalog, due=900, free=900, missed=900)
    for name in ("due", "free", "missed"):
        steer(catalog, name, SOONER)
    seen["second"], seen["after"] = told(catalog), shown()
    seen["third"] = told(catalog)

    steer(catalog, "due", SOONER)
    seen["again"], seen["unchanged"] = told(catalog), shown() == seen["after"]
    seen["expanded"] = expanded("due")
    seen["shares"] = shares("due")
    return seen


def value(catalog: Catalog, **priorities: int) -> None:
    entered = {}
    for name, priority in priorities.items():
        work, valuation = valued(priority)
        entered[f"spring/{name}"] = work, valuation.model_copy(update={"slots": SLOTS})
    catalog.queue.value(entered, now=NOW)


def steer(catalog: Catalog, name: str, moment: datetime) -> None:
    catalog.queue.steer(f"spring/{name}", Steering(publish_at=moment, why="the test says so"), by="test", now=NOW)


def told(catalog: Catalog) -> dict[str, Any]:
    """What one call did, by title."""
    return {each.run_id.partition("__")[0]: each.model_dump(mode="json") for each in tell_runs(catalog)}


def create_run(title: TitleRecord) -> None:
    with create_session() as session:
        dag = SerializedDagModel.get_dag(title.dag_id, session=session)
        assert dag is not None
        dag.create_dagrun(
            run_id=title.run_id or "",
            logical_date=None,
            run_after=NOW,
            conf=run_conf(title),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )


def instance(session: Any, name: str, task: str) -> TaskInstance:
    found: TaskInstance = session.scalars(
        select(TaskInstance).where(TaskInstance.run_id == f"{name}__1", TaskInstance.task_id == task)
    ).one()
    return found


def deadlines(session: Any, name: str) -> list[Deadline]:
    query = select(Deadline).join(DagRun, DagRun.id == Deadline.dagrun_id).where(DagRun.run_id == f"{name}__1")
    return list(session.scalars(query.order_by(Deadline.deadline_time)))


def shown() -> dict[str, Any]:
    """Conf, weights and deadlines of each run, as the database has them."""
    found: dict[str, Any] = {}
    with create_session() as session:
        for run in session.scalars(select(DagRun)):
            name = run.run_id.partition("__")[0]
            instances = session.scalars(select(TaskInstance).where(TaskInstance.run_id == run.run_id))
            found[name] = {
                "conf": run.conf,
                "weights": {each.task_id: each.priority_weight for each in instances},
                "deadlines": [[each.deadline_time.isoformat(), each.missed] for each in deadlines(session, name)],
            }
    return found


def expanded(name: str) -> list[int]:
    """Weights of encodes that the plan's list makes afterwards."""
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == f"{name}__1")).one()
        dag = SerializedDagModel.get_dag(run.dag_id, session=session)
        assert dag is not None
        session.add(TaskMap(dag_id=run.dag_id, task_id="plan", run_id=run.run_id, map_index=-1, length=JOBS, keys=None))
        session.flush()
        instances, _ = TaskMap.expand_mapped_task(dag.get_task("encode_cpu"), run.run_id, session=session)
        return [each.priority_weight for each in instances]


def shares(name: str) -> dict[str, list[int]]:
    """Weights of the encodes as some of them start, resume and end."""
    seen: dict[str, list[int]] = {}

    def look(moment: str, ended: int | None = None, **states: Any) -> None:
        with create_session() as session:
            for index, state in states.items():
                job = jobs(session, name)[int(index[1:])]
                job.state, job.next_method = state if isinstance(state, tuple) else (state, None)
            gone = None if ended is None else jobs(session, name)[ended].id
        changed = share_slots(gone)
        with create_session() as session:
            seen[moment] = [each.priority_weight for each in jobs(session, name)]
        seen[f"{moment}_changed"] = [changed, share_slots(gone)]

    look("waiting", _0="scheduled", _1="scheduled", _2="scheduled")
    look("full", _0="running", _1="queued")
    look("ending", ended=0)
    look("ended", _0="success")
    look("resumes", _1=("scheduled", "trigger_reentry"), _2="deferred")
    value(load(), **{name: 950})
    seen["told"] = [each.task_instances for each in tell_runs(load())]
    look("told", _1="failed", _2="up_for_retry")
    return seen


def load() -> Catalog:
    return Catalog(load_settings().catalog_url)


def jobs(session: Any, name: str) -> list[TaskInstance]:
    query = select(TaskInstance).where(TaskInstance.run_id == f"{name}__1", TaskInstance.task_id == "encode_cpu")
    return list(session.scalars(query.order_by(TaskInstance.map_index)))


if __name__ == "__main__":
    result = main(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(result | {"due": DUE.isoformat(), "sooner": SOONER.isoformat()}) + "\n")
