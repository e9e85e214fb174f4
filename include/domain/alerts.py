"""Alerts as people read them: one message each, and one for many that have the same cause."""

from __future__ import annotations

from datetime import timedelta


def retry_after(attempts: int) -> timedelta:
    """The pause after the given number of failed attempts to send: doubled each time, and capped."""
    return min(timedelta(minutes=30), timedelta(seconds=30) * (1 << min(attempts - 1, 20)))
