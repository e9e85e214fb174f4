"""What every runtime's operator shares: the catalog before and after the work, and typed failures out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.xcom import XCom

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.catalog.records import TaskEvent
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.errors import (
    CallsheetError,
    ConfigurationError,
    ErrorDocument,
    MissingInput,
    NotReleased,
    Retry,
    StorageError,
    to_document,
)
from include.base.pools import worker_pools, worker_slots
from include.base.settings import Settings, load_settings
from include.domain.media.media import Inspection
from include.domain.outcome.results import PublishResult
from include.domain.plan.binding import bind
from include.domain.plan.limits import task_limit_s
from include.domain.plan.plan import Plan
from include.domain.title.title import TitleJob
from include.domain.title.work import result_key
from include.orchestration.names import asked_id, jobs_id, rest_of
from include.orchestration.weights import whole_number
from include.pipelines.core import Pipeline, find_pipeline
from include.pipelines.runner import TaskJob, load_plan, load_result, share_done

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

WORKER_SECRETS = frozenset({"CALLSHEET_CATALOG_URL", "CALLSHEET_WEBHOOK_SECRET", "CALLSHEET_API_PASSWORD"})
"""Workers have no business with the catalog, with webhooks or with Airflow's API."""
BEGINS_AGAIN_WITHIN = timedelta(minutes=2)
"""For so long the task of a run that another release has begun waits to be cleared by ``dispatch``."""
PREVIEW_KEY = "preview"


class TitleTask(BaseOperator):
    """What both kinds of task share: which title, what the catalog is told, how a failure is classed."""

    template_fields = ("job",)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        pipeline: str | None = None,
        pipeline_version: int = 0,
        pipeline_task: str | None = None,
        job: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.pipeline = pipeline
        """None for a task apart from the titles' runs: each of its runs is for the title that its conf names."""
        self.pipeline_version = pipeline_version
        self.pipeline_task = pipeline_task or self.task_id
        """Name of the task in the pipeline; a mapped one is more than one task in Airflow."""
        self.job = job
        """Name of the encode job, in a mapped task."""

    def execute(self, context: Context) -> Any:
        """Run the task for the run's title."""
        return self._attempt(context, self.work)

    def _attempt(self, context: Context, work: Callable[..., dict[str, Any] | None], *, resumed: bool = False) -> Any:
        """Do ``work``, tell the catalog before and after, and class its failure; a deferral is neither."""
        settings = load_settings()
        catalog, store = Catalog(settings.catalog_url), open_store(settings)
        now = datetime.now(UTC)
        try:
            title = self._title(catalog, context, now)
        except NotReleased as error:
            raise AirflowFailException(str(error)) from error
        pipeline = self.described(title)
        if title.begun_by_another_release:
            # Its documents may be none that this release can read: dispatch has the run begin again.
            log.warning("%s: its run was begun by another release; it begins again within a minute", title.request_id)
            raise AirflowRescheduleException(now + BEGINS_AGAIN_WITHIN)  # type: ignore[no-untyped-call]  # it has no types
        job = title.job()
        if job.wait_until is not None and job.wait_until <= now:
            # Whether a mezzanine may still arrive is decided here: a worker's clock may be hours off.
            job = job.model_copy(update={"wait_until": None})
        task_job = TaskJob(task=self.pipeline_task, title=job, item=self.job, time_limit_s=settings.ffmpeg_timeout_s)
        note = _noter(catalog, title, task_job, pipeline, store)
        if not resumed:
            note("started", None)
            store.delete(task_job.error_key)
        try:
            task_job = bound(task_job, title, settings, store, pipeline, resumed=resumed)
            detail = work(task_job, settings=settings, store=store, catalog=catalog, context=context)
            returned = self._xcom(task_job, pipeline, settings, store, context)
        except TaskDeferred:
            raise
        except BaseException as error:  # Airflow's time-out is no Exception
            document = to_document(error)
            _leave_word(store, task_job, document)
            note("failed", {"type": document.type, "message": document.message})
            if isinstance(error, Exception):
                raise _for_airflow(error, document) from error
            raise
        note("finished", {**(detail or {}), **_choice(task_job)} or None)
        if self.job is not None:
            plan = partial(load_plan, task_job.title, pipeline.task(self.pipeline_task), store)
            let_the_next_in(context, plan, settings)
        return returned

    def described(self, title: TitleRecord | TitleJob) -> Pipeline:
        """The pipeline that the task is of; the title's own for a task apart from the titles' runs."""
        if self.pipeline is None:
            return find_pipeline(title.pipeline, title.pipeline_version)
        return find_pipeline(self.pipeline, self.pipeline_version)

    def _title(self, catalog: Catalog, context: Context, now: datetime) -> TitleRecord:
        """The title of the run; raises :class:`NotReleased` for one that is not to run."""
        run = context["dag_run"]
        if self.pipeline is None:
            request_id = (run.conf or {}).get("request_id")
            title = catalog.titles.get(request_id) if isinstance(request_id, str) else None
            if title is None or title.begun_by_another_release:
                raise NotReleased(
                    f"{request_id!r} is no request whose work this release can read: runs of {run.dag_id} are started "
                    "by the DAG dispatch",
                    reason="not_released",
                )
            return title
        # Any task may be the first to run again after an operator cleared it: the title is open again then.
        settles = self.pipeline_task == find_pipeline(self.pipeline, self.pipeline_version).of_run[-1].name
        return catalog.titles.begin(dag_id=run.dag_id, run_id=run.run_id, now=now, reopens=not settles)

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Do the task's work; returns what its event should tell, raises a typed error."""
        raise MissingInput(f"{type(self).__name__} does no work of its own")

    def _xcom(
        self, task_job: TaskJob, pipeline: Pipeline, settings: Settings, store: ObjectStore, context: Context
    ) -> Any:
        """Ids alone: the names of the plan's jobs, for the mapped tasks; documents stay in the store."""
        task = pipeline.task(self.pipeline_task)
        if task.publishes:
            published = load_result(task_job.title, task.nodes[-1].name, PublishResult, store)
            if published is not None:
                context["ti"].xcom_push(key=PREVIEW_KEY, value=published.preview)
        for mapped in pipeline.tasks:
            if mapped.mapped_over in {node.name for node in task.nodes}:
                plan = load_plan(task_job.title, mapped, store)
                pools = [pool.name for pool in worker_pools(settings)]
                return push_jobs(plan, mapped.name, context, pools=pools, editions=pipeline.editions)
        return None


def push_jobs(plan: Plan, task: str, context: Context, *, pools: Sequence[str], editions: Collection[str]) -> list[str]:
    """Push the lists of jobs that the mapped tasks of ``task`` take; returns the list of the first pool.

    Raises :class:`ConfigurationError` where a job wants a pool that is none of them.

    Args:
        plan: In one edition or more.
        task: Name of the mapped task in the pipeline.
        context: Of the task that has planned.
        pools: Names of this deployment's pools. The list of the first one is what the plan itself returns.
        editions: What the pipeline can publish before the complete set: the jobs behind each have lists of their own.
    """
    for job in plan.jobs:
        if job.pool not in pools:
            raise ConfigurationError(f"job {job.name} asks for the pool {job.pool!r}; there are {', '.join(pools)}")
    starts_after = plan.starts_after(editions)

    def of(pool: str, *, behind: str | None) -> list[str]:
        return [job.name for job in plan.jobs if job.pool == pool and starts_after[job.name] == behind]

    for pool in pools[1:]:
        push_list(jobs_id(task, pool), of(pool, behind=None), context)
    for edition in editions:
        for pool in pools:
            push_list(jobs_id(rest_of(task, edition), pool), of(pool, behind=edition), context)
        push_list(asked_id(edition), [edition] if plan.early_edition(edition) else [], context)
    return of(pools[0], behind=None)


def push_list(task_id: str, items: list[str], context: Context) -> None:
    """Push a list in the name of a task that is mapped over."""
    run = context["dag_run"]
    where = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task_id}
    XCom.set(XCom.XCOM_RETURN_KEY, items, **where, _mapped_length=len(items))


def unfinished(task_job: TaskJob, store: ObjectStore) -> list[str]:
    """Names of the task's stages that have left no result: success is what the outputs say."""
    return [
        node.name
        for node in find_pipeline(task_job.title.pipeline, task_job.title.pipeline_version).task(task_job.task).nodes
        if store.size(result_key(task_job.title, node.name, task_job.item if node.mapped else None)) is None
    ]


def bound(
    task_job: TaskJob, title: TitleRecord, settings: Settings, store: ObjectStore, pipeline: Pipeline, *, resumed: bool
) -> TaskJob:
    """The job document with its time limit, and of an encode job with the option that it takes now.

    An encode has the limit that the plan gives it, any other task that of the title's length. What an encode takes
    follows from the deadline that the catalog has at this moment. A resumed task keeps what it took.
    """
    if task_job.item is None:
        return task_job.model_copy(update={"time_limit_s": _limit_s(task_job.title, settings, store, pipeline)})
    plan = load_plan(task_job.title, pipeline.task(task_job.task), store)
    planned = next((job for job in plan.jobs if job.name == task_job.item), None)
    if planned is None:
        return task_job
    taken = load_if_valid(store, task_job.key, TaskJob) if resumed else None
    if taken is not None:
        job = taken.encode
    else:
        now = datetime.now(UTC)
        due = title.binding_deadline if settings.degrade else None
        hurried = due is not None and title.valuation is not None and title.valuation.hurried
        job = bind(planned, publish_at=due, now=now, hurried=hurried)
        if job.binding is not None:
            log.info("%s: %s", task_job.label, job.binding)
    return task_job.model_copy(update={"time_limit_s": planned.time_limit_s, "encode": job})


def _limit_s(title: TitleJob, settings: Settings, store: ObjectStore, pipeline: Pipeline) -> float:
    inspects = pipeline.maker_of(Inspection)
    found = load_if_valid(store, result_key(title, inspects.name), Inspection) if inspects else None
    return task_limit_s(settings.ffmpeg_timeout_s, found.duration_s if found else None)


def _choice(task_job: TaskJob) -> dict[str, Any]:
    """What the event of an encode tells of the option that it took."""
    if task_job.encode is None or task_job.encode.binding is None:
        return {}
    binding = task_job.encode.binding
    return {"option": binding.model_dump(mode="json", exclude={"rendition"}), "why": str(binding)}


def let_the_next_in(context: Context, plan: Callable[[], Plan], settings: Settings) -> None:
    """Let the title's next encode have the slot of this one; otherwise ``dispatch`` does so within a minute."""
    slots = whole_number(context["dag_run"].conf or {}, "slots")
    # A title that may use all slots has nobody to wait for, and its plan need not be read again.
    if slots is None or slots >= worker_slots(settings) or len(plan().jobs) <= slots:
        return
    try:
        with AirflowApi.from_connection() as api:
            api.tell_weights(ended=str(context["ti"].id))
    except CallsheetError as error:
        log.warning("the title's next encode waits for dispatch: %s", error)


def _leave_word(store: ObjectStore, task_job: TaskJob, document: ErrorDocument) -> None:
    """Write a failure beside its job; a store that does not take it must not hide it."""
    try:
        store.put_bytes(task_job.error_key, document.to_json().encode())
    except StorageError:
        log.exception("the failure of %s cannot be stored: %s", task_job.label, document.message)


def _for_airflow(error: BaseException, document: ErrorDocument) -> AirflowException:
    """The exception that Airflow understands: a failure that trying again cannot change ends the task at once."""
    text = f"{document.type}: {document.message} [owner: {document.owner}]"
    if isinstance(error, AirflowException):
        return error
    return AirflowFailException(text) if document.retry is Retry.NEVER else AirflowException(text)


def _noter(
    catalog: Catalog, title: TitleRecord, task_job: TaskJob, pipeline: Pipeline, store: ObjectStore
) -> Callable[[TaskEvent, dict[str, Any] | None], None]:
    def note(event: TaskEvent, detail: dict[str, Any] | None) -> None:
        catalog.titles.note_task(
            title.request_id,
            task=task_job.task,
            item=task_job.item,
            event=event,
            progress=share_done(pipeline, task_job.title, store) if event == "finished" else None,
            now=datetime.now(UTC),
            detail=detail,
        )

    return note
