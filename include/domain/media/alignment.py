"""Whether a copy shows and sounds what its original does, at the same time: lag and likeness of two excerpts.

Sound is compared by its loudness in steps of 10 ms, pictures by thumbnails of 16 × 16 luma samples. Both are compared
by Pearson's correlation, which neither a change of level nor of brightness moves. What does not change says nothing:
silence, a steady tone, a still picture.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from statistics import fmean, median

from include.domain.media.media import Window

STEP_S = 0.01
"""Of the loudness."""
SIDE = 16
"""Luma samples a side of a thumbnail."""
THUMBNAIL_BYTES = SIDE * SIDE
FLOOR_DB = -70.0
"""What is quieter counts as silence."""
AUDIBLE_DB = -50.0
"""What never gets louder says nothing."""
LIVELY_DB = 3.0
"""Standard deviation from which a stretch of sound can be told from itself a moment later."""
LIVELY_LUMA = 0.7
"""The same of pictures: of one sample over time, on the mean of all samples."""
DETAILED_LUMA = 3.0
"""Standard deviation within a thumbnail from which it can be told from another."""
REACH_S = 1.5
"""Lags are looked for this far to both sides."""
TOLERATED_S = 0.045
"""ITU-R BT.1359: viewers notice sound from 45 ms early on. Pictures may besides be off by the one frame that a new rate
rounds to."""
CERTAIN = 0.7
"""Correlation at another place from which that is taken for the right place …"""
BETTER = 3.0
"""… where what is missing to 1 is this many times less than at the place where it ought to be …"""
MARGIN = 0.03
"""… and by this much besides: slow motion resembles itself a moment later."""
ALIKE = 0.35
"""Correlation below which nothing of the original is there."""


PICTURE_S = 3.0
SOUND_S = 6.0
"""Length of an excerpt of pictures, and of sound: the pictures are the first part of it."""
EXCERPTS = 5


def excerpts(duration_s: float) -> tuple[Window, ...]:
    """Where a title is held against its source: at its beginning, at its end and evenly between; all of a short one."""
    if duration_s <= SOUND_S:
        return (Window(start_s=0.0, duration_s=duration_s),)
    count = min(EXCERPTS, math.ceil(duration_s / SOUND_S))
    step = (duration_s - SOUND_S) / (count - 1)
    return tuple(Window(start_s=round(number * step, 3), duration_s=SOUND_S) for number in range(count))


def widened(window: Window, *, length_s: float) -> Window:
    """The first ``length_s`` of a window, and to both sides of it as much as lags are looked for."""
    start = max(0.0, window.start_s - REACH_S)
    return Window(start_s=start, duration_s=window.start_s - start + min(length_s, window.duration_s) + REACH_S)


@dataclass(frozen=True, kw_only=True)
class Lag:
    """Where a copy matches its original best."""

    seconds: float
    """How much later than the original the copy comes; negative where it is early."""
    correlation: float
    """There, -1 to 1."""
    in_place: float
    """The correlation without any lag, or with one that is tolerated: the best of these."""

    @property
    def shifted(self) -> bool:
        """Whether the copy clearly stands at another time than its original."""
        missing = 1 - self.correlation
        return self.correlation >= CERTAIN and 1 - self.in_place >= BETTER * missing + MARGIN

    @property
    def foreign(self) -> bool:
        """Whether the copy is nothing like its original at its time, nor clearly at another."""
        return self.in_place < ALIKE and not self.shifted


def loudness(samples: array[int], *, channels: int, rate_hz: int) -> tuple[float, ...]:
    """The level of interleaved 16-bit samples, in dB of full scale, in steps of :data:`STEP_S`.

    Args:
        samples: All channels of the first moment, of the second, and so on.
        channels: How many.
        rate_hz: Of each channel.
    """
    block = round(rate_hz * STEP_S) * channels
    full = block * 32768.0**2
    levels = []
    for start in range(0, len(samples) - block + 1, block):
        part = samples[start : start + block]
        energy = sum(map(mul, part, part))
        levels.append(max(FLOOR_DB, 10 * math.log10(energy / full)) if energy else FLOOR_DB)
    return tuple(levels)


def sound_lag(original: Sequence[float], copy: Sequence[float], *, lead: int = 0) -> Lag | None:
    """Where ``copy`` matches ``original``; None where that says nothing. A silent copy of a loud original is foreign.

    Args:
        original: By :func:`loudness`.
        copy: The same, over at least the same stretch.
        lead: Steps that the copy begins before the original.
    """
    if len(original) < 2 or max(original) < AUDIBLE_DB or _deviation(original) < LIVELY_DB:
        return None
    reach = round(min(REACH_S, len(original) * STEP_S / 2) / STEP_S)
    tolerated = round(TOLERATED_S / STEP_S)

    def correlation(lag: int) -> float | None:
        first, last = max(0, -lag - lead), min(len(original), len(copy) - lag - lead)
        if last - first < len(original) // 2:
            return None
        return _pearson(original[first:last], copy[first + lag + lead : last + lag + lead])

    return _best(correlation, step_s=STEP_S, tolerated=tolerated, reach=reach)


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Pictures of a stretch, in the order of their times."""

    times_s: tuple[float, ...]
    """When each begins to be shown."""
    pictures: tuple[bytes, ...]
    """:data:`THUMBNAIL_BYTES` each."""

    def shown(self, time_s: float) -> bytes | None:
        """The picture that is shown at a time; None before the first."""
        position = bisect_right(self.times_s, time_s + 1e-4)
        return self.pictures[position - 1] if position else None


def picture_lag(original: Thumbnails, copy: Thumbnails, *, frame_s: float) -> Lag | None:
    """Where the motion of ``copy`` matches that of ``original``; None where there is too little motion to tell.

    Args:
        original: Of the source.
        copy: Of a rendition, over at least the same stretch.
        frame_s: Seconds that a picture of the copy is shown: the step in which lags are tried.
    """
    if not original.times_s or not copy.times_s:
        return None
    moments = list(_moments(original, frame_s))
    shown = [picture for picture in map(original.shown, moments) if picture is not None]
    if len(shown) < 4 or len(shown) != len(moments):
        return None
    left = _changes(shown)
    if math.sqrt(fmean(map(mul, left, left))) < LIVELY_LUMA:
        return None
    reach = round(min(REACH_S, len(moments) * frame_s / 2) / frame_s)

    def correlation(lag: int) -> float | None:
        pairs = [
            (picture, there)
            for picture, moment in zip(shown, moments, strict=True)
            if moment + lag * frame_s <= copy.times_s[-1] + frame_s
            and (there := copy.shown(moment + lag * frame_s)) is not None
        ]
        if len(pairs) < max(4, len(shown) // 2):
            return None
        return _pearson(_changes([one for one, _ in pairs]), _changes([other for _, other in pairs]))

    # The new rate may show each picture up to a frame from its time.
    tolerated = max(1, math.floor(TOLERATED_S / frame_s))
    return _best(correlation, step_s=frame_s, tolerated=tolerated, reach=reach)


def likeness(original: Thumbnails, copy: Thumbnails) -> float | None:
    """How like the pictures are that are shown at the same time, -1 to 1; None where there is nothing to see.

    The median over the stretch: a flash, a cut that comes a frame early, or a black picture does not decide.
    """
    found = []
    for time_s, picture in zip(original.times_s, original.pictures, strict=True):
        there = copy.shown(time_s)
        if there is not None and _deviation(picture) >= DETAILED_LUMA:
            found.append(_pearson(picture, there))
    return median(found) if found else None


def together(sounds: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The loudness of several streams that were made into one track: their energies added up."""
    if len(sounds) == 1:
        return tuple(sounds[0])
    return tuple(
        max(FLOOR_DB, 10 * math.log10(sum(10 ** (level / 10) for level in levels)))
        # As far as all of them were read.
        for levels in zip(*sounds, strict=False)
    )


def _best(correlation: Callable[[int], float | None], *, step_s: float, tolerated: int, reach: int) -> Lag | None:
    """The lag with the best correlation; others than the tolerated ones are not tried where these leave no doubt."""
    found = {lag: value for lag in range(-tolerated, tolerated + 1) if (value := correlation(lag)) is not None}
    if not found:
        return None
    in_place = max(found.values())
    if 1 - in_place >= MARGIN:
        beyond = (lag for lag in range(-reach, reach + 1) if abs(lag) > tolerated)
        found |= {lag: value for lag in beyond if (value := correlation(lag)) is not None}
    best = max(found, key=lambda lag: (round(found[lag], 4), -abs(lag)))
    return Lag(seconds=round(best * step_s, 3), correlation=round(found[best], 3), in_place=round(in_place, 3))


def _moments(original: Thumbnails, frame_s: float) -> Iterator[float]:
    start, end = original.times_s[0], original.times_s[-1]
    for number in range(int((end - start) / frame_s + 1.5)):
        yield start + number * frame_s


def _changes(pictures: Sequence[bytes]) -> list[float]:
    """Every sample of every picture, less its mean over all pictures: what moves."""
    count = len(pictures)
    means = [sum(samples) / count for samples in zip(*pictures, strict=True)]
    return [sample - mean for picture in pictures for sample, mean in zip(picture, means, strict=True)]


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(max(0.0, sum(map(mul, values, values)) / len(values) - mean * mean))


def _pearson(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's correlation; 0 where one of them does not change."""
    count = len(left)
    if count < 2:
        return 0.0
    left_mean, right_mean = sum(left) / count, sum(right) / count
    left_power = sum(map(mul, left, left)) / count - left_mean * left_mean
    right_power = sum(map(mul, right, right)) / count - right_mean * right_mean
    if left_power <= 1e-9 or right_power <= 1e-9:
        return 0.0
    shared: float = sum(map(mul, left, right)) / count - left_mean * right_mean
    return shared / math.sqrt(left_power * right_power)
