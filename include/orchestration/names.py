"""The names that Callsheet gives to things in Airflow; DAG and run ids come from the catalog."""

from __future__ import annotations

BATCH_PREFIX = "batch__"

CONTROL_POOL = "control"
"""Intake, dispatch and the short tasks around the encodes: never behind an encode."""


def mapped_task_id(task: str, pool: str) -> str:
    """Airflow's id of the part of a mapped task whose jobs run in ``pool``: ``encode_cpu``, ``encode_gpu``."""
    return f"{task}_{pool.removesuffix('_encode')}"


def rest_of(task: str) -> str:
    """Name, in Airflow's ids, of the part of a mapped task whose jobs wait until the first version's have ended."""
    return f"{task}_rest"


def jobs_id(task: str, pool: str) -> str:
    """Airflow's id of the task that stands for a list of jobs: ``encode_gpu_jobs``, ``encode_rest_cpu_jobs``.

    Airflow keeps one length per task to map over, and the plan's own is that of the first jobs on CPUs. The scheduler
    marks these done by itself; the plan pushes the lists in their names.
    """
    return f"{mapped_task_id(task, pool)}_jobs"


FIRST_ASKED = "first_asked"
"""Stands for the list that :data:`FIRST` is mapped over: one item where the plan wants a first version, else none."""
FIRST = "first"
"""The gate before all that a first version needs. Where nobody wants one the scheduler skips it, hence all of that,
as soon as the plan is made: no process is started, and nothing waits for it."""


def done_id(task: str) -> str:
    """Airflow's id of the join behind a mapped task. The scheduler marks it done when no job is left to wait for.

    What follows depends on it, not on the mapped tasks: an empty one is skipped, and no trigger rule of Airflow's takes
    failed and skipped tasks alike.
    """
    return f"{task}_done"
