"""How a stage tells how far it is, where its parts or its tools do not do so by themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from include.base.errors import CallsheetError
from include.stages.core import StageContext

log = logging.getLogger(__name__)

Tell = Callable[[float, str], None]
"""Share done (0–1) and a short line for people."""
LOOK_EVERY_S = 3.0


def part(ctx: StageContext, first: float, last: float) -> Tell:
    """The report of a part of a stage, which takes its progress from ``first`` to ``last``."""
    return lambda share, message: ctx.report(first + (last - first) * min(1.0, max(0.0, share)), message)


@contextmanager
def watched(look: Callable[[], None]) -> Iterator[None]:
    """Calls ``look`` every few seconds while the block runs: it reports how far a tool is that says nothing itself."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_EVERY_S):
            try:
                look()
            except (OSError, CallsheetError) as error:
                # The work itself goes on, and fails by itself where the same ails it.
                log.info("progress was not told: %s", error)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
