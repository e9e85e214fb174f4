"""Which stretches of a mezzanine are looked at when looking at all of it would take too long."""

from __future__ import annotations

import math

from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Window
from include.domain.title.title import Tier


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


LONG_TITLE_S = 600.0
"""From this duration on, even a premium title is compared in windows."""

WINDOW_S = 4.0

WINDOWS = 5


def comparison_windows(duration_s: float, tier: Tier, *, frame_rate: str) -> tuple[Window, ...] | None:
    """Where a rendition is compared with the mezzanine; None for every frame.

    Premium titles up to ten minutes are compared whole, and so are titles that the windows would cover anyway.
    Windows lie evenly and start on a frame of the constant ``frame_rate``.
    """
    whole = tier is Tier.PREMIUM and duration_s <= LONG_TITLE_S
    if whole or duration_s <= WINDOWS * WINDOW_S:
        return None
    fps = parse_rate(frame_rate)
    gap = (duration_s - WINDOWS * WINDOW_S) / (WINDOWS + 1)
    starts = (math.floor((gap + index * (gap + WINDOW_S)) * fps) for index in range(WINDOWS))
    return tuple(Window(start_s=float(start / fps), duration_s=WINDOW_S) for start in starts)
