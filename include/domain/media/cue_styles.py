"""ASS override tags, as they stand in ASS and in SubRip files, as what WebVTT has: emphasis, place and direction."""

from __future__ import annotations

from dataclasses import dataclass, field

MIDDLE_ROW = (4, 5, 6)
TOP_ROW = (7, 8, 9)
NEAR_EDGE = 0.15
"""Share of the picture's height from its top or bottom within which a cue just stands at that edge."""
NEAR_MIDDLE = 0.1
"""Share of the width around the middle within which a cue is taken for centred."""
LINE_HEIGHT = 6
"""Per cent of the picture's height that a line of WebVTT takes in players, about."""
LEGACY_ALIGNMENT = {1: 1, 2: 2, 3: 3, 5: 7, 6: 8, 7: 9, 9: 4, 10: 5, 11: 6}
"""SSA's numbers (``\\a``) to those of the number pad (``\\an``)."""
_EMPHASIS = ("i", "b", "u")


@dataclass(frozen=True, kw_only=True)
class Style:
    """What a cue looks like before its own tags."""

    emphasis: frozenset[str] = frozenset()
    alignment: int = 2
    """As on a number pad: 2 is at the bottom in the middle."""
    vertical: bool = False


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """The picture size that positions count in."""

    width: float = 384
    height: float = 288


@dataclass(kw_only=True)
class _State:
    emphasis: frozenset[str]
    alignment: int
    vertical: bool
    drawing: bool = False
    placed: bool = False
    """Whether an alignment was given in the text: the first one counts."""
    position: tuple[float, float] | None = None
    shown: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def marked_up(
    body: str, *, base: Style | None = None, styles: dict[str, Style] | None = None, canvas: Canvas | None = None
) -> tuple[str, str]:
    r"""Text with ``<b> <i> <u>`` instead of override tags, without drawings, and the WebVTT settings of its place.

    Args:
        body: Text in which tags stand in braces: ``{\an8\i1}above``.
        base: The look that the cue starts from.
        styles: What ``\r<name>`` goes back to.
        canvas: What ``\pos`` counts in.
    """
    style = base or Style()
    state = _State(emphasis=style.emphasis, alignment=style.alignment, vertical=style.vertical)
    position = 0
    while position < len(body):
        opening = body.find("{", position)
        closing = body.find("}", opening) if opening >= 0 else -1
        if closing < 0:
            _show(state, body[position:])
            break
        _show(state, body[position:opening])
        block = body[opening + 1 : closing]
        if "\\" in block:
            for tag in _tags(block):
                _apply(state, tag, style, styles or {})
        elif base is None:
            # In SubRip braces are only text.
            _show(state, body[opening : closing + 1])
        position = closing + 1
    state.shown.extend(f"</{name}>" for name in reversed(state.open))
    return "".join(state.shown), _settings(state, canvas or Canvas())


def _show(state: _State, text: str) -> None:
    if not text or state.drawing:
        return
    wanted = [name for name in _EMPHASIS if name in state.emphasis]
    if wanted != state.open:
        state.shown.extend(f"</{name}>" for name in reversed(state.open))
        state.shown.extend(f"<{name}>" for name in wanted)
        state.open = wanted
    state.shown.append(text)


def _tags(block: str) -> list[str]:
    r"""The tags of a block, without those that an animation such as ``\t(0,500,\i1)`` goes towards."""
    tags: list[str] = []
    depth = 0
    for part in block.split("\\")[1:]:
        if depth == 0 and not part.startswith("t("):
            tags.append(part.strip())
        depth = max(0, depth + part.count("(") - part.count(")"))
    return tags


def _apply(state: _State, tag: str, style: Style, styles: dict[str, Style]) -> None:
    if tag[:3] in {"pos", "mov"}:
        state.position = state.position or _point(tag)
    elif tag.startswith("an") and tag[2:3].isdigit():
        _align(state, int(tag[2]))
    elif tag[:1] == "a" and tag[1:].isascii() and tag[1:].isdigit():
        _align(state, LEGACY_ALIGNMENT.get(int(tag[1:3]), 0))
    elif tag[:1] == "p" and tag[1:].isascii() and tag[1:].isdigit():
        state.drawing = tag[1:].strip("0") != ""
    elif tag.startswith("fn"):
        state.vertical = state.vertical or tag.startswith("fn@")
    elif tag[:1] == "r" and not tag.startswith("rnd"):
        state.emphasis = styles.get(tag[1:], style).emphasis
    elif tag[:1] in _EMPHASIS and (tag[1:] == "" or (tag[1:].isascii() and tag[1:].isdigit())):
        name = tag[0]
        # \b700 is a weight; without a number a tag goes back to the style's.
        on = name in style.emphasis if tag[1:] == "" else int(tag[1:5]) not in {0, *range(100, 600, 100)}
        state.emphasis = state.emphasis | {name} if on else state.emphasis - {name}


def _align(state: _State, alignment: int) -> None:
    if 1 <= alignment <= 9 and not state.placed:
        state.alignment, state.placed = alignment, True


def _point(tag: str) -> tuple[float, float] | None:
    """``pos(x,y)``, or where a ``move(x1,y1,x2,y2)`` starts."""
    parts = tag.partition("(")[2].partition(")")[0][:200].split(",")
    try:
        return (float(parts[0]), float(parts[1]))
    except (ValueError, IndexError):
        return None


def _settings(state: _State, canvas: Canvas) -> str:
    """WebVTT cue settings: nothing where the cue stands where players put it anyway."""
    if state.vertical:
        return "vertical:rl"
    column = (state.alignment - 1) % 3
    found: list[str] = []
    if state.position is not None and canvas.width > 0 and canvas.height > 0:
        x = min(1.0, max(0.0, state.position[0] / canvas.width))
        y = min(1.0, max(0.0, state.position[1] / canvas.height))
        found += _line(state, y)
        if column != 1 or abs(x - 0.5) > NEAR_MIDDLE:
            found.append(f"position:{round(x * 100)}%")
    else:
        found += ["line:0"] if state.alignment in TOP_ROW else ["line:45%"] if state.alignment in MIDDLE_ROW else []
        found += [("position:5%", "", "position:95%")[column]]
    found.append(("align:left", "", "align:right")[column])
    return " ".join(setting for setting in found if setting)


def _line(state: _State, y: float) -> list[str]:
    """The height of a cue with a position: the edge that it stands at, else its upper edge in per cent."""
    lines = "".join(state.shown).count("\n") + 1
    above = 0.0 if state.alignment in TOP_ROW else LINE_HEIGHT * lines / (2 if state.alignment in MIDDLE_ROW else 1)
    top = y * 100 - above
    if top + LINE_HEIGHT * lines >= (1 - NEAR_EDGE) * 100:
        return []
    if top <= NEAR_EDGE * 100:
        return ["line:0"]
    return [f"line:{min(90, round(top))}%"]
