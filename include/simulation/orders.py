"""The orders that are compared: Callsheet's own policy, and what others do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from include.domain.order.priority import priority_points
from include.domain.order.valuation import Policy
from include.domain.title.title import Tier
from include.simulation.model import SimTitle

ORDERS = ("fifo", "tiers", "edf", "callsheet", "callsheet_uncut", "oracle")
"""Names of all; ``callsheet_uncut`` is Callsheet's order and late binding without chunks and shares."""


@dataclass(kw_only=True)
class Standing:
    """What an order may know of a title in the system."""

    title: SimTitle
    score: int
    """As of now."""
    remaining_s: float
    """Predicted slot seconds still to be done, median."""
    mean_elapsed_s: float
    """Mean predicted wall time of what remains, with all the slots that it can use."""
    true_remaining_s: float
    laxity_s: float | None
    waiting_s: float


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which title goes first: the one with the highest key, then the one that came first."""

    name: str
    key: Callable[[Standing], float]
    follows: Literal["nothing", "time", "work"] = "nothing"
    """What changes a title's key: nothing after its arrival, the minute hand of ``dispatch``, or work that is done."""
    policy: Policy | None = None
    """Of those that admit titles by their deadlines and let encodes give up quality for them."""
    cuts: bool = False
    """Whether value and laxity decide how many slots a title uses at once, and into how many chunks it is cut."""
    knows_all: bool = False
    """Whether it sees every title at once: no release window."""


_RANK = {Tier.PREMIUM: 2.0, Tier.STANDARD: 1.0, Tier.UGC: 0.0}


def _latest_start(standing: Standing) -> float:
    """A key that puts first the title that has to start soonest for its deadline, and last those without one."""
    deadline_s = standing.title.deadline_s
    return -1e18 if deadline_s is None else standing.mean_elapsed_s - deadline_s


def order(name: str, policy: Policy) -> Order:
    """One of :data:`ORDERS`.

    ``fifo``: as they come. ``tiers``: strict tiers, as they come within each. ``edf``: the earliest deadline first, by
    the latest start that mean predictions leave. ``oracle``: true times and values, greedy by value over remaining
    time without preemption, every title in sight.
    """
    if name == "fifo":
        return Order(name=name, key=lambda standing: 0.0)
    if name == "tiers":
        return Order(name=name, key=lambda standing: _RANK[standing.title.tier])
    if name == "edf":
        return Order(name=name, key=_latest_start, follows="time")
    if name == "oracle":
        return Order(
            name=name,
            key=lambda standing: standing.title.value / max(1e-3, standing.true_remaining_s),
            follows="work",
            knows_all=True,
        )
    assert name in ORDERS, name
    return Order(
        name=name,
        key=lambda standing: priority_points(
            score=standing.score,
            work_s=standing.remaining_s,
            laxity_s=standing.laxity_s,
            waiting_s=standing.waiting_s,
            policy=policy.priority,
        ),
        follows="time",
        policy=policy,
        cuts=name == "callsheet",
    )
