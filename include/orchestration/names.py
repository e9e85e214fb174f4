"""The names that Callsheet gives to things in Airflow; DAG and run ids come from the catalog."""

from __future__ import annotations

BATCH_PREFIX = "batch__"

CONTROL_POOL = "control"
"""Intake, dispatch and the short tasks around the encodes: never behind an encode."""
CPU_POOL = "cpu_encode"
GPU_POOL = "gpu_encode"


def mapped_task_id(task: str, pool: str) -> str:
    """Airflow's id of the part of a mapped task whose jobs run on ``pool``: ``encode_cpu``, ``encode_gpu``."""
    return f"{task}_{pool.removesuffix('_encode')}"


def gpu_jobs_id(task: str) -> str:
    """Airflow's id of the task that stands for the list of jobs on GPUs.

    Airflow keeps one length per task to map over, and the plan's own is that of the jobs on CPUs. The scheduler marks
    this one done by itself; the plan pushes the list in its name.
    """
    return f"{task}_gpu_jobs"


def done_id(task: str) -> str:
    """Airflow's id of the join behind a mapped task. The scheduler marks it done when no job is left to wait for.

    What follows depends on it, not on the mapped tasks: an empty one is skipped, and no trigger rule of Airflow's takes
    failed and skipped tasks alike.
    """
    return f"{task}_done"
