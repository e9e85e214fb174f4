"""``python -m include.worker TASK --job URI``: the one entry point of a worker, in a pod or as a local process.

Reads the job document at URI, runs the task's stages and writes their results to the store. No Airflow, no catalog.

Exit codes: 0 done; 64 never try again (a bad mezzanine, a wrong configuration); 75 try again; 76 not tried, the job is
of another release; 137 try again with more memory. The failure itself is written beside the job document, with command
and stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from include.adapters.process import PARENT_VARIABLE, Limits, die_with_parent, limit_tools, used_so_far
from include.adapters.store.keys import key_of
from include.adapters.store.opening import open_store
from include.base.errors import EXIT_CODES, CallsheetError, ConfigurationError, OtherRelease, StorageError, to_document
from include.base.settings import load_settings
from include.base.text import printable, redacted
from include.domain.outcome.results import WorkerUsage
from include.pipelines.runner import load_job, run_task
from include.stages.core import StageContext

log = logging.getLogger("include.worker")

WORKER_NICENESS = 10
"""Encoders give way to Airflow's own processes on a shared machine."""


def main(argv: list[str] | None = None) -> int:
    """Run one task; returns the exit code."""
    try:
        return _run(argv)
    except CallsheetError as error:
        # Before there was a job document to write the failure beside: the exit code alone tells.
        log.error("%s: %s", type(error).__name__, error.message)
        return error.exit_code


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m include.worker", description=__doc__)
    parser.add_argument("task", help="name of the task in the title's pipeline, e.g. prepare")
    parser.add_argument("--job", required=True, metavar="URI", help="address of the job document in the store")
    arguments = parser.parse_args(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    parent = os.environ.get(PARENT_VARIABLE)
    die_with_parent(int(parent) if parent else None)
    signal.signal(signal.SIGTERM, _stop)
    os.nice(WORKER_NICENESS)
    started = time.monotonic()

    # Connections are Airflow's: a worker has its credentials from its environment.
    settings = load_settings().model_copy(update={"aws_conn_id": ""})
    limit_tools(Limits.of(settings))
    store = open_store(settings)
    job = load_job(store, key_of(store, arguments.job))
    if job.task != arguments.task:
        raise ConfigurationError(f"the job document at {arguments.job} is for task {job.task}, not {arguments.task}")
    try:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        # A folder of its own, so that two attempts of one task never meet.
        with tempfile.TemporaryDirectory(prefix=f"{job.title.title_id}.", dir=settings.scratch) as folder:
            whole = run_task(
                job,
                lambda **given: StageContext(settings=settings, **given),
                store=store,
                scratch=Path(folder),
            )
    except OtherRelease:
        # The run has begun again under another release: its documents are not ours to overwrite.
        raise
    except Exception as error:
        log.info("the failure's traceback", exc_info=True)
        document = to_document(error)
        try:
            store.put_bytes(job.error_key, document.to_json().encode())
        except StorageError as refused:
            # The exit code still says the retry class.
            log.error("the failure cannot be stored: %s", refused)
        log.error("%s: %s [%s, owner %s]", document.type, document.message, document.retry, document.owner)
        return EXIT_CODES[document.retry]
    try:
        # A pod's task has no other way to learn it, and the history takes it from there.
        used = WorkerUsage(**dict(used_so_far(time.monotonic() - started)), whole=whole)
        store.put_bytes(job.usage_key, used.to_json().encode())
    except StorageError as refused:
        log.warning("what this worker used cannot be stored: %s", refused)
    return 0


class SafeFormatter(logging.Formatter):
    """One line per message and no secrets, whatever a library or a mezzanine puts into it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the base class names it so
        """The line."""
        return printable(redacted(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # the same
        """The traceback, in lines as ever."""
        return printable(redacted(super().formatException(ei)), keep="\n\t")


def _stop(signum: int, frame: object) -> NoReturn:
    # SystemExit unwinds the stage: temporary files go, child processes are ended by their runner.
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
