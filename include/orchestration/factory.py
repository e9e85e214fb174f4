"""Turns a pipeline into the DAG of a batch: tasks into operators, what they take from each other into edges."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AsyncCallback, BaseOperator, DeadlineAlert, TaskGroup, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from include.adapters.catalog.records import dag_id_of
from include.base.errors import ConfigurationError
from include.base.pools import Pool, worker_pools
from include.base.settings import load_settings
from include.orchestration.deadlines import TitleDeadline, title_missed_its_deadline
from include.orchestration.names import (
    CONTROL_POOL,
    asked_id,
    done_id,
    gate_id,
    jobs_id,
    mapped_task_id,
    rest_of,
)
from include.orchestration.runtimes.control import Gate
from include.orchestration.runtimes.registry import find_runtime
from include.pipelines.core import Pipeline, Task, current_pipelines, find_pipeline

START = datetime(2024, 1, 1, tzinfo=UTC)
"""Fixed: a start date that moves makes a new DAG version at every parse."""
CEILING = timedelta(days=4)
"""Last resort against a task that hangs; real limits come from the title's length and the plan. The longest title that
is served has 24 hours: its tasks may take 72."""
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
        pools = worker_pools(load_settings())
        begins: dict[str, list[Operator]] = {}
        ends: dict[str, Operator] = {}
        for task in described.of_run:
            if task.mapped_over is not None:
                plan = ends[described.owner(task.mapped_over)]
                begins[task.name], ends[task.name] = _mapped(described, task, plan, pools)
            elif task.edition is None:
                ends[task.name] = _operator(described, task, pools)
                begins[task.name] = [ends[task.name]]
        joins: dict[str, Operator] = {}
        for edition in described.editions:
            joins[edition] = _edition(described, edition, begins, ends, pools, list(joins.values()))
        # One edge per result that a task takes from another; the pipeline says why (include/pipelines/vod.py).
        for task in described.of_run:
            above = [described.task(upstream) for upstream in task.upstream]
            for upper in above:
                if upper.edition in (None, task.edition):
                    ends[upper.name] >> begins[task.name]
            # What an earlier edition needs may be skipped, and nothing but its join may follow a skipped task.
            if any(upper.mapped_over or upper.edition not in (None, task.edition) for upper in above):
                for edition in described.before(task.edition):
                    joins[edition] >> begins[task.name]
    return dag


def apart_operator(name: str, *, weight: int) -> BaseOperator:
    """A task that runs apart from the titles' runs, for titles of every pipeline that has it.

    The run's conf names the title. Raises :class:`ConfigurationError` where no pipeline has such a task.

    Args:
        name: Of the task in the pipelines.
        weight: Of all weights that there are, not of those within a title.
    """
    tasks = [task for each in current_pipelines().values() for task in each.tasks if task.apart and task.name == name]
    if not tasks:
        raise ConfigurationError(f"no pipeline has a task {name!r} that runs apart from the titles' runs")
    pool = worker_pools(load_settings())[0]
    arguments = {**_arguments(tasks[0]), "priority_weight": weight}
    return find_runtime(pool.runtime).operator(tasks[0])(task_id=name, pool=pool.name, **arguments)


def _operator(pipeline: Pipeline, task: Task, pools: tuple[Pool, ...]) -> BaseOperator:
    """A task that is not mapped: inside Airflow, or in the first of the pools."""
    pool, runtime = (pools[0].name, pools[0].runtime) if task.place == "worker" else (CONTROL_POOL, "control")
    operator = find_runtime(runtime).operator(task)
    return operator(
        task_id=task.name, pipeline=pipeline.name, pipeline_version=pipeline.version, pool=pool, **_arguments(task)
    )


def _mapped(pipeline: Pipeline, task: Task, plan: Operator, pools: tuple[Pool, ...]) -> tuple[list[Operator], Operator]:
    """The mapped tasks of each pool, and the join behind them."""
    # What the plan itself returns is the list of the first pool.
    lists = [plan, *(_list_of_jobs(task.name, pool, plan) for pool in pools[1:])]
    mapped = _by_pool(pipeline, task, task.name, zip(pools, lists, strict=True))
    done = EmptyOperator(
        task_id=done_id(task.name), pool=CONTROL_POOL, trigger_rule="all_done", **_no_work("All jobs have ended.")
    )
    mapped >> done
    return mapped, done


def _edition(
    pipeline: Pipeline,
    edition: str,
    begins: dict[str, list[Operator]],
    ends: dict[str, Operator],
    pools: tuple[Pool, ...],
    earlier: list[Operator],
) -> Operator:
    """The tasks that make an edition, the encodes that wait meanwhile, and the join behind both.

    The gate skips all of it for a title whose plan does not list the edition. The encodes behind it wait for what the
    edition waits for: encodes are not interrupted, and theirs would hold the slots that it needs.

    Args:
        pipeline: With tasks that make the edition.
        edition: Its name.
        begins: By task, what has to wait for its upstream; the tasks of the edition are added.
        ends: By task, what has to be waited for; likewise.
        pools: Of this deployment.
        earlier: The joins of the editions before it.
    """
    tasks = [task for task in pipeline.tasks if task.edition == edition]
    listed_by = str(tasks[0].edition_of)
    plan, tooltip = ends[pipeline.owner(listed_by)], f"What is published as the edition {edition!r}, where asked for"
    with TaskGroup(f"{edition}_version", prefix_group_id=False, tooltip=tooltip):
        asked = EmptyOperator(
            task_id=asked_id(edition), pool=CONTROL_POOL, **_no_work("Whether there is to be this edition.")
        )
        plan >> asked
        gate = Gate.partial(
            task_id=gate_id(edition),
            pool=CONTROL_POOL,
            **_no_work("Skipped, with all that follows, where there is none."),
        ).expand(job=XComArg(asked))
        rest: list[Operator] = []
        for task in pipeline.tasks:
            if task.mapped_over == listed_by:
                name = rest_of(task.name, edition)
                rest += _by_pool(pipeline, task, name, [(pool, _list_of_jobs(name, pool, plan)) for pool in pools])
        for task in tasks:
            ends[task.name] = _operator(pipeline, task, pools)
            begins[task.name] = [ends[task.name]]
        done = EmptyOperator(
            task_id=done_id(edition),
            pool=CONTROL_POOL,
            trigger_rule="all_done",
            **_no_work("The edition, and the jobs behind it, have ended."),
        )
    for waited_for in [*earlier, *(ends[name] for name in tasks[0].upstream if pipeline.task(name).edition is None)]:
        waited_for >> rest
    gate >> [*(ends[task.name] for task in tasks), *rest] >> done
    return done


def _list_of_jobs(name: str, pool: Pool, plan: Operator) -> Operator:
    """Stands for the jobs that the plan pushes in its name."""
    jobs = EmptyOperator(
        task_id=jobs_id(name, pool.name), pool=CONTROL_POOL, **_no_work("Names of jobs, from the plan.")
    )
    plan >> jobs
    return jobs


def _by_pool(pipeline: Pipeline, task: Task, name: str, lists: Iterable[tuple[Pool, Operator]]) -> list[Operator]:
    """The mapped task called ``name`` of each pool, over the jobs of its list."""
    return [
        find_runtime(pool.runtime)
        .operator(task)
        .partial(
            task_id=mapped_task_id(name, pool.name),
            pipeline=pipeline.name,
            pipeline_version=pipeline.version,
            pipeline_task=task.name,
            pool=pool.name,
            map_index_template="{{ task.job }}",
            **_arguments(task),
        )
        .expand(job=XComArg(jobs))
        for pool, jobs in lists
    ]


def _no_work(doc: str) -> dict[str, Any]:
    """Arguments of a task that the scheduler marks done by itself."""
    return {"weight_rule": "absolute", "execution_timeout": CEILING, "retries": RETRIES, "doc_md": doc}


def _arguments(task: Task) -> dict[str, Any]:
    return {
        "trigger_rule": task.trigger_rule,
        # The mutation hook adds the title's priority to what stands here (include/orchestration/weights.py).
        "priority_weight": task.weight,
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
