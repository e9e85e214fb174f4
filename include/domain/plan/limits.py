"""How long the tasks of a title may take: a limit that grows with the title."""

from __future__ import annotations

LONGEST_S = 24 * 3600.0
"""Titles that are longer are not served."""
USUAL_S = 2 * 3600.0
"""Up to this length a title's tasks have the time that the settings give; a longer one has more in proportion."""


def task_limit_s(limit_s: float, duration_s: float | None) -> float:
    """Seconds that each of a title's tasks may take at most.

    Args:
        limit_s: For a title of up to two hours.
        duration_s: Of the title; None where it is not known yet.
    """
    return limit_s * max(1.0, (duration_s or 0.0) / USUAL_S)
