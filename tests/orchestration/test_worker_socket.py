"""A workers' container of its own: tasks hand their jobs over a socket, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.adapters.worker_socket import LOST, run
from include.base.settings import Settings
from include.domain.title.work import result_key
from include.orchestration.runtimes.local import RUNTIME
from tests.orchestration.lab import Lab, context, released


@pytest.fixture
def path() -> Iterator[Path]:
    """Of a socket; a path of one has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="callsheet-") as folder:
        yield Path(folder) / "worker.sock"


@pytest.fixture
def server(lab: Lab, settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """The workers' container: a process with an environment of its own. Tasks of this process are told its socket."""
    environment = RUNTIME.environment(settings)
    argv = [sys.executable, "-m", "include.adapters.worker_socket", "serve", str(path)]
    process = subprocess.Popen(argv, env=environment, cwd=environment["PYTHONPATH"])
    end = time.monotonic() + 60
    while not connects(path):
        assert time.monotonic() < end
        time.sleep(0.05)
    monkeypatch.setenv("CALLSHEET_WORKER_SOCKET", str(path))
    yield psutil.Process(process.pid)
    process.terminate()
    process.wait(10)


def connects(path: Path) -> bool:
    """What the compose file's health check does."""
    with socket.socket(socket.AF_UNIX) as asked, suppress(OSError):
        asked.connect(str(path))
        return True
    return False


def pid_in(file: Path) -> int:
    """The process id that a stage has written."""
    while not file.exists() or not file.read_text():
        time.sleep(0.05)
    return int(file.read_text())


def test_a_job_runs_in_the_workers_container_with_none_of_the_tasks_secrets(
    server: psutil.Process, lab: Lab, catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the task")
    title = released(catalog)

    assert lab.task("look-around").execute(context(title)) is None

    seen = json.loads(store.get_bytes(result_key(title.job(), "look")))["environment"]
    assert seen["CALLSHEET_PARENT_PID"] == str(server.pid)
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    (finished,) = [each for each in catalog.history.events(request_id=title.request_id) if each.kind == "task.finished"]
    assert finished.detail["cpu_s"] > 0.1, "the worker's own, not that of the process that stands for it"


@pytest.mark.parametrize(
    ("do", "raised", "says"),
    [
        ("reject", AirflowFailException, "^MezzanineRejected: .*owner: source"),
        ("die", AirflowException, "^PlatformUnavailable: .*exit code 137"),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_failure_keeps_its_class(do: str, raised: type[Exception], says: str, lab: Lab, catalog: Catalog) -> None:
    with pytest.raises(AirflowException, match=says) as caught:
        lab.task("look-around").execute(context(released(catalog, metadata={"do": do})))

    assert type(caught.value) is raised


def test_the_worker_and_its_tools_end_with_the_task(
    server: psutil.Process, lab: Lab, catalog: Catalog, tmp_path: Path
) -> None:
    """Airflow ends a task by a signal to its process group: what stands there for the worker goes without a word."""
    title = released(catalog, metadata={"do": "hang", "pid_file": str(tmp_path / "pid")})
    everyone: list[psutil.Process] = []

    def end() -> None:
        worker = psutil.Process(pid_in(tmp_path / "pid"))
        while not (tools := worker.children(recursive=True)):
            time.sleep(0.05)
        everyone.extend([worker, *tools])
        alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
        (client,) = [each for each in alive if "run" in each.cmdline()]
        client.kill()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(AirflowException, match="signal 9"):
        lab.task("look-around").execute(context(title))
    thread.join()

    assert everyone[0].ppid() == server.pid if everyone[0].is_running() else len(everyone) > 1
    assert psutil.wait_procs(everyone, timeout=10)[1] == []


def test_a_container_that_goes_takes_its_workers_along_and_the_task_is_tried_again(
    server: psutil.Process, lab: Lab, catalog: Catalog, tmp_path: Path
) -> None:
    title = released(catalog, metadata={"do": "hang", "pid_file": str(tmp_path / "pid")})
    workers: list[psutil.Process] = []

    def end() -> None:
        workers.append(psutil.Process(pid_in(tmp_path / "pid")))
        server.kill()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(AirflowException, match=f"^PlatformUnavailable: .*exit code {LOST}"):
        lab.task("look-around").execute(context(title))
    thread.join()

    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_no_container_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "prepare", "file:///x") == LOST
    assert f"no worker at {path}" in capsys.readouterr().out


def test_what_is_no_request_is_let_go(server: psutil.Process, path: Path) -> None:
    for line in (b"", b"\n", b"{", b"[1]\n", b"x" * 100_000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(30)
            asked.connect(str(path))
            with suppress(OSError):
                asked.sendall(line)
                asked.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert asked.recv(1) == b""
    assert server.is_running()
    assert os.access(path, os.W_OK)
