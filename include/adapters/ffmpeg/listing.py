"""Lists the packets of an encoded picture, however many: how many, which are keyframes, the first and the last time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from include.adapters.process import run
from include.domain.outcome.results import Cost


def listing_argv(program: str, path: Path) -> list[str]:
    """Presentation time and keyframe flag of every packet, then size and clock of the picture: a line each."""
    entries = "packet=pts,flags:stream=width,height,time_base"
    return [program, "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "compact",
            f"file:{path}"]  # fmt: skip


REORDERED = 64
"""Packets that may stand between the order of decoding and that of presentation; codecs need 16 at most."""


@dataclass(kw_only=True)
class Listed:
    """What ffprobe lists of a rendition. Twelve hours at 60 fps are 2.6 million packets: of those none is kept."""

    width: int = 0
    height: int = 0
    clock: Fraction = Fraction(0)
    """Seconds that one unit of a presentation time stands for."""
    count: int = 0
    keyframes: list[int] = field(default_factory=list)
    """Positions in presentation order."""
    orderly: bool = True
    """Whether packets come near their place."""
    first: int = 0
    last: int = 0
    waiting: list[tuple[int, bool]] = field(default_factory=list)
    """A heap of those that others may still come before."""

    def read(self, line: str) -> None:
        """One line of the list."""
        kind, *pairs = line.split("|")
        told = dict(pair.partition("=")[::2] for pair in pairs)
        try:
            if kind == "packet":
                self._queue(int(told["pts"]), told.get("flags", "").startswith("K"))
            elif kind == "stream":
                self.clock = Fraction(told["time_base"])
                self.width, self.height = int(told["width"]), int(told["height"])
        except (KeyError, ValueError, ZeroDivisionError):
            return  # what has no time is never shown

    def end(self) -> None:
        """There are no more."""
        while self.waiting:
            self._place(*heapq.heappop(self.waiting))

    def presented_s(self, frame_s: Fraction) -> float:
        """From the first picture to the end of the last, which stands for ``frame_s``."""
        return float((self.last - self.first) * self.clock + frame_s) if self.count else 0.0

    def _queue(self, pts: int, key: bool) -> None:
        heapq.heappush(self.waiting, (pts, key))
        if len(self.waiting) > REORDERED:
            self._place(*heapq.heappop(self.waiting))

    def _place(self, pts: int, key: bool) -> None:
        if self.count == 0:
            self.first = self.last = pts
        self.orderly = self.orderly and pts >= self.last
        self.last = max(self.last, pts)
        if key:
            self.keyframes.append(self.count)
        self.count += 1


def list_packets(
    program: str, path: Path, *, timeout_s: float, on_count: Callable[[int], None] = lambda count: None
) -> tuple[Listed, Cost]:
    """What ffprobe lists of the picture in a file, and what that took.

    Args:
        program: ffprobe.
        path: Of the file.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        on_count: Gets how many packets have found their place, at each one.
    """
    listed = Listed()

    def read(line: str) -> None:
        listed.read(line)
        on_count(listed.count)

    finished = run(listing_argv(program, path), timeout_s=timeout_s, check=False, on_line=read)
    listed.end()
    return listed, finished.cost
