"""Quotes a batch before it is submitted: what it would come to if it were entered now, and whom it would push back."""

from __future__ import annotations

from datetime import datetime

from include.adapters.catalog import Catalog
from include.base.document import Document
from include.base.settings import Settings
from include.domain.order.admission import Admission
from include.domain.order.valuation import QueuedTitle, Valuation, value_titles
from include.domain.title.request import ParsedBatch, Refusal
from include.domain.title.title import Tier
from include.recipes import load_recipes
from include.services.valuation import queue_with

WORTH_TELLING_S = 60.0
"""A title that ends later by less than this is not called displaced."""


class TitleQuote(Document):
    """What one title of a quoted batch would come to."""

    title_id: str
    name: str | None
    tier: Tier
    deadline: datetime | None
    source_known: bool
    """Whether the request says length and size of the mezzanine: else the expected finish is a guess."""
    valuation: Valuation


class Displaced(Document):
    """An open title that a quoted batch would push back."""

    request_id: str
    tier: Tier
    deadline: datetime | None
    before: Admission
    after: Admission
    later_s: float
    misses: bool
    """Whether its expected finish moves beyond its deadline."""


class Quote(Document):
    """What a batch request would come to if it were entered now."""

    batch_id: str
    at: datetime
    titles: tuple[TitleQuote, ...]
    refusals: tuple[Refusal, ...]
    displaced: tuple[Displaced, ...]
    """Those that would miss their deadline first, then by how much later they would be."""


def quote_batch(batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime) -> Quote:
    """What a new batch would come to beside the titles that are open already. Changes nothing."""
    new, beside, farm = queue_with(batch, catalog, settings, now=now)
    policy = load_recipes().policy
    before = value_titles(beside, farm=farm, now=now, policy=policy)
    after = value_titles([*beside, *new.values()], farm=farm, now=now, policy=policy)
    pushed = (
        _displaced(title, before[title.request_id].admission, after[title.request_id].admission) for title in beside
    )
    displaced = [title for title in pushed if title is not None]
    return Quote(
        batch_id=batch.batch_id,
        at=now,
        titles=tuple(
            TitleQuote(
                title_id=request.title_id,
                name=request.name,
                tier=request.tier,
                deadline=request.publish_at,
                source_known=request.source.known,
                valuation=after[new[request.title_id].request_id],
            )
            for request in batch.titles
        ),
        refusals=batch.refusals,
        displaced=tuple(sorted(displaced, key=lambda title: (not title.misses, -title.later_s))),
    )


def _displaced(title: QueuedTitle, before: Admission, after: Admission) -> Displaced | None:
    """An open title as the quoted batch would push it back; None where that is not worth telling."""
    due = title.publish_at
    misses = due is not None and before.finish_p50 <= due < after.finish_p50
    later_s = (after.finish_p50 - before.finish_p50).total_seconds()
    if not misses and later_s <= WORTH_TELLING_S:
        return None
    return Displaced(
        request_id=title.request_id,
        tier=title.tier,
        deadline=due,
        before=before,
        after=after,
        later_s=round(later_s, 1),
        misses=misses,
    )
