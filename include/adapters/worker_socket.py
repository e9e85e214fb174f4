"""Workers in a container of their own on one machine: a task in another container hands them its job over a socket.

``python -m include.adapters.worker_socket serve SOCKET`` runs in the workers' container and starts a worker for each
connection. ``… run SOCKET TASK --job URI`` runs in the task's container in place of a worker: it prints what the worker
prints and ends with its exit code. When it ends before, by whatever signal, its connection closes and the worker is
ended. So the media tools share neither processes nor secrets nor a network with Airflow.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from include.adapters.process import PARENT_VARIABLE, die_with_parent

log = logging.getLogger(__name__)

REQUEST_BYTES = 16 * 1024
REQUEST_LIMIT_S = 10.0
"""For the one line of a request."""
GRACE_S = 4.0
"""Between SIGTERM and SIGKILL, as Airflow grants its tasks."""
LOST = 75
"""Exit code where the workers' container went away: try again."""
_EXIT = "\0exit "
"""What the last line of an answer begins with; the code follows. A worker's log has no such character."""


def serve(path: Path) -> None:
    """Start a worker for each connection to the socket at ``path``, for ever."""
    with socket.socket(socket.AF_UNIX) as listening:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        # Airflow's user is another than this one; who else sees the folder is for the containers' volumes to say.
        path.chmod(0o666)
        listening.listen(64)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    """Run one job and tell its exit code. This thread lives as long as the worker, which the kernel ends with it."""
    with connection, suppress(OSError):
        connection.settimeout(REQUEST_LIMIT_S)
        with connection.makefile("rb") as lines:
            line = lines.readline(REQUEST_BYTES)
        try:
            task, job = map(str, json.loads(line))
        except (ValueError, TypeError):
            return  # a health check, that only connects
        log.info("%s of %s", task, job)
        # The worker writes to it as to a file: a time limit would make that fail where the task is slow to read.
        connection.settimeout(None)
        worker = subprocess.Popen(
            [sys.executable, "-m", "include.worker", task, "--job", job],
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=connection.fileno(), stderr=connection.fileno(),
            start_new_session=True,  # it and its tools are ended together
        )  # fmt: skip
        try:
            _wait(worker, connection)
        finally:
            _end(worker)
        connection.sendall(f"\n{_EXIT}{worker.returncode}\n".encode())


def _wait(worker: subprocess.Popen[bytes], connection: socket.socket) -> None:
    """Until the worker ends or the other side does."""
    while worker.poll() is None:
        readable, _, _ = select.select([connection], [], [], 0.2)
        if readable and not connection.recv(1):
            log.info("nobody waits for it any more: the worker is ended")
            return


def _end(worker: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if worker.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, number)
            with suppress(subprocess.TimeoutExpired):
                worker.wait(GRACE_S)


def run(path: Path, task: str, job: str) -> int:
    """Have a worker run ``task`` of the job document at ``job``; prints its output, returns its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps([task, job]).encode() + b"\n")
            with connection.makefile("r", errors="replace") as lines:
                for line in lines:
                    if line.startswith(_EXIT):
                        return int(line.removeprefix(_EXIT))
                    if line != "\n":
                        print(line, end="", flush=True)
        except OSError as error:
            print(f"ERROR no worker at {path}: {error}", flush=True)
    return LOST


def main(argv: list[str] | None = None) -> int:
    """Serve, or run one job; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m include.adapters.worker_socket", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    server, client = ways.add_parser("serve"), ways.add_parser("run")
    for each in (server, client):
        each.add_argument("socket", type=Path)
    client.add_argument("task")
    client.add_argument("--job", required=True)
    arguments = parser.parse_args(argv)
    if arguments.way == "serve":
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        # As process 1 of a container it would be deaf to a signal without a handler.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        serve(arguments.socket)
        return 0
    parent = os.environ.get(PARENT_VARIABLE)
    die_with_parent(int(parent) if parent else None)
    code = run(arguments.socket, arguments.task, arguments.job)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
