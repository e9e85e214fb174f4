"""Where every open title stands: its value, its place in the order, and whether it will be in time.

One pure function over the whole queue (:func:`value_titles`), because a title's finish depends on what goes before it.
Intake, the DAG ``dispatch``, the API and the simulator's tests call the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from include.base.document import Document
from include.domain.cost.forecast import NOTHING, Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import Admission, AdmissionPolicy, admit
from include.domain.order.backlog import FRESH_S, Backlog, SlotDemand, occupied_s
from include.domain.order.parallel import ParallelPolicy, slots_for
from include.domain.order.priority import Priority, PriorityPolicy, priority, priority_points
from include.domain.order.value import Score, ValuePolicy, score
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier


class Policy(Document):
    """The policies that order the work (``recipes/policy.yaml``)."""

    value: ValuePolicy
    priority: PriorityPolicy
    admission: AdmissionPolicy
    parallel: ParallelPolicy


class Work(Document):
    """What a title will take, as far as it is known."""

    full: TitleWork
    least: TitleWork
    """With everything given up that its tier allows."""
    playable: TitleWork | None = None
    """Until its first version plays, where its core rungs go out first: that is what its deadline waits for."""
    planned: bool = False
    """Whether it stands on the plan of an inspected mezzanine, not on what is typical."""


class QueuedTitle(Document):
    """An open title as the order sees it."""

    request_id: str
    seq: int
    """Order of arrival."""
    tier: Tier
    kind: Kind | None
    signals: Signals
    created_at: datetime
    publish_at: datetime | None
    running: bool
    """Whether it has a run: what it still needs is ahead of every waiting title."""
    progress: float
    """Share of its work that is done, 0–1."""
    work: Work
    pinned: bool = False
    held: bool = False
    """Not to be started: it is ahead of nobody."""
    playable: bool = False
    """Whether a first version plays already: no deadline waits for the rest."""

    @property
    def due(self) -> datetime | None:
        """The deadline, while it counts."""
        return None if self.playable else self.publish_at

    @property
    def timed(self) -> tuple[TitleWork, float]:
        """Work that the deadline waits for, and the share of it, 0–1, that is left. A first version's is done first."""
        full, first = self.work.full, self.work.playable
        if self.playable or first is None:
            return full, 1 - self.progress
        done_s, needed_s = self.progress * full.total.p50_s, first.total.p50_s
        return first, max(0.0, 1 - done_s / needed_s) if needed_s > 0 else 0.0


class Valuation(Document):
    """A title's value, priority and prospects as of one moment."""

    at: datetime
    score: Score
    priority: Priority
    laxity_s: float | None
    """Time to spare before the deadline if it had its slots from now on; None without a deadline."""
    remaining: Forecast
    """Slot seconds still to do."""
    admission: Admission
    ahead: int
    """Waiting titles that go before it."""
    slots: int = 1
    """For its encodes at once while other titles wait."""

    @property
    def at_risk(self) -> bool:
        """Whether a miss is likelier than the policy takes for feasible."""
        return self.admission.verdict != "feasible"


class FarmState(Document):
    """What the order needs to know of the farm."""

    slots: int
    """Of all encode pools."""
    fresh_load: float = 0.0
    """Share of the slots, 0–1, that newly arriving work is expected to take; the better part of it overtakes."""
    overhead_s: float = 0.0
    """Of a title's life outside of its work: scheduling, planning, publishing."""


def value_titles(
    standings: Sequence[QueuedTitle],
    *,
    farm: FarmState,
    now: datetime,
    policy: Policy,
    only: Collection[str] | None = None,
) -> dict[str, Valuation]:
    """The valuation of every title of the queue, by request id, in the order in which they go.

    Running titles come before waiting ones; among each, the higher priority first, ties in the order of arrival.

    Args:
        standings: All open titles.
        farm: Their slots.
        now: The time.
        policy: Values and orders them.
        only: Requests whose valuation is wanted, None for all: the others are just what is ahead and behind.
    """
    slots = max(1, farm.slots)
    placed = [(standing, *_place(standing, slots=slots, farm=farm, now=now, policy=policy)) for standing in standings]
    placed.sort(key=lambda each: (not each[0].running, each[0].held, -each[2].points, each[0].seq))
    shares = [
        slots_for(score=value.points, laxity_s=laxity_s, slots=slots, policy=policy.parallel)
        for _, value, _, laxity_s, _ in placed
    ]
    demands = [
        _demand(standing, value, place, remaining, share=share, now=now, policy=policy.priority)
        for share, (standing, value, place, _, remaining) in zip(shares, placed, strict=True)
    ]
    backlog = Backlog(
        (demand for demand, each in zip(demands, placed, strict=True) if each[0].running or not each[0].held),
        slots=slots,
        fresh_load=farm.fresh_load,
        policy=policy.admission,
    )
    horizon_s = policy.priority.urgency_horizon_h * 3600
    waiting_ahead = 0
    found: dict[str, Valuation] = {}
    for demand, share, (standing, value, place, laxity_s, remaining) in zip(demands, shares, placed, strict=True):
        ahead = 0 if standing.running else waiting_ahead
        if not standing.held and not standing.running:
            waiting_ahead += 1
        if only is not None and standing.request_id not in only:
            continue
        wait = NOTHING if standing.running else backlog.wait(demand, laxity_s=laxity_s, horizon_s=horizon_s)
        timed, left = standing.timed
        found[standing.request_id] = Valuation(
            at=now,
            score=value,
            priority=place,
            laxity_s=None if laxity_s is None else round(laxity_s, 1),
            remaining=remaining,
            admission=admit(
                now=now,
                deadline=standing.due,
                wait=wait,
                full=timed.elapsed(share).scaled(left).later(farm.overhead_s),
                degraded=standing.work.least.elapsed(slots).scaled(left).later(farm.overhead_s),
                work=remaining,
                policy=policy.admission,
            ),
            ahead=ahead,
            slots=share,
        )
    return found


def _demand(
    standing: QueuedTitle,
    value: Score,
    place: Priority,
    remaining: Forecast,
    *,
    share: int,
    now: datetime,
    policy: PriorityPolicy,
) -> SlotDemand:
    age_s = (now - standing.created_at).total_seconds()
    urgent, due_s = place.points, None
    if standing.due is not None:
        due_s = (standing.due - now).total_seconds()
        pressed = priority_points(
            score=value.points, work_s=remaining.p50_s, laxity_s=0.0, waiting_s=age_s, policy=policy
        )
        urgent = max(place.points, pressed)
    return SlotDemand(
        seq=standing.seq,
        points=place.points,
        urgent=urgent,
        due_s=due_s,
        work_s=remaining.mean_s,
        occupied_s=occupied_s(standing.work.full, remaining_s=remaining.mean_s) if standing.running else 0.0,
        fresh=age_s <= FRESH_S,
        slots=min(share, len(standing.work.full.encodes) + 1),
    )


def _place(
    standing: QueuedTitle, *, slots: int, farm: FarmState, now: datetime, policy: Policy
) -> tuple[Score, Priority, float | None, Forecast]:
    value = score(
        tier=standing.tier,
        kind=standing.kind,
        signals=standing.signals,
        created_at=standing.created_at,
        publish_at=standing.publish_at,
        now=now,
        policy=policy.value,
    )
    left = 1 - standing.progress
    remaining = standing.work.full.total.scaled(left)
    laxity_s = None
    if standing.due is not None:
        # The p90: a title that is in time only with luck has no time to spare.
        timed, still = standing.timed
        needed_s = timed.elapsed(slots).scaled(still).p90_s + farm.overhead_s
        laxity_s = (standing.due - now).total_seconds() - needed_s
    place = priority(
        score=value.points,
        work_s=remaining.p50_s,
        laxity_s=laxity_s,
        waiting_s=(now - standing.created_at).total_seconds(),
        policy=policy.priority,
        pinned=standing.pinned,
    )
    return value, place, laxity_s, remaining
