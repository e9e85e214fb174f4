"""The code space of CEA-708 captions: how long each code is with its parameters, and which characters there are."""

from __future__ import annotations

EXT1, P16 = 0x10, 0x18
"""The byte before a code of the extended sets, and the one before a character of two bytes."""
CW0, CLW, DSW, HDW, TGW, DLW, DLY, DLC, RST = 0x80, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F
"""SetCurrentWindow 0, {Clear, Display, Hide, Toggle, Delete}Windows, Delay, DelayCancel, Reset."""
SPA, SPC, SPL, SWA, DF0 = 0x90, 0x91, 0x92, 0x97, 0x98
"""SetPenAttributes, SetPenColor, SetPenLocation, SetWindowAttributes, DefineWindow 0."""
_PARAMETERS = {CLW: 1, DSW: 1, HDW: 1, TGW: 1, DLW: 1, DLY: 1, SPA: 2, SPC: 3, SPL: 2, SWA: 4}
"""Of the set C1, in bytes; none where nothing is said."""
_DEFINITION = 6
_G2 = dict(
    zip(
        bytes.fromhex("20 21 25 2A 2C 30 31 32 33 34 35 39 3A 3C 3D 3F 76 77 78 79 7A 7B 7C 7D 7E 7F"),
        " \u00a0…Š\u0152█\u2018\u2019\u201c\u201d•™š\u0153℠Ÿ⅛⅜⅝⅞│┐└─┘┌",
        strict=True,
    )
)
_CC_ICON = 0xA0
"""The only character of the set G3."""
_UNKNOWN = "_"
"""What the standard has shown for a character that a receiver does not have."""


def code_length(data: bytes | bytearray) -> int | None:
    """Bytes of the code that ``data`` begins with, its parameters included; None where too little is there to tell."""
    if not data:
        return None
    code = data[0]
    if code == EXT1:
        return _extended_length(data)
    if code < 0x20:
        return 1 if code < 0x10 else 2 if code < 0x18 else 3
    if DF0 <= code < 0xA0:
        return 1 + _DEFINITION
    return 1 + _PARAMETERS.get(code, 0)


def character(code: int, parameters: bytes) -> str | None:
    """What a code writes; None for one that is no character.

    Args:
        code: Its first byte.
        parameters: The others.
    """
    if code == EXT1:
        extended = parameters[0]
        if extended == _CC_ICON:
            return "[CC]"
        return _G2.get(extended, _UNKNOWN) if 0x20 <= extended < 0x80 or extended > _CC_ICON else None
    if code == P16:
        number = int.from_bytes(parameters, "big")
        return _UNKNOWN if 0xD800 <= number < 0xE000 else chr(number)
    if code < 0x20 or CW0 <= code < 0xA0:
        return None
    # The sets G0 and G1 are ASCII and Latin 1, but for one.
    return "♪" if code == 0x7F else chr(code)


def _extended_length(data: bytes | bytearray) -> int | None:
    if len(data) < 2:
        return None
    code = data[1]
    if code < 0x20:
        return 2 + code // 8
    if not 0x80 <= code < 0xA0:
        return 2
    if code < 0x90:
        return 6 if code < 0x88 else 7
    # Of variable length: its first parameter says how many follow.
    return 3 + (data[2] & 0x3F) if len(data) > 2 else None
