"""Titles of a batch through Airflow's scheduler and database, with every task's end given: who runs, who is skipped.

Run in a process of its own, with an Airflow of its own; prints the states of each title's tasks as one JSON object.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import SetXCom
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from include.domain.plan import EncodeJob, Plan, SourceTreatment
from include.orchestration.operators import push_jobs

STUB = """
# airflow dag
from include.orchestration.factory import batch_dag

dag = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=2)
"""
TITLES: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "cpu_only": (2, 0, ()),
    "gpu_only": (0, 2, ()),
    "both": (1, 2, ()),
    "one_rendition_failed": (2, 1, ("encode_cpu.1",)),
    "every_rendition_failed": (1, 1, ("encode_cpu.0", "encode_gpu.0")),
    "rejected": (0, 0, ("prepare",)),
    "no_plan": (0, 0, ("plan",)),
    "no_sound": (1, 1, ("extras",)),
}
"""By name: jobs on CPUs, jobs on GPUs, and the tasks that fail."""


def main(folder: Path) -> dict[str, dict[str, str]]:
    """States by title and task; a mapped task has one per instance."""
    initdb()
    (folder / "spring.py").write_text(STUB)
    with create_session() as session:
        session.add(DagBundleModel(name="batches"))
    sync_bag_to_db(DagBag(str(folder), bundle_path=folder, bundle_name="batches"), "batches", None)
    task_runner.SUPERVISOR_COMMS = Comms()  # type: ignore[assignment]
    return {name: title(name, *what) for name, what in TITLES.items()}


def title(name: str, on_cpus: int, on_gpus: int, failing: tuple[str, ...]) -> dict[str, str]:
    """Let the scheduler take one title to its end."""
    day = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=list(TITLES).index(name))
    with create_session() as session:
        dag = SerializedDagModel.get_dag("batch__spring", session=session)
        assert dag is not None
        run = dag.create_dagrun(
            run_id=name,
            logical_date=day,
            run_after=day,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
    for _ in range(20):
        with create_session() as session:
            run = session.scalars(select(DagRun).where(DagRun.run_id == name)).one()
            run.dag = dag
            ready, _callback = run.update_state(session=session, execute_callbacks=False)
            if run.state in {DagRunState.SUCCESS, DagRunState.FAILED}:
                break
            run.schedule_tis(ready, session=session)
        for task_id in scheduled(name):
            if task_id == "plan" and "plan" not in failing:
                push_plan(name, on_cpus, on_gpus)
        with create_session() as session:
            for each in session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)):
                if each.state == TaskInstanceState.SCHEDULED:
                    fails = label(each) in failing
                    each.state = TaskInstanceState.FAILED if fails else TaskInstanceState.SUCCESS
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)).all()
        return {label(each): str(each.state) for each in found}


def scheduled(name: str) -> list[str]:
    """Tasks that a worker would take now."""
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)).all()
        return [each.task_id for each in found if each.state == TaskInstanceState.SCHEDULED]


def label(instance: TaskInstance) -> str:
    """``task`` or ``task.<map index>``."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}.{instance.map_index}"


def push_plan(name: str, on_cpus: int, on_gpus: int) -> None:
    """What the task ``plan`` leaves for the mapped tasks."""
    pools = ["cpu_encode"] * on_cpus + ["gpu_encode"] * on_gpus
    jobs = tuple(
        EncodeJob.model_construct(name=f"job{number}", pool=pool, memory_mb=1, time_limit_s=1)
        for number, pool in enumerate(pools)
    )
    plan = Plan.model_construct(treatment=SourceTreatment(), jobs=jobs, segment_frames=1, frame_rate="25")
    context: Any = {"dag_run": SimpleNamespace(dag_id="batch__spring", run_id=name)}
    own = push_jobs(plan, "encode", context)
    message = SetXCom(
        key="return_value", value=own, dag_id="batch__spring", run_id=name, task_id="plan", mapped_length=len(own)
    )
    task_runner.SUPERVISOR_COMMS.send(message)


class Comms:
    """Takes XComs to Airflow's execution API, as the supervisor of a task does."""

    def __init__(self) -> None:
        self.client = InProcessTestSupervisor._api_client()

    def send(self, message: SetXCom) -> None:
        self.client.xcoms.set(
            message.dag_id,
            message.run_id,
            message.task_id,
            message.key,
            message.value,
            message.map_index,
            mapped_length=message.mapped_length,
        )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
