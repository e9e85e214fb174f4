"""At which rate the pictures of a mezzanine come: as its container says, held against when its packets are shown.

The packets are read once; what they tell of the end of the picture is for the caller.
"""

from __future__ import annotations

import math
from fractions import Fraction

from include.adapters import tools
from include.adapters.ffmpeg.ffprobe import Fields, fraction, number
from include.adapters.ffmpeg.spacing import Read, read_spacing
from include.base.errors import MezzanineRejected
from include.domain.media.frame_rate import MAX_RATE
from include.domain.media.media import Finding
from include.domain.media.rates import ClockTurn, SourceRate, declared_rate, motion_rate, source_rate
from include.domain.media.rejection import Reason
from include.stages.core import StageContext
from include.stages.progress import Tell, counting

MOST_DECLARED = 480
"""A faster rate than this is a broken header's and no camera's."""
PACKETS_LIMIT_S = 600.0
STREAMS = frozenset({"mpegts", "mpeg"})
SHORTEST_S = 0.04


def packets_read(
    ctx: StageContext, address: str, container: Fields, stream: Fields, tell: Tell, *, to_end: bool
) -> Read:
    """What the packets of a video stream tell.

    Args:
        ctx: The stage's context.
        address: Of the mezzanine.
        container: ffprobe's fields of it.
        stream: ffprobe's fields of the stream.
        tell: Gets how far the reading is.
        to_end: Whether all of them are read, however large the mezzanine is: where nothing else says how long it is.
    """
    # Where nobody knows how long it is, what is read is told alone.
    whole = number(container.get("duration")) or math.inf
    told = counting(tell, lambda done_s: f"reading the times of pictures: {done_s:.0f} s", whole=whole)
    return read_spacing(
        tools.ffprobe(ctx.settings),
        address,
        index=int(stream["index"]),
        size_bytes=int(number(container.get("size")) or 0),
        start_s=number(container.get("start_time")) or 0.0,
        duration_s=None if to_end else number(container.get("duration")),
        timeout_s=min(PACKETS_LIMIT_S, ctx.time_left_s),
        told=told,
    )


def measured_rate(
    read: Read, container: Fields, stream: Fields, *, duration_s: float
) -> tuple[SourceRate, list[Finding]]:
    """The rate of a video stream, and what is odd about it.

    Args:
        read: What its packets tell.
        container: ffprobe's fields of the mezzanine.
        stream: ffprobe's fields of the stream.
        duration_s: Of the stream.
    """
    spacing, whole = read.spacing, read.whole
    if whole and spacing.turned is not None:
        _refuse_broken(spacing.turned, container)
    average, base = (fraction(stream.get(name)) for name in ("avg_frame_rate", "r_frame_rate"))
    declared = declared_rate(average, base, most=MOST_DECLARED)
    motion = motion_rate(spacing, declared=base if base and declared else None)
    span_s = (spacing.last_s or 0.0) - (spacing.first_s or 0.0) if whole else None
    if declared is None:
        counted = Fraction(max(1, spacing.count)) / Fraction(max(SHORTEST_S, duration_s)).limit_denominator(1000)
        rate = min(motion.rate if motion else counted, MAX_RATE).limit_denominator(1001)
        said = source_rate(motion, declared=rate, span_s=span_s)
        text = f"no usable frame rate is declared; {rate} is measured"
        return said, [Finding(code="no_frame_rate", message=text), *_told(said)]
    said = source_rate(motion, declared=declared, span_s=span_s)
    return said, _told(said)


def _refuse_broken(turned: ClockTurn, container: Fields) -> None:
    """Raise where the clock is set back, or leaps in a container whose times are only read, and not declared."""
    at_s = turned.after_s - (number(container.get("start_time")) or 0.0)
    if turned.backwards:
        text = f"its times start again after {at_s:.2f} s, {-turned.by_s:.2f} s earlier"
    elif container.get("format_name") in STREAMS:
        text = f"its times leap by {turned.by_s:.0f} s after {at_s:.2f} s"
    else:
        # A table says for how long each picture is shown: a camera that waits for motion has holes of hours.
        return
    raise MezzanineRejected(
        f"the mezzanine is several recordings in one: {text}; join them so that their times go on",
        reason=Reason.BROKEN_CLOCK,
    )


def _told(said: SourceRate) -> list[Finding]:
    code = "other_frame_rate" if said.motion is None else "variable_frame_rate"
    return [Finding(code=code, message=said.told)] if said.told else []
