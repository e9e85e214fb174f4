"""From decoded frames to progressive ones at a constant rate: fields are put together, filled up, or told apart."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from include.domain.media.fields import CYCLE
from include.domain.media.media import VideoStream
from include.domain.recipe.rungs import output_frame_rate
from include.domain.recipe.treatment import SourceTreatment

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""


def progressive(node: Node, video: VideoStream, treatment: SourceTreatment, *, start_s: float = 0.0) -> Node:
    """Progressive frames, still at the times that they have in the source.

    Args:
        node: Decoded video, its timestamps counted from the title's zero.
        video: What the source is.
        treatment: What the rendition does to it.
        start_s: From where on frames are wanted.
    """
    if treatment.inverse_telecine:
        return _film(node, video, treatment, start_s=start_s)
    if treatment.deinterlace:
        mode = "send_field" if treatment.field_pictures else "send_frame"
        return node.filter("bwdif", mode=mode, parity="auto", deint="all")
    return node


def _film(node: Node, video: VideoStream, treatment: SourceTreatment, *, start_s: float) -> Node:
    """Fields matched to the pictures of the film, and of each cycle the frame left out that repeats another.

    Cycles are counted from the title's zero wherever reading begins: else a comparison from the middle would leave out
    another frame of each cycle than the encode did, and pictures would stand at other times.
    """
    rate = output_frame_rate(video)
    cycle = Fraction(CYCLE) / rate
    begin = float(math.floor(Fraction(start_s).limit_denominator(1_000_000) / cycle + Fraction(1, 1000)) * cycle)
    # The filters count frames, so there must be one at each time, whatever is missing in the source.
    node = node.filter("fps", fps=str(rate), start_time=f"{begin:.6f}" if begin else 0, round="near")
    node = node.filter("fieldmatch", order="tff" if treatment.top_field_first else "bff", combmatch="full")
    # What was cut as video, or lies over the film as such, finds no match.
    node = node.filter("bwdif", mode="send_frame", parity="auto", deint="interlaced")
    return node.filter("decimate", cycle=CYCLE)
