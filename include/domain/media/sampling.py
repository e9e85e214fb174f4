"""Which stretches of a mezzanine are looked at when looking at all of it would take too long."""

from __future__ import annotations

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
