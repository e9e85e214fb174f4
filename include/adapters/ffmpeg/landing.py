"""Where reading a mezzanine really begins when it is asked to begin in the middle.

In a container without an index, with few keyframes or open groups of pictures, a seek may land behind the picture that
was wanted. It lands at the same place each time, so that one short decode tells whether a hint is good.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.adapters.ffmpeg.commands import first_times_argv
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.reading import frame_time_s
from include.adapters.process import run

NO_TIME = 2**62
"""Counts from here on are ffmpeg's word for no time."""


def reach(program: str, source: OpenedMezzanine, *, index: int, at_s: float, timeout_s: float) -> float:
    """A hint for :meth:`OpenedMezzanine.options` from which the stream's picture at ``at_s`` can be had.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        index: Of the stream.
        at_s: What is wanted, in the title.
        timeout_s: Limit of each try; raises :class:`include.base.errors.ToolTimeout`.
    """
    for hint in source.tries(at_s):
        if hint <= 0:
            break
        first = first_times(program, source, indexes=[index], from_s=hint, timeout_s=timeout_s).get(index)
        if first is not None and first <= at_s:
            return hint
    return 0.0


def first_times(
    program: str,
    source: OpenedMezzanine,
    *,
    indexes: Sequence[int],
    from_s: float = 0.0,
    within_s: float | None = None,
    timeout_s: float,
) -> dict[int, float]:
    """Time of the first picture or sample that is decoded of each stream, by its index; those that have none miss.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        indexes: Of the streams.
        from_s: Where to begin.
        within_s: How far to look for them; None for to the end.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
    """
    found: dict[int, float] = {}

    def read(line: str) -> None:
        try:
            number, count, clock = line.split()
            if abs(int(count)) < NO_TIME:
                found.setdefault(indexes[int(number)], frame_time_s(count, clock))
        except (ValueError, IndexError, ZeroDivisionError):
            return

    argv = first_times_argv(program, source, indexes=indexes, from_s=from_s, within_s=within_s)
    run(argv, timeout_s=timeout_s, check=False, on_line=read)
    return found
