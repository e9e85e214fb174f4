"""Keeps commands running as an init system does: ``python -m tests.keeper FILE``, FILE being ``{name: argv}`` as JSON.

Each command leads a session of its own, with its output in ``<name>.log`` and its process id in ``<name>.pid`` beside
FILE. When it dies, what is left of its session is killed, as systemd does with a unit's control group and a container
runtime with a container, and it is started again. All of them end when stdin closes: they cannot outlive whoever
started the keeper, however that ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
RESTART_AFTER_S = 1.0
LOOK_EVERY_S = 0.1
STOP_S = 10.0


def main() -> None:
    """Keep the commands running until stdin closes."""
    file = Path(sys.argv[1])
    folder, commands = file.parent, json.loads(file.read_text())
    # Orphans of a command become children of this process, which waits for them.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    running = {name: start(folder, name, argv) for name, argv in commands.items()}
    due: dict[str, float] = {}
    ended: set[int] = set()
    while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
        ended.intersection_update(running.values())  # orphans are of no interest, and process ids are used again
        reap(ended)
        for name, leader in list(running.items()):
            if leader in ended:
                print(f"{name} ({leader}) ended", flush=True)
                sweep(running.pop(name), ended)
                due[name] = time.monotonic() + RESTART_AFTER_S
        for name, moment in list(due.items()):
            if time.monotonic() >= moment:
                running[name] = start(folder, name, commands[name])
                del due[name]
    stop(list(running.values()), ended)


def start(folder: Path, name: str, argv: list[str]) -> int:
    """Start a command; returns its process id, which is its session's."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    process.returncode = 0  # reaped below, with everyone else
    part = folder / f".{name}.pid"
    part.write_text(str(process.pid))
    part.replace(folder / f"{name}.pid")
    return process.pid


def reap(ended: set[int]) -> None:
    """Wait for the children that have ended, and add their process ids to ``ended``: nobody is told twice."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended.add(pid)


def session(leader: int) -> list[int]:
    """Living processes of a session, whatever their process groups are."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(sid) == leader and state != "Z":
                found.append(int(entry.name))
    return found


def sweep(leader: int, ended: set[int]) -> None:
    """Kill what is left of a session. Another command's leader may end meanwhile: it is among ``ended`` then."""
    while left := session(leader):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap(ended)
        time.sleep(0.01)


def stop(leaders: list[int], ended: set[int]) -> None:
    """End all commands: those that have not gone STOP_S after being asked are killed."""
    for leader in leaders:
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
    end = time.monotonic() + STOP_S
    while any(session(leader) for leader in leaders) and time.monotonic() < end:
        reap(ended)
        time.sleep(LOOK_EVERY_S)
    for leader in leaders:
        sweep(leader, ended)


if __name__ == "__main__":
    main()
