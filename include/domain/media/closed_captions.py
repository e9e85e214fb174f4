"""Captions that ride in the picture (CEA-608 and CEA-708 by ATSC A/53), as a stream's user data show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_MARK = b"GA94\x03"
"""ATSC's identifier, and the type of user data that holds captions."""
_LONGEST = 2 + 31 * 3
"""Bytes behind the mark: flags and count, one reserved, 31 triplets."""


@dataclass(frozen=True, kw_only=True)
class CaptionChannels:
    """Which kinds of captions a stream has: more than padding."""

    first: bool = False
    """Field 1 of CEA-608: CC1, usually in the language of the main sound."""
    second: bool = False
    """Field 2 of CEA-608: CC3, usually another language; also what is on air (XDS), which is no caption."""
    digital: bool = False
    """CEA-708."""

    @property
    def fields(self) -> tuple[int, ...]:
        """The fields of CEA-608 that hold something."""
        return (*((1,) if self.first else ()), *((2,) if self.second else ()))


def caption_channels(chunks: Iterable[bytes]) -> CaptionChannels:
    """What the user data in these pieces of an elementary stream say.

    Args:
        chunks: Consecutive pieces; emulation prevention bytes may be left in.
    """
    kinds: set[int] = set()
    rest = b""
    for chunk in chunks:
        data = (rest + chunk).replace(b"\0\0\3", b"\0\0")
        position = data.find(_MARK)
        while 0 <= position <= len(data) - len(_MARK) - _LONGEST:
            _read(data[position + len(_MARK) : position + len(_MARK) + _LONGEST], kinds)
            position = data.find(_MARK, position + 1)
        rest = data[position:] if position >= 0 else data[-len(_MARK) :]
        if {0, 1, 2} <= kinds:
            break
    # What is shorter at the very end.
    position = rest.find(_MARK)
    while position >= 0:
        _read(rest[position + len(_MARK) :], kinds)
        position = rest.find(_MARK, position + 1)
    return CaptionChannels(first=0 in kinds, second=1 in kinds, digital=2 in kinds)


def _read(data: bytes, kinds: set[int]) -> None:
    if len(data) < 2 or not data[0] & 0x40:
        return
    count = data[0] & 0x1F
    for number in range(count):
        triplet = data[2 + 3 * number : 5 + 3 * number]
        if len(triplet) < 3 or not triplet[0] & 0x04:
            continue
        kind = triplet[0] & 0x03
        # Nothing but parity is padding.
        if kind >= 2 and triplet[1:] != b"\0\0":
            kinds.add(2)
        elif kind < 2 and (triplet[1] & 0x7F, triplet[2] & 0x7F) != (0, 0):
            kinds.add(kind)
