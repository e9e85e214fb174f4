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

from include.domain.plan.plan import COMPLETE, Edition, EncodeJob, Plan
from include.orchestration.runtimes.task import push_jobs

STUB = """
# airflow dag
from include.orchestration.factory import batch_dag

dag = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=3)
"""
TITLES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "cpu_only": ((2, 0), ()),
    "slow": ((2, 0), ()),
    "gpu_only": ((0, 2), ()),
    "both": ((1, 2), ()),
    "one_rendition_failed": ((2, 1), ("encode_cpu.1",)),
    "every_rendition_failed": ((1, 1), ("encode_cpu.0", "encode_gpu.0")),
    "rejected": ((0, 0), ("prepare",)),
    "no_plan": ((0, 0), ("plan",)),
    "no_sound": ((1, 1), ("extras",)),
    "first": ((1, 0, 2, 1), ()),
    "first_on_gpu": ((0, 1, 1, 0), ()),
    "first_lacks_its_core": ((1, 0, 1, 0), ("encode_cpu.0", "first_finish", "finish")),
    "first_is_not_published": ((1, 0, 1, 0), ("first_publish",)),
    "rest_failed": ((1, 0, 1, 0), ("encode_rest_cpu.0", "finish")),
    "first_without_sound": ((1, 0, 1, 0), ("extras",)),
}
"""By name: jobs on CPUs and GPUs, and those behind a first version, if there is one; and the tasks that fail."""
SLOW = 10
"""The scheduler's look by which the encodes of the title ``slow`` have ended; all other tasks end at once."""


def main(folder: Path) -> dict[str, dict[str, str]]:
    """States by title and task; a mapped task has one per instance."""
    initdb()
    (folder / "spring.py").write_text(STUB)
    with create_session() as session:
        session.add(DagBundleModel(name="batches"))
    sync_bag_to_db(DagBag(str(folder), bundle_path=folder, bundle_name="batches"), "batches", None)
    task_runner.SUPERVISOR_COMMS = Comms()  # type: ignore[assignment]
    return {name: title(name, *what) for name, what in TITLES.items()}


def title(name: str, jobs: tuple[int, ...], failing: tuple[str, ...]) -> dict[str, str]:
    """Let the scheduler take one title to its end; the moments at which tasks are scheduled go before their states."""
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
    moments: dict[str, str] = {}
    for moment in range(25):
        with create_session() as session:
            run = session.scalars(select(DagRun).where(DagRun.run_id == name)).one()
            run.dag = dag
            ready, _callback = run.update_state(session=session, execute_callbacks=False)
            if run.state in {DagRunState.SUCCESS, DagRunState.FAILED}:
                break
            run.schedule_tis(ready, session=session)
        for task_id in scheduled(name):
            if task_id == "plan" and "plan" not in failing:
                push_plan(name, *jobs)
        with create_session() as session:
            for each in session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)):
                if each.state is not None:
                    moments.setdefault(f"at.{label(each)}", f"{moment:02}")
                if name == "slow" and each.map_index >= 0 and each.task_id == "encode_cpu" and moment < SLOW:
                    continue
                if each.state == TaskInstanceState.SCHEDULED:
                    fails = label(each) in failing
                    each.state = TaskInstanceState.FAILED if fails else TaskInstanceState.SUCCESS
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)).all()
        return {**moments, **{label(each): str(each.state) for each in found}}


def scheduled(name: str) -> list[str]:
    """Tasks that a worker would take now."""
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == name)).all()
        return [each.task_id for each in found if each.state == TaskInstanceState.SCHEDULED]


def label(instance: TaskInstance) -> str:
    """``task`` or ``task.<map index>``."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}.{instance.map_index}"


def push_plan(name: str, on_cpus: int, on_gpus: int, later_on_cpus: int = 0, later_on_gpus: int = 0) -> None:
    """What the task ``plan`` leaves for the mapped tasks."""
    counts = (on_cpus, on_gpus, later_on_cpus, later_on_gpus)
    pools = [pool for count, pool in zip(counts, ("cpu_encode", "gpu_encode") * 2, strict=True) for _ in range(count)]
    jobs = tuple(
        EncodeJob.model_construct(name=f"job{number}", pool=pool, memory_mb=1, time_limit_s=1)
        for number, pool in enumerate(pools)
    )
    names = tuple(job.name for job in jobs)
    split = on_cpus + on_gpus
    early, complete = Edition(name="first", jobs=names[:split], why="asked"), Edition(name=COMPLETE, jobs=names)
    editions = (early, complete) if names[split:] else ()
    plan = Plan.model_construct(jobs=jobs, segment_frames=1, frame_rate="25", editions=editions)
    context: Any = {"dag_run": SimpleNamespace(dag_id="batch__spring", run_id=name)}
    own = push_jobs(plan, "encode", context, pools=("cpu_encode", "gpu_encode"), editions=("first",))
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
