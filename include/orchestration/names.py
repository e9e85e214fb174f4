"""The names that Callsheet gives to things in Airflow; DAG and run ids come from the catalog."""

from __future__ import annotations

BATCH_PREFIX = "batch__"

PROOFS_DAG = "proofs"
"""Each of its runs is a slice of a title's proof (:mod:`include.services.proofs`)."""

CONTROL_POOL = "control"
"""Intake, dispatch and the short tasks around the encodes: never behind an encode."""


def mapped_task_id(task: str, pool: str) -> str:
    """Airflow's id of the part of a mapped task whose jobs run in ``pool``: ``encode_cpu``, ``encode_gpu``."""
    return f"{task}_{pool.removesuffix('_encode')}"


def rest_of(task: str, edition: str) -> str:
    """Name, in Airflow's ids, of the part of a mapped task whose jobs wait until those of ``edition`` have ended.

    ``encode_rest`` behind the edition ``first``, ``encode_rest_<edition>`` behind any other.
    """
    return f"{task}_rest" if edition == "first" else f"{task}_rest_{edition}"


def jobs_id(task: str, pool: str) -> str:
    """Airflow's id of the task that stands for a list of jobs: ``encode_gpu_jobs``, ``encode_rest_cpu_jobs``.

    Airflow keeps one length per task to map over, and the plan's own is that of the first jobs on CPUs. The scheduler
    marks these done by itself; the plan pushes the lists in their names.
    """
    return f"{mapped_task_id(task, pool)}_jobs"


def gate_id(edition: str) -> str:
    """Airflow's id of the gate before all that an edition needs: the edition's name.

    Where the plan does not list the edition the scheduler skips the gate, hence all that follows it, as soon as the
    plan is made: no process is started, and nothing waits for it.
    """
    return edition


def asked_id(edition: str) -> str:
    """Airflow's id of what the gate is mapped over: a list of one item where the plan lists the edition, else none."""
    return f"{edition}_asked"


def done_id(task: str) -> str:
    """Airflow's id of the join behind a mapped task, or behind an edition.

    The scheduler marks it done when no job is left to wait for.

    What follows depends on it, not on the mapped tasks: an empty one is skipped, and no trigger rule of Airflow's takes
    failed and skipped tasks alike.
    """
    return f"{task}_done"
