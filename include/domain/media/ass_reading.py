"""ASS and SSA read as text: drawings left out, layers and typesetting that say the same told once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from include.domain.media.captions import MAX_CUE_CHARACTERS, Cue, clean_cue
from include.domain.media.cue_reading import Reading, Remarks, signed
from include.domain.media.cue_styles import LEGACY_ALIGNMENT, Canvas, Style, marked_up
from include.domain.media.cue_times import Timing, clock_ms

MAX_LINE = 100_000
"""Characters of a line that are read: drawings are long, text is not."""
MAX_STYLES = 2_000
TOUCHING_MS = 80
"""Up to which gap two cues with the same text are one: signs that move are written as a cue for every picture."""
_EVENTS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
"""The columns where a file does not say which it has."""


@dataclass(kw_only=True)
class _Script:
    """What has been read of a file so far."""

    zero_ms: int
    section: str = ""
    legacy: bool = False
    """SSA: its alignments are numbered otherwise."""
    canvas: Canvas = field(default_factory=Canvas)
    style_columns: list[str] = field(default_factory=list)
    event_columns: list[str] = field(default_factory=lambda: list(_EVENTS))
    styles: dict[str, Style] = field(default_factory=dict)
    cues: list[Cue] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)
    events: int = 0


def read_ass(text: str, *, zero_ms: int = 0) -> Reading:
    """The dialogue of ASS or SSA text as cues; comments, drawings, fonts and graphics are passed over.

    Args:
        text: With plain line ends.
        zero_ms: The title's zero on the clock of the file.
    """
    script = _Script(zero_ms=zero_ms)
    for line in text.split("\n"):
        stripped = line[:MAX_LINE].strip()
        if stripped.startswith("[") and "]" in stripped:
            script.section = stripped[1 : stripped.index("]")].lower()
            script.legacy = script.legacy or script.section == "v4 styles"
            continue
        name, colon, value = stripped.partition(":")
        if colon:
            _take(script, name.strip().lower(), value.strip(), len(line))
    return Reading(cues=once(script.cues), remarks=script.remarks)


def once(cues: Iterable[Cue]) -> list[Cue]:
    """The cues without those that repeat a text that is shown at that moment anyway, in order of their starts."""
    told: dict[str, int] = {}
    kept: list[Cue] = []
    for cue in sorted(cues, key=lambda each: (each.start_ms, each.end_ms)):
        plain = " ".join(cue.text.split())
        before = told.get(plain)
        if before is not None and cue.start_ms <= kept[before].end_ms + TOUCHING_MS:
            kept[before] = replace(kept[before], end_ms=max(kept[before].end_ms, cue.end_ms))
            continue
        told[plain] = len(kept)
        kept.append(cue)
    return kept


def _take(script: _Script, name: str, value: str, length: int) -> None:
    if script.section == "script info" and name in {"playresx", "playresy"} and value.isascii() and value.isdigit():
        size = float(value[:6])
        sized = {"width": size} if name == "playresx" else {"height": size}
        script.canvas = replace(script.canvas, **sized)
    elif script.section.endswith("styles") and name == "format":
        script.style_columns = _columns(value)
    elif script.section.endswith("styles") and name == "style" and len(script.styles) < MAX_STYLES:
        fields = dict(zip(script.style_columns, (part.strip() for part in value.split(",")), strict=False))
        script.styles[fields.get("name", "").lstrip("*")] = _style(fields, legacy=script.legacy)
    elif script.section == "events" and name == "format":
        script.event_columns = _columns(value) if "text" in _columns(value) else list(_EVENTS)
    elif script.section == "events" and name == "dialogue":
        script.events += 1
        _event(script, value, length)


def _columns(value: str) -> list[str]:
    return [part.strip().lower() for part in value.split(",")]


def _style(fields: dict[str, str], *, legacy: bool) -> Style:
    set_by = {"b": "bold", "i": "italic", "u": "underline"}
    number = fields.get("alignment", "2")
    alignment = int(number) if number.isascii() and number.isdigit() and len(number) < 3 else 2
    alignment = LEGACY_ALIGNMENT.get(alignment, 2) if legacy else alignment
    return Style(
        emphasis=frozenset(tag for tag, column in set_by.items() if fields.get(column, "0") not in {"0", ""}),
        alignment=alignment if 1 <= alignment <= 9 else 2,
        vertical=fields.get("fontname", "").startswith("@"),
    )


def _event(script: _Script, value: str, length: int) -> None:
    columns = script.event_columns
    # The text comes last and may hold commas.
    fields = dict(zip(columns, value.split(",", len(columns) - 1), strict=False))
    times = Timing(start_ms=clock_ms(fields.get("start", "")), end_ms=clock_ms(fields.get("end", "")))
    times = times.counted_from(script.zero_ms)
    start, end = times.start_ms, times.end_ms
    name = f"event {script.events}" + ("" if start is None else f" at {signed(start)}")
    if start is None or end is None:
        script.remarks.add(f"{name} is left out: its times cannot be read")
        return
    body = fields.get("text", "").replace("\\N", "\n").replace("\\n", "\n").replace("\\h", "\u00a0")
    base = script.styles.get(fields.get("style", "").strip().lstrip("*"), Style())
    text, settings = marked_up(body, base=base, styles=script.styles, canvas=script.canvas)
    if not text.strip():
        # A drawing, or an empty line: nothing that a viewer reads is lost.
        return
    if length > MAX_LINE or len(text) > MAX_CUE_CHARACTERS:
        script.remarks.add(f"{name} is left out: {length} characters, at most {MAX_CUE_CHARACTERS} are served")
    elif end <= start:
        script.remarks.add(f"{name} is left out: it ends at {signed(end)}")
    elif end <= 0:
        script.remarks.add(f"{name} is left out: it ends before the title's zero")
    else:
        cue = clean_cue(start_ms=max(0, start), end_ms=end, text=text, settings=settings)
        script.cues += [cue] if cue is not None else []
