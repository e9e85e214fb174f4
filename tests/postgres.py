"""A real PostgreSQL server for a test session: a new cluster in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.requirements import require

HOW = "apt-get install postgresql"
IMMEDIATE_SHUTDOWN = signal.SIGQUIT


@contextmanager
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy address of a running server, without the database's name at its end."""
    bin_dir = require("PostgreSQL server", HOW, _bin_dir())
    # Not pytest's own folder: its parents are closed to the user that the server has to run as.
    folder = Path(tempfile.mkdtemp(prefix="callsheet-postgres-"))
    try:
        as_server = _as_server(folder)
        data, port = folder / "data", _free_port()
        _run([*as_server, str(bin_dir / "initdb"), "-D", str(data), "-U", "callsheet", "-A", "trust", "-E", "UTF8"])
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [*as_server, str(bin_dir / "postgres"), "-D", str(data), *(f"--{each}" for each in settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
            )
        try:
            _wait_until_ready(server, port, folder / "log")
            yield f"postgresql+psycopg://callsheet@127.0.0.1:{port}"
        finally:
            server.send_signal(IMMEDIATE_SHUTDOWN)
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=callsheet dbname=postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")


def _bin_dir() -> Path | None:
    """Debian keeps the server's programs off the path, one folder per version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).parent if found else None


def _as_server(folder: Path) -> list[str]:
    """What to put before PostgreSQL's commands: they refuse to run as root, and must not outlive the tests."""
    setpriv = require("setpriv", "apt-get install util-linux", shutil.which("setpriv"))
    prefix = [setpriv, "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        prefix += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
    return [*prefix, "--"]


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise RuntimeError(f"initdb of PostgreSQL ended with {done.returncode}: {done.stdout}{done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
