"""Worker tasks as processes on this machine: the runtime of the embedded stack, and of a single server."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder

import include
from include.adapters.catalog import Catalog
from include.adapters.process import PARENT_VARIABLE, die_with_parent
from include.adapters.store.documents import CorruptDocument, load_document, load_if_valid
from include.adapters.store.interface import ObjectStore
from include.base.errors import (
    EXIT_CODES,
    CallsheetError,
    ConfigurationError,
    ErrorDocument,
    PlatformUnavailable,
    Retry,
    from_document,
)
from include.base.settings import Settings
from include.domain.outcome.results import WorkerUsage
from include.domain.plan.footprint import START_MARGIN_S
from include.orchestration.runtimes.runtime import Runtime
from include.orchestration.runtimes.task import WORKER_SECRETS, TitleTask, unfinished
from include.pipelines.core import Task
from include.pipelines.runner import TaskJob

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

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


class WorkerTask(TitleTask):
    """A task whose stages run in a worker process on this machine.

    The worker lives in this task's own process group and dies with it, so that clearing, a timeout and even SIGKILL
    of the task leave no encoder behind.
    """

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Write the job document, run the worker, read what it left; tells what the worker's processes used."""
        die_with_supervisor()
        store.delete(task_job.usage_key)
        store.put_bytes(task_job.key, task_job.to_json().encode())
        environment = {**RUNTIME.environment(settings), PARENT_VARIABLE: str(os.getpid())}
        # A worker's container of its own has its way in: what is started here then only stands for the worker there.
        worker_of = ["include.adapters.worker_socket", "run", settings.worker_socket]
        module = worker_of if settings.worker_socket else ["include.worker"]
        argv = [sys.executable, "-m", *module, task_job.task, "--job", f"{store.uri}/{task_job.key}"]
        # No new session: Airflow ends a task by signalling its process group.
        worker = subprocess.Popen(
            argv, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        assert worker.stdout is not None
        # As the deadline of a pod: the worker itself limits its tools alone.
        overdue = threading.Timer(task_job.time_limit_s + START_MARGIN_S, worker.kill)
        overdue.daemon = True
        overdue.start()
        try:
            for line in worker.stdout:
                log.info("%s", line.rstrip())
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
        finally:
            overdue.cancel()
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
        missing = unfinished(task_job, store)
        if missing:
            raise PlatformUnavailable(
                f"the worker of {task_job.label} ended well but left no result of {', '.join(missing)}"
            )
        if settings.worker_socket:
            used = load_if_valid(store, task_job.usage_key, WorkerUsage)
            return {"cpu_s": used.cpu_s, "peak_memory_mb": used.peak_memory_mb} if used else None
        # Of the worker and of every child that it waited for.
        cpu_s, peak_kb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        return {"cpu_s": round(cpu_s, 3), "peak_memory_mb": round(peak_kb / 1024, 1)}


class Local(Runtime):
    """Processes on the machine of the Airflow task. They end with it, so nothing can be left over."""

    def operator(self, task: Task) -> type[TitleTask]:
        """The task waits for its process."""
        return WorkerTask

    def environment(self, settings: Settings) -> dict[str, str]:
        """This process's own, as far as a worker may see it, with the keys of the connection to S3 if there is one."""
        seen = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(WORKER_ENVIRONMENT) and name not in WORKER_SECRETS
        }
        if settings.aws_conn_id:
            # boto3 costs half a second, which only the tasks that need it shall pay.
            from include.adapters.s3.session import worker_credentials

            seen |= worker_credentials(settings)
        return {**seen, "PYTHONPATH": str(PROJECT_ROOT)}


RUNTIME = Local()


def die_with_supervisor() -> None:
    """Have this task end with the supervisor that watches it.

    Airflow starts a new attempt once a supervisor is silent. The old task would not notice, and encode beside it.
    """
    # Elsewhere (dag.test, tests) nobody watches, and the parent may be a person's shell.
    if isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), CommsDecoder):
        die_with_parent(os.getppid())


def _worker_failure(task_job: TaskJob, store: ObjectStore, returncode: int) -> CallsheetError:
    try:
        return from_document(load_document(store, task_job.error_key, ErrorDocument))
    except (FileNotFoundError, CorruptDocument):
        how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
        # The exit code says the retry class where the document is lost.
        failure = ConfigurationError if returncode == EXIT_CODES[Retry.NEVER] else PlatformUnavailable
        return failure(
            f"the worker of {task_job.label} ended with {how} and left no word; the task's log has its output"
        )
