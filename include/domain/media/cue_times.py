"""The times of subtitle files, as strict writers and careless ones put them."""

from __future__ import annotations

from dataclasses import dataclass, replace

_ARROWS = ("-->", "->", "–>", "—>", "\u2212>")
_LONGEST = 40
"""Characters of a time with the blanks around it; what is longer is text."""
_MINUS = "-\u2212"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A line such as ``00:00:01,000 --> 00:00:02,500 align:start``. What could not be read of it is None."""

    start_ms: int | None
    """Negative before the title's zero."""
    end_ms: int | None
    settings: str = ""
    end_text: str = ""
    """What stood where the end should be; empty where nothing did."""

    def counted_from(self, zero_ms: int) -> Timing:
        """The same with another zero."""
        start = None if self.start_ms is None else self.start_ms - zero_ms
        end = None if self.end_ms is None else self.end_ms - zero_ms
        return replace(self, start_ms=start, end_ms=end)


def clock_ms(text: str) -> int | None:
    """Milliseconds of ``h:mm:ss,mmm``, ``mm:ss.mmm`` and their like; None where it is no time.

    Comma and point are the same, a part may have a digit too few or, hours, too many, and minutes and seconds above 59
    count on, as other readers take them. A shorter fraction is a fraction: ``1,5`` is one and a half seconds.
    """
    compact = "".join(text.split())
    if not compact or len(compact) > _LONGEST:
        return None
    sign = -1 if compact[0] in _MINUS else 1
    whole, _, fraction = compact.lstrip(_MINUS + "+").replace(",", ".").partition(".")
    parts = whole.split(":")
    if not fraction and len(parts) == 4 and len(parts[3]) == 3:
        fraction = parts.pop()
    if not 2 <= len(parts) <= 3 or not all(_digits(part, 4) for part in parts):
        return None
    if fraction and not _digits(fraction, 9):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return sign * (seconds * 1000 + int(f"{fraction:0<3}"[:3]))


def timing(line: str) -> Timing | None:
    """A line as the times of a cue; None where it is text."""
    for arrow in _ARROWS:
        left, found, right = line.partition(arrow)
        if found:
            break
    else:
        return None
    if not _like_a_time(left):
        return None
    # Some translators leave blanks around the separators.
    joined = right.strip()
    for separator in (":", ",", "."):
        joined = joined.replace(f" {separator}", separator) if joined[:1].isdigit() else joined
    end, _, settings = joined.partition(" ")
    return Timing(start_ms=clock_ms(left), end_ms=clock_ms(end), settings=settings.strip(), end_text=end[:_LONGEST])


def _like_a_time(text: str) -> bool:
    """Whether ``text`` is meant as a time, readable or not: it begins with a digit, and has a colon."""
    stripped = text.strip().lstrip(_MINUS + "+ ")
    return len(text) <= _LONGEST and ":" in stripped and stripped[:1].isdigit()


def _digits(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isdigit()
