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


class PostgresServer:
    """A running server that can be restarted, and whose connections can be cut."""

    def __init__(self, folder: Path) -> None:
        self._bin = require("PostgreSQL server", HOW, _bin_dir())
        self._folder = folder
        self._as_server = _as_server(folder)
        self._port = _free_port()
        initdb = [str(self._bin / "initdb"), "-D", str(folder / "data"), "-U", "callsheet", "-A", "trust"]
        _run([*self._as_server, *initdb, "-E", "UTF8"])
        self._server = self._start()

    @property
    def url(self) -> str:
        """SQLAlchemy address, without the database's name at its end."""
        return f"postgresql+psycopg://callsheet@127.0.0.1:{self._port}"

    def create_database(self, name: str) -> str:
        """A new database's SQLAlchemy address."""
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{self.url}/{name}"

    def cut_connections(self) -> int:
        """End every connection but this one, as a failover does; returns how many there were."""
        with self._connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            return len(connection.execute(f"{others} AND pid <> pg_backend_pid()").fetchall())

    def restart(self) -> None:
        """Crash the server and start it again on what it had committed."""
        self.stop()
        self._server = self._start()

    def stop(self) -> None:
        """Stop at once, without a checkpoint."""
        self._server.send_signal(IMMEDIATE_SHUTDOWN)
        self._server.wait(60)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"host=127.0.0.1 port={self._port} user=callsheet dbname=postgres", autocommit=True)

    def _start(self) -> subprocess.Popen[bytes]:
        settings = [f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        argv = [str(self._bin / "postgres"), "-D", str(self._folder / "data"), *(f"--{each}" for each in settings)]
        with (self._folder / "log").open("a") as log:
            server = subprocess.Popen(
                [*self._as_server, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/"
            )
        try:
            _wait_until_ready(server, self._port, self._folder / "log")
        except BaseException:
            server.kill()
            server.wait(60)
            raise
        return server


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running server of its own."""
    # Not pytest's own folder: its parents are closed to the user that the server has to run as.
    folder = Path(tempfile.mkdtemp(prefix="callsheet-postgres-"))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy address of a running server, without the database's name at its end."""
    with postgres() as server:
        yield server.url


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
