"""The code of an earlier release, as it was, and what runs it.

``FROM`` holds a line for each release, the newest last: version and commit. Its files are unpacked into a temporary
folder; this environment runs them where it has every version that the commit asks for, otherwise one of its own does.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import NullPool, create_engine, text

from include.base.settings import Settings
from include.local.processes import session_of
from include.local.stack import Stack, find
from tests.locks import entries
from tests.requirements import missing
from tests.upgrade import postgresql

ROOT = Path(__file__).parents[2]
FROM = dict(line.split() for line in (Path(__file__).parent / "FROM").read_text().splitlines())
"""Commits of earlier releases by version. Each release adds a line for the one before it."""
FIRST, LAST = next(iter(FROM)), next(reversed(FROM))
"""The oldest of them, whose catalog is looked at, and the one before this release, which is upgraded in mid-work."""
HOW_TO_GET_IT = "git fetch --unshallow (a shallow clone lacks it)"
RUN_LIMIT_S = 400.0
INSTALL_LIMIT_S = 900.0

# Each release has its stack where its house has it.
START = """
import json, sys
from pathlib import Path
try:
    from include.local.stack import up
    from include.base.settings import Settings
except ImportError:
    from include.stack import up
    from include.settings import Settings
assert Path(sys.modules[up.__module__].__file__).is_relative_to(Path.cwd()), sys.modules[up.__module__].__file__
given = json.loads(sys.argv[1])
up(Settings(**given["settings"]), say=lambda line: print(line, file=sys.stderr, flush=True), extra=given["extra"])
"""
# This environment finds today's modules for names that the release of before does not have.
ALONE = """
import sys
sys.meta_path[:] = [each for each in sys.meta_path if "__editable__" not in getattr(each, "__module__", "")]
"""


@dataclass(frozen=True, kw_only=True)
class Past:
    """The files of an earlier release, and a Python with what they ask for."""

    tree: Path
    python: Path

    def run(self, script: str, *arguments: str, limit_s: float = RUN_LIMIT_S) -> str:
        """Run a script with that release's modules; returns its stdout, fails the test with its stderr."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CALLSHEET_", "AIRF"))}
        environment |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [str(self.python), "-c", script, *arguments],
            cwd=self.tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=limit_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"the release of before: {done.stderr[-3000:]}"
        return done.stdout

    def up(self, settings: Settings, *, extra: dict[str, str]) -> Stack:
        """Start that release's local stack in a home, with the settings of today's that it knows."""
        given = {"settings": settings.model_dump(mode="json", exclude_defaults=True), "extra": extra}
        self.run(START, json.dumps(given))
        stack = find(settings)
        assert stack is not None
        strangers = foreign_processes(stack, self.tree)
        assert strangers == [], f"processes that do not run the release of before: {strangers}"
        return stack


def unpack(folder: Path, version: str = LAST) -> Past:
    """A release of ``FROM`` in an empty folder; the test is skipped where git does not have the commit."""
    commit = FROM[version]
    asked = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False)
    if asked.returncode != 0:
        missing(f"the commit {commit[:12]} of tests/upgrade/FROM", HOW_TO_GET_IT)
    with tarfile.open(fileobj=io.BytesIO(asked.stdout)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "sitecustomize.py").write_text(ALONE)
    added = folder.joinpath(*postgresql.__name__.split(".")).with_suffix(".py")
    added.parent.mkdir(exist_ok=True)
    shutil.copy(postgresql.__file__, added)
    return Past(tree=folder, python=_python_for(folder / "requirements.txt"))


def _python_for(requirements: Path) -> Path:
    """A Python that has every locked version: this one, or one in a folder that is kept for the next run."""
    locked = [Requirement(line) for line, _ in entries(requirements.read_text())]
    there = {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    if all(
        there.get(canonicalize_name(each.name), "") in each.specifier
        for each in locked
        if each.marker is None or each.marker.evaluate()
    ):
        return Path(sys.executable)
    named = hashlib.sha256(f"{sys.version}\n{requirements.read_text()}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"callsheet-past-{named}"
    python, whole = folder / "bin" / "python", folder / "installed"
    if not whole.exists():
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(requirements)]
        subprocess.run(install, check=True, timeout=INSTALL_LIMIT_S)
        whole.touch()
    return python


def foreign_processes(stack: Stack, tree: Path) -> list[str]:
    """Processes of a stack whose modules do not come from ``tree``: they would make a test of the past worthless."""
    found = []
    for pid in session_of(stack.pid):
        try:
            words = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        # A process that renames itself may write over what is there.
        paths = [word for word in words if word.startswith(b"PYTHONPATH=")]
        if paths not in ([], [f"PYTHONPATH={tree}".encode()]):
            found.append(str(pid))
    return found


def kill(settings: Settings, stack: Stack) -> None:
    """End every process of a stack at once, as a power cut does."""
    end = time.monotonic() + 30
    while pids := session_of(stack.pid):
        assert time.monotonic() < end, f"processes that SIGKILL does not end: {pids}"
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    (settings.home / "stack.json").unlink(missing_ok=True)


def revision(settings: Settings) -> str:
    """The migration that the catalog of a home is at, read without any release's code."""
    ((found,),) = rows(settings, "SELECT version_num FROM alembic_version")
    return str(found)


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in the catalog of a home, whatever release wrote it."""
    with create_engine(settings.catalog_url, poolclass=NullPool).connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]
