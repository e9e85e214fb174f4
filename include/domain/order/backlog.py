"""How long a waiting title waits until it has its slots.

It waits for the work that goes before it, and that changes: a title with a far deadline stands far back today, and
moves to the front when its promise is in danger. :meth:`Backlog.wait` reckons with both.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import AdmissionPolicy, waiting
from include.domain.order.promises import Standing

FRESH_S = 6 * 3600.0
"""How far back arrivals are counted to say how much work keeps coming. In a shorter time one film would look like a
stream of films."""
AHEAD_P90 = 1.1
"""The p90 of the work ahead over its mean. It is close to 1 because the errors of many titles even out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotDemand:
    """What an open title wants of the farm."""

    seq: int
    """Order of arrival."""
    points: int
    """Its priority now."""
    work_s: float
    """Mean slot seconds that it still needs."""
    occupied_s: float
    """Of these, the slot seconds until its tasks that run now have ended. Nothing overtakes a task that runs. 0 for a
    title that waits."""
    fresh: bool
    """Whether it came within the last ``FRESH_S``."""
    slots: int
    """How many it can use at once. A film of six rungs leaves most of a large farm to others, however long it takes."""


def occupied_s(work: TitleWork, *, remaining_s: float) -> float:
    """Slot seconds until the task of a title that runs now has ended, on average.

    At a moment drawn by chance half of the running task is still to come. Longer tasks are met more often, so each
    counts by its length: the sum of the squares over twice the sum.
    """
    times = [forecast.mean_s for forecast in (*work.encodes, work.extras)]
    return min(remaining_s, sum(time**2 for time in times) / (2 * sum(times))) if sum(times) else 0.0


def holding(runs: int, *, slots: int) -> float:
    """Share, 0–1, of so many titles with a run that hold a slot: only as many as there are slots."""
    return min(1.0, slots / runs) if runs else 0.0


class Backlog:
    """All open titles, to ask how long one of them waits."""

    def __init__(
        self, demands: Iterable[SlotDemand], *, slots: int, fresh_load: float, policy: AdmissionPolicy
    ) -> None:
        """Take the demands of all titles that run or may be started.

        Args:
            demands: Of waiting and of running titles, without those that an operator holds back.
            slots: Of the farm.
            fresh_load: Share of the slots, 0–1, that newly arriving work takes.
            policy: Bounds ``fresh_load``.
        """
        self.slots, self.fresh_load, self.policy = slots, fresh_load, policy
        self.demands = sorted(demands, key=_place)
        self.places = [_place(demand) for demand in self.demands]
        self.sums = list(itertools.accumulate(map(_Sum.of, self.demands), initial=_Sum()))
        self.longest = sorted(enumerate(self.demands), key=lambda numbered: -_alone_s(numbered[1]))

    def wait(self, demand: SlotDemand, standing: Standing | None) -> tuple[Forecast, Forecast]:
        """Seconds until a waiting title has its slots: as things are, and at the soonest.

        There are two ways to get them, and the title takes the quicker one. Either all that is ahead of it now is done.
        Or its promise comes into danger, and what is left of the promises before it is done. In both cases tasks that
        run already run to their ends, whatever their priority.

        The soonest is what counts for the deadline: the second way, without waiting for the danger.

        Args:
            demand: One of the backlog's.
            standing: Among the promises, None where it has no deadline.
        """
        now = self._behind(bisect.bisect_left(self.places, _place(demand)), demand)
        if standing is None or standing.bound or not standing.kept:
            return now, now
        occupied_s = self._occupied_s(self.sums[-1], demand)
        at_once = self._stretched(standing.ahead_s + occupied_s, self.fresh_load)
        until_s = max(0.0, standing.spare_s)
        later = Forecast(p50_s=until_s + at_once.p50_s, p90_s=until_s + at_once.p90_s)
        return min(now, later, key=_p90), min(now, at_once, key=_p90)

    def _behind(self, place: int, demand: SlotDemand) -> Forecast:
        """The wait of ``demand`` behind the first ``place`` demands."""
        ahead, every = self.sums[place], self.sums[-1]
        # Titles that will arrive are taken to be like those that came lately: the same share of them will be ahead.
        overtaking = self.fresh_load * ahead.fresh_s / every.fresh_s if every.fresh_s else 0.0
        rest = _Sum(occupied_s=every.occupied_s - ahead.occupied_s, holders=every.holders - ahead.holders)
        work_s = self._delaying_s(ahead.work_s, place, demand) + self._occupied_s(rest, demand)
        return self._stretched(work_s, overtaking)

    def _occupied_s(self, others: _Sum, demand: SlotDemand) -> float:
        """Slot seconds that running tasks of ``others``, which contain ``demand``, keep from it."""
        occupied_s = others.occupied_s - demand.occupied_s
        holders = others.holders - (demand.occupied_s > 0)
        # Of the titles with a run only as many hold a slot as there are slots. Their slots come free one by one, so on
        # average half of that time is waited.
        return max(0.0, occupied_s) * min(1.0, self.slots / holders) / 2 if holders > 0 else 0.0

    def _stretched(self, work_s: float, overtaking: float) -> Forecast:
        """The wait for so much work, while titles arrive that go first."""
        return waiting(
            Forecast(p50_s=work_s, p90_s=work_s * AHEAD_P90),
            slots=self.slots,
            fresh_load=overtaking,
            policy=self.policy,
        )

    def _delaying_s(self, ahead_s: float, place: int, demand: SlotDemand) -> float:
        """The slot seconds of the work ahead that delay this title.

        A title ahead can use only so many slots at once. On a large farm it leaves slots free, and this title works
        beside it instead of waiting for its end.

        Let ``t`` be the time at which this title is done. Until then the farm does the title's own work, and of each
        title ahead as much as that can do by ``t``, at most all of it::

            slots · t = own work + Σ min(work of a title ahead, slots that it can use · t)

        The loop begins with a ``t`` that is too large, at which all the work ahead is done first. Each turn takes the
        titles that are not done by ``t`` (``beside``) as working beside this one all the time, and solves for ``t``
        again. It ends when ``t`` gets no smaller (Newton's method, which comes down to the solution from above).
        """
        own_s, done_s = demand.work_s, (demand.work_s + ahead_s) / self.slots
        while True:
            beside = []
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
        # Rounding errors must not make it wait for more than there is ahead.
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


def _p90(forecast: Forecast) -> float:
    return forecast.p90_s


def _alone_s(demand: SlotDemand) -> float:
    """Time that its work takes at least."""
    return demand.work_s / demand.slots


def _place(demand: SlotDemand) -> tuple[int, int]:
    """Ascending: the higher priority first, then the one that came first."""
    return -demand.points, demand.seq
