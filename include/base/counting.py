"""How far something is that is done in many small steps, by several threads perhaps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEPS = 100
EVERY_S = 1.0


class Count:
    """What several threads have done together, e.g. bytes."""

    def __init__(self, told: Callable[[int], None]) -> None:
        """``told`` gets the sum after each step, by one thread at a time."""
        self._told = told
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """One step more."""
        with self._lock:
            self._done += count
            self._told(self._done)


def seldom(told: Callable[[float], None], *, whole: float) -> Callable[[float], None]:
    """Passes on how much is done of ``whole``, where that is a hundredth more than last time or a second has gone by.

    What is told for people costs more than a step of the work itself, of which there may be millions.
    """
    last, at = 0.0, float("-inf")

    def step(done: float) -> None:
        nonlocal last, at
        now = time.monotonic()
        if done - last >= whole / STEPS or now - at >= EVERY_S:
            last, at = done, now
            told(done)

    return step
