"""Priority weights of task instances, from the conf that a title was released with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.orchestration.names import BATCH_PREFIX

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

STEPS = {"prepare": 1, "plan": 9, "encode": 2, "extras": 3, "finish": 6, "publish": 9, "settle": 9}
"""Within one priority what is nearly done goes first: a finished title is worth more than a started one."""
PRIORITY_STEP = 10
DEFAULT_PRIORITY = 0
HIGHEST_PRIORITY = 1_000_000
"""The weight must fit Airflow's 32-bit column, or no task of the run could be created."""


def weigh(task_instance: TaskInstance, dag_run: DagRun | None = None) -> None:
    """Set ``priority_weight`` of a batch DAG's task instance; leaves every other DAG alone. Never raises."""
    if dag_run is None or not str(task_instance.dag_id).startswith(BATCH_PREFIX):
        return
    conf = dag_run.conf if isinstance(dag_run.conf, dict) else {}
    priority = conf.get("priority", DEFAULT_PRIORITY)
    if not isinstance(priority, int) or isinstance(priority, bool):
        priority = DEFAULT_PRIORITY
    bounded = min(HIGHEST_PRIORITY, max(0, priority))
    task_instance.priority_weight = bounded * PRIORITY_STEP + STEPS.get(str(task_instance.task_id), 1)
