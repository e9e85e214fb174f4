"""How long a title waits: for what goes before it as things stand, or as they will when its deadline presses."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import AdmissionPolicy, waiting

FRESH_S = 6 * 3600.0
"""Arrivals of so long say how much work keeps coming. In a shorter time one film looks like a stream of films."""
AHEAD_P90 = 1.1
"""Errors of different titles even out: the p90 of the work ahead is little above its mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotDemand:
    """What an open title wants of the farm, and with what right."""

    seq: int
    """Order of arrival."""
    points: int
    """Its priority now."""
    urgent: int
    """Its priority when it has no laxity left; the same as now where it has no deadline."""
    due_s: float | None
    """Seconds until its deadline, None without one."""
    work_s: float
    """Mean slot seconds that it still needs."""
    occupied_s: float
    """Of these, what its tasks that run now take to their ends: nothing overtakes them. 0 for one that waits."""
    fresh: bool
    """Whether it came within the last ``FRESH_S``."""
    slots: int
    """That it can use at once: a film of six rungs leaves most of a large farm to others, however long it takes."""


def occupied_s(work: TitleWork, *, remaining_s: float) -> float:
    """Slot seconds until a running task of a title ends: half a task on average, the longer ones met more often."""
    times = [each.mean_s for each in (*work.encodes, work.extras)]
    return min(remaining_s, sum(time**2 for time in times) / (2 * sum(times))) if sum(times) else 0.0


class Backlog:
    """All open titles, to ask how long one of them waits."""

    def __init__(
        self, demands: Iterable[SlotDemand], *, slots: int, fresh_load: float, policy: AdmissionPolicy
    ) -> None:
        """Take the demands of the titles that may be started; operators hold back others.

        Args:
            demands: Of waiting and of running titles.
            slots: Of the farm.
            fresh_load: Share of the slots that the work of all fresh titles takes.
            policy: Bounds the fresh load.
        """
        self.slots, self.fresh_load, self.policy = slots, fresh_load, policy
        self.demands = sorted(demands, key=_place)
        self.places = [_place(demand) for demand in self.demands]
        self.sums = list(itertools.accumulate(map(_Sum.of, self.demands), initial=_Sum()))
        self.rivals = [demand for demand in self.demands if demand.due_s is not None]
        self.longest = sorted(enumerate(self.demands), key=lambda each: -_alone_s(each[1]))

    def wait(self, demand: SlotDemand, *, laxity_s: float | None, horizon_s: float) -> Forecast:
        """Time until a title that waits has what it wants.

        A modest title with a far deadline stands far back now and does not stay there: its urgency brings it to the
        front in time. So it waits for the lesser of two: for what is ahead of it now, or until its deadline presses
        and then for what is ahead of it even so. What runs in a slot runs to its end, whatever its priority.

        Args:
            demand: One of the backlog's.
            laxity_s: Of the title, None without a deadline.
            horizon_s: Laxity below which a title is urgent.
        """
        now = self._behind(bisect.bisect_left(self.places, _place(demand)), (), demand)
        if laxity_s is None or demand.due_s is None:
            return now
        # One that is due later is no rival yet when this one presses.
        rivals = [
            other
            for other in self.rivals
            if other.points <= demand.urgent and other.due_s is not None and other.due_s <= demand.due_s
            if (other.urgent, -other.seq) > (demand.urgent, -demand.seq)
        ]
        pressed = self._behind(bisect.bisect_left(self.places, (-demand.urgent, -1)), rivals, demand)
        until_s = max(0.0, laxity_s - horizon_s / 2)
        later = Forecast(p50_s=until_s + pressed.p50_s, p90_s=until_s + pressed.p90_s)
        return min(now, later, key=lambda each: each.p90_s)

    def _behind(self, place: int, rivals: Sequence[SlotDemand], demand: SlotDemand) -> Forecast:
        """The wait behind the first ``place`` demands and some of those after them."""
        ahead = sum(map(_Sum.of, rivals), start=self.sums[place])
        every = self.sums[-1]
        # What keeps coming is taken to be like what has come lately: only its better part overtakes.
        overtaking = self.fresh_load * ahead.fresh_s / every.fresh_s if every.fresh_s else 0.0
        occupied_s = every.occupied_s - ahead.occupied_s - demand.occupied_s
        holders = every.holders - ahead.holders - (demand.occupied_s > 0)
        # Not every title with a run has a slot; and slots come free one by one, on average at half of the time.
        occupied_s = max(0.0, occupied_s) * min(1.0, self.slots / holders) / 2 if holders > 0 else 0.0
        work_s = self._delaying_s(ahead.work_s, place, rivals, demand) + occupied_s
        return waiting(
            Forecast(p50_s=work_s, p90_s=work_s * AHEAD_P90),
            slots=self.slots,
            fresh_load=overtaking,
            policy=self.policy,
        )

    def _delaying_s(self, ahead_s: float, place: int, rivals: Sequence[SlotDemand], demand: SlotDemand) -> float:
        """Slot seconds ahead that this title waits for: not what those ahead do beside it, as wide as they can.

        It is done at the time ``t`` at which the farm has done its work and what those ahead can do until then: the
        root of ``slots · t = work + Σ min(work ahead, slots that it can use · t)``. That is convex in ``t``, and
        Newton's steps from the right come down to the root piece by piece.
        """
        own_s, done_s = demand.work_s, (demand.work_s + ahead_s) / self.slots
        while True:
            beside = [other for other in rivals if _alone_s(other) > done_s]
            for at, other in self.longest:
                if _alone_s(other) <= done_s:
                    break
                if at < place:
                    beside.append(other)
            left = self.slots - sum(other.slots for other in beside)
            if left <= 0:
                break
            sooner_s = (own_s + ahead_s - sum(other.work_s for other in beside)) / left
            if sooner_s >= done_s * (1 - 1e-9):
                break
            done_s = sooner_s
        # Rounding must not make it wait for more than there is ahead.
        return min(ahead_s, max(0.0, done_s * self.slots - own_s))


class _Sum(NamedTuple):
    """Work of several titles."""

    work_s: float = 0.0
    occupied_s: float = 0.0
    holders: int = 0
    fresh_s: float = 0.0

    @classmethod
    def of(cls, demand: SlotDemand) -> _Sum:
        return cls(demand.work_s, demand.occupied_s, int(demand.occupied_s > 0), demand.work_s if demand.fresh else 0.0)

    def __add__(self, other: _Sum) -> _Sum:  # type: ignore[override]  # sums of work, not a longer tuple
        return _Sum(
            self.work_s + other.work_s,
            self.occupied_s + other.occupied_s,
            self.holders + other.holders,
            self.fresh_s + other.fresh_s,
        )


def _alone_s(demand: SlotDemand) -> float:
    """Time that its work takes at least."""
    return demand.work_s / demand.slots


def _place(demand: SlotDemand) -> tuple[int, int]:
    """Ascending: the higher priority first, then the one that came first."""
    return -demand.points, demand.seq
