"""Why a mezzanine is refused: the machine-readable reasons, and how a tool's messages become one."""

from __future__ import annotations

import re
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
    CHECKSUM_MISMATCH = "checksum_mismatch"
    FORBIDDEN_ADDRESS = "forbidden_address"
    CHANGED = "changed"


ARRIVING = frozenset({Reason.MISSING, Reason.EMPTY, Reason.TRUNCATED})
"""What a mezzanine that is still being delivered looks like."""

_CUT_SHORT = re.compile(r"moov atom not found|partial file|ended prematurely|truncat|end of file", re.IGNORECASE)
_FOREIGN = re.compile(r"not on whitelist", re.IGNORECASE)
_LEVEL = re.compile(r"\[(?:error|fatal|panic)\]")
_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid"})
_SIGNATURES = (b"\x1a\x45\xdf\xa3", b"RIFF", b"\x06\x0e\x2b\x34", b"\x47")
"""First bytes of Matroska and WebM, AVI, MXF and MPEG-TS."""


def judge_probe(stderr: str, head: bytes) -> Reason:
    """Why ffprobe could not read a file.

    Args:
        stderr: What ffprobe said.
        head: The first bytes of the file. ffprobe takes anything called .mp4 for one and then misses its index.
    """
    served = head[4:8] in _MP4_BOXES or head.startswith(_SIGNATURES)
    if served and _CUT_SHORT.search(stderr) and not _FOREIGN.search(stderr):
        return Reason.TRUNCATED
    return Reason.INVALID_TYPE


def cut_short(stderr: str) -> bool:
    """Whether a decoder's messages say that the file ends too early."""
    return bool(_CUT_SHORT.search("\n".join(line for line in stderr.splitlines() if _LEVEL.search(line))))


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
