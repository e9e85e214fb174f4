"""Processes of the local stack: found by the session that all of them share."""

from __future__ import annotations

import os

import psutil


def start_time(pid: int) -> float:
    """When the process was created, 0 where there is none (or only its remains)."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return 0.0


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; nothing happens where it has ended."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def session_of(leader: int) -> list[int]:
    """Living processes of the leader's session: the group, and the groups that Airflow makes for its tasks."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found
