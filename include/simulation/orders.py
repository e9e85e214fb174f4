"""The orders that are compared: Callsheet's own policy, and what others do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from include.domain.parallel import ParallelPolicy
from include.domain.priority import PriorityPolicy, priority_points
from include.domain.title import Tier
from include.simulation.model import SimTitle


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A title in the system as an order may see it."""

    title: SimTitle
    order: int
    """Of arrival."""
    score: int
    remaining_s: float
    """Predicted slot seconds still to be done."""
    true_remaining_s: float
    waiting_s: float
    now_s: float


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which title goes first: the one with the highest key, then the one that came first."""

    name: str
    key: Callable[[Standing], float]
    binds_late: bool = False
    """Whether encodes give up quality for a deadline in danger."""
    parallel: ParallelPolicy | None = None
    """Whether value and laxity decide how many slots a title uses at once, and into how many chunks it is cut."""


_RANK = {Tier.PREMIUM: 2.0, Tier.STANDARD: 1.0, Tier.UGC: 0.0}

FIFO = Order(name="fifo", key=lambda standing: 0.0)
STRICT_TIERS = Order(name="tiers", key=lambda standing: _RANK[standing.title.tier])
EDF = Order(
    name="edf",
    # Earliest deadline first; titles without one afterwards.
    key=lambda standing: -standing.title.deadline_s if standing.title.deadline_s is not None else -1e18,
)
ORACLE = Order(name="oracle", key=lambda standing: standing.score / max(1e-3, standing.true_remaining_s))
"""Knows true times; non-preemptive, greedy by value over remaining time."""


def callsheet(
    policy: PriorityPolicy, parallel: ParallelPolicy | None = None, *, slots: int, degrade: bool = True
) -> Order:
    """The domain's own priority, late binding and, where ``parallel`` is given, chunks and shares of the slots."""

    def key(standing: Standing) -> float:
        return priority_points(
            score=standing.score,
            work_s=standing.remaining_s,
            laxity_s=laxity_s(standing, slots),
            waiting_s=standing.waiting_s,
            policy=policy,
        )

    return Order(name="callsheet", key=key, binds_late=degrade, parallel=parallel)


def laxity_s(standing: Standing, slots: int) -> float | None:
    """Time to spare before the deadline if the title had all the slots that it can use; None without one."""
    deadline = standing.title.deadline_s
    return None if deadline is None else deadline - standing.now_s - time_needed_s(standing, slots)


def time_needed_s(standing: Standing, slots: int) -> float:
    """Wall time of what remains if the title had all the slots that it can use."""
    title = standing.title
    wide = min(slots, len(title.encodes) + 1)
    narrow = min(standing.remaining_s, title.finish_s)
    longest = max((encode.options[0].p50_s for encode in title.encodes), default=0.0)
    encoding = standing.remaining_s - narrow
    return narrow + (max(encoding / wide, min(longest, encoding)) if encoding > 0 else 0.0)
