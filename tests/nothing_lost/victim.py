"""One task of a title in a process of its own, as Airflow's task runner would run it: it may be killed at any point.

The processes are forked from a server that has imported everything, since Airflow's imports alone take seconds. The
worker, too, is forked instead of started as ``python -m include.worker``: it runs the same ``main`` with the same
arguments and environment. The tests of the live stack kill real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NoReturn

from airflow.sdk.bases.xcom import BaseXCom

import include.worker
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.base.settings import load_settings
from include.orchestration.runtimes.control import ControlTask, PublishTask
from include.orchestration.runtimes.local import WorkerTask
from include.pipelines.core import registry
from include.services import release as releasing
from tests.nothing_lost import points

registry()


def run(environment: dict[str, str], log: str, call: str, arguments: dict[str, Any]) -> None:
    """Entry of the process: ``call`` is a function of this module."""
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    points.install()
    try:
        globals()[call](**arguments)
    except BaseException:
        traceback.print_exc()
        # Like Airflow's task runner, and without the clean-up of a process that never was pytest.
        os._exit(1)
    os._exit(0)


def task(*, dag_id: str, run_id: str, name: str, item: str | None, version: int) -> None:
    """Execute one operator of a title's run."""
    kinds = {"plan": ControlTask, "settle": ControlTask, "first_publish": PublishTask, "publish": PublishTask}
    operator = kinds.get(name, WorkerTask)(
        task_id=name, pipeline="vod", pipeline_version=version, **({"job": item} if item else {})
    )
    # Without a supervisor there is nobody to take an XCom.
    BaseXCom.set = staticmethod(lambda *_, **__: None)  # type: ignore[method-assign]
    subprocess.Popen = _ForkedWorker  # type: ignore[assignment, misc]
    context: Any = {
        "dag_run": SimpleNamespace(dag_id=dag_id, run_id=run_id, conf={}),
        "ti": SimpleNamespace(xcom_push=lambda **_: None, try_number=1, map_index=-1),
    }
    operator.execute(context)


def release(*, later_s: float) -> None:
    """Release what waits, as ``dispatch`` does each minute."""
    settings = load_settings()
    with AirflowApi.from_connection() as api:
        now = datetime.now(UTC) + timedelta(seconds=later_s)
        releasing.release(Catalog(settings.catalog_url), api, settings, now=now)


_Popen = subprocess.Popen


class _ForkedWorker:
    """Stands for the process ``python -m include.worker``; every other program is started as it is."""

    def __new__(cls, argv: list[str], **options: Any) -> Any:
        return super().__new__(cls) if argv[1:3] == ["-m", "include.worker"] else _Popen(argv, **options)

    def __init__(self, argv: list[str], *, env: dict[str, str], **_: Any) -> None:
        reading, writing = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._work(argv, env, writing)
        os.close(writing)
        self.stdout = os.fdopen(reading)

    def _work(self, argv: list[str], env: dict[str, str], writing: int) -> NoReturn:
        subprocess.Popen = _Popen  # type: ignore[misc]
        for stream in (1, 2):
            os.dup2(writing, stream)
        os.environ.clear()
        os.environ.update(env)
        try:
            code = include.worker.main(argv[3:])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, 15)

    kill = terminate
