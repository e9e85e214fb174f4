"""Whether cues can belong to this title: they end with it, and run at its speed."""

from __future__ import annotations

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


def _speed(one: int, other: int) -> str | None:
    if other <= 0:
        return None
    ratio = one / other
    near = min(SPEEDS, key=lambda name: abs(ratio / float(SPEEDS[name]) - 1))
    return near if abs(ratio / float(SPEEDS[near]) - 1) <= RATIO_TOLERANCE else None
