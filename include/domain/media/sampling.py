"""Which stretches of a mezzanine are looked at when looking at all of it would take too long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Window


def sample_windows(duration_s: float, *, count: int, length_s: float) -> tuple[Window, ...]:
    """``count`` windows of ``length_s``, evenly spread and the same every time; one over all where they would meet.

    Args:
        duration_s: Of the mezzanine.
        count: At most this many.
        length_s: Of each window.
    """
    if duration_s <= count * length_s:
        return (Window(start_s=0.0, duration_s=duration_s),)
    stretch = duration_s / count
    return tuple(
        Window(start_s=round(index * stretch + (stretch - length_s) / 2, 3), duration_s=length_s)
        for index in range(count)
    )


WINDOW_S = 4.0

WINDOWS = 5


def comparison_windows(duration_s: float, *, frame_rate: str) -> tuple[Window, ...] | None:
    """Where every frame of a rendition that looks wrong is compared with the mezzanine; None for all over it.

    Windows lie evenly and start on a frame of the constant ``frame_rate``.
    """
    if duration_s <= WINDOWS * WINDOW_S:
        return None
    fps = parse_rate(frame_rate)
    gap = (duration_s - WINDOWS * WINDOW_S) / (WINDOWS + 1)
    starts = (math.floor((gap + index * (gap + WINDOW_S)) * fps) for index in range(WINDOWS))
    return tuple(Window(start_s=float(start / fps), duration_s=WINDOW_S) for start in starts)


TOGETHER = 3
"""Frames of the title that are looked at for one that is compared: the one before it, itself and the one after it."""
FEWEST = 4
"""Frames that are compared of a short title, where it has as many."""


@dataclass(frozen=True, kw_only=True)
class ComparedFrames:
    """Frames of a title that are compared with the mezzanine, all over it and at equal distances."""

    total: int
    """Frames of the title; they are counted from 0."""
    every: int
    """Each how many frames one is compared, from the first on."""

    @property
    def neighbours(self) -> bool:
        """Whether frames are left out between those that are looked at; where not, all are compared."""
        return self.every > TOGETHER

    @property
    def positions(self) -> range:
        """Those that are compared."""
        return range(0, self.total, self.every if self.neighbours else 1)

    def seen(self, position: int) -> range:
        """The frame and its neighbours, as far as there are any."""
        return range(max(0, position - 1), min(self.total, position + 2))

    @property
    def count(self) -> int:
        """Frames that are looked at: the compared ones and their neighbours."""
        return sum(len(self.seen(each)) for each in self.positions) if self.neighbours else self.total


def compared_frames(duration_s: float, *, every_s: float, most: int, fps: Fraction) -> ComparedFrames:
    """One frame in ``every_s`` seconds, at most ``most`` of a long title, and a few of the shortest.

    Args:
        duration_s: Of the title.
        every_s: As the tier asks.
        most: As the tier asks.
        fps: Exact constant rate of the renditions.
    """
    total = max(1, round(Fraction(duration_s) * fps))
    asked = max(round(Fraction(every_s) * fps), math.ceil(total / most))
    return ComparedFrames(total=total, every=max(1, min(asked, total // FEWEST)))
