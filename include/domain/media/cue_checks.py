"""Whether cues can belong to this title: they end with it, run at its speed, and come when its own do."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from include.domain.media.captions import Cue, timestamp

OVERRUN_MS = 500
"""How far a last cue may stand beyond the title's end: writers round, and the last picture is often held."""
RATIO_TOLERANCE = 0.0015
"""How near a ratio must come to one of :data:`SPEEDS`. The two nearest of those differ by 0.001."""
LEAST_CUES = 10
LEAST_MS = 60_000
"""From how many cues and which length of title on an early end is looked at: short clips end anywhere."""
TOGETHER_MS = 50
"""A cue that begins this near to a packet begins with it."""
BUCKET_MS = 20
FARTHEST_MS = 10_000
"""Shifts that are looked for."""
SAMPLED_CUES = 200
NEARLY_ALL = 0.9
_FILM, _NTSC, _PAL, _VIDEO = Fraction(24), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001)
SPEEDS: dict[str, Fraction] = {
    "23.976 fps instead of 25": _PAL / _NTSC,
    "24 fps instead of 25": _PAL / _FILM,
    "25 fps instead of 23.976": _NTSC / _PAL,
    "25 fps instead of 24": _FILM / _PAL,
    "23.976 fps instead of 29.97": _VIDEO / _NTSC,
    "29.97 fps instead of 23.976": _NTSC / _VIDEO,
    "25 fps instead of 29.97": _VIDEO / _PAL,
    "29.97 fps instead of 25": _PAL / _VIDEO,
}
"""By how much cues are late at the end that were timed for a version at one rate, and are shown over one at another."""


def beyond_the_end(cues: Sequence[Cue], *, duration_ms: int) -> str | None:
    """A sentence about cues that stand after the title's end; None where there are none to speak of."""
    last = max((cue.end_ms for cue in cues), default=0)
    late = sum(1 for cue in cues if cue.start_ms >= duration_ms)
    if not late and last <= duration_ms + OVERRUN_MS:
        return None
    what = f"{late} of {len(cues)} cues start" if late else "the last cue ends"
    until = f"{timestamp(last)}, the title ends at {timestamp(duration_ms)}"
    speed = _speed(last, duration_ms)
    hint = f"; the ratio is that of {speed}: the cues may drift" if speed else ""
    return f"{what} after the title's end (the last at {until}){hint}"


def drifting(cues: Sequence[Cue], *, duration_ms: int) -> str | None:
    """A sentence about cues that end early by just the ratio of two frame rates; None where they do not."""
    if len(cues) < LEAST_CUES or duration_ms < LEAST_MS:
        return None
    last = max(cue.end_ms for cue in cues)
    speed = _speed(last, duration_ms) if last < duration_ms else None
    if speed is None:
        return None
    return (
        f"the last cue ends at {timestamp(last)} of {timestamp(duration_ms)}, which is the ratio of {speed}: "
        "the cues may drift"
    )


def drifting_apart(first: Sequence[Cue], second: Sequence[Cue]) -> str | None:
    """A sentence where two tracks of one title end apart by the ratio of two frame rates."""
    if min(len(first), len(second)) < LEAST_CUES:
        return None
    one, other = max(cue.end_ms for cue in first), max(cue.end_ms for cue in second)
    speed = _speed(other, one) if one > 0 else None
    if speed is None:
        return None
    return f"it ends at {timestamp(other)} and the other at {timestamp(one)}, which is the ratio of {speed}"


def misplaced(source_ms: Sequence[int], cues: Sequence[Cue]) -> str | None:
    """A sentence where the cues of a track come at other times than the packets that they were read from; else None.

    Most cues of a sound track begin with a packet. Where most do not, but nearly all would if they were moved by one
    time, they are shifted by it. Without such a time nothing is said: formats differ in what they cut a cue into.

    Args:
        source_ms: Of the packets, on the title's clock; what begins before its zero is shown from there on.
        cues: Of the track.
    """
    starts, packets = sorted({cue.start_ms for cue in cues}), sorted({max(0, time_ms) for time_ms in source_ms})
    if not starts or not packets or _with_a_packet(starts, packets, 0) >= len(starts) / 2:
        return None
    sampled = starts[:: max(1, len(starts) // SAMPLED_CUES)]
    apart = Counter(
        round((start - packet) / BUCKET_MS) * BUCKET_MS
        for start in sampled
        for packet in packets[bisect_left(packets, start - FARTHEST_MS) : bisect_right(packets, start + FARTHEST_MS)]
    )
    if not apart:
        return None
    shift_ms = min(apart, key=lambda shift: (-apart[shift], abs(shift)))
    if _with_a_packet(starts, packets, shift_ms) < NEARLY_ALL * len(starts):
        return None
    return f"their cues come {abs(shift_ms) / 1000:.2f} s {'late' if shift_ms > 0 else 'early'}"


def _with_a_packet(starts: Sequence[int], packets: Sequence[int], shift_ms: int) -> int:
    """How many cues begin with a packet, once they are moved back by ``shift_ms``."""
    return sum(
        bisect_left(packets, start - shift_ms - TOGETHER_MS) < bisect_right(packets, start - shift_ms + TOGETHER_MS)
        for start in starts
    )


def _speed(one: int, other: int) -> str | None:
    if other <= 0:
        return None
    ratio = one / other
    near = min(SPEEDS, key=lambda name: abs(ratio / float(SPEEDS[name]) - 1))
    return near if abs(ratio / float(SPEEDS[near]) - 1) <= RATIO_TOLERANCE else None
