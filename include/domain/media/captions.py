"""Subtitle cues: made safe, written as WebVTT, cut into segments."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

MAX_CUE_CHARACTERS = 4000
"""Of one cue with its markup. Two full lines have about 80; what is longer is no subtitle. Python also refuses numbers
of more than 4,300 digits, which a character reference such as ``&#999…;`` could otherwise hold."""
_TAG = re.compile(r"<(/?)([A-Za-z]++)[^<>]*+>|<[0-9:.]++>|\{\\[^{}]*+\}")
"""Markup: elements, karaoke timestamps, and ASS overrides that converters leave behind. The quantifiers never give back
what they took: without that, one ``<`` and a long word would be tried in as many ways as the word has letters."""
_KEPT = {"b", "i", "u"}
MAX_NESTED = 8
"""Levels of emphasis that are kept; every line of a cue repeats what is open."""
_SETTING = re.compile(
    r"^(?:vertical:(?:rl|lr)"
    r"|line:-?\d{1,3}(?:\.\d{1,3})?%?(?:,(?:start|center|end))?"
    r"|position:\d{1,3}(?:\.\d{1,3})?%(?:,(?:line-left|center|line-right))?"
    r"|size:\d{1,3}(?:\.\d{1,3})?%"
    r"|align:(?:start|center|end|left|right))\Z"
)
_LINE_END = re.compile(r"[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\ufeff]")
TIMESTAMP_MAP = "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0"
"""Cue time zero is media time zero: every track of a set starts there."""


@dataclass(frozen=True, kw_only=True)
class Cue:
    """One subtitle, safe to write."""

    start_ms: int
    end_ms: int
    text: str
    """WebVTT cue text: escaped, with ``<b> <i> <u>`` as the only markup."""
    settings: str = ""


def clean_cue(*, start_ms: int, end_ms: int, text: str, settings: str = "") -> Cue | None:
    """A cue from anywhere made safe; None where nothing is left to show or where it is longer than any subtitle."""
    if len(text) > MAX_CUE_CHARACTERS or len(settings) > MAX_CUE_CHARACTERS:
        return None
    open_tags: list[str] = []
    lines = [_clean_line(line.rstrip(), open_tags) for line in _UNPRINTABLE.sub("", text).splitlines()]
    # A blank line would end the cue.
    shown = "\n".join(line for line in lines if _TAG.sub("", line).strip())
    if not shown or end_ms <= start_ms or start_ms < 0:
        return None
    kept = " ".join(setting for setting in settings.split() if _SETTING.match(setting))
    return Cue(start_ms=start_ms, end_ms=end_ms, text=shown, settings=kept)


def clip(cues: Iterable[Cue], *, duration_ms: int) -> list[Cue]:
    """The cues of a title of this length, in order."""
    inside = (replace(cue, end_ms=min(cue.end_ms, duration_ms)) for cue in cues if cue.start_ms < duration_ms)
    return sorted(inside, key=lambda cue: (cue.start_ms, cue.end_ms))


def webvtt(cues: Iterable[Cue], *, header: Sequence[str] = ()) -> str:
    """The cues as a WebVTT file."""
    blocks = ["\n".join(["WEBVTT", *header])]
    for cue in cues:
        timing = f"{timestamp(cue.start_ms)} --> {timestamp(cue.end_ms)} {cue.settings}".rstrip()
        blocks.append(f"{timing}\n{cue.text}")
    return "\n\n".join(blocks) + "\n"


def cut(cues: Sequence[Cue], durations: Sequence[Fraction]) -> Iterator[str]:
    """One WebVTT file per segment, empty ones included; a cue is in every segment that it reaches into.

    Twelve hours are thousands of segments and of cues: each file is made when it is asked for, and a cue is looked at
    only while it is shown.
    """
    ordered = sorted(cues, key=lambda cue: cue.start_ms)
    shown: list[Cue] = []
    begun, start_ms = 0, Fraction(0)
    for duration in durations:
        end_ms = start_ms + duration * 1000
        while begun < len(ordered) and ordered[begun].start_ms < end_ms:
            shown.append(ordered[begun])
            begun += 1
        shown = [cue for cue in shown if cue.end_ms > start_ms]
        yield webvtt(shown, header=(TIMESTAMP_MAP,))
        start_ms = end_ms


def timestamp(milliseconds: int) -> str:
    """``00:01:02.345``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def _clean_line(line: str, open_tags: list[str]) -> str:
    """One line with its emphasis; ``open_tags`` are those that an earlier line has left open, and this one leaves."""
    shown, position = [f"<{name}>" for name in open_tags], 0
    for match in _TAG.finditer(line):
        shown.append(_escaped(line[position : match.start()]))
        position = match.end()
        closing, name = match[1], (match[2] or "").lower()
        if name not in _KEPT:
            continue
        if not closing and len(open_tags) < MAX_NESTED:
            open_tags.append(name)
            shown.append(f"<{name}>")
        elif closing and open_tags and open_tags[-1] == name:
            open_tags.pop()
            shown.append(f"</{name}>")
    shown.append(_escaped(line[position:]))
    return "".join(shown) + "".join(f"</{name}>" for name in reversed(open_tags))


def _escaped(text: str) -> str:
    # A reference such as &#10; may stand for what would end the line, or the cue.
    plain = _UNPRINTABLE.sub("", _LINE_END.sub(" ", html.unescape(text)))
    return html.escape(plain, quote=False)
