"""How long a title waits: for what goes before it as things stand, or as they will when its deadline presses."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from include.domain.cost.forecast import Forecast
from include.domain.cost.prior import TitleWork
from include.domain.order.admission import AdmissionPolicy, waiting

FRESH_S = 6 * 3600.0
"""Arrivals of so long say how much work keeps coming. In a shorter time one film looks like a stream of films."""
AHEAD_P90 = 1.1
"""Errors of different titles even out: the p90 of the work ahead is little above its mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
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
    held_s: float
    """Of these, what its tasks that run now take to their ends: nothing overtakes them. 0 for one that waits."""
    fresh: bool
    """Whether it came within the last ``FRESH_S``."""
    slots: int
    """That it can use at once: a film of six rungs leaves most of a large farm to others, however long it takes."""


def held_s(work: TitleWork, *, remaining_s: float) -> float:
    """Slot seconds until a running task of a title ends: half a task on average, the longer ones met more often."""
    times = [each.mean_s for each in (*work.encodes, work.extras)]
    return min(remaining_s, sum(time**2 for time in times) / (2 * sum(times))) if sum(times) else 0.0


class Backlog:
    """All open titles, to ask how long one of them waits."""

    def __init__(self, claims: Iterable[Claim], *, slots: int, fresh_load: float, policy: AdmissionPolicy) -> None:
        """Take the claims of the titles that may be started; operators hold back others.

        Args:
            claims: Of waiting and of running titles.
            slots: Of the farm.
            fresh_load: Share of the slots that the work of all fresh titles takes.
            policy: Bounds the fresh load.
        """
        self.slots, self.fresh_load, self.policy = slots, fresh_load, policy
        self.claims = sorted(claims, key=_place)
        self.places = [_place(claim) for claim in self.claims]
        self.sums = list(itertools.accumulate(map(_Sum.of, self.claims), initial=_Sum()))
        self.rivals = [claim for claim in self.claims if claim.due_s is not None]
        self.longest = sorted(enumerate(self.claims), key=lambda each: -_alone_s(each[1]))

    def wait(self, claim: Claim, *, laxity_s: float | None, horizon_s: float) -> Forecast:
        """Time until a title that waits has what it wants.

        A modest title with a far deadline stands far back now and does not stay there: its urgency brings it to the
        front in time. So it waits for the lesser of two: for what is ahead of it now, or until its deadline presses
        and then for what is ahead of it even so. What runs in a slot runs to its end, whatever its priority.

        Args:
            claim: One of the backlog's.
            laxity_s: Of the title, None without a deadline.
            horizon_s: Laxity below which a title is urgent.
        """
        now = self._behind(bisect.bisect_left(self.places, _place(claim)), (), claim)
        if laxity_s is None or claim.due_s is None:
            return now
        # One that is due later is no rival yet when this one presses.
        rivals = [
            other
            for other in self.rivals
            if other.points <= claim.urgent and other.due_s is not None and other.due_s <= claim.due_s
            if (other.urgent, -other.seq) > (claim.urgent, -claim.seq)
        ]
        pressed = self._behind(bisect.bisect_left(self.places, (-claim.urgent, -1)), rivals, claim)
        until_s = max(0.0, laxity_s - horizon_s / 2)
        later = Forecast(p50_s=until_s + pressed.p50_s, p90_s=until_s + pressed.p90_s)
        return min(now, later, key=lambda each: each.p90_s)

    def _behind(self, place: int, rivals: Sequence[Claim], claim: Claim) -> Forecast:
        """The wait behind the first ``place`` claims and some of those after them."""
        ahead = sum(map(_Sum.of, rivals), start=self.sums[place])
        every = self.sums[-1]
        # What keeps coming is taken to be like what has come lately: only its better part overtakes.
        overtaking = self.fresh_load * ahead.fresh_s / every.fresh_s if every.fresh_s else 0.0
        held_s = every.held_s - ahead.held_s - claim.held_s
        holders = every.holders - ahead.holders - (claim.held_s > 0)
        # Not every title with a run has a slot; and slots come free one by one, on average at half of the time.
        held_s = max(0.0, held_s) * min(1.0, self.slots / holders) / 2 if holders > 0 else 0.0
        work_s = self._delaying_s(ahead.work_s, place, rivals, claim) + held_s
        return waiting(
            Forecast(p50_s=work_s, p90_s=work_s * AHEAD_P90),
            slots=self.slots,
            fresh_load=overtaking,
            policy=self.policy,
        )

    def _delaying_s(self, ahead_s: float, place: int, rivals: Sequence[Claim], claim: Claim) -> float:
        """Slot seconds ahead that this title waits for: not what those ahead do beside it, as wide as they can.

        It is done at the time ``t`` at which the farm has done its work and what those ahead can do until then: the
        root of ``slots · t = work + Σ min(work ahead, slots that it can use · t)``. That is convex in ``t``, and
        Newton's steps from the right come down to the root piece by piece.
        """
        own_s, done_s = claim.work_s, (claim.work_s + ahead_s) / self.slots
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
        return max(0.0, done_s * self.slots - own_s)


class _Sum(NamedTuple):
    """Work of several titles."""

    work_s: float = 0.0
    held_s: float = 0.0
    holders: int = 0
    fresh_s: float = 0.0

    @classmethod
    def of(cls, claim: Claim) -> _Sum:
        return cls(claim.work_s, claim.held_s, int(claim.held_s > 0), claim.work_s if claim.fresh else 0.0)

    def __add__(self, other: _Sum) -> _Sum:  # type: ignore[override]  # sums of work, not a longer tuple
        return _Sum(
            self.work_s + other.work_s,
            self.held_s + other.held_s,
            self.holders + other.holders,
            self.fresh_s + other.fresh_s,
        )


def _alone_s(claim: Claim) -> float:
    """Time that its work takes at least."""
    return claim.work_s / claim.slots


def _place(claim: Claim) -> tuple[int, int]:
    """Ascending: the higher priority first, then the one that came first."""
    return -claim.points, claim.seq
