"""The orders that are compared: Callsheet's own policy, and what others do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from include.domain.order.priority import priority_points
from include.domain.order.promises import PromisePolicy, Standing
from include.domain.order.valuation import RANKS, Policy
from include.simulation.model import SimTitle

ORDERS = ("fifo", "tiers", "edf", "callsheet", "callsheet_uncut", "oracle")
"""Those that a simulation compares; ``callsheet_uncut`` is Callsheet without chunks and shares."""


@dataclass(kw_only=True)
class Known:
    """What an order may know of a title in the system."""

    title: SimTitle
    score: int
    """As of now."""
    remaining_s: float
    """Predicted slot seconds still to be done, median."""
    mean_elapsed_s: float
    """Mean predicted wall time of what remains, with all the slots that it can use."""
    true_remaining_s: float
    standing: Standing | None
    """Among the promises, where the order looks at them."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which title goes first: the one with the highest key, then the one that came first."""

    name: str
    key: Callable[[Known], float]
    follows: Literal["nothing", "time", "work"] = "nothing"
    """What changes a title's key: nothing after its arrival, the minute hand of ``dispatch``, or work that is done."""
    policy: Policy | None = None
    """Of those that admit titles by their deadlines and let encodes give up quality for them."""
    promises: PromisePolicy | None = None
    """Of those that look at all deadlines together."""
    cuts: bool = False
    """Whether value and laxity decide how many slots a title uses at once, and into how many chunks it is cut."""
    knows_all: bool = False
    """Whether it sees every title at once: no release window."""


IN_TIME = "oracle_in_time"
"""The oracle that keeps deadlines as Callsheet does, for the benchmark."""


def _latest_start(known: Known) -> float:
    """A key that puts first the title that has to start soonest for its deadline, and last those without one."""
    deadline_s = known.title.deadline_s
    return -1e18 if deadline_s is None else known.mean_elapsed_s - deadline_s


def _worth(known: Known) -> float:
    return known.title.value / max(1e-3, known.true_remaining_s)


def _worth_in_time(known: Known) -> float:
    """The same behind the promises that are in danger."""
    standing = known.standing
    return 1e9 + standing.behind if standing is not None and standing.endangered else _worth(known)


def order(name: str, policy: Policy) -> Order:
    """One of :data:`ORDERS`, or :data:`IN_TIME`.

    ``fifo``: as they come. ``tiers``: strict tiers, as they come within each. ``edf``: the earliest deadline first, by
    the latest start that mean predictions leave. ``oracle``: true times and values, greedy by value over remaining
    time without preemption, every title in sight. ``oracle_in_time``: the same, but it keeps deadlines as Callsheet
    does.
    """
    if name == "fifo":
        return Order(name=name, key=lambda known: 0.0)
    if name == "tiers":
        return Order(name=name, key=lambda known: RANKS[known.title.tier])
    if name == "edf":
        return Order(name=name, key=_latest_start, follows="time")
    if name == "oracle":
        return Order(
            name=name,
            key=_worth,
            follows="work",
            knows_all=True,
        )
    if name == IN_TIME:
        return Order(name=name, key=_worth_in_time, follows="time", promises=policy.promises, knows_all=True)
    assert name in ORDERS, name
    return Order(
        name=name,
        key=lambda known: priority_points(
            score=known.score, work_s=known.remaining_s, standing=known.standing, policy=policy.priority
        ),
        follows="time",
        policy=policy,
        promises=policy.promises,
        cuts=name == "callsheet",
    )
