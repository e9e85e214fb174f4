"""Deadlines that are in danger or missed: each is entered in the alert ledger once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from include.adapters.catalog import Catalog, TitleRecord
from include.domain.order.admission import Verdict
from include.domain.order.valuation import Valuation
from include.domain.title.title import State, Tier


def note_missed(catalog: Catalog, title: TitleRecord, *, now: datetime) -> bool:
    """Enter a missed deadline in the alert ledger; True if this call was the one that did.

    A title that was published in time, that failed (its failure has an alert of its own) or that was cancelled has
    missed nothing.
    """
    if title.deadline is None or title.deadline > now:
        return False
    if title.state in {State.FAILED, State.REJECTED, State.CANCELLED}:
        return False
    if title.playable_at is not None and title.playable_at <= title.deadline:
        return False
    where = f"in task {title.task}" if title.task else f"still {title.state}"
    return catalog.alerts.enter(
        title_id=title.title_id,
        request_id=title.request_id,
        level="missed",
        cause="deadline",
        message=f"was due at {title.deadline:%Y-%m-%d %H:%M:%S} UTC and is not published: {where}",
        now=now,
    )


def note_at_risk(catalog: Catalog, valuations: Mapping[str, Valuation], *, now: datetime) -> list[str]:
    """Enter an alert for each title that will probably miss its deadline, once; returns their requests.

    A premium title is also told of when only giving up quality keeps its deadline: its quality is never sacrificed
    silently.
    """
    told: list[str] = []
    for title in catalog.titles.endangered(now):
        valuation = valuations.get(title.request_id)
        if valuation is None or not valuation.at_risk or title.deadline is None:
            continue
        quote = valuation.admission
        if quote.verdict is Verdict.FEASIBLE_DEGRADED and title.request.tier is not Tier.PREMIUM:
            continue
        queue = quote.wait.p50_s > valuation.remaining.p50_s
        own_min = valuation.remaining.p50_s / 60
        done = "its encodes give up quality as far as its tier allows"
        if quote.verdict is Verdict.FEASIBLE_DEGRADED:
            done = "kept by giving up quality; it is encoded in full afterwards"
        message = (
            f"due at {title.deadline:%Y-%m-%d %H:%M:%S} UTC, expected at {quote.finish_p50:%Y-%m-%d %H:%M:%S} "
            f"(p90 {quote.finish_p90:%H:%M:%S}), chance of a miss {quote.miss_chance or 0:.0%}: "
            f"{valuation.ahead} titles go before it, {own_min:.0f} min of work of its own; {done}"
        )
        if catalog.alerts.enter(
            title_id=title.title_id,
            request_id=title.request_id,
            level="at_risk",
            cause="queue ahead" if queue else "too little time",
            message=message,
            now=now,
        ):
            told.append(title.request_id)
    return told


def note_overdue(catalog: Catalog, *, now: datetime) -> list[str]:
    """The sweep: misses of all titles, those that never got a run among them."""
    return [title.request_id for title in catalog.titles.overdue(now) if note_missed(catalog, title, now=now)]
