"""Values titles: from the catalog's records and this farm's speed to score, priority and admission.

The arithmetic is the domain's (:mod:`include.domain.order.valuation`); this module fetches what it needs and
enters what it says. Called by intake for a new batch, by ``dispatch`` each minute for the whole queue, and at once when
signals, a deadline or a plan change.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from include.base.document import Document
from include.base.errors import StorageError
from include.base.pools import worker_slots
from include.domain.cost.prior import (
    Calibration,
    CostRates,
    Pair,
    SourceShape,
    TitleWork,
    calibration,
    encoder_s,
    ratio,
    shape_of,
    title_work,
)
from include.domain.media.frame_rate import parse_rate
from include.domain.order.admission import Admission
from include.domain.order.backlog import FRESH_S
from include.domain.order.valuation import FarmState, QueuedTitle, Valuation, Work, value_titles
from include.domain.plan.playable import first_version_rule
from include.domain.plan.presets import quickest
from include.domain.recipe.codecs import UNIVERSAL
from include.domain.recipe.rungs import Ladder
from include.domain.recipe.tiers import TierPolicy, core_of
from include.domain.title.request import Refusal, TitleRequest
from include.domain.title.title import Tier
from include.recipes import load_recipes

if TYPE_CHECKING:
    from include.adapters.catalog import Catalog, HistoryRow, OpenTitle
    from include.base.settings import Settings
    from include.domain.title.request import ParsedBatch

log = logging.getLogger(__name__)

OVERHEAD_S = 12.0
"""Of a title's life, outside of its worker tasks: the release, Airflow's scheduling, planning, publishing; measured."""
FRESH = timedelta(seconds=FRESH_S)
"""Arrivals of so long say how much work keeps coming."""
RECENT_ENCODES = 400
"""Past encodes that calibrate the forecast."""
CALIBRATION = "models/calibration/current.json"
"""Store key of the sample encodes that ``callsheet calibrate`` has made."""
Factors = Mapping[Pair, float]

WORTH_TELLING_S = 60.0
"""A title that ends later by less than this is not called displaced."""


class TitleQuote(Document):
    """What one title of a quoted batch would come to."""

    title_id: str
    name: str | None
    tier: Tier
    deadline: datetime | None
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


def value_batch(
    batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime
) -> dict[str, tuple[Work, Valuation]]:
    """Work and valuation of a new batch's titles beside those that are open already, by title id. Changes nothing."""
    with _collector_paused():
        new, beside, farm = _with_batch(batch, catalog, settings, now=now)
        wanted = {each.request_id for each in new.values()}
        valued = value_titles([*beside, *new.values()], farm=farm, now=now, policy=load_recipes().policy, only=wanted)
    return {title_id: (each.work, valued[each.request_id]) for title_id, each in new.items()}


def quote_batch(batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime) -> Quote:
    """What a new batch would come to beside the titles that are open already. Changes nothing."""
    new, beside, farm = _with_batch(batch, catalog, settings, now=now)
    policy = load_recipes().policy
    before = value_titles(beside, farm=farm, now=now, policy=policy)
    after = value_titles([*beside, *new.values()], farm=farm, now=now, policy=policy)
    displaced = []
    for each in beside:
        was, becomes = before[each.request_id].admission, after[each.request_id].admission
        due = each.publish_at
        misses = due is not None and was.finish_p50 <= due < becomes.finish_p50
        later_s = (becomes.finish_p50 - was.finish_p50).total_seconds()
        if misses or later_s > WORTH_TELLING_S:
            displaced.append(
                Displaced(
                    request_id=each.request_id,
                    tier=each.tier,
                    deadline=due,
                    before=was,
                    after=becomes,
                    later_s=round(later_s, 1),
                    misses=misses,
                )
            )
    return Quote(
        batch_id=batch.batch_id,
        at=now,
        titles=tuple(
            TitleQuote(title_id=title_id, name=request.name, tier=request.tier, deadline=request.publish_at,
                       valuation=after[new[title_id].request_id])
            for title_id, request in ((each.title_id, each) for each in batch.titles)
        ),
        refusals=batch.refusals,
        displaced=tuple(sorted(displaced, key=lambda each: (not each.misses, -each.later_s))),
    )  # fmt: skip


def _with_batch(
    batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime
) -> tuple[dict[str, QueuedTitle], list[QueuedTitle], FarmState]:
    """Standings of a new batch by title id, those of the open titles, and the farm."""
    factors = farm_factors(catalog, settings)
    open_titles = catalog.queue.open_titles()
    standings = _standings(open_titles, factors)
    last = max((each.seq for each in standings), default=0)
    new = {
        request.title_id: QueuedTitle(
            request_id=f"{batch.batch_id}/{request.title_id}",
            seq=last + number,
            tier=request.tier,
            kind=request.kind,
            signals=request.signals,
            created_at=now,
            publish_at=request.publish_at,
            running=False,
            progress=0.0,
            work=work_of_request(request, batch.pipeline, factors),
        )
        for number, request in enumerate(batch.titles, start=1)
    }
    return new, standings, farm_state(open_titles, settings, now=now)


def revalue(catalog: Catalog, settings: Settings, *, now: datetime, only: str | None = None) -> dict[str, Valuation]:
    """Value the open titles as of ``now`` and enter it in the catalog; returns the valuations by request id.

    Args:
        catalog: Of the titles.
        settings: For the slots.
        now: The time.
        only: Enter the valuation of this request alone.
    """
    with _collector_paused():
        open_titles = catalog.queue.open_titles()
        # Only the catalog of an older release has titles whose work nobody has reckoned.
        factors = {} if all(title.work for title in open_titles) else farm_factors(catalog, settings)
        standings = _standings(open_titles, factors)
        farm = farm_state(open_titles, settings, now=now)
        valued = value_titles(standings, farm=farm, now=now, policy=load_recipes().policy)
    works = {each.request_id: each.work for each in standings}
    entered = {
        request_id: (works[request_id], valuation)
        for request_id, valuation in valued.items()
        if only is None or request_id == only
    }
    catalog.queue.value(entered, now=now)
    return valued


def work_of_request(request: TitleRequest, pipeline: str, factors: Factors) -> Work:
    """What a title will take that nobody has inspected yet."""
    recipes = load_recipes()
    rates, presets = recipes.rates, recipes.presets
    codecs = codecs_of(pipeline)
    known = request.source
    source = shape_of(
        request.kind,
        duration_s=known.duration_s,
        width=known.width,
        height=known.height,
        fps=known.frame_rate,
        rates=rates,
    )
    chosen = [recipes.ladders[codec] for codec in codecs if codec in recipes.ladders]
    policy = recipes.tiers[request.tier]

    def work(ladders: list[Ladder], policy: TierPolicy) -> TitleWork:
        return title_work(source, ladders, policy, rates=rates, factors=factors, tier=request.tier)

    core = [core_of(ladder, policy) for ladder in chosen[:1]]
    rule = first_version_rule(request.playable_first, policy.playable_first)
    return Work(
        full=work(chosen, policy),
        least=work(chosen[:1] if rule == "never" else core, quickest(policy, rates=rates, presets=presets)),
        playable=work(core, policy) if rule == "always" else None,
    )


def codecs_of(pipeline: str) -> tuple[str, ...]:
    """Codecs of a pipeline's plan, from the option ``codecs`` of the stage that makes it."""
    from include.domain.plan.plan import Plan
    from include.pipelines.core import current_pipelines

    described = current_pipelines().get(pipeline)
    planner = described.maker_of(Plan) if described else None
    default = (UNIVERSAL.name,)
    return tuple(planner.options.get("codecs", default)) if planner else default


def farm_factors(catalog: Catalog, settings: Settings) -> dict[Pair, float]:
    """How this farm differs from the prior's rates, by encoder and preset.

    Its own recent encodes say it; where they are too few, the sample encodes of ``callsheet calibrate``.
    """
    rates = load_recipes().rates
    ratios: dict[Pair, list[float]] = {}
    for row in catalog.history.recent(limit=RECENT_ENCODES):
        measured = _ratio(row, rates)
        if measured is not None:
            pair = (str(row.features["encoder"]), str(row.features["preset"]))
            ratios.setdefault(pair, []).append(measured)
    kept = kept_calibration(settings)
    return {**(kept.factors(rates) if kept else {}), **calibration(ratios)}


def kept_calibration(settings: Settings) -> Calibration | None:
    """The sample encodes of ``callsheet calibrate``; None where there are none that can be read.

    No title waits for them: the prior does without.
    """
    from include.adapters.store.documents import load_document
    from include.adapters.store.opening import open_store

    try:
        return load_document(open_store(settings), CALIBRATION, Calibration)
    except FileNotFoundError:
        return None
    except StorageError as error:
        log.warning("forecasts go without the calibration: %s", error)
        return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """While thousands of documents are made that all stay: looking through them again and again took half of it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def farm_state(open_titles: Iterable[OpenTitle], settings: Settings, *, now: datetime) -> FarmState:
    """Slots, and how much of them the latest arrivals take."""
    slots = worker_slots(settings)
    fresh_s = sum(
        title.work.full.total.p50_s for title in open_titles if title.work and now - title.created_at <= FRESH
    )
    return FarmState(slots=slots, fresh_load=fresh_s / (slots * FRESH.total_seconds()), overhead_s=OVERHEAD_S)


def _standings(open_titles: Iterable[OpenTitle], factors: Factors) -> list[QueuedTitle]:
    return [
        title.as_queued(title.work or work_of_request(title.request, title.pipeline, factors)) for title in open_titles
    ]


def _ratio(row: HistoryRow, rates: CostRates) -> float | None:
    """Measured over predicted CPU seconds of a past encode; None where its features do not say enough."""
    known = row.features
    try:
        source = SourceShape(
            duration_s=float(known["source_duration_s"]),
            width=int(known["source_width"]),
            height=int(known["source_height"]),
            fps=float(known["source_fps"]),
        )
        predicted_s = encoder_s(
            pixels=int(known["width"]) * int(known["height"]),
            encoder=str(known["encoder"]),
            preset=str(known["preset"]),
            source=source,
            fps=float(parse_rate(known["frame_rate"])),
            rates=rates,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return ratio(row.cpu_s, predicted_s)
