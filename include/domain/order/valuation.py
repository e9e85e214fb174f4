"""Where every open title stands: its value, its place in the order, and whether it will be in time.

A title's finish depends on what goes before it, so one pure function, :func:`value_titles`, looks at the whole queue.
Intake, the DAG ``dispatch``, the API and the simulator's tests all call it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

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
    """Until its first version plays, for a title whose core rungs go out first. Its deadline waits for no more."""
    planned: bool = False
    """True when it comes from the plan of an inspected mezzanine, False when from what is typical."""


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
    """Whether it has a run. Every waiting title has what a running one still needs before it."""
    progress: float
    """Share of its work that is done, 0–1."""
    work: Work
    pinned: bool = False
    held: bool = False
    """An operator holds it back: it is not started, so nobody waits for it."""
    playable: bool = False
    """Whether a first version plays already: no deadline waits for the rest."""

    @property
    def due(self) -> datetime | None:
        """The deadline, as long as the title is not playable yet."""
        return None if self.playable else self.publish_at

    @property
    def timed(self) -> tuple[TitleWork, float]:
        """The work that the deadline waits for, and which share of it, 0–1, is left.

        Where a first version goes out, that is the first version's work, and it is done before the rest.
        """
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
    """How many its encodes may use at once while other titles wait."""

    @property
    def at_risk(self) -> bool:
        """Whether a miss is likelier than the policy takes for feasible."""
        return self.admission.verdict != "feasible"


class FarmState(Document):
    """What the order needs to know of the farm."""

    slots: int
    """Of all encode pools."""
    fresh_load: float = 0.0
    """Share of the slots, 0–1, that newly arriving work is expected to take. Some of it has a higher priority than what
    waits already, and overtakes it."""
    overhead_s: float = 0.0
    """Seconds of a title's life in which no worker works for it: scheduling, planning, publishing."""


class _Placed(NamedTuple):
    """A title, and what its place in the order is made from."""

    title: QueuedTitle
    score: Score
    priority: Priority
    laxity_s: float | None
    remaining: Forecast
    slots: int
    """That it may use at once."""


def value_titles(
    titles: Sequence[QueuedTitle],
    *,
    farm: FarmState,
    now: datetime,
    policy: Policy,
    only: Collection[str] | None = None,
) -> dict[str, Valuation]:
    """The valuation of every title of the queue, by request id, in the order in which they go.

    Running titles come before waiting ones; among each, the higher priority first, ties in the order of arrival.

    Args:
        titles: All that are open.
        farm: Its slots.
        now: The time.
        policy: Values and orders the titles.
        only: Requests whose valuation is wanted, None for all. The other titles count as what goes before or after.
    """
    placed = [_place(title, farm=farm, now=now, policy=policy) for title in titles]
    placed.sort(key=lambda one: (not one.title.running, one.title.held, -one.priority.points, one.title.seq))
    demands = [_demand(one, now=now, policy=policy.priority) for one in placed]
    backlog = Backlog(
        # What an operator holds is ahead of nobody, unless it runs already.
        (demand for demand, one in zip(demands, placed, strict=True) if one.title.running or not one.title.held),
        slots=_slots(farm),
        fresh_load=farm.fresh_load,
        policy=policy.admission,
    )
    horizon_s = policy.priority.urgency_horizon_h * 3600
    waiting_ahead = 0
    found: dict[str, Valuation] = {}
    for demand, one in zip(demands, placed, strict=True):
        title = one.title
        ahead = 0 if title.running else waiting_ahead
        if not title.held and not title.running:
            waiting_ahead += 1
        if only is not None and title.request_id not in only:
            continue
        wait = NOTHING if title.running else backlog.wait(demand, laxity_s=one.laxity_s, horizon_s=horizon_s)
        found[title.request_id] = Valuation(
            at=now,
            score=one.score,
            priority=one.priority,
            laxity_s=None if one.laxity_s is None else round(one.laxity_s, 1),
            remaining=one.remaining,
            admission=_admission(one, wait, farm=farm, now=now, policy=policy.admission),
            ahead=ahead,
            slots=one.slots,
        )
    return found


def _slots(farm: FarmState) -> int:
    return max(1, farm.slots)


def _place(title: QueuedTitle, *, farm: FarmState, now: datetime, policy: Policy) -> _Placed:
    """Score, laxity, priority and slots of one title, whatever the others are."""
    value = score(
        tier=title.tier,
        kind=title.kind,
        signals=title.signals,
        created_at=title.created_at,
        publish_at=title.publish_at,
        now=now,
        policy=policy.value,
    )
    remaining = title.work.full.total.scaled(1 - title.progress)
    laxity_s = None
    if title.due is not None:
        # The p90: a title that is in time only with luck has no time to spare.
        timed, left = title.timed
        needed_s = timed.elapsed(_slots(farm)).scaled(left).p90_s + farm.overhead_s
        laxity_s = (title.due - now).total_seconds() - needed_s
    place = priority(
        score=value.points,
        work_s=remaining.p50_s,
        laxity_s=laxity_s,
        waiting_s=(now - title.created_at).total_seconds(),
        policy=policy.priority,
        pinned=title.pinned,
    )
    slots = slots_for(score=value.points, laxity_s=laxity_s, slots=_slots(farm), policy=policy.parallel)
    return _Placed(title, value, place, laxity_s, remaining, slots)


def _demand(one: _Placed, *, now: datetime, policy: PriorityPolicy) -> SlotDemand:
    """What a title wants of the farm: as it stands now, and when its deadline presses."""
    title, remaining = one.title, one.remaining
    age_s = (now - title.created_at).total_seconds()
    urgent, due_s = one.priority.points, None
    if title.due is not None:
        due_s = (title.due - now).total_seconds()
        pressed = priority_points(
            score=one.score.points, work_s=remaining.p50_s, laxity_s=0.0, waiting_s=age_s, policy=policy
        )
        urgent = max(urgent, pressed)
    return SlotDemand(
        seq=title.seq,
        points=one.priority.points,
        urgent=urgent,
        due_s=due_s,
        work_s=remaining.mean_s,
        occupied_s=occupied_s(title.work.full, remaining_s=remaining.mean_s) if title.running else 0.0,
        fresh=age_s <= FRESH_S,
        slots=min(one.slots, len(title.work.full.encodes) + 1),
    )


def _admission(one: _Placed, wait: Forecast, *, farm: FarmState, now: datetime, policy: AdmissionPolicy) -> Admission:
    """Whether a title can be in time when it starts after ``wait``."""
    title = one.title
    timed, left = title.timed
    return admit(
        now=now,
        deadline=title.due,
        wait=wait,
        full=timed.elapsed(one.slots).scaled(left).later(farm.overhead_s),
        degraded=title.work.least.elapsed(_slots(farm)).scaled(left).later(farm.overhead_s),
        work=one.remaining,
        policy=policy,
    )
