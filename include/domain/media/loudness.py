"""How loud a sound is, and the one gain that brings it to the loudness at which it is published.

The terms are those of EBU R 128 (https://tech.ebu.ch/publications/r128): integrated loudness, range, true peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from include.domain.media.media import Finding

FULL_SCALE_LUFS = 0.0
TOLD_LU = 0.5
"""Less below the target is not told: R 128 allows a programme to miss it by so much."""


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """What was measured of a sound from end to end."""

    integrated_lufs: float | None
    """None for silence, and for what is too short to have a loudness."""
    range_lu: float = 0.0
    sample_peak_dbfs: float = -math.inf
    true_peak_dbtp: float = -math.inf


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is done to a sound's level: one gain from beginning to end, and a limiter where the tier allows it."""

    gain_db: float
    due_lufs: float | None
    """The loudness that it is to have then; None where it has none. What a limiter takes of it is known only when that
    has run, and is taken off here by then."""
    limited_db: float = 0.0
    """How far the limiter takes the highest peak down; 0 where there is none."""
    limit_dbfs: float = 0.0
    """The highest sample that the limiter lets through."""


def level(measured: Loudness, *, target_lufs: float, ceiling_dbtp: float, limiter_db: float) -> Level:
    """The level at which a sound is published.

    The gain is what lacks to the target. Where it would lift the true peak above the ceiling, a limiter takes the peaks
    down by ``limiter_db`` at most; what is still above lowers the gain.

    Args:
        measured: The sound as it is.
        target_lufs: Integrated loudness of what is published.
        ceiling_dbtp: Its highest true peak.
        limiter_db: Of the title's tier.
    """
    if measured.integrated_lufs is None or not math.isfinite(measured.true_peak_dbtp):
        return Level(gain_db=0.0, due_lufs=None)
    room_db = ceiling_dbtp - measured.true_peak_dbtp
    gain_db = round(min(target_lufs - measured.integrated_lufs, room_db + limiter_db), 2)
    limited_db = round(max(0.0, gain_db - room_db), 2) if limiter_db else 0.0
    # The limiter sees samples: the true peaks between them stay above those as far as they are now.
    between_db = max(0.0, measured.true_peak_dbtp - measured.sample_peak_dbfs)
    return Level(
        gain_db=gain_db,
        due_lufs=round(measured.integrated_lufs + gain_db, 2),
        limited_db=limited_db,
        limit_dbfs=round(ceiling_dbtp - between_db, 2) if limited_db else 0.0,
    )


def level_findings(
    measured: Loudness, chosen: Level, *, name: str, target_lufs: float, ceiling_dbtp: float
) -> tuple[Finding, ...]:
    """What is said of a sound that could not simply be brought to the target.

    Args:
        measured: The sound as it is.
        chosen: Its level, by :func:`level`.
        name: Of the sound, for people.
        target_lufs: As of :func:`level`.
        ceiling_dbtp: As of :func:`level`.
    """
    found = []
    if measured.integrated_lufs is not None and measured.integrated_lufs > FULL_SCALE_LUFS:
        message = f"the sound ({name}) is above full scale ({measured.integrated_lufs:.1f} LUFS): it is brought down"
        found.append(Finding(code="hot_audio", message=message))
    if chosen.limited_db:
        message = (
            f"the highest peaks of the sound ({name}) are taken down by {chosen.limited_db:.1f} dB: a gain of "
            f"{chosen.gain_db:.1f} dB would lift them above {ceiling_dbtp:.1f} dBTP"
        )
        found.append(Finding(code="limited_audio", message=message))
    if chosen.due_lufs is not None and chosen.due_lufs < target_lufs - TOLD_LU:
        message = (
            f"the sound ({name}) is published at {chosen.due_lufs:.1f} LUFS, the target is {target_lufs:.1f}: more "
            f"gain would lift its peaks above {ceiling_dbtp:.1f} dBTP"
        )
        found.append(Finding(code="quiet_audio", message=message))
    return tuple(found)
