"""Runs the stages of one task: reads their inputs from the work folder, skips what is done, writes what is new.

Where they lie: :mod:`include.domain.title.work`.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.adapters.store.documents import D, load_document, load_if_valid
from include.adapters.store.interface import ObjectStore
from include.base.document import Document
from include.base.errors import MissingInput, OtherRelease
from include.domain.outcome.results import PackageResult, PublishResult
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.title.title import TitleJob
from include.domain.title.work import FORMAT, error_key, job_key, label_of, progress_key, result_key, usage_key
from include.pipelines.core import Pipeline, Task, find_pipeline
from include.stages.core import Input, Node, Stage, StageContext, document_type

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 2.0


class TaskJob(Document):
    """The job document of one task: all that a worker is told."""

    format: int = FORMAT
    """Of this document and of all in the work folder; one that says nothing is of format 1."""
    task: str
    title: TitleJob
    item: str | None = None
    """Name of the encode job, for a mapped task."""
    time_limit_s: float
    """The worker stops its media tools after this many seconds."""
    hardware: bool = True
    """False for an attempt that runs where no GPU is: a hardware encoder is not even tried."""
    encode: EncodeJob | None = None
    """The item with the option that it took at its start; None leaves it as it is in the plan."""

    @property
    def label(self) -> str:
        """``<task>`` or ``<task>.<item>``."""
        return label_of(self.task, self.item)

    @property
    def key(self) -> str:
        """Store key of this document."""
        return job_key(self.title, self.task, self.item)

    @property
    def error_key(self) -> str:
        """Store key of the last attempt's failure."""
        return error_key(self.title, self.task, self.item)

    @property
    def progress_key(self) -> str:
        """Store key of the progress document."""
        return progress_key(self.title, self.task, self.item)

    @property
    def usage_key(self) -> str:
        """Store key of what the last worker used: a :class:`include.domain.outcome.results.WorkerUsage`."""
        return usage_key(self.title, self.task, self.item)


def load_job(store: ObjectStore, key: str) -> TaskJob:
    """The job document at ``key``.

    Raises :class:`OtherRelease` for one of another format, before anything else of it is read, and otherwise as
    :func:`load_document` does.
    """
    _check_format(store, key)
    return load_document(store, key, TaskJob)


def _check_format(store: ObjectStore, key: str) -> None:
    """Raise :class:`OtherRelease` for a job document of another format; as the store does where there is none."""
    try:
        said = json.loads(store.get_bytes(key))
    except ValueError:
        said = None
    found = said.get("format", 1) if isinstance(said, dict) else FORMAT
    if found != FORMAT:
        raise OtherRelease(
            f"{store.uri}/{key} is a job of format {found}; this release reads format {FORMAT}: it waits until workers "
            "and Airflow run the same release",
            reason="other_release",
        )


class Progress(Document):
    """How far a running task is."""

    task: str
    item: str | None
    stage: str
    share: float
    """0–1, of the task."""
    message: str
    at: datetime


def run_task(job: TaskJob, make_context: Callable[..., StageContext], *, store: ObjectStore, scratch: Path) -> bool:
    """Run the stages of ``job``'s task, in order; returns whether all of them ran here, and none was done already.

    Args:
        job: The job document.
        make_context: Builds the context of one stage from ``title``, ``store``, ``scratch``, ``report``, ``deadline``,
            ``hardware``, ``edition``, ``editions``.
        store: The object store.
        scratch: A folder for temporary files; each stage gets a new one beneath it.

    Raises whatever a stage raises; results of the stages before it stay. Raises :class:`OtherRelease`, and leaves the
    stage's result unwritten, where the run has begun again under another release meanwhile: this worker outlived its
    task, and what lies in the work folder is the other's.
    """
    pipeline = find_pipeline(job.title.pipeline, job.title.pipeline_version)
    task = pipeline.task(job.task)
    deadline = time.monotonic() + job.time_limit_s
    whole = True
    for position, node in enumerate(task.nodes):
        key = result_key(job.title, node.name, job.item if node.mapped else None)
        if load_if_valid(store, key, node.stage.result) is not None:
            log.info("stage %s is done already: %s/%s", node.name, store.uri, key)
            whole = False
            continue
        documents = _documents(job, node, store, pipeline)
        folder = scratch / f"{job.label}.{node.stage.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        context = make_context(
            title=job.title,
            store=store,
            scratch=folder,
            report=_reporter(job, store, node, position, len(task.nodes)),
            deadline=deadline,
            hardware=job.hardware,
            edition=node.edition,
            editions=pipeline.editions,
        )
        started = time.monotonic()
        context.report(0.0, "started")
        try:
            result = node.stage.function(context, *documents, **node.options)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(FileNotFoundError):
            _check_format(store, job.key)
        store.put_bytes(key, result.to_json().encode())
        context.report(1.0, "done")
        log.info("stage %s took %.1f s: %s/%s", node.name, time.monotonic() - started, store.uri, key)
    return whole


def stage_inputs(title: TitleJob, stage: Stage, store: ObjectStore) -> list[Any] | None:
    """The documents that ``stage`` takes in the pipeline of ``title``; None where that has no such stage.

    Raises as the stage's own task would: :class:`MissingInput` for one that the stage cannot do without, and
    :class:`ConfigurationError` for a pipeline that is not registered any more.
    """
    pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    for task in pipeline.tasks:
        for node in task.nodes:
            if node.stage is stage and node.edition is None:
                job = TaskJob(task=task.name, title=title, time_limit_s=0)
                return _documents(job, node, store, pipeline)
    return None


def load_result(title: TitleJob, stage: str, kind: type[D], store: ObjectStore) -> D | None:
    """The result of ``stage``, None where it has not finished."""
    try:
        return load_document(store, result_key(title, stage), kind)
    except FileNotFoundError:
        return None


def find_result(title: TitleJob, kind: type[D], store: ObjectStore) -> D | None:
    """The first document of ``kind`` that the title's pipeline makes; None where it makes none, or has not yet."""
    maker = find_pipeline(title.pipeline, title.pipeline_version).maker_of(kind)
    return load_result(title, maker.name, kind, store) if maker else None


def early_packages(title: TitleJob, store: ObjectStore) -> list[PackageResult | None]:
    """The sets of the editions before the complete one, in their order; None for one that is not packaged.

    Raises :class:`ConfigurationError` for a pipeline that is not registered.
    """
    pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    makers = {
        task.edition: node.name
        for task in pipeline.tasks
        for node in task.nodes
        if task.edition is not None and issubclass(node.stage.result, PackageResult)
    }
    keys = [result_key(title, makers[name]) if name in makers else None for name in pipeline.editions]
    return [load_if_valid(store, key, PackageResult) if key else None for key in keys]


def load_plan(title: TitleJob, task: Task, store: ObjectStore) -> Plan:
    """The plan whose jobs ``task`` runs, or whose edition it makes; raises :class:`MissingInput`."""
    planned_by = task.mapped_over or task.edition_of
    found = load_result(title, planned_by, Plan, store) if planned_by else None
    if found is None:
        raise MissingInput(f"{title.request_id}: task {task.name} has no plan to take its jobs from")
    return found


def drop_unreadable(title: TitleJob, store: ObjectStore) -> list[str]:
    """Remove the results of a title that this release cannot read, so that their stages run again; returns their keys.

    Raises :class:`ConfigurationError` for a pipeline that is not registered.
    """
    unreadable = [key for key, kind in _results(title, store) if load_if_valid(store, key, kind) is None]
    for key in unreadable:
        store.delete(key)
    return unreadable


def drop_results(title: TitleJob, store: ObjectStore) -> list[str]:
    """Remove the results of a title, for a release before that may not be able to read them; returns their keys.

    What was published is and stays so: that result has had one form in all releases. Raises as
    :func:`drop_unreadable` does.
    """
    dropped = [key for key, kind in _results(title, store) if kind is not PublishResult]
    for key in dropped:
        store.delete(key)
    return dropped


def _results(title: TitleJob, store: ObjectStore) -> list[tuple[str, type[Document]]]:
    """Keys and kinds of the results in a title's work folder."""
    pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    kinds = {node.name: node.stage.result for task in pipeline.tasks for node in task.nodes}
    found: list[tuple[str, type[Document]]] = []
    for name in store.list(title.work):
        # What lies in a folder beneath it are media, jobs and notes.
        kind = kinds.get(name.removesuffix(".json").partition(".")[0]) if "/" not in name else None
        if kind is not None:
            found.append((f"{title.work}/{name}", kind))
    return found


def share_done(pipeline: Pipeline, title: TitleJob, store: ObjectStore) -> float:
    """How far a title is, 0–1, from the results in its work folder and from what its running tasks have told."""
    done = total = 0.0
    for task in pipeline.tasks:
        made_of = task.mapped_over or task.edition_of
        # One that another release has left says nothing of this run, and is made again.
        plan = load_if_valid(store, result_key(title, made_of), Plan) if made_of else None
        if task.edition and (plan is None or plan.early_edition(task.edition) is None):
            continue
        items = [job.name for job in plan.jobs] if task.mapped_over and plan is not None else [None]
        total += task.share
        done += task.share * sum(_done_of(task, item, title, store) for item in items) / max(1, len(items))
    return round(done / total, 3)


def _done_of(task: Task, item: str | None, title: TitleJob, store: ObjectStore) -> float:
    """How far one task, or one job of a mapped task, is, 0–1."""
    keys = [result_key(title, node.name, item) for node in task.nodes]
    there = sum(store.size(key) is not None for key in keys) / len(keys)
    told = load_if_valid(store, progress_key(title, task.name, item), Progress) if there < 1 else None
    # A stage is done when its result is there: that it has told its end is not enough.
    return max(there, min(told.share, there + 0.99 / len(keys))) if told is not None else there


def _documents(job: TaskJob, node: Node, store: ObjectStore, pipeline: Pipeline) -> list[Any]:
    """The arguments of one stage, as far as its pipeline gives it any."""
    given = zip(node.inputs, node.stage.parameters, strict=False)
    return [_load(source, annotation, job, node, store, pipeline) for source, annotation in given]


def _load(given: Input, annotation: Any, job: TaskJob, node: Node, store: ObjectStore, pipeline: Pipeline) -> Any:
    """One argument of a stage: the title, the job of a mapped stage, one result, or all results of a mapped stage.

    A stage of an early edition gets the plan, and the results of its jobs, as far as they belong to that edition.
    """
    if given.producer == "title":
        return job.title
    kind = document_type(annotation)
    if given.producer == "item":
        return _item(job, pipeline, store)
    if given.many:
        mapped = pipeline.task(pipeline.owner(given.producer))
        plan = load_result(job.title, mapped.mapped_over, Plan, store) if mapped.mapped_over else None
        names = [planned.name for planned in plan.part(node.edition).jobs] if plan is not None else []
        keys = [result_key(job.title, given.producer, name) for name in names]
        return tuple(load_document(store, key, kind) for key in keys if store.size(key) is not None)
    found = load_result(job.title, given.producer, kind, store)
    if found is None and not given.optional:
        raise MissingInput(
            f"{job.title.request_id}: task {job.task} needs the result of stage {given.producer}, "
            "which has not finished",
            reason="upstream_failed",
        )
    return found.part(node.edition) if isinstance(found, Plan) else found


def _item(job: TaskJob, pipeline: Pipeline, store: ObjectStore) -> EncodeJob:
    if job.encode is not None:
        return job.encode
    plan = load_plan(job.title, pipeline.task(job.task), store)
    for each in plan.jobs:
        if each.name == job.item:
            return each
    raise MissingInput(f"{job.title.request_id}: the plan has no job {job.item!r}")


def _reporter(job: TaskJob, store: ObjectStore, node: Node, position: int, count: int) -> Callable[[float, str], None]:
    last = 0.0

    def report(share: float, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if 0 < share < 1 and now - last < PROGRESS_EVERY_S:
            return
        last = now
        progress = Progress(
            task=job.task,
            item=job.item,
            stage=node.stage.name,
            share=(position + min(1.0, max(0.0, share))) / count,
            message=message,
            at=datetime.now(UTC),
        )
        store.put_bytes(job.progress_key, progress.to_json().encode())

    return report
