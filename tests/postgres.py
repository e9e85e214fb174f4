"""A real PostgreSQL server for a test session: a new cluster in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.requirements import require

HOW = "apt-get install postgresql"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy address of a running server, without the database's name at its end."""
    bin_dir = require("PostgreSQL server", HOW, _bin_dir())
    # Not pytest's own folder: its parents are closed to the user that the server has to run as.
    folder = Path(tempfile.mkdtemp(prefix="callsheet-postgres-"))
    try:
        as_server = _as_server(folder)
        data = folder / "data"
        port = _free_port()
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        _run([*as_server, str(bin_dir / "initdb"), "-D", str(data), "-U", "callsheet", "-A", "trust", "-E", "UTF8"])
        control = [*as_server, str(bin_dir / "pg_ctl"), "-D", str(data), "-w", "-t", "60"]
        _run([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://callsheet@127.0.0.1:{port}"
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bin_dir() -> Path | None:
    """Debian keeps the server's programs off the path, one folder per version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).parent if found else None


def _as_server(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: what to put before its commands, so that they run as its own user."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    setpriv = require("setpriv", "apt-get install util-linux", shutil.which("setpriv"))
    return [setpriv, "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


def _run(argv: list[str]) -> None:
    # Not a pipe: the server inherits it, and a pipe stays open as long as the server.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/")
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{argv[-1]} of PostgreSQL ended with {done.returncode}: {output.read()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
