"""Which rate a picture needs: decided from how far apart its pictures stand, not from their average.

An average says little of a source whose rate varies: eight seconds of a still and two of 60 fps are 13 fps on average,
and a hole in a recording at 25 fps makes 20 of it. So pictures are grouped by their local rate, the mean over a few
neighbours, which evens out jittering clocks and keeps bursts. The title gets the rate of most pictures in motion, or
a faster one that occurs where too many of them would be dropped.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from include.domain.media.frame_rate import HIGH_RATES, MAX_RATE, STANDARD_RATES

NEIGHBOURS = 8
"""Distances that a local rate is the mean of: a clock that jitters by 10 ms moves it by a few hundredths at 30 fps."""
OTHER_PACE = 4.0
"""A distance this much longer or shorter than the run before it starts another run: a hole, a still, a burst."""
REORDERED = 64
"""Packets that may stand between the order of decoding and that of presentation; codecs need 16 at most."""
BUCKETS = 200
"""Classes of local rates for each factor of e: half a hundredth wide. Their number is bounded, whatever comes."""
SHORTEST_S = 1e-6
FARTHEST_S = 1e9
"""Distances and times beyond these are no clock's."""
SAME_RATE = 0.04
"""Local rates that differ by less belong to one rate."""
SET_BACK_S = 0.5
LEAP_S = 60.0
"""From which difference on times of neighbouring packets make a turn of the clock, back and forth."""
OCCURS = 0.1
"""Share of the pictures that a rate needs to be one that the title may get."""
MAY_LOSE = 0.1
"""Share of the pictures that may be dropped for the sake of the others' even motion. With it the majority of pictures
decides between 24 and 30 fps, and a ninth of the time at 60 fps beside 30."""
MOTION_FPS = 14.0
"""Pictures that come slower are stills or slides: where there is motion besides, they do not decide."""
LEAST_MOTION = 0.02
"""Share of the pictures, and :data:`LEAST_PICTURES` their number, that must be in motion to decide for the others."""
LEAST_PICTURES = 12
ODD = 1.5
"""How much faster or slower than most others a picture comes that has another rate, and not a jittering clock."""
ODD_SHARE = 0.05
"""Share of pictures that may have another rate without the stream's rate being a variable one."""
SNAP = 0.02
"""A measured rate this near to a standard one is that rate."""
STEADY = 0.01
"""How far the average may lie from the motion's rate without the rate being a variable one."""
MISSING = 2.5
"""Pictures that may be missing in the shortest of clips: some writers leave an empty place for one that comes late."""
TOLD = 4
"""Most rates that are named to people."""
TOLD_SHARE = 0.03
"""Share of the time that a rate needs to be named."""
SURE = 0.0003
"""A rate that is measured this near to a standard one needs no word of the container: 29.97 and 30 differ by 0.001."""


@dataclass(frozen=True, kw_only=True)
class ClockTurn:
    """Two packets that follow each other and whose times do not."""

    after_s: float
    """Seconds of the file that come before, on the container's clock."""
    by_s: float
    """How much later the next one is than it should be; below zero where it is earlier."""

    @property
    def backwards(self) -> bool:
        """Whether the clock is set back by more than the order of pictures could explain."""
        return self.by_s < 0


@dataclass(kw_only=True)
class Spacing:
    """How far apart the pictures of a stream stand; of hours of them no more is kept than classes and counts.

    Times go in by :meth:`add`, in the order of decoding; :meth:`end` comes last, and wherever the reading jumps.
    """

    count: int = 0
    """Pictures whose time is known."""
    first_s: float | None = None
    last_s: float | None = None
    turned: ClockTurn | None = None
    """Where the clock is first set back, or leaps."""
    buckets: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Pictures, and the sum of their local distances in seconds, by class of local distance."""
    _waiting: list[float] = field(default_factory=list)
    _run: deque[float] = field(default_factory=lambda: deque(maxlen=NEIGHBOURS + 1))
    _counted: int = 0
    """Pictures of the present run that have their local rate."""
    _length: int = 0
    """Pictures of the present run."""

    def add(self, time_s: float) -> None:
        """The time of one more picture."""
        if not abs(time_s) <= FARTHEST_S:
            return
        heapq.heappush(self._waiting, time_s)
        if len(self._waiting) > REORDERED:
            self._place(heapq.heappop(self._waiting))

    def end(self) -> None:
        """There are no more, or the next ones lie elsewhere."""
        while self._waiting:
            self._place(heapq.heappop(self._waiting))
        self._close()

    def _place(self, time_s: float) -> None:
        self.count += 1
        self.first_s = time_s if self.first_s is None else min(self.first_s, time_s)
        self.last_s = time_s if self.last_s is None else max(self.last_s, time_s)
        if self._run:
            gap = time_s - self._run[-1]
            if gap == 0:
                return
            pace = self._pace()
            if gap < 0:
                # The clock was set back, or the reading has jumped.
                self._close()
            elif pace is not None and not pace / OTHER_PACE <= gap <= pace * OTHER_PACE:
                before = self._run[-1]
                self._close()
                if gap < pace:
                    # The burst begins with the picture that ended the still.
                    self._begin(before, counted=1)
        self._begin(time_s, counted=0)
        if len(self._run) > NEIGHBOURS:
            self._note((self._run[-1] - self._run[0]) / NEIGHBOURS, self._length - self._counted)
            self._counted = self._length

    def _begin(self, time_s: float, *, counted: int) -> None:
        self._run.append(time_s)
        self._length += 1
        self._counted += counted

    def _pace(self) -> float | None:
        return (self._run[-1] - self._run[0]) / (len(self._run) - 1) if len(self._run) > 1 else None

    def _close(self) -> None:
        """End the present run; one that was short has its mean as local rate."""
        pace = self._pace()
        if pace is not None and self._length > self._counted:
            self._note(pace, self._length - self._counted)
        self._run.clear()
        self._counted = self._length = 0

    def _note(self, distance_s: float, pictures: int) -> None:
        distance_s = max(distance_s, SHORTEST_S)
        key = math.floor(math.log(distance_s) * BUCKETS)
        count, total = self.buckets.get(key, (0.0, 0.0))
        self.buckets[key] = (count + pictures, total + pictures * distance_s)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Pictures that come at one rate."""

    fps: float
    pictures: float

    @property
    def seconds(self) -> float:
        """That they fill."""
        return self.pictures / self.fps


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The rate that a stream's motion needs."""

    fps: float
    """As measured."""
    rate: Fraction
    """The exact rate that this stands for; it may be above what is published."""
    lost: float
    """Share of the pictures in motion that are dropped at this rate, 0-1."""
    paces: tuple[Pace, ...]
    """The rates that occur, most pictures first."""

    @property
    def average(self) -> float:
        """Pictures by the time that they fill; holes are not counted in."""
        return sum(pace.pictures for pace in self.paces) / sum(pace.seconds for pace in self.paces)

    @property
    def varies(self) -> bool:
        """Whether more than a few pictures come at another rate than the others."""
        most = self.paces[0].fps
        odd = sum(pace.pictures for pace in self.paces if not most / ODD <= pace.fps <= most * ODD)
        return odd > ODD_SHARE * sum(pace.pictures for pace in self.paces)


def motion_rate(spacing: Spacing, *, declared: Fraction | None) -> Motion | None:
    """The rate at which nearly all pictures in motion are shown; None where too few were read.

    Args:
        spacing: Of the pictures, at their end.
        declared: The rate that the container's clock stands for; decides between neighbours such as 29.97 and 30.
    """
    every = [Pace(fps=count / total, pictures=count) for count, total in spacing.buckets.values() if total > 0]
    if not every:
        return None
    moving = [pace for pace in every if pace.fps >= MOTION_FPS]
    shown = sum(pace.pictures for pace in moving)
    enough = shown >= LEAST_PICTURES and shown >= LEAST_MOTION * sum(pace.pictures for pace in every)
    paces = _grouped(moving if enough else every)
    chosen = _chosen(paces)
    rate = standard_rate(chosen, declared)
    return Motion(
        fps=chosen, rate=rate, lost=_lost(paces, min(float(rate), float(MAX_RATE))), paces=tuple(_grouped(every))
    )


def _chosen(paces: Sequence[Pace]) -> float:
    total = sum(_weight(pace) for pace in paces)
    most = max(paces, key=_weight)
    faster = sorted(pace.fps for pace in paces if pace.fps > most.fps and _weight(pace) >= OCCURS * total)
    fitting = (fps for fps in (most.fps, *faster, *map(float, STANDARD_RATES)) if _lost(paces, fps) <= MAY_LOSE)
    return next(fitting, float(MAX_RATE))


def _weight(pace: Pace) -> float:
    """Of its pictures those that can be shown: never more than :data:`MAX_RATE` allows."""
    return pace.pictures * min(1.0, float(MAX_RATE) / pace.fps)


def _lost(paces: Sequence[Pace], fps: float) -> float:
    total = sum(_weight(pace) for pace in paces)
    lost = sum(
        _weight(pace) * max(0.0, 1 - fps / min(pace.fps, float(MAX_RATE)))
        for pace in paces
        if pace.fps > fps * (1 + SAME_RATE)
    )
    return lost / total if total else 0.0


def _grouped(paces: Sequence[Pace]) -> list[Pace]:
    """Neighbouring local rates as one, around those that most pictures have."""
    left = sorted(paces, key=lambda pace: (-pace.pictures, pace.fps))
    groups: list[Pace] = []
    while left:
        centre = left[0].fps
        near = [pace for pace in left if abs(pace.fps - centre) <= SAME_RATE * centre]
        left = [pace for pace in left if abs(pace.fps - centre) > SAME_RATE * centre]
        pictures = sum(pace.pictures for pace in near)
        groups.append(Pace(fps=pictures / sum(pace.pictures / pace.fps for pace in near), pictures=pictures))
    return sorted(groups, key=lambda pace: (-pace.pictures, pace.fps))


def standard_rate(fps: float, declared: Fraction | None) -> Fraction:
    """The standard rate that a measured one stands for; the next one above where none is near.

    Args:
        fps: As measured.
        declared: The rate of the container's clock, which decides between neighbours that the measurement cannot tell.
    """
    known = (*STANDARD_RATES, *HIGH_RATES)
    near = [rate for rate in known if abs(fps - rate) <= SNAP * rate]
    if near:
        nearest = min(near, key=lambda rate: abs(fps - rate))
        unsure = abs(fps - nearest) > SURE * nearest
        return declared if unsure and declared in near else nearest
    if fps < MAX_RATE:
        return next(rate for rate in STANDARD_RATES if rate >= fps)
    return Fraction(fps).limit_denominator(1001)


@dataclass(frozen=True, kw_only=True)
class SourceRate:
    """What the inspection says of a source's rate."""

    average: Fraction
    """Of a constant rate the rate itself."""
    motion: Fraction | None = None
    """The rate that its motion needs, where the rate is a variable one."""
    told: str | None = None
    """What is odd about it, for people."""


def declared_rate(average: Fraction | None, base: Fraction | None, *, most: int) -> Fraction | None:
    """The rate that a container declares; None where it says none that can be believed.

    Args:
        average: Frames by duration; containers round durations.
        base: Of the clock: the lowest at which all times are whole numbers.
        most: Pictures a second; what is above is no camera's rate.
    """
    if average is not None and base in STANDARD_RATES and abs(average - base) <= STEADY * base:
        return base
    return next((each for each in (average, base) if each and each <= most), None)


def source_rate(motion: Motion | None, *, declared: Fraction, span_s: float | None) -> SourceRate:
    """The rate of a source from what its container declares and what its packets show.

    Args:
        motion: From :func:`motion_rate`; None where too little was read.
        declared: What the container says: its average, or the rate of its clock where that is near.
        span_s: From the first picture to the last; None where not all packets were read.
    """
    if motion is None:
        return SourceRate(average=declared)
    pictures = sum(pace.pictures for pace in motion.paces)
    average = (pictures - 1) / span_s if span_s and pictures > 1 else motion.average
    if motion.varies or abs(average - motion.fps) > max(STEADY, MISSING / pictures) * motion.fps:
        return SourceRate(average=declared, motion=motion.rate, told=_told(motion, average))
    # Where fields are coded one by one, each is a packet: twice as many as pictures.
    if any(abs(declared * packets - motion.fps) <= STEADY * motion.fps for packets in (1, 2)):
        return SourceRate(average=declared)
    # A container may declare another rate than its pictures have: one of fields that are repeated, or any at all.
    exact = abs(motion.rate - motion.fps) <= SNAP * motion.fps
    measured = motion.rate if exact else Fraction(motion.fps).limit_denominator(1001)
    text = f"the container says {float(declared):.4g} pictures a second, they come at {float(measured):.4g}"
    return SourceRate(average=measured, told=text)


def _told(motion: Motion, average: float) -> str:
    seconds = sum(pace.seconds for pace in motion.paces)
    told = [pace for pace in motion.paces if pace.seconds >= TOLD_SHARE * seconds][:TOLD]
    rates = ", ".join(f"{pace.fps:.4g} fps for {pace.seconds:.1f} s" for pace in told)
    shown = float(min(motion.rate, MAX_RATE))
    text = f"the frame rate varies around {average:.4g} ({rates}); pictures in motion are shown at {shown:.4g} fps"
    return f"{text}, {motion.lost:.0%} of them are dropped" if motion.lost >= 0.005 else text
