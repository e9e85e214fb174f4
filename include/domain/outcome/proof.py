"""The proof of a published set: every frame of its renditions against the mezzanine, added up stretch by stretch.

A low score alone says nothing against a rendition: of a small picture VMAF at the display's size is low everywhere, and
some scenes are hard to encode. It says where to look again; :mod:`include.stages.prove` does.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

from pydantic import Field

from include.base.document import Document
from include.domain.media.frame_rate import parse_rate
from include.domain.outcome.results import CheckOutcome, Cost, QualityScore
from include.domain.outcome.rules import at_rank, is_the_sources, pool_counted

STRETCH_S = 20.0
"""What is compared by one call: a minute of two cores at 2160p, so that little is lost where a worker is killed."""
READINGS = 12
"""Stretches of a mezzanine that has to be read from its start for each of them."""
MOMENTS = 8
"""Of a rendition, so many of the lowest scores are kept with their place …"""
LOOKS = 4
"""… and so many of them looked at again."""
CONSPICUOUS = 0.5
"""A frame with less than this share of its rendition's median score is looked at again."""
OUTDONE_BY = 20.0
"""VMAF points by which no smaller rendition of a title looks better than a larger one of the same frame."""


class Moment(Document):
    """The frame of one second that is least like the mezzanine."""

    frame: int = Field(ge=0)
    vmaf: float


class Tally(Document):
    """What the comparison of a rendition has given so far."""

    rendition: str
    key: str
    """Of the encode's result that is compared."""
    reached: int = 0
    """Frames that were asked for: the next stretch begins there."""
    counts: dict[int, int] = Field(default_factory=dict)
    """Frames by their VMAF in hundredths."""
    lowest: tuple[Moment, ...] = ()
    faults: tuple[str, ...] = ()
    """What its own decode says against it, in sentences; it is not compared any further then."""
    unread: tuple[str, ...] = ()
    """What could not be compared, in sentences: no word against the rendition."""

    @property
    def compared(self) -> int:
        """Frames that have a score."""
        return sum(self.counts.values())

    @property
    def median(self) -> float:
        """VMAF of the frame in the middle of all scores; 0 where there is none."""
        return at_rank(self._ordered, math.ceil(self.compared / 2))

    @property
    def _ordered(self) -> list[tuple[float, int]]:
        return sorted((hundredths / 100, frames) for hundredths, frames in self.counts.items())

    def score(self, model: str) -> QualityScore | None:
        """The scores as one; None where no frame was compared."""
        return pool_counted(dict(self._ordered), sampled=False, model=model)

    def with_scores(self, scores: Sequence[float], *, frame_rate: str, wanted: int) -> Tally:
        """The tally after a stretch.

        Args:
            scores: Of its frames, from the first on.
            frame_rate: Exact constant rate of the rendition.
            wanted: Frames of the stretch.
        """
        hundredths = [round(100 * score) for score in scores]
        counts = Counter(self.counts)
        counts.update(hundredths)
        second = max(1, round(parse_rate(frame_rate)))
        worst = (
            min(range(start, min(start + second, len(scores))), key=lambda frame: scores[frame])
            for start in range(0, len(scores), second)
        )
        found = [Moment(frame=self.reached + frame, vmaf=hundredths[frame] / 100) for frame in worst]
        lowest = heapq.nsmallest(MOMENTS, [*self.lowest, *found], key=lambda each: (each.vmaf, each.frame))
        return self.model_copy(
            update={"reached": self.reached + wanted, "counts": dict(counts), "lowest": tuple(lowest)}
        )

    def suspicious(self, model: str) -> tuple[Moment, ...]:
        """Where it is looked at again: the worst first."""
        score = self.score(model)
        if score is None:
            return ()
        known = is_the_sources(score)
        least = CONSPICUOUS * self.median
        return tuple(each for each in self.lowest if not known or each.vmaf < least)[:LOOKS]


class RenditionProof(Document):
    """What the proof of one rendition has found."""

    rendition: str
    outcome: CheckOutcome
    reasons: tuple[str, ...] = ()
    """What is wrong with it, or could not be compared, in sentences."""
    vmaf: QualityScore | None = None
    """Of every frame."""


class Proof(Document):
    """Result of the stage ``prove``: the proof, or as much of it as its slice of time allowed."""

    done: bool = False
    """False where another slice has to go on."""
    tallies: tuple[Tally, ...] = ()
    """Of a proof that is not done: all that the next slice needs."""
    renditions: tuple[RenditionProof, ...] = ()
    """Of a proof that is done."""
    cost: Cost = Field(default_factory=lambda: Cost.sum(()))
    """Of all slices, in their media tools."""

    @property
    def wrong(self) -> tuple[RenditionProof, ...]:
        """Renditions that are not what they should be."""
        return tuple(each for each in self.renditions if each.outcome is CheckOutcome.FAIL)


def stretches(total: int, *, reached: int, frame_rate: str, seeks: bool) -> Iterator[tuple[int, int]]:
    """First frame and number of frames of each stretch that is left.

    Args:
        total: Frames of the title.
        reached: Those that have been asked for.
        frame_rate: Exact constant rate of the renditions.
        seeks: Whether the mezzanine can be read from the middle.
    """
    length = max(1, round(Fraction(STRETCH_S) * parse_rate(frame_rate)))
    if not seeks:
        length = max(length, math.ceil(total / READINGS))
    while reached < total:
        count = min(length, total - reached)
        yield reached, count
        reached += count


def outdone(own: Sequence[float], smaller: Sequence[float], *, least: float) -> tuple[float, float] | None:
    """The scores of a frame that a smaller rendition shows clearly better, which none does of a sound one.

    Args:
        own: VMAF of a rendition's frames.
        smaller: Of the same frames of a smaller one.
        least: Frames with a higher score are not conspicuous.
    """
    pairs = [(mine, other) for mine, other in zip(own, smaller, strict=False) if mine < least]
    return min((pair for pair in pairs if pair[1] - pair[0] >= OUTDONE_BY), default=None)
