"""Several calls at once that may never return, under one bound of time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

log = logging.getLogger(__name__)


Answer = TypeVar("Answer")


def answers_in_time(calls: Mapping[str, Callable[[], Answer]], *, at_once: int, limit_s: float) -> dict[str, Answer]:
    """What the calls return within the time, by their keys; those that do not, or that raise, are missing.

    A call that is still under way at the end is left to itself, on a thread that does not keep the process alive: a
    name server or a file server that does not answer may hold it for minutes. No call begins after the end.

    Args:
        calls: Begun in their order.
        at_once: How many run side by side.
        limit_s: For all of them together.
    """
    end = time.monotonic() + limit_s
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for key in calls:
        waiting.put(key)
    told: queue.SimpleQueue[tuple[str, Answer] | None] = queue.SimpleQueue()

    def work() -> None:
        while time.monotonic() < end:
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                told.put((key, calls[key]()))
            except Exception:
                log.exception("%s: no answer", key)
                told.put(None)

    for _ in range(min(at_once, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    answers: dict[str, Answer] = {}
    for _ in calls:
        try:
            answer = told.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        if answer is not None:
            answers[answer[0]] = answer[1]
    return answers
