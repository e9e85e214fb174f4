"""A resumed task beside fresh ones of higher weight, on Airflow's own database, triggerer and scheduler.

Run in a process of its own, so that Airflow loads Callsheet's local settings as it does in production; prints what it
saw as one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.trigger import Trigger
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

DAG = """
from datetime import datetime, UTC
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("batch__spring", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)):
    EmptyOperator(task_id="encode_cpu", pool="cpu_encode", weight_rule="absolute", retries=1)
"""
RESUME_LIMIT_S = 90
PRIORITIES = {"modest": 1, "valuable": 900, "also_valuable": 900}


def main(folder: Path) -> dict[str, Any]:
    """What was queued at each point, and the weights of the task that resumes."""
    initdb()
    (folder / "spring.py").write_text(DAG)
    with create_session() as session:
        session.add(DagBundleModel(name="batches"))
        Pool.create_or_update_pool("cpu_encode", slots=1, description="", include_deferred=True, session=session)
    sync_bag_to_db(DagBag(str(folder), bundle_path=folder, bundle_name="batches"), "batches", None)
    with create_session() as session:
        dag = SerializedDagModel.get_dag("batch__spring", session=session)
        assert dag is not None
        for day, (name, priority) in enumerate(PRIORITIES.items(), start=1):
            dag.create_dagrun(
                run_id=name,
                logical_date=datetime(2026, 3, day, tzinfo=UTC),
                run_after=datetime(2026, 3, day, tzinfo=UTC),
                conf={"priority": priority},
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
        session.flush()
        trigger = Trigger.from_object(DateTimeTrigger(moment=datetime(2026, 1, 1, tzinfo=UTC)))  # fires at once
        session.add(trigger)
        session.flush()
        for each in session.scalars(select(TaskInstance)):
            each.state = TaskInstanceState.SCHEDULED
        modest = instance(session)
        modest.state, modest.trigger_id = TaskInstanceState.DEFERRED, trigger.id
        modest.next_method, modest.next_kwargs = "trigger_reentry", {}
    seen: dict[str, Any] = {"weight_deferred": weight(), "queued_while_deferred": queued()}

    triggerer = subprocess.Popen(
        [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
        stdout=sys.stderr, stderr=sys.stderr, start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + RESUME_LIMIT_S
        while state() == "deferred" and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        os.killpg(triggerer.pid, signal.SIGTERM)
        triggerer.wait(RESUME_LIMIT_S)
    seen["state_resumed"] = state()
    seen["weight_resumed"] = weight()
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == "modest")).one()
        run.dag = dag
        run.verify_integrity(session=session, dag_version_id=instance(session).dag_version_id)
    seen["weight_verified"] = weight()
    seen["queued_when_resumed"] = queued()
    seen["weight_queued"] = weight()

    with create_session() as session:
        modest = instance(session)
        modest.state = TaskInstanceState.RUNNING
        session.flush()
        modest.prepare_db_for_next_try(session)
        modest.state = TaskInstanceState.UP_FOR_RETRY
    seen["weight_retried"] = weight()

    with create_session() as session:
        modest = instance(session)
        modest.state = TaskInstanceState.SCHEDULED
        session.flush()
        seen["weight_before_clearing"] = modest.priority_weight
        clear_task_instances([modest], session)
    seen["weight_cleared"] = weight()
    return seen


def instance(session: Any) -> TaskInstance:
    """The task instance of the modest title."""
    found: TaskInstance = session.scalars(select(TaskInstance).where(TaskInstance.run_id == "modest")).one()
    return found


def state() -> str | None:
    """Of that task instance, as the database has it."""
    with create_session() as session:
        return session.scalars(select(TaskInstance.state).where(TaskInstance.run_id == "modest")).one()


def weight() -> int | None:
    """Of that task instance, as the database has it."""
    with create_session() as session:
        return session.scalars(select(TaskInstance.priority_weight).where(TaskInstance.run_id == "modest")).one()


def queued() -> list[str]:
    """Runs whose task the scheduler queues next."""
    scheduler = SchedulerJobRunner(Job())
    with create_session() as session:
        return [each.run_id for each in scheduler._executable_task_instances_to_queued(max_tis=8, session=session)]


if __name__ == "__main__":
    assert conf.get("core", "plugins_folder").endswith("plugins")
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
