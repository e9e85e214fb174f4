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
import os, socket, time
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder
from include.orchestration.runtimes.local import die_with_supervisor

for supervised in (True, False):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setpgid(0, 0)
        if supervised:
            task_runner.SUPERVISOR_COMMS = CommsDecoder(socket=socket.socket())
        die_with_supervisor()
        os.write(writing, str(os.getpid()).encode())
        time.sleep(600)
    print(os.read(reading, 100).decode(), flush=True)
time.sleep(600)
"""


def test_a_task_does_not_outlive_the_supervisor_that_watches_it_and_one_on_its_own_does() -> None:
    """One that nobody watches is left alone: its parent may be a person's shell."""
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        supervised, alone = (psutil.Process(int(supervisor.stdout.readline())) for _ in range(2))
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        try:
            wait_for(lambda: not supervised.is_running(), "the end of the task", limit_s=10)
            # As long again as the other one needed, and more: nothing ends it later.
            with pytest.raises(psutil.TimeoutExpired):
                alone.wait(timeout=0.5)
        finally:
            for task in (supervised, alone):
                if task.is_running():
                    task.kill()
