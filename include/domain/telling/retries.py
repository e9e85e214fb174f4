"""When something that did not get through is sent again."""

from __future__ import annotations

from datetime import timedelta


def retry_after(attempts: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """The pause after a failed attempt: doubled each time, and capped.

    Args:
        attempts: That have failed so far, at least one.
        first: Pause after the first of them.
        longest: The cap.
    """
    # The exponent is bounded as well: a receiver may be away for thousands of attempts.
    return min(longest, first * (1 << min(attempts - 1, 20)))
