"""Small pictures of a title, for the pointer on a player's timeline: how many, on which sheets, and the WebVTT of them.

A sheet is one JPEG with up to a hundred tiles, 1280 × 720 pixels: decoders of televisions and phones take it, and a
viewer who looks at one scene loads no more than that. Players take a sheet's name from each cue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from include.domain.media.captions import timestamp

TILE = (128, 72)
"""Width and height of one picture."""
COLUMNS = 10
ROWS = 10
FEWEST = COLUMNS * ROWS
"""A title of at least so many seconds has at least so many pictures: they fill its first sheet."""
NEAREST_S = Fraction(1)
FURTHEST_S = Fraction(10)
"""How far apart the pictures are, at least and at most."""
WEBVTT = "sprite.vtt"
PATTERN = "sprite_%03d.jpg"
"""Names of the sheets, as ffmpeg counts them: from 1."""


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """The tiles of one title, each the picture in the middle of its stretch."""

    interval_s: Fraction
    """Each tile's stretch of the title."""
    count: int
    """Of all tiles."""

    @property
    def columns(self) -> int:
        """Tiles beside each other on a sheet."""
        return min(COLUMNS, self.count)

    @property
    def rows(self) -> int:
        """Rows of a sheet. The last one of a long title is as large as the others, black where it has no tile."""
        return min(ROWS, math.ceil(self.count / self.columns))

    @property
    def sheets(self) -> tuple[str, ...]:
        """File names of the sheets, in order."""
        per_sheet = self.columns * self.rows
        return tuple(PATTERN % (number + 1) for number in range(math.ceil(self.count / per_sheet)))

    def webvtt(self, duration_s: float) -> str:
        """The WebVTT that says which tile shows which stretch of the title.

        Args:
            duration_s: Of the title.
        """
        sheets, per_sheet, end_ms = self.sheets, self.columns * self.rows, max(1, round(duration_s * 1000))
        blocks = ["WEBVTT"]
        for index in range(self.count):
            start = round(index * self.interval_s * 1000)
            end = end_ms if index == self.count - 1 else round((index + 1) * self.interval_s * 1000)
            sheet, place = divmod(index, per_sheet)
            x, y = place % self.columns * TILE[0], place // self.columns * TILE[1]
            blocks.append(f"{timestamp(start)} --> {timestamp(end)}\n{sheets[sheet]}#xywh={x},{y},{TILE[0]},{TILE[1]}")
        return "\n\n".join(blocks) + "\n"


def sprites_of(duration_s: float, fps: Fraction) -> Sprites:
    """The tiles of a title: a hundred, but none nearer than a second and none further apart than ten.

    A clip of less than a second has one tile per frame at most.

    Args:
        duration_s: Of the title.
        fps: Of the source.
    """
    exact = max(Fraction(duration_s).limit_denominator(1_000_000), 1 / fps)
    interval_s = min(FURTHEST_S, max(exact / FEWEST, min(NEAREST_S, exact)))
    return Sprites(interval_s=interval_s, count=max(1, math.ceil(exact / interval_s)))
