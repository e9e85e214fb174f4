"""Turns a pipeline into the DAG of a batch: tasks into operators, what they take from each other into edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AsyncCallback, BaseOperator, DeadlineAlert, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from include.adapters.catalog.records import dag_id_of
from include.orchestration.deadlines import TitleDeadline, title_missed_its_deadline
from include.orchestration.names import CONTROL_POOL, CPU_POOL, GPU_POOL, done_id, gpu_jobs_id, mapped_task_id
from include.orchestration.operators import ControlTask, PublishTask, TitleTask, WorkerTask
from include.pipelines.core import Pipeline, Task, find_pipeline
from include.settings import load_settings

START = datetime(2024, 1, 1, tzinfo=UTC)
"""Fixed: a start date that moves makes a new DAG version at every parse."""
CEILING = timedelta(hours=12)
"""Last resort against a task that hangs; real limits come from the plan and are kept by the worker."""
MAX_ACTIVE_RUNS = 200
"""Above any sensible release window: how many titles run is decided by the release, not by Airflow."""
RETRIES = 2

Operator: TypeAlias = BaseOperator | MappedOperator


def batch_dag(*, batch_id: str, pipeline: str, pipeline_version: int) -> DAG:
    """The DAG of one batch. Each of its runs is one title.

    Raises :class:`ConfigurationError` where this deployment no longer has that version of the pipeline.
    """
    described = find_pipeline(pipeline, pipeline_version)
    with DAG(
        dag_id=dag_id_of(batch_id),
        description=described.summary,
        doc_md=_doc(batch_id, described),
        schedule=None,
        start_date=START,
        catchup=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        is_paused_upon_creation=False,
        tags={"callsheet", "batch", f"pipeline:{described.name}"},
        deadline=DeadlineAlert(
            name="publish_at",
            reference=TitleDeadline(),
            interval=timedelta(0),
            callback=AsyncCallback(title_missed_its_deadline),
        ),
    ) as dag:
        worker = _worker_kind()
        first: dict[str, list[Operator]] = {}
        last: dict[str, Operator] = {}
        for task in described.tasks:
            if task.mapped_over is None:
                last[task.name] = _operator(described, task, worker)
                first[task.name] = [last[task.name]]
            else:
                plan = last[described.owner(task.mapped_over)]
                first[task.name], last[task.name] = _mapped(described, task, plan, worker)
        # One edge per result that a task takes from another; the pipeline says why (include/pipelines/vod.py).
        for task in described.tasks:
            for upstream in task.upstream:
                last[upstream] >> first[task.name]
    return dag


def _worker_kind() -> type[TitleTask]:
    """Worker tasks of this deployment's runtime."""
    if load_settings().runtime == "local":
        return WorkerTask
    # The Kubernetes client costs more than all the rest of a parse.
    from include.orchestration.pods import PodTask

    return PodTask


def _operator(pipeline: Pipeline, task: Task, worker: type[TitleTask]) -> BaseOperator:
    publishes = any(node.stage.name == "publish" for node in task.nodes)
    operator = worker if task.place == "worker" else PublishTask if publishes else ControlTask
    pool = CPU_POOL if task.place == "worker" else CONTROL_POOL
    return operator(
        task_id=task.name, pipeline=pipeline.name, pipeline_version=pipeline.version, pool=pool, **_arguments(task)
    )


def _mapped(pipeline: Pipeline, task: Task, plan: Operator, worker: type[TitleTask]) -> tuple[list[Operator], Operator]:
    """The mapped tasks of each pool, and the join behind them."""
    gpu_jobs = EmptyOperator(task_id=gpu_jobs_id(task.name), pool=CONTROL_POOL, **_no_work("The jobs for GPUs."))
    plan >> gpu_jobs
    done = EmptyOperator(
        task_id=done_id(task.name), pool=CONTROL_POOL, trigger_rule="all_done", **_no_work("All jobs have ended.")
    )
    mapped: list[Operator] = []
    for pool, jobs in ((CPU_POOL, plan), (GPU_POOL, gpu_jobs)):
        partial = worker.partial(
            task_id=mapped_task_id(task.name, pool),
            pipeline=pipeline.name,
            pipeline_version=pipeline.version,
            pipeline_task=task.name,
            pool=pool,
            map_index_template="{{ task.job }}",
            **_arguments(task),
        )
        mapped.append(partial.expand(job=XComArg(jobs)))
    mapped >> done
    return mapped, done


def _no_work(doc: str) -> dict[str, Any]:
    """Arguments of a task that the scheduler marks done by itself."""
    return {"weight_rule": "absolute", "execution_timeout": CEILING, "retries": RETRIES, "doc_md": doc}


def _arguments(task: Task) -> dict[str, Any]:
    return {
        "trigger_rule": task.trigger_rule,
        "weight_rule": "absolute",
        "execution_timeout": CEILING,
        "retries": RETRIES,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "doc_md": "\n\n".join(
            f"**{node.stage.name}** {(node.stage.function.__doc__ or '').strip()}" for node in task.nodes
        ),
    }


def _doc(batch_id: str, pipeline: Pipeline) -> str:
    return f"""\
Batch **{batch_id}** on pipeline **{pipeline.name}** v{pipeline.version}: {pipeline.summary}

Each run is one title; Callsheet releases them from its catalog. A run that is started by hand fails its first task.

**If it fails:** every task is safe to clear. It finds what is done in the title's work folder and repeats the rest;
published versions are never touched. `callsheet replay <batch>/<title>` makes a new request of the title instead.
"""
