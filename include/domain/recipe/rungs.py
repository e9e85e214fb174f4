"""Rungs and ladders, and what a rung becomes for one source: sizes, frame rate, renditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from include.base.document import Document, digest
from include.domain.media.fields import FILM
from include.domain.media.frame_rate import MAX_RATE, STANDARD_RATES, parse_rate
from include.domain.media.media import VideoStream
from include.domain.recipe.rate_control import RateControl
from include.domain.recipe.treatment import SourceTreatment


class Rung(Document):
    """One step of a ladder as the recipe file gives it, before it is cut to a source."""

    name: str
    """E.g. ``720p``."""
    width: int
    """Box that the rendition fits in (landscape; turned for portrait sources)."""
    height: int
    maxrate_kbps: int
    """Cap of the capped CRF."""
    crf: float
    """Lower is better."""


class Ladder(Document):
    """The ordered rungs (lowest first) of one codec."""

    codec: str
    """One of :data:`include.domain.recipe.codecs.CODECS`."""
    preset: str
    tune: str | None = None
    gop_s: float = 2.0
    segment_s: float = 6.0
    rungs: tuple[Rung, ...]


class Rendition(Document):
    """An output to encode. Everything that decides its bytes is here, so its hash is its identity."""

    name: str
    """``<codec>_<rung>``, e.g. ``h264_720p``; unique in a plan."""
    rung: str
    codec: str
    encoder: str
    """ffmpeg's encoder, e.g. ``libx264``."""
    width: int
    height: int
    frame_rate: str
    """Exact fraction; constant frame rate."""
    frames: int | None
    """Expected number of frames, where it can be known before decoding."""
    rate_control: RateControl
    preset: str
    tune: str | None = None
    profile: str | None = None
    gop_frames: int
    """Distance of the closed, aligned keyframes."""
    treatment: SourceTreatment
    """What is done to the decoded source before it is scaled."""
    core: bool
    """Without a core rung the title does not go out."""

    @property
    def maxrate_kbps(self) -> int:
        """Cap of the bit rate, whatever the kind of rate control."""
        return self.rate_control.maxrate_kbps

    @property
    def recipe_hash(self) -> str:
        """Twelve hex digits over everything that decides the bytes."""
        return digest(self.model_dump(mode="json", exclude={"name", "core", "rung", "frames"}))[:12]


SNAP = Fraction(1, 2000)
"""A rate this near to a standard one is that rate, badly rounded by its container."""

VARIABLE_SNAP = Fraction(1, 50)
"""A variable rate's average this little above a standard rate does not call for the next one."""

NEARLY_SOURCE = 1.15
"""A rung within this factor of the source's pixels becomes the source's size: no two rungs that look the same."""


class Cut(Document):
    """A rung at the size that it has for one source."""

    rung: Rung
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.width * self.height


def output_frame_rate(video: VideoStream, treatment: SourceTreatment | None = None) -> Fraction:
    """The exact constant rate of every rendition with this treatment, at most 60; without one that of the source.

    A variable rate becomes the one that its motion needs, or, where that is not known, the next standard rate above its
    average; a rate above 60 is divided by a whole number, so that frames are dropped evenly.
    """
    carried = _carried_rate(video)
    if treatment is not None and treatment.inverse_telecine:
        return carried * FILM
    return carried * 2 if treatment is not None and treatment.field_pictures else carried


def _carried_rate(video: VideoStream) -> Fraction:
    frame_rate = parse_rate(video.motion_rate) if video.motion_rate else video.fps
    if video.variable_frame_rate and not video.motion_rate:
        least = frame_rate * (1 - VARIABLE_SNAP)
        frame_rate = next((standard for standard in STANDARD_RATES if standard >= least), frame_rate)
    near = (standard for standard in STANDARD_RATES if abs(frame_rate - standard) <= SNAP * standard)
    frame_rate = next(near, frame_rate)
    # 60.06 is a camera's 60, not a reason to drop every other frame.
    divisor = max(1, math.ceil(frame_rate / MAX_RATE - Fraction(1, 50)))
    return min(frame_rate / divisor, MAX_RATE).limit_denominator(1001)


def cut_ladder(rungs: Sequence[Rung], *, width: int, height: int) -> tuple[Cut, ...]:
    """The rungs for a source of this display size, lowest first: never larger than the source, even, all different.

    The top rung has the source's own size where that lies within the largest box.
    """
    own = even(width), even(height)
    cuts: list[Cut] = []
    for rung in rungs:
        box = (rung.width, rung.height) if width >= height else (rung.height, rung.width)
        factor = min(Fraction(box[0], width), Fraction(box[1], height), Fraction(1))
        fitted = _nearest_even(width * factor, box[0]), _nearest_even(height * factor, box[1])
        if factor == 1 or own[0] * own[1] <= NEARLY_SOURCE * fitted[0] * fitted[1]:
            cuts.append(Cut(rung=rung, width=own[0], height=own[1]))
            break
        cuts.append(Cut(rung=rung, width=fitted[0], height=fitted[1]))
    return tuple(cuts)


def even(value: int) -> int:
    """Even and not above ``value``, but at least 2."""
    return max(2, value - value % 2)


def _nearest_even(value: Fraction, limit: int) -> int:
    return max(2, min(2 * round(value / 2), limit - limit % 2))
