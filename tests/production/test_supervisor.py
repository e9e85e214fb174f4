"""A task on this machine and the supervisor that Airflow puts above it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.stack import wait_for

SUPERVISOR = """
import os, socket, sys, time
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder
from include.orchestration.runtimes.local import die_with_supervisor

if os.fork() == 0:
    os.setpgid(0, 0)
    if sys.argv[1] == "supervised":
        task_runner.SUPERVISOR_COMMS = CommsDecoder(socket=socket.socket())
    die_with_supervisor()
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "on_its_own"])
def test_a_task_does_not_outlive_the_supervisor_that_watches_it(supervised: bool) -> None:
    """One that nobody watches is left alone: its parent may be a person's shell."""
    argv = [sys.executable, "-c", SUPERVISOR, "supervised" if supervised else "on its own"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        task = psutil.Process(int(supervisor.stdout.readline()))
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        try:
            if supervised:
                wait_for(lambda: not task.is_running(), "the end of the task", limit_s=10)
            else:
                assert task.is_running()
        finally:
            if task.is_running():
                task.kill()
