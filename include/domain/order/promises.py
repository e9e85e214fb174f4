"""The farm's promises, looked at together: how long each can wait before it or one behind it is in danger.

A title with a deadline is a promise. While all promises hold with their margin, value decides who goes first. Where
one does not, the endangered promises go first, the earliest deadline before the others. So a title without a deadline
never takes time that a promise needs, and of many promises that are due together each one counts those before it.

That no title waits longer than the waiting bound is looked after in the same way, behind the promises: titles whose
bound is in danger go before the others, and the oldest of them first where not all can be within it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from include.base.document import Document


class PromisePolicy(Document):
    """How much time is kept free for what nobody knows yet."""

    reserve: float = Field(ge=0, lt=1)
    """Share of the slots, 0–1, that no promise counts on: for titles to come, for failures, and for work that takes
    longer than its forecast."""
    margin_s: float = Field(ge=0)
    """Seconds that every promise is to have to spare. A running task is not stopped for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A title that has to be done by some time. Times are seconds from now."""

    seq: int
    """Order of arrival."""
    due_s: float
    """Until its deadline, or until the end of the waiting bound."""
    work_s: float
    """Mean slot seconds that it still needs."""
    alone_s: float
    """Wall time that it still needs with every slot of the farm, at its 90th percentile."""
    occupied_s: float = 0.0
    """Of ``work_s``, what its running tasks still take: nobody stops them for a title that comes before it."""

    @property
    def latest_s(self) -> float:
        """Until it must have the farm to itself for what is left of it."""
        return self.due_s - self.alone_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise(Due):
    """A title with a deadline, and what may be given up of it."""

    rank: int
    """The higher, the later it is given up."""
    score: int
    least_work_s: float
    """Of ``work_s``, what is left with everything given up that its tier allows."""
    least_alone_s: float
    """The median of the wall time with everything given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a title stands among the promises. Times are seconds."""

    spare_s: float
    """That other work may take before this title, or one behind it, is in danger."""
    sure: bool
    """Whether it and all behind it would be in time even without reserve and margin, if they went first from now on."""
    held_by: int
    """``seq`` of the title that allows no more than that."""
    ahead_s: float = 0.0
    """Slot seconds of the promises that come before it."""
    behind: int = 0
    """Endangered titles that come after it."""
    kept: bool = True
    """False where the farm cannot keep it beside promises that are worth more."""
    hurried: bool = False
    """Whether it gives up what its tier allows, so that more promises can be kept."""
    bound: bool = False
    """Whether it has no deadline: this is about the waiting bound alone."""

    @property
    def endangered(self) -> bool:
        """Whether it goes before everything that is only worth more."""
        return self.kept and self.spare_s <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Which promises the farm can keep together, each by ``seq``."""

    kept: frozenset[int]
    hurried: frozenset[int]
    """Of these, those that have to give up what their tiers allow."""


def keepable(promises: Iterable[Promise], *, slots: int) -> Kept:
    """The promises that can be kept together, as far as anybody can know.

    Up to each deadline, the work that is due by then must fit into the slots: no order can do without. Where it does
    not fit, quality is given up first, then promises; of both the lowest rank's first, and within a rank the lowest
    score's.

    Args:
        promises: All with a deadline.
        slots: Of the farm.
    """
    kept, hurried = set(), set()
    by_quality: list[tuple[int, int, int]] = []
    by_worth: list[tuple[int, int, int]] = []
    needs: dict[int, float] = {}
    saves: dict[int, float] = {}
    due_work_s = 0.0
    for promise in sorted(promises, key=_by_deadline):
        seq = promise.seq
        if promise.least_alone_s > promise.due_s:
            continue
        kept.add(seq)
        needs[seq], saves[seq] = promise.work_s, max(0.0, promise.work_s - promise.least_work_s)
        due_work_s += promise.work_s
        heapq.heappush(by_worth, (promise.rank, promise.score, seq))
        if saves[seq] > 0:
            heapq.heappush(by_quality, (promise.rank, promise.score, seq))
        capacity_s = slots * promise.due_s
        while due_work_s > capacity_s and by_quality:
            given = heapq.heappop(by_quality)[-1]
            if len(kept) > 1:  # one that is alone gives up what it must by its own deadline
                hurried.add(given)
            needs[given] -= saves[given]
            due_work_s -= saves[given]
        while due_work_s > capacity_s * (1 + 1e-9) and by_worth:
            given = heapq.heappop(by_worth)[-1]
            kept.discard(given)
            hurried.discard(given)
            due_work_s -= needs[given]
    return Kept(kept=frozenset(kept), hurried=frozenset(hurried))


def standings(
    promises: Sequence[Promise],
    bounds: Sequence[Due] = (),
    *,
    slots: int,
    occupied_s: float,
    policy: PromisePolicy,
) -> dict[int, Standing]:
    """How each title stands, by ``seq``.

    The order is that of the deadlines. For a fixed order of titles, one is done no later than after all the work
    before it, shared among all slots, and then its own time alone (R. L. Graham, 1969). So a promise has to spare what
    is then left until its deadline; and no promise has more to spare than one that comes after it. Titles without a
    deadline go in the order of the starts that the waiting bound leaves them.

    Args:
        promises: All titles with a deadline that is not kept yet.
        bounds: All others, with the end of the waiting bound instead of a deadline.
        slots: Of the farm.
        occupied_s: Slot seconds until the running tasks of titles without a deadline have ended: nobody stops them.
        policy: Reserve and margin.
    """
    can = keepable(promises, slots=slots)
    kept = sorted((each for each in promises if each.seq in can.kept), key=_by_deadline)
    found = _spare(kept, occupied_s, slots=slots, policy=policy, hurried=can.hurried)
    if bounds:
        everybody: list[Due] = sorted((*kept, *bounds), key=_by_latest_start)
        late = _spare(everybody, 0.0, slots=slots, policy=policy, bound=True)
        found |= {each.seq: late[each.seq] for each in bounds}
    for promise in promises:
        if promise.seq not in can.kept:
            spare_s = promise.latest_s - policy.margin_s
            found[promise.seq] = Standing(spare_s=spare_s, sure=False, held_by=promise.seq, kept=False)
    return found


def _by_deadline(title: Due) -> tuple[float, int]:
    return title.due_s, title.seq


def _by_latest_start(title: Due) -> tuple[float, int]:
    return title.latest_s, title.seq


def _spare(
    ordered: Sequence[Due],
    occupied_s: float,
    *,
    slots: int,
    policy: PromisePolicy,
    hurried: frozenset[int] = frozenset(),
    bound: bool = False,
) -> dict[int, Standing]:
    """Standings of titles that go in this order."""
    found: dict[int, Standing] = {}
    ahead_s = math.fsum(each.work_s for each in ordered)
    least_s, held_by, behind, sure = math.inf, -1, 0, True
    for each in reversed(ordered):
        ahead_s = max(0.0, ahead_s - each.work_s)
        # Running tasks of titles that come after it have their slots until they end.
        before_s = ahead_s + occupied_s
        own_s = each.latest_s - before_s / (slots * (1 - policy.reserve)) - policy.margin_s
        if own_s < least_s:
            least_s, held_by = own_s, each.seq
        sure = sure and each.latest_s >= before_s / slots
        occupied_s += each.occupied_s
        found[each.seq] = Standing(
            spare_s=least_s,
            sure=sure,
            held_by=held_by,
            ahead_s=ahead_s,
            behind=behind,
            hurried=each.seq in hurried,
            bound=bound,
        )
        behind += least_s <= 0
    return found
