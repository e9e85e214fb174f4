"""Whether film at 24 pictures a second was spread over the fields of video at 30 (3:2 pulldown), in the picture itself.

Of five such frames two are combed, and one field of the first and one of the third are shown twice. A first look at
that is only a suspicion: moving patterns look combed, and repeated fields occur in any still scene. What decides is a
second look at the frames after their fields were matched: of film, one in five then repeats the one before it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fractions import Fraction

from include.domain.media.content import Frame
from include.domain.media.media import Analysis, VideoStream
from include.domain.media.rates import SNAP

CYCLE = 5
"""Frames of the video that four pictures of the film make."""
FILM = Fraction(CYCLE - 1, CYCLE)
"""Of the video's rate."""
PULLED_DOWN_FPS = 30
REPEATED_SHARE = 0.1
"""Share of frames that repeat a field of the one before: two of five in film that moves all the time."""
EITHER_SHARE = 0.03
"""Of top as of bottom fields."""
MOVES = 0.2
"""Mean difference to the frame before (of 255) from which a cycle is one that moves."""
REPEATS = 0.4
"""A frame that differs from the one before by less than this share of what is usual in its cycle is a repetition."""
LEAST_CYCLES = 3
PULLED_DOWN_SHARE = 0.6
"""Share of the moving cycles with just one repetition that makes film: real film has 0.9 and more, video at 60 fields
0.35 at most, in pictures with little motion."""


def pulldown_suspected(frames: Sequence[Frame], analysis: Analysis, video: VideoStream) -> bool:
    """Whether a second look is worth its while.

    Args:
        frames: Of all windows, as the filter ``idet`` sees them.
        analysis: What they make.
        video: The source.
    """
    if video.variable_frame_rate or abs(video.fps - PULLED_DOWN_FPS) > SNAP * PULLED_DOWN_FPS:
        return False
    kinds = [frame.metadata.get("lavfi.idet.repeated.current_frame") for frame in frames]
    top, bottom = kinds.count("top"), kinds.count("bottom")
    rhythm = top + bottom >= REPEATED_SHARE * len(kinds) and min(top, bottom) >= EITHER_SHARE * len(kinds)
    return analysis.interlaced or (rhythm and bool(kinds))


def top_field_first(frames: Sequence[Frame]) -> bool:
    """Which field comes first, as most combed frames say."""
    kinds = [frame.metadata.get("lavfi.idet.multiple.current_frame") for frame in frames]
    return kinds.count("tff") >= kinds.count("bff")


def pulled_down(windows: Sequence[Sequence[Frame]]) -> bool:
    """Whether most of what moves is film.

    Args:
        windows: Frames of each window after their fields were matched, one after the other at a constant rate.
    """
    moving = repeating = 0
    for frames in windows:
        # The first frame has none before it.
        changes = [frame.number("signalstats.YDIF") or 0.0 for frame in frames[1:]]
        found = [_cycles(changes[start:]) for start in range(CYCLE)]
        best = max(found, key=lambda each: each[1] / each[0] if each[0] else 0.0)
        moving, repeating = moving + best[0], repeating + best[1]
    return moving >= LEAST_CYCLES and repeating >= PULLED_DOWN_SHARE * moving


def _cycles(changes: Sequence[float]) -> tuple[int, int]:
    """Cycles that move, and those of them in which just one frame repeats the one before."""
    moving = repeating = 0
    for start in range(0, len(changes) - CYCLE + 1, CYCLE):
        cycle = changes[start : start + CYCLE]
        usual = statistics.median(cycle)
        if usual >= MOVES:
            moving += 1
            repeating += sum(change < REPEATS * usual for change in cycle) == 1
    return moving, repeating
