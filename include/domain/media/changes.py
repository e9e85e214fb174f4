"""What changes within one stream on the way: the picture's size, format and colours, the sound's layout and rate.

A recording that was joined, a programme after another, a browser that sends a smaller picture over a bad line: the
stream goes on and its frames are others. Everything that is published has one form throughout; what was different is
brought to it, and said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from include.domain.media.media import Finding, VideoStream
from include.domain.media.picture import pixel_shape, sized

MAX_TOLD = 4
"""So many changes are told one by one."""
NEARLY_ALIKE = 0.03
"""Up to this difference of their shapes a picture is stretched to another's size: sizes are rounded to whole pixels and
blocks. Beyond it black fills what it leaves free."""

BRIEF_S = 0.1
"""What is heard for less is not told."""


@dataclass(frozen=True, kw_only=True)
class PictureState:
    """How pictures are from one moment on."""

    at_s: float
    width: int
    height: int
    pixel_format: str
    """Whatever the tool calls it: only compared."""
    matrix: str
    range: str


@dataclass(frozen=True, kw_only=True)
class SoundState:
    """How samples are from one moment on."""

    at_s: float
    channels: int
    layout: str
    """E.g. ``5.1(side)``."""
    rate_hz: int


def distinct(states: Sequence[PictureState]) -> tuple[PictureState, ...]:
    """States in the order of their times, without those that change nothing."""
    kept: list[PictureState] = []
    for state in sorted(states, key=lambda each: each.at_s):
        if not kept or _looks(state) != _looks(kept[-1]):
            kept.append(state)
    return tuple(kept)


def _looks(state: PictureState) -> tuple[object, ...]:
    return state.width, state.height, state.pixel_format, state.matrix, state.range


def with_changes(video: VideoStream, states: Sequence[PictureState]) -> VideoStream:
    """The stream at the largest size that its pictures have anywhere, the first one's where several are as large.

    The shape of a pixel is told of the stream alone. It is that of pictures with the stream's own proportions; those
    with others, such as high definition after television of 720×576, have square pixels.
    """
    if not video.followed:
        return video
    width, height = video.width, video.height
    for state in states:
        if state.width * state.height > width * height:
            width, height = state.width, state.height
    own, ratio = pixel_shape(video), video.width / video.height
    aspect = own if alike(width / height, ratio) else Fraction(1)
    shown = float(width * aspect / height)
    reshaped = False
    for coded in {state.width / state.height for state in states}:
        looks = coded * float(own if alike(coded, ratio) else 1)
        reshaped = reshaped or not (alike(looks, shown) or alike(coded, width / height))
    if (width, height) != (video.width, video.height):
        # No turn is asked about: a stream that is turned is not followed.
        video = video.model_copy(update=sized(width, height, aspect, turn=0))
    return video.model_copy(update={"reshaped": True}) if reshaped else video


def alike(one: float, other: float) -> bool:
    """Whether two shapes (width by height) are the same but for rounding."""
    return abs(one / other - 1) <= NEARLY_ALIKE


def picture_finding(states: Sequence[PictureState], video: VideoStream, *, sampled: bool) -> Finding | None:
    """What changes of the picture, and when; None where nothing does.

    Args:
        states: From the first picture on.
        video: As it is published.
        sampled: Whether only samples were looked at: the change is somewhere before the sample.
    """
    if len(states) < 2:
        return None
    when = "seen at {:.2f} s" if sampled else "from {:.2f} s on"
    told = [f"{states[0].width}×{states[0].height} {when.format(states[0].at_s)}"]
    for before, after in itertools.pairwise(states):
        told.append(f"{_difference(before, after)} {when.format(after.at_s)}")
    fitted = ", what has another shape with black around it" if video.reshaped else ""
    return Finding(
        code="picture_changes",
        message=f"the picture changes on the way: {_listed(told)}; all of it is published as "
        f"{video.display_width}×{video.display_height}{fitted}",
    )


def _difference(before: PictureState, after: PictureState) -> str:
    parts = []
    if (before.width, before.height) != (after.width, after.height):
        parts.append(f"{after.width}×{after.height}")
    if before.pixel_format != after.pixel_format:
        parts.append("another pixel format")
    if before.matrix != after.matrix:
        parts.append(f"colour matrix {after.matrix}")
    if before.range != after.range:
        parts.append(f"colour range {after.range}")
    return " and ".join(parts)


def sound_finding(states: Sequence[SoundState], language: str) -> Finding | None:
    """What changes of a track's sound, and when; None where nothing does.

    Args:
        states: From its first sample on.
        language: Of the track.
    """
    if not states:
        return None
    later = (*(state.at_s for state in states[1:]), math.inf)
    # A decoder may call its first samples what the container says, and learn better from them.
    states = [state for state, until in zip(states, later, strict=True) if until - state.at_s >= BRIEF_S]
    if len({(state.layout, state.rate_hz) for state in states}) < 2:
        return None
    told = [f"{state.layout} at {state.rate_hz} Hz from {state.at_s:.2f} s on" for state in states]
    return Finding(code="sound_changes", message=f"the sound ({language}) changes on the way: {_listed(told)}")


def most_channels(states: Sequence[SoundState]) -> int:
    """Channels that a track has at its most; 0 where nothing is known of it."""
    return max((state.channels for state in states), default=0)


def _listed(told: Sequence[str]) -> str:
    shown = ", then ".join(told[: MAX_TOLD + 1])
    rest = len(told) - MAX_TOLD - 1
    return f"{shown}, and {rest} more" if rest > 0 else shown
