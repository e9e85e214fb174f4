"""Where every open title stands: its value, its place in the order, and whether it will be in time.

A title's finish depends on what goes before it, so one pure function, :func:`value_titles`, looks at the whole queue.
Intake, the DAG ``dispatch``, the API and the simulator's tests all call it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from include.base.document import Document
from include.domain.cost.forecast import NOTHING, Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import Admission, AdmissionPolicy, admit
from include.domain.order.backlog import FRESH_S, Backlog, SlotDemand, holding, occupied_s
from include.domain.order.parallel import ParallelPolicy, slots_for
from include.domain.order.priority import Priority, PriorityPolicy, priority
from include.domain.order.promises import Due, Promise, PromisePolicy, Standing, keepable, standings
from include.domain.order.value import Score, ValuePolicy, score
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier


class Policy(Document):
    """The policies that order the work (``recipes/policy.yaml``)."""

    value: ValuePolicy
    priority: PriorityPolicy
    promises: PromisePolicy
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
    spare_s: float | None = None
    """Time to spare before the deadline with all the promises before it and behind it; None without a deadline."""
    kept: bool = True
    """False where its deadline is given up for others that are worth more, or cannot be kept any more."""
    hurried: bool = False
    """Whether its encodes give up what the tier allows, so that other promises can be kept."""

    @property
    def at_risk(self) -> bool:
        """Whether a miss is likelier than the policy takes for feasible."""
        return self.admission.verdict != "feasible"

    @property
    def pressing_s(self) -> float | None:
        """What it has to spare among the promises, or alone where it is none of them; None without a deadline."""
        return self.laxity_s if self.spare_s is None else self.spare_s


class FarmState(Document):
    """What the order needs to know of the farm."""

    slots: int
    """Of all encode pools."""
    fresh_load: float = 0.0
    """Share of the slots, 0–1, that newly arriving work is expected to take. Some of it has a higher priority than what
    waits already, and overtakes it."""
    overhead_s: float = 0.0
    """Seconds of a title's life in which no worker works for it: scheduling, planning, publishing."""


RANKS = {Tier.PREMIUM: 2, Tier.STANDARD: 1, Tier.UGC: 0}
"""The higher, the later its promise is given up."""
MOST_DISPLACED = 20
"""Of the requests that a quote names."""


class _Known(NamedTuple):
    """A title by itself, whatever the others are."""

    title: QueuedTitle
    score: Score
    laxity_s: float | None
    remaining: Forecast


class _Placed(NamedTuple):
    """A title, and what its place in the order is made from."""

    title: QueuedTitle
    score: Score
    priority: Priority
    laxity_s: float | None
    remaining: Forecast
    slots: int
    """That it may use at once."""
    standing: Standing | None


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
    known = [_known(title, farm=farm, now=now, policy=policy) for title in titles]
    held = holding(sum(title.running for title in titles), slots=_slots(farm))
    promises = [
        _promise(one, held, farm=farm, now=now) for one in known if one.title.due is not None and _counts(one.title)
    ]
    stand = _standings(known, promises, held, farm=farm, now=now, policy=policy)
    names = {title.seq: title.request_id for title in titles}
    placed = [_place(one, stand.get(one.title.seq), names, farm=farm, now=now, policy=policy) for one in known]
    placed.sort(key=lambda one: (not one.title.running, one.title.held, -one.priority.points, one.title.seq))
    displaced = _displaced(promises, stand, [one.title for one in placed], only=only, farm=farm)
    demands = [_demand(one, now=now) for one in placed]
    backlog = Backlog(
        # What an operator holds is ahead of nobody, unless it runs already.
        (demand for demand, one in zip(demands, placed, strict=True) if one.title.running or not one.title.held),
        slots=_slots(farm),
        fresh_load=farm.fresh_load,
        policy=policy.admission,
    )
    waiting_ahead = 0
    found: dict[str, Valuation] = {}
    for demand, one in zip(demands, placed, strict=True):
        title = one.title
        ahead = 0 if title.running else waiting_ahead
        if not title.held and not title.running:
            waiting_ahead += 1
        if only is not None and title.request_id not in only:
            continue
        waits = (NOTHING, NOTHING) if title.running else backlog.wait(demand, one.standing)
        found[title.request_id] = _valuation(
            one, waits, ahead=ahead, new=bool(only), displaces=displaced, farm=farm, now=now, policy=policy.admission
        )
    return found


def _valuation(
    one: _Placed,
    waits: tuple[Forecast, Forecast],
    *,
    ahead: int,
    new: bool,
    displaces: tuple[str, ...],
    farm: FarmState,
    now: datetime,
    policy: AdmissionPolicy,
) -> Valuation:
    """What is told of a title.

    Args:
        one: The title in its place.
        waits: Until it is expected to start, and until it could start at the soonest.
        ahead: Waiting titles that go before it.
        new: Whether it has just come: then it counts, too, whether a promise that was given before would be late.
        displaces: Requests whose promises are given up for the titles that have just come.
        farm: Its slots.
        now: The time.
        policy: Where feasible ends.
    """
    title, (wait, soonest) = one.title, waits
    promised = one.standing if title.due is not None else None
    timed, left = title.timed
    admission = admit(
        now=now,
        deadline=title.due,
        wait=wait,
        soonest=soonest,
        full=timed.elapsed(one.slots).scaled(left).later(farm.overhead_s),
        degraded=title.work.least.elapsed(_slots(farm)).scaled(left).later(farm.overhead_s),
        work=one.remaining,
        policy=policy,
        kept=promised.kept if promised else True,
        sure=promised.sure if promised and new else True,
        premium=title.tier is Tier.PREMIUM,
    )
    if title.due is not None and displaces:
        admission = admission.model_copy(update={"displaces": displaces})
    return Valuation(
        at=now,
        score=one.score,
        priority=one.priority,
        laxity_s=None if one.laxity_s is None else round(one.laxity_s, 1),
        remaining=one.remaining,
        admission=admission,
        ahead=ahead,
        slots=one.slots,
        spare_s=round(promised.spare_s, 1) if promised else None,
        kept=promised.kept if promised else True,
        hurried=promised.hurried if promised else False,
    )


def _standings(
    known: Sequence[_Known], promises: Sequence[Promise], held: float, *, farm: FarmState, now: datetime, policy: Policy
) -> dict[int, Standing]:
    """How each title stands among the promises, or against the waiting bound."""
    others = [one for one in known if one.title.due is None and _counts(one.title)]
    return standings(
        promises,
        [_bound(one, farm=farm, now=now, policy=policy.priority) for one in others],
        slots=_slots(farm),
        occupied_s=held * sum(_occupied_s(one) for one in others),
        policy=policy.promises,
    )


def _slots(farm: FarmState) -> int:
    return max(1, farm.slots)


def _counts(title: QueuedTitle) -> bool:
    """Whether the farm works for it: what an operator holds back waits for nothing."""
    return title.running or not title.held


def _occupied_s(one: _Known | _Placed) -> float:
    """Slot seconds to the end of its running task; 0 for a title without a run."""
    return occupied_s(one.title.work.full, remaining_s=one.remaining.mean_s) if one.title.running else 0.0


def _known(title: QueuedTitle, *, farm: FarmState, now: datetime, policy: Policy) -> _Known:
    """Score, laxity and remaining work of one title."""
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
    return _Known(title, value, laxity_s, remaining)


def _promise(one: _Known, held: float, *, farm: FarmState, now: datetime) -> Promise:
    """A title's deadline, as the promises are looked at together; ``held`` as of :func:`holding`."""
    title = one.title
    assert title.due is not None
    assert one.laxity_s is not None
    timed, left = title.timed
    due_s = (title.due - now).total_seconds()
    least = title.work.least
    return Promise(
        seq=title.seq,
        rank=RANKS[title.tier],
        score=one.score.points,
        due_s=due_s,
        work_s=timed.total.scaled(left).mean_s,
        alone_s=due_s - one.laxity_s,
        occupied_s=held * _occupied_s(one),
        least_work_s=least.total.scaled(left).mean_s,
        least_alone_s=least.elapsed(_slots(farm)).scaled(left).p50_s + farm.overhead_s,
    )


def _bound(one: _Known, *, farm: FarmState, now: datetime, policy: PriorityPolicy) -> Due:
    """A title without a deadline, which is to be done within the waiting bound."""
    title = one.title
    return Due(
        seq=title.seq,
        due_s=policy.waiting_bound_h * 3600 - (now - title.created_at).total_seconds(),
        work_s=one.remaining.mean_s,
        alone_s=title.work.full.elapsed(_slots(farm)).scaled(1 - title.progress).p90_s + farm.overhead_s,
    )


def _displaced(
    promises: Sequence[Promise],
    stand: Mapping[int, Standing],
    titles: Sequence[QueuedTitle],
    *,
    only: Collection[str] | None,
    farm: FarmState,
) -> tuple[str, ...]:
    """Requests whose promises are given up because of those in ``only``."""
    given_up = {seq for seq, standing in stand.items() if not standing.kept}
    if not only or not given_up:
        return ()
    new = {title.seq for title in titles if title.request_id in only}
    without = keepable((each for each in promises if each.seq not in new), slots=_slots(farm)).kept
    return tuple(title.request_id for title in titles if title.seq in given_up & without)[:MOST_DISPLACED]


def _place(
    one: _Known, standing: Standing | None, names: Mapping[int, str], *, farm: FarmState, now: datetime, policy: Policy
) -> _Placed:
    """Priority and slots of one title among the others, of which ``names`` has the request ids by ``seq``."""
    title = one.title
    held_by = standing.held_by if standing else title.seq
    place = priority(
        score=one.score.points,
        work_s=one.remaining.p50_s,
        standing=standing,
        waiting_s=(now - title.created_at).total_seconds(),
        policy=policy.priority,
        held_by=names[held_by] if held_by != title.seq else None,
        pinned=title.pinned,
    )
    pressing_s = standing.spare_s if standing and not standing.bound else one.laxity_s
    slots = slots_for(score=one.score.points, laxity_s=pressing_s, slots=_slots(farm), policy=policy.parallel)
    return _Placed(title, one.score, place, one.laxity_s, one.remaining, slots, standing)


def _demand(one: _Placed, *, now: datetime) -> SlotDemand:
    """What a title wants of the farm."""
    title, remaining = one.title, one.remaining
    return SlotDemand(
        seq=title.seq,
        points=one.priority.points,
        work_s=remaining.mean_s,
        occupied_s=_occupied_s(one),
        fresh=(now - title.created_at).total_seconds() <= FRESH_S,
        slots=min(one.slots, len(title.work.full.encodes) + 1),
    )
