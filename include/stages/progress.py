"""How a stage tells how far it is, where its parts or its tools do not do so by themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from include.adapters.store.interface import Moved
from include.base.counting import seldom
from include.base.errors import CallsheetError
from include.stages.core import StageContext

log = logging.getLogger(__name__)

Tell = Callable[[float, str], None]
"""Share done (0–1) and a short line for people."""
LOOK_EVERY_S = 3.0


def part(ctx: StageContext, first: float, last: float) -> Tell:
    """The report of a part of a stage, which takes its progress from ``first`` to ``last``."""
    return within(ctx.report, first, last)


def within(tell: Tell, first: float, last: float) -> Tell:
    """The report of a part of what ``tell`` reports, which takes that from ``first`` to ``last``."""
    return lambda share, message: tell(first + (last - first) * min(1.0, max(0.0, share)), message)


def counting(tell: Tell, said: Callable[[float], str], *, whole: float) -> Callable[[float], None]:
    """Reports a count that goes up to ``whole`` in steps of which there may be millions.

    Args:
        tell: Gets the share that is done.
        said: The line for people at a count; made only when it is told.
        whole: The last count.
    """
    return seldom(lambda done: tell(done / whole if whole > 0 else 1.0, said(done)), whole=whole)


def moving(tell: Tell, what: str, size_bytes: int) -> Moved:
    """Reports a transfer of so many bytes: ``fetching h264_144p: 3 of 12 MiB``."""
    return counting(tell, lambda done: f"{what}: {int(done) >> 20} of {size_bytes >> 20} MiB", whole=size_bytes)


def fetched(ctx: StageContext, key: str, size_bytes: int, name: str, tell: Tell) -> Path:
    """A path with the content of ``key``: downloaded into scratch, where the store is no folder of this machine."""
    return ctx.store.local_copy(key, ctx.scratch, moving(tell, f"fetching {name}", size_bytes))


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
