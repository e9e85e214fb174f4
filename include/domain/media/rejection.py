"""Why a mezzanine is refused: the machine-readable reasons, and what a decode says of one."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What is wrong with a mezzanine; a CMS may show and switch on these words."""

    MISSING = "missing"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    INVALID_TYPE = "invalid_type"
    NO_VIDEO = "no_video"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    ENCRYPTED = "encrypted"
    NOT_AS_REQUESTED = "not_as_requested"
    """It lacks what the request names of it: a programme, so many audio channels."""
    BROKEN_CLOCK = "broken_clock"
    """Its times start again, or jump, on the way (several recordings in one), or picture and sound lie hours apart."""
    CHECKSUM_MISMATCH = "checksum_mismatch"
    FORBIDDEN_ADDRESS = "forbidden_address"
    CHANGED = "changed"
    UNSUPPORTED_PICTURE = "unsupported_picture"
    """It decodes, and no conversion makes of it what its makers mean: turned by 45°, Dolby Vision's own colours."""


ARRIVING = frozenset({Reason.MISSING, Reason.EMPTY, Reason.TRUNCATED})
"""What a mezzanine that is still being delivered looks like."""


def judge_decode(
    *, frames: int, expected: int, errors: int, tolerance: float, ends_early: bool
) -> tuple[Reason, str] | None:
    """What a decode of a stretch says of the mezzanine; None when it is sound.

    Args:
        frames: Decoded.
        expected: As many as its container promises for the stretch.
        errors: Frames that were damaged or could not be decoded.
        tolerance: Share of ``expected`` that may be damaged.
        ends_early: Whether the tool reports, or the timestamps show, that the data ends before its time.
    """
    if ends_early:
        return Reason.TRUNCATED, f"it ends early: {frames} of about {expected} frames are there"
    if frames == 0:
        return Reason.UNDECODABLE, "no frame of it can be decoded"
    if errors > tolerance * max(expected, frames):
        return Reason.UNDECODABLE, f"{errors} of {max(expected, frames)} frames are damaged"
    return None
