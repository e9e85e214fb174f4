"""The Airflow shell around a task of a pipeline: catalog before, work, catalog after, typed failures out.

:class:`WorkerTask` starts ``python -m include.worker`` on this machine; :class:`ControlTask` runs its stages here.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

import include
from include.base.errors import (
    EXIT_CODES,
    CallsheetError,
    ConfigurationError,
    ErrorDocument,
    MissingInput,
    NotReleased,
    PlatformUnavailable,
    Retry,
    StorageError,
    from_document,
    to_document,
)
from include.orchestration.names import CPU_POOL, FIRST_ASKED, GPU_POOL, jobs_id, rest_of

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from include.adapters.catalog import Catalog, TitleRecord
    from include.adapters.catalog.records import TaskEvent
    from include.adapters.store.store import ObjectStore
    from include.base.settings import Settings
    from include.domain.plan.binding import FarmShare
    from include.domain.plan.plan import Plan
    from include.pipelines.core import Pipeline
    from include.pipelines.runner import TaskJob

log = logging.getLogger(__name__)

PROJECT_ROOT = Path(next(iter(include.__path__))).parent
WORKER_ENVIRONMENT = (
    "CALLSHEET_",
    "AWS_",
    "PATH",
    "PYTHON",
    "VIRTUAL_ENV",
    "HOME",
    "LANG",
    "LC_",
    "TMPDIR",
    "TZ",
    "LD_",
)
"""Prefixes of what a worker may see of the environment."""
WORKER_SECRETS = frozenset({"CALLSHEET_CATALOG_URL", "CALLSHEET_WEBHOOK_SECRET", "CALLSHEET_API_PASSWORD"})
"""Workers have no business with the catalog, with webhooks or with Airflow's API."""
PREVIEW_KEY = "preview"


class PreviewLink(BaseOperatorLink):
    """Button on the publish task: the preview page of the version that it published."""

    name = "Preview"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Address of the preview page, empty until there is one."""
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_value(ti_key=ti_key, key=PREVIEW_KEY) or ""


class TitleTask(BaseOperator):
    """What both kinds of task share: which title, what the catalog is told, how a failure is classed."""

    template_fields = ("job",)
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        pipeline: str,
        pipeline_version: int,
        pipeline_task: str | None = None,
        job: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.pipeline = pipeline
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
        from include.adapters.catalog import Catalog
        from include.adapters.store.store import open_store
        from include.base.settings import load_settings
        from include.pipelines.core import find_pipeline
        from include.pipelines.runner import TaskJob, load_plan

        settings = load_settings()
        catalog, store = Catalog(settings.catalog_url), open_store(settings)
        pipeline = find_pipeline(self.pipeline, self.pipeline_version)
        try:
            # Any task may be the first to run again after an operator cleared it: the title is open again then.
            run, now = context["dag_run"], datetime.now(UTC)
            settles = self.pipeline_task == pipeline.tasks[-1].name
            title = catalog.titles.begin(dag_id=run.dag_id, run_id=run.run_id, now=now, reopens=not settles)
        except NotReleased as error:
            raise AirflowFailException(str(error)) from error
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
            task_job = _bound(task_job, title, settings, store, pipeline, resumed=resumed)
            detail = work(task_job, settings=settings, store=store, catalog=catalog, context=context)
            returned = self._xcom(task_job, pipeline, store, context)
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
            _let_the_next_in(context, plan, settings)
        return returned

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Do the task's work; returns what its event should tell, raises a typed error."""
        raise MissingInput(f"{type(self).__name__} does no work of its own")

    def _xcom(self, task_job: TaskJob, pipeline: Pipeline, store: ObjectStore, context: Context) -> Any:
        """Ids alone: the names of the plan's jobs, for the mapped tasks; documents stay in the store."""
        from include.domain.outcome.results import PublishResult
        from include.pipelines.runner import load_plan, load_result

        nodes = pipeline.task(self.pipeline_task).nodes
        for node in nodes:
            if node.stage.name == "publish":
                published = load_result(task_job.title, node.name, PublishResult, store)
                if isinstance(published, PublishResult):
                    context["ti"].xcom_push(key=PREVIEW_KEY, value=published.preview)
        for mapped in pipeline.tasks:
            if mapped.mapped_over in {node.name for node in nodes}:
                plan = load_plan(task_job.title, mapped, store)
                return push_jobs(plan, mapped.name, context, in_two_steps=pipeline.publishes_first)
        return None


class WorkerTask(TitleTask):
    """A task whose stages run in a worker process on this machine.

    The worker lives in this task's own process group and dies with it, so that clearing, a timeout and even SIGKILL
    of the task leave no encoder behind.
    """

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Write the job document, run the worker, read what it left; tells what the worker's processes used."""
        from include.adapters.s3.store import worker_credentials
        from include.worker import PARENT_VARIABLE

        _die_with_supervisor()
        store.put_bytes(task_job.key, task_job.to_json().encode())
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(WORKER_ENVIRONMENT) and name not in WORKER_SECRETS
        }
        environment |= worker_credentials(settings)
        environment[PARENT_VARIABLE] = str(os.getpid())
        environment["PYTHONPATH"] = str(PROJECT_ROOT)
        argv = [sys.executable, "-m", "include.worker", task_job.task, "--job", f"{store.uri}/{task_job.key}"]
        # No new session: Airflow ends a task by signalling its process group.
        worker = subprocess.Popen(
            argv, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                log.info("%s", line.rstrip())
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if worker.returncode is None and worker.poll() is None:
                worker.terminate()
                try:
                    worker.wait(timeout=4)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()
            worker.stdout.close()
        if worker.returncode != 0:
            raise _worker_failure(task_job, store, worker.returncode)
        missing = unfinished(task_job, store, self.pipeline, self.pipeline_version)
        if missing:
            raise PlatformUnavailable(
                f"the worker of {task_job.label} ended well but left no result of {', '.join(missing)}"
            )
        # Of the worker and of every child that it waited for.
        cpu_s, peak_kb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        return {"cpu_s": round(cpu_s, 3), "peak_memory_mb": round(peak_kb / 1024, 1)}


class ControlTask(TitleTask):
    """A task whose stages run inside Airflow, with the catalog."""

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Run the stages here; after the last task, release what follows and send what is due."""
        import tempfile

        from include.orchestration.tick import after_settling
        from include.pipelines.core import find_pipeline
        from include.pipelines.runner import run_task
        from include.services.planning import farm_share_of, note_planned
        from include.stages.core import ControlContext

        @cache
        def farm_share() -> FarmShare:
            return farm_share_of(catalog, settings, task_job.title.request_id)

        described = find_pipeline(self.pipeline, self.pipeline_version)
        last, stages = described.tasks[-1].name, {node.stage.name for node in described.task(task_job.task).nodes}
        try:
            # Where housekeeping finds what a killed task has left.
            settings.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{task_job.title.title_id}.", dir=settings.scratch) as scratch:
                run_task(
                    task_job,
                    lambda **given: ControlContext(settings=settings, catalog=catalog, farm_share=farm_share, **given),
                    store=store,
                    scratch=Path(scratch),
                )
            if "plan" in stages:
                return note_planned(
                    catalog, settings, task_job.title, store, farm_share=farm_share, now=datetime.now(UTC)
                )
        finally:
            if task_job.task == last:
                after_settling(catalog, settings, task_job.title)
        return None


class PublishTask(ControlTask):
    """The control task that publishes: with a button in the UI that opens the preview page."""

    operator_extra_links = (PreviewLink(),)


class Gate(EmptyOperator):
    """Mapped over nothing or one item: what follows is skipped, or not. The scheduler does it without a process."""

    def __init__(self, *, job: str | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.job = job


def push_jobs(plan: Plan, task: str, context: Context, *, in_two_steps: bool) -> list[str]:
    """Push the lists of jobs that the mapped tasks of ``task`` take; returns the plan's own, of those on CPUs.

    Args:
        plan: With a first version or without.
        task: Name of the mapped task in the pipeline.
        context: Of the task that has planned.
        in_two_steps: Whether the pipeline can publish a first version: the jobs behind it have lists of their own.
    """
    pools = (CPU_POOL, GPU_POOL)
    for each in plan.jobs:
        if each.pool not in pools:
            raise ConfigurationError(f"job {each.name} asks for the pool {each.pool!r}; there are {', '.join(pools)}")
    later = set(plan.first.rest) if plan.first and in_two_steps else set()

    def of(pool: str, *, rest: bool) -> list[str]:
        return [each.name for each in plan.jobs if each.pool == pool and (each.name in later) is rest]

    _push(jobs_id(task, GPU_POOL), of(GPU_POOL, rest=False), context)
    if in_two_steps:
        for pool in pools:
            _push(jobs_id(rest_of(task), pool), of(pool, rest=True), context)
        _push(FIRST_ASKED, ["first"] if later else [], context)
    return of(CPU_POOL, rest=False)


def _push(task_id: str, items: list[str], context: Context) -> None:
    """Push a list in the name of a task that is mapped over."""
    from airflow.sdk.execution_time.xcom import XCom

    run = context["dag_run"]
    where = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task_id}
    XCom.set(XCom.XCOM_RETURN_KEY, items, **where, _mapped_length=len(items))


def _die_with_supervisor() -> None:
    """Have this task end with the supervisor that watches it.

    Airflow starts a new attempt once a supervisor is silent. The old task would not notice, and encode beside it.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    from include.adapters.process import die_with_parent

    # Elsewhere (dag.test, tests) nobody watches, and the parent may be a person's shell.
    if isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), CommsDecoder):
        die_with_parent(os.getppid())


def unfinished(task_job: TaskJob, store: ObjectStore, pipeline: str, version: int) -> list[str]:
    """Names of the task's stages that have left no result: success is what the outputs say."""
    from include.pipelines.core import find_pipeline
    from include.pipelines.runner import result_key

    return [
        node.name
        for node in find_pipeline(pipeline, version).task(task_job.task).nodes
        if store.size(result_key(task_job.title, node.name, task_job.item if node.mapped else None)) is None
    ]


def _bound(
    task_job: TaskJob, title: TitleRecord, settings: Settings, store: ObjectStore, pipeline: Pipeline, *, resumed: bool
) -> TaskJob:
    """The job document of an encode job: with the time limit that the plan gives it, and the option that it takes now.

    What it takes follows from the deadline that the catalog has at this moment. A resumed task keeps what it took.
    """
    from include.adapters.store.documents import load_if_valid
    from include.domain.plan.binding import bind
    from include.pipelines.runner import TaskJob, load_plan

    if task_job.item is None:
        return task_job
    plan = load_plan(task_job.title, pipeline.task(task_job.task), store)
    planned = next((each for each in plan.jobs if each.name == task_job.item), None)
    if planned is None:
        return task_job
    taken = load_if_valid(store, task_job.key, TaskJob) if resumed else None
    if taken is not None:
        job = taken.encode
    else:
        now = datetime.now(UTC)
        job = bind(planned, publish_at=title.binding_deadline if settings.degrade else None, now=now)
        if job.binding is not None:
            log.info("%s: %s", task_job.label, job.binding)
    return task_job.model_copy(update={"time_limit_s": planned.time_limit_s, "encode": job})


def _choice(task_job: TaskJob) -> dict[str, Any]:
    """What the event of an encode tells of the option that it took."""
    if task_job.encode is None or task_job.encode.binding is None:
        return {}
    binding = task_job.encode.binding
    return {"option": binding.model_dump(mode="json", exclude={"rendition"}), "why": str(binding)}


def _let_the_next_in(context: Context, plan: Callable[[], Plan], settings: Settings) -> None:
    """Let the title's next encode have the slot of this one; otherwise ``dispatch`` does so within a minute."""
    from include.adapters.airflow_api import AirflowApi
    from include.orchestration.weights import whole_number

    slots = whole_number(context["dag_run"].conf or {}, "slots")
    # A title that may use all slots has nobody to wait for, and its plan need not be read again.
    if slots is None or slots >= settings.encode_slots + settings.gpu_slots or len(plan().jobs) <= slots:
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


def _worker_failure(task_job: TaskJob, store: ObjectStore, returncode: int) -> CallsheetError:
    from include.adapters.store.documents import CorruptDocument, load_document

    try:
        return from_document(load_document(store, task_job.error_key, ErrorDocument))
    except (FileNotFoundError, CorruptDocument):
        how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
        # The exit code says the retry class where the document is lost.
        failure = ConfigurationError if returncode == EXIT_CODES[Retry.NEVER] else PlatformUnavailable
        return failure(
            f"the worker of {task_job.label} ended with {how} and left no word; the task's log has its output"
        )


def _for_airflow(error: BaseException, document: ErrorDocument) -> AirflowException:
    """Airflow's word for it: a failure that trying again cannot change ends the task at once."""
    text = f"{document.type}: {document.message} [owner: {document.owner}]"
    if isinstance(error, AirflowException):
        return error
    return AirflowFailException(text) if document.retry is Retry.NEVER else AirflowException(text)


def _noter(
    catalog: Catalog, title: TitleRecord, task_job: TaskJob, pipeline: Pipeline, store: ObjectStore
) -> Callable[[TaskEvent, dict[str, Any] | None], None]:
    from include.pipelines.runner import share_done

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
