"""The keeper under which a farm's components run: none of them stays dead, whatever else dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from include.local.environment import ROOT

CROWD = "import subprocess, time; [subprocess.Popen(['sleep', '600']) for _ in range(40)]; time.sleep(600)"
ROUNDS = 4


def test_a_command_that_dies_while_another_is_swept_comes_back(tmp_path: Path) -> None:
    commands = {"crowd": [sys.executable, "-c", CROWD], "lone": ["sleep", "600"]}
    (tmp_path / "units.json").write_text(json.dumps(commands))
    log = tmp_path / "keeper.log"
    with log.open("ab") as out:
        argv = [sys.executable, "-m", "tests.keeper", str(tmp_path / "units.json")]
        keeper = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=out)
    try:
        for _ in range(ROUNDS):
            crowd, lone = (living(tmp_path, name) for name in commands)
            until(lambda crowd=crowd: len(children(crowd)) == 40)
            os.kill(crowd, signal.SIGKILL)
            until(lambda crowd=crowd: f"crowd ({crowd}) ended" in log.read_text(), every_s=0.0)
            os.kill(lone, signal.SIGKILL)
            until(lambda lone=lone: living(tmp_path, "lone") != lone)
            until(lambda crowd=crowd: living(tmp_path, "crowd") != crowd)
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        assert keeper.wait(30) == 0


def living(folder: Path, name: str) -> int:
    """Process id of a command that the keeper has started last."""
    file = folder / f"{name}.pid"
    until(file.exists)
    return int(file.read_text())


def children(pid: int) -> list[str]:
    """Process ids of the direct children of a process."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def until(reached, *, every_s: float = 0.05, limit_s: float = 30) -> None:  # type: ignore[no-untyped-def]
    """Wait for it."""
    end = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(every_s)
