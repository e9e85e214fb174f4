"""SubRip and WebVTT read tolerantly: an odd cue is mended or left out, and named; all others are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from include.domain.media.captions import MAX_CUE_CHARACTERS, Cue, clean_cue, timestamp
from include.domain.media.cue_styles import marked_up
from include.domain.media.cue_times import Timing, timing

LONGEST_READ_MS = 5000
"""How long a cue stands whose end is missing, where the next one does not come earlier."""
SHORTEST_READ_MS = 1000
MS_PER_CHARACTER = 60
"""Reading speed of such a cue: about 17 characters a second, as broadcasters' guidelines have it."""
_NO_CUES = {"NOTE", "STYLE", "REGION"}
"""First words of WebVTT's blocks that are no cues."""
NAMED = 5
"""How many odd cues are named one by one; the others are counted."""


@dataclass(kw_only=True)
class Remarks:
    """What was odd about a file: the first few in words, all of them counted."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, remark: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(remark)

    def __str__(self) -> str:
        rest = self.count - len(self.first)
        return "; ".join([*self.first, *([f"and {rest} more"] if rest else [])])


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The cues of a file, and what was odd about the others."""

    cues: list[Cue]
    remarks: Remarks


@dataclass(kw_only=True)
class RawCue:
    """A cue as it stands in a file, before it is judged."""

    number: int
    """Counted from 1, whatever the file says."""
    timing: Timing
    lines: list[str] = field(default_factory=list)


def read_subrip(text: str, *, zero_ms: int = 0) -> Reading:
    """The cues of SubRip text; blank lines within a cue, missing numbers and a header do no harm.

    Args:
        text: With plain line ends.
        zero_ms: The title's zero on the clock of the file.
    """
    remarks = Remarks()
    found: list[RawCue] = []
    header = 0
    lines = text.split("\n")
    for position, line in enumerate(lines):
        times = timing(line)
        if times is not None:
            header -= _take_number(lines, position, found)
            found.append(RawCue(number=len(found) + 1, timing=times))
        elif found:
            found[-1].lines.append(line)
        elif line.strip():
            header += 1
    if header > 0:
        remarks.add(f"{header} lines before the first cue are left out")
    return _judged(found, remarks, zero_ms)


def read_webvtt(text: str, *, zero_ms: int = 0) -> Reading:
    """The cues of WebVTT text, as :func:`read_subrip`: its header, notes, styles and regions are passed over."""
    remarks = Remarks()
    found: list[RawCue] = []
    # Where in the file a line stands: in the header, in another block that is no cue, between blocks, or in a cue.
    place, loose = "header", 0
    for line in [*text.split("\n"), ""]:
        if not line.strip():
            if loose > 1:
                remarks.add(f"{loose} lines without a time after cue {len(found)} are left out")
            place, loose = "between", 0
        elif (times := timing(line)) is not None and place != "other":
            found.append(RawCue(number=len(found) + 1, timing=times))
            place, loose = "cue", 0
        elif place == "cue":
            found[-1].lines.append(line)
        elif place == "between" and loose == 0 and line.split(maxsplit=1)[0] in _NO_CUES:
            place = "other"
        elif place == "between":
            # One line may be the id of the cue that follows.
            loose += 1
    return _judged(found, remarks, zero_ms)


def _take_number(lines: Sequence[str], position: int, found: list[RawCue]) -> int:
    """Take the number above a time from the text before it; returns how many lines of a header that was."""
    above = lines[position - 1].strip() if position else ""
    if not (above.isascii() and above.isdigit()):
        return 0
    if not found:
        return 1
    body = found[-1].lines
    alone = len(body) < 2 or not body[-2].strip()
    # Where no blank line tells a number from the text above it, only the one that is due is taken for a number.
    if body and (alone or above.lstrip("0") == str(found[-1].number + 1)):
        body.pop()
    return 0


def _judged(found: Sequence[RawCue], remarks: Remarks, zero_ms: int) -> Reading:
    cues: list[Cue] = []
    for raw in found:
        raw.timing = raw.timing.counted_from(zero_ms)
    for position, raw in enumerate(found):
        cue = _cue(raw, found[position + 1] if position + 1 < len(found) else None, remarks)
        if cue is not None:
            cues.append(cue)
    return Reading(cues=cues, remarks=remarks)


def _cue(raw: RawCue, following: RawCue | None, remarks: Remarks) -> Cue | None:
    """One cue made safe; None for one that shows nothing or cannot be placed, which is a remark."""
    body = "\n".join(raw.lines).strip("\n")
    start, end = raw.timing.start_ms, raw.timing.end_ms
    name = f"cue {raw.number}" if start is None else f"cue {raw.number} at {signed(start)}"
    if start is None:
        remarks.add(f"{name} is left out: its start cannot be read")
        return None
    if len(body) > MAX_CUE_CHARACTERS:
        remarks.add(f"{name} is left out: {len(body)} characters, at most {MAX_CUE_CHARACTERS} are served")
        return None
    if end == start:
        remarks.add(f"{name} is left out: it has no duration")
        return None
    if end is None or end < start:
        mended = start + reading_ms(body)
        if following is not None and following.timing.start_ms is not None and following.timing.start_ms > start:
            mended = min(mended, following.timing.start_ms)
        why = "it has no end" if end is None and not raw.timing.end_text else "its end cannot be read"
        why = why if end is None else f"it ends before it starts, at {signed(end)}"
        remarks.add(f"{name} stands until {signed(mended)}: {why}")
        end = mended
    if start < 0 < end:
        remarks.add(f"{name} starts with the title: it began before zero")
        start = 0
    if start < 0:
        remarks.add(f"{name} is left out: it ends before the title's zero")
        return None
    text, settings = marked_up(body)
    cue = clean_cue(start_ms=start, end_ms=end, text=text, settings=settings or raw.timing.settings)
    if cue is None:
        remarks.add(f"{name} is left out: it has no text")
    return cue


def reading_ms(text: str) -> int:
    """How long a text without an end is shown."""
    return max(SHORTEST_READ_MS, min(LONGEST_READ_MS, len(text) * MS_PER_CHARACTER))


def signed(milliseconds: int) -> str:
    """A time for people, with its sign."""
    return f"{'-' if milliseconds < 0 else ''}{timestamp(abs(milliseconds))}"
