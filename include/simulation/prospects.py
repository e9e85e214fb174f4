"""Promises and verdicts of the simulated farm, by the domain's own functions. Times in seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from include.domain.order.admission import Verdict, admit
from include.domain.order.backlog import FRESH_S, Backlog, SlotDemand, holding
from include.domain.order.parallel import slots_for
from include.domain.order.promises import Due, Promise, standings
from include.domain.order.valuation import RANKS
from include.domain.title.title import Tier
from include.simulation.model import Farm, moment
from include.simulation.orders import Known, Order
from include.simulation.state import Active, Task


def known(active: Active) -> Known:
    """What an order may know of the title."""
    return Known(
        title=active.title,
        score=active.score,
        remaining_s=active.remaining_s,
        mean_elapsed_s=active.elapsed_mean_s * active.left,
        true_remaining_s=active.true_remaining_s,
        standing=active.standing,
    )


def laxity_s(active: Active, *, farm: Farm, now_s: float) -> float | None:
    """Time to spare before the title's deadline if it had its slots from now on; None without a deadline."""
    deadline_s = active.title.deadline_s
    if deadline_s is None:
        return None
    return deadline_s - now_s - active.elapsed_p90_s * active.left - farm.overhead_s


def pressing_s(active: Active, *, farm: Farm, now_s: float) -> float | None:
    """The less of its time to spare alone and among the promises; None without a deadline."""
    alone_s = laxity_s(active, farm=farm, now_s=now_s)
    if alone_s is None or active.standing is None:
        return alone_s
    return min(alone_s, active.standing.spare_s)


def stand(present: Sequence[Active], running: Iterable[Task], *, farm: Farm, order: Order, now_s: float) -> None:
    """Say of each title how it stands among the promises, as :func:`include.domain.order.valuation.value_titles` does.

    Args:
        present: The titles in the system.
        running: Tasks that hold a slot: what they have done already is done, as the product's progress says.
        farm: Its slots.
        order: With a policy for promises. One that knows all reckons with true times.
        now_s: The time.
    """
    assert order.promises is not None
    done_s: defaultdict[int, float] = defaultdict(float)
    for task in running:
        done_s[task.active.seq] += min(task.forecast.p50_s, now_s - task.started_s)
    held = holding(sum(each.open for each in present), slots=farm.slots)
    promises, bounds = [], []
    for each in present:
        deadline_s = each.title.deadline_s
        if deadline_s is not None:
            due_s, true = deadline_s - now_s, order.knows_all
            promises.append(_promise(each, due_s, done_s[each.seq], held, farm=farm, true=true))
        elif order.policy is not None:
            bound_s = order.policy.priority.waiting_bound_h * 3600
            bounds.append(_bound(each, each.title.arrival_s + bound_s - now_s, done_s[each.seq], farm=farm))
    found = standings(
        promises,
        bounds,
        slots=farm.slots,
        occupied_s=held * sum(_occupied_s(each) for each in present if each.title.deadline_s is None),
        policy=order.promises,
    )
    for each in present:
        each.standing = found.get(each.seq)


def _promise(active: Active, due_s: float, done_s: float, held: float, *, farm: Farm, true: bool) -> Promise:
    title, left = active.title, _left(active, done_s)
    known_s = active.forecast_s * left * active.mean_over_median
    work_s = max(0.0, active.true_remaining_s - done_s) if true else known_s
    least_s = min(active.elapsed_mean_s, title.least.elapsed(farm.slots).p50_s)
    return Promise(
        seq=active.seq,
        rank=RANKS[title.tier],
        score=active.score,
        due_s=due_s,
        work_s=work_s,
        alone_s=active.elapsed_p90_s * left + farm.overhead_s,
        occupied_s=held * _occupied_s(active),
        least_work_s=min(work_s, title.least.total.mean_s * left),
        least_alone_s=least_s * left + farm.overhead_s,
    )


def _bound(active: Active, due_s: float, done_s: float, *, farm: Farm) -> Due:
    left = _left(active, done_s)
    work_s = active.forecast_s * left * active.mean_over_median
    return Due(seq=active.seq, due_s=due_s, work_s=work_s, alone_s=active.elapsed_p90_s * left + farm.overhead_s)


def _left(active: Active, done_s: float) -> float:
    """Share of its predicted work that is still to be done, with what its running tasks have done already."""
    return max(0.0, active.remaining_s - done_s) / active.forecast_s if active.forecast_s else 0.0


def verdict(active: Active, present: Sequence[Active], *, farm: Farm, order: Order, now_s: float) -> Verdict:
    """The quote of :func:`include.domain.order.valuation.value_titles` for this title alone.

    Args:
        active: A title with a deadline that has just arrived.
        present: All titles in the system.
        farm: Its slots.
        order: With the policy.
        now_s: The time.
    """
    title, slots, policy = active.title, farm.slots, order.policy
    assert title.deadline_s is not None
    assert policy is not None
    fresh_s = sum(each.forecast_s for each in present if _is_fresh(each, now_s))
    backlog = Backlog(
        [_demand(each, order, now_s) for each in present],
        slots=slots,
        fresh_load=fresh_s / (slots * FRESH_S),
        policy=policy.admission,
    )
    wait, soonest = backlog.wait(_demand(active, order, now_s), active.standing)
    share = slots_for(
        score=active.score,
        laxity_s=pressing_s(active, farm=farm, now_s=now_s),
        slots=slots,
        policy=policy.parallel,
    )
    return admit(
        now=moment(now_s),
        deadline=moment(title.deadline_s),
        wait=wait,
        soonest=soonest,
        full=title.expected.elapsed(share).later(farm.overhead_s),
        degraded=title.least.elapsed(slots).later(farm.overhead_s),
        work=title.expected.total,
        policy=policy.admission,
        kept=active.standing is None or active.standing.kept,
        sure=active.standing is None or active.standing.sure,
        premium=title.tier is Tier.PREMIUM,
    ).verdict


def _demand(active: Active, order: Order, now_s: float) -> SlotDemand:
    work_s = active.remaining_s * active.mean_over_median
    return SlotDemand(
        seq=active.seq,
        points=int(order.key(known(active))),
        work_s=work_s,
        occupied_s=_occupied_s(active),
        fresh=_is_fresh(active, now_s),
        slots=active.share if order.cuts else min(active.share, len(active.title.encodes) + 1),
    )


def _occupied_s(active: Active) -> float:
    return min(active.remaining_s * active.mean_over_median, active.occupied_s) if active.open else 0.0


def _is_fresh(active: Active, now_s: float) -> bool:
    return now_s - active.title.arrival_s <= FRESH_S
