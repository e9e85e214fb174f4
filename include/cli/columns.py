"""Lines of a name and a few cells that fit a terminal and never break the name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

GAP = 2
"""Blanks between two cells."""
Row = tuple[Text, Sequence[Text]]


def aligned(header: Sequence[str], rows: Sequence[Row], *, width: int, elastic: bool = False) -> Iterator[Text]:
    """The header's line and one for each row, its cells beneath each other.

    A name that leaves too little room stands on a line of its own, above its cells: it is looked for and copied, so it
    is never cut.

    Args:
        header: Above the name and above each cell.
        rows: Name and cells of each row, as many as the header has.
        width: Columns of the terminal.
        elastic: Whether the last cell gives way: it is cut to the room that is left, and names get a third of the line.
    """
    names = max((name.cell_len for name, _ in rows), default=0)
    lines = [Text(title, style="dim") for title in header[1:]], *(cells for _, cells in rows)
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    fixed = sum(widths[:-1] if elastic else widths) + GAP * len(widths)
    room = width // 3 if elastic else width - fixed
    column = max(len(header[0]), min(names, room))
    for name, cells in ((Text(header[0], style="dim"), lines[0]), *rows):
        line = name.copy()
        if name.cell_len > column:
            yield name
            line = Text()
        line.pad_right(column - line.cell_len)
        for cell, size in zip(cells, widths, strict=True):
            shown = cell.copy()
            if elastic and cell is cells[-1]:
                shown.truncate(max(0, width - line.cell_len - GAP), overflow="ellipsis")
            else:
                shown.pad_right(size - shown.cell_len)
            line = Text.assemble(line, " " * GAP, shown)
        line.rstrip()
        yield line
