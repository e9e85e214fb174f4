"""A window of CEA-708 captions: rows of text, and the pen that writes them."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from itertools import groupby

MAX_ROWS = 15
MAX_COLUMNS = 42
"""Of a window, on a screen of 16:9 (32 on 4:3). What is defined larger is cut to these."""
GRID_ROWS = 75
"""Steps in which the height of a window's anchor counts, unless it is told in per cent."""
LEFT_TO_RIGHT, RIGHT_TO_LEFT, TOP_TO_BOTTOM, BOTTOM_TO_TOP = range(4)
"""Directions of print and of scrolling."""
_VERTICAL = (TOP_TO_BOTTOM, BOTTOM_TO_TOP)
_WRAPPING_STYLES = (4, 5, 6)
"""Predefined window styles for roll-up captions; they wrap words."""
_TICKER_STYLE = 7
_NOT_SHOWN = 15
"""Text tag of what is not to be displayed."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One character and its look."""

    text: str
    italic: bool = False
    underlined: bool = False


@dataclass(kw_only=True)
class Window:
    """Text in lines along the direction of print, which are rows of the screen, or columns where print runs down."""

    defined: bytes = b""
    """The parameters that it was defined with."""
    visible: bool = False
    rows: int = 1
    columns: int = 1
    direction: int = LEFT_TO_RIGHT
    scroll: int = BOTTOM_TO_TOP
    wrap: bool = False
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    """By line and position in it, both from zero."""
    line: int = 0
    """Of the pen; its position is one past the end where a line is full."""
    position: int = 0
    italic: bool = False
    underlined: bool = False
    hidden: bool = False
    drawn: tuple[list[str], list[str]] | None = None
    """The lines as :meth:`lines` has them, while nothing changes them."""

    def define(self, parameters: bytes) -> None:
        """DefineWindow with its six bytes; repeated without a change it does nothing."""
        if parameters == self.defined:
            return
        self.defined = parameters
        self.visible = bool(parameters[0] & 0x20)
        self.rows = min(MAX_ROWS, (parameters[3] & 0x0F) + 1)
        self.columns = min(MAX_COLUMNS, (parameters[4] & 0x3F) + 1)
        style = parameters[5] >> 3 & 0x07
        if style:
            self.wrap = style in _WRAPPING_STYLES
            self.direction = TOP_TO_BOTTOM if style == _TICKER_STYLE else LEFT_TO_RIGHT
            self.scroll = RIGHT_TO_LEFT if style == _TICKER_STYLE else BOTTOM_TO_TOP
        if parameters[5] & 0x07:
            self.italic = self.underlined = self.hidden = False
        self._fit()

    def set_attributes(self, parameters: bytes) -> None:
        """SetWindowAttributes with its four bytes."""
        self.wrap = bool(parameters[2] & 0x40)
        self.direction = parameters[2] >> 4 & 0x03
        self.scroll = parameters[2] >> 2 & 0x03
        self._fit()

    def set_pen(self, parameters: bytes) -> None:
        """SetPenAttributes with its two bytes."""
        self.hidden = parameters[0] >> 4 == _NOT_SHOWN
        self.italic = bool(parameters[1] & 0x80)
        self.underlined = bool(parameters[1] & 0x40)

    def place_pen(self, row: int, column: int) -> None:
        """SetPenLocation: row and column from zero, cut to the window."""
        row, column = min(row, self.rows - 1), min(column, self.columns - 1)
        across = self.columns - 1 - column
        if self.direction in _VERTICAL:
            # Columns that scroll to the right were written from the right.
            self.line = across if self.scroll == LEFT_TO_RIGHT else column
            self.position = row if self.direction == TOP_TO_BOTTOM else self.rows - 1 - row
        else:
            self.line = row
            self.position = column if self.direction == LEFT_TO_RIGHT else across

    def write(self, text: str) -> None:
        """One character at the pen. What does not fit into a line is wrapped where the window wraps, else lost."""
        if self.hidden:
            return
        if self.position >= self._size()[1]:
            if not self.wrap:
                return
            self._wrap(text)
        self.drawn = None
        self.cells[self.line, self.position] = Cell(text=text, italic=self.italic, underlined=self.underlined)
        self.position += 1

    def backspace(self) -> None:
        """Take back the character before the pen."""
        self.drawn = None
        self.position = max(0, self.position - 1)
        self.cells.pop((self.line, self.position), None)

    def carriage_return(self) -> None:
        """To the start of the next line; at the last one all text moves up and the first line goes."""
        self.drawn = None
        self.position = 0
        if self.line + 1 < self._size()[0]:
            self.line += 1
            return
        self.cells = {(line - 1, at): cell for (line, at), cell in self.cells.items() if line > 0}

    def erase_line(self) -> None:
        """Horizontal carriage return: the pen's line is emptied and begun again."""
        self.drawn = None
        self.cells = {place: cell for place, cell in self.cells.items() if place[0] != self.line}
        self.position = 0

    def clear(self) -> None:
        """All text goes, and the pen to the start."""
        self.drawn = None
        self.cells.clear()
        self.line = self.position = 0

    def top(self) -> float:
        """Share of the screen's height above the window."""
        relative, anchor = self.defined[1] & 0x80, self.defined[1] & 0x7F
        height = min(1.0, anchor / 100 if relative else anchor / GRID_ROWS)
        # The anchor point is numbered by rows of three: at the window's top, its middle or its bottom.
        return height - self.rows / MAX_ROWS * (min(2, (self.defined[3] >> 4) // 3) / 2)

    def middle(self) -> float:
        """Where on the screen its text stands, as a share of the height: a window may be as high as the screen."""
        used = {line for line, _ in self.cells} if self.direction not in _VERTICAL else set()
        half = (min(used) + max(used) + 1) / 2 if used else self.rows / 2
        return self.top() + half / MAX_ROWS

    def place(self) -> tuple[float, int]:
        """Its order among windows: from top to bottom, then by its horizontal anchor."""
        return (self.middle(), self.defined[2])

    def lines(self) -> tuple[list[str], list[str]]:
        """The lines that hold text, without blanks around it: plain, and with ``<i>`` and ``<u>`` and escaped."""
        if self.drawn is None:
            found: dict[int, list[int]] = {}
            for (line, at), cell in self.cells.items():
                if cell.text.strip():
                    found.setdefault(line, []).append(at)
            blank = Cell(text=" ")
            cells = [
                [self.cells.get((line, at), blank) for at in range(min(inked), max(inked) + 1)]
                for line, inked in sorted(found.items())
            ]
            self.drawn = (["".join(cell.text for cell in line) for line in cells], [_marked_up(line) for line in cells])
        return self.drawn

    def _size(self) -> tuple[int, int]:
        """How many lines it has, and how many characters fit into one."""
        return (self.columns, self.rows) if self.direction in _VERTICAL else (self.rows, self.columns)

    def _fit(self) -> None:
        """Cut text and pen to the size."""
        self.drawn = None
        lines, length = self._size()
        self.cells = {(line, at): cell for (line, at), cell in self.cells.items() if line < lines and at < length}
        self.line, self.position = min(self.line, lines - 1), min(self.position, length)

    def _wrap(self, text: str) -> None:
        """Begin the next line with the word that the full one ends with, where it has more than that word."""
        length = self._size()[1]
        start = length
        while start > 0 and self.cells.get((self.line, start - 1), Cell(text=" ")).text.strip():
            start -= 1
        moved = range(start, length) if start > 0 and text.strip() else range(0)
        word = [self.cells.pop((self.line, at)) for at in moved]
        self.carriage_return()
        for cell in word:
            self.cells[self.line, self.position] = cell
            self.position += 1


def _marked_up(cells: list[Cell]) -> str:
    shown = []
    for (italic, underlined), run in groupby(cells, key=lambda cell: (cell.italic, cell.underlined)):
        text = html.escape("".join(cell.text for cell in run), quote=False)
        text = f"<u>{text}</u>" if underlined else text
        shown.append(f"<i>{text}</i>" if italic else text)
    return "".join(shown)
