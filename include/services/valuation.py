"""Values titles: from the catalog's records and this farm's speed to score, priority and admission.

The arithmetic is the domain's (:mod:`include.domain.order.valuation`); this module fetches what it needs and
enters what it says. Called by intake for a new batch, by ``dispatch`` each minute for the whole queue, and at once when
signals, a deadline or a plan change.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from include.adapters.catalog import Catalog, OpenTitle
from include.adapters.store.documents import load_document
from include.adapters.store.opening import open_store
from include.base.errors import StorageError
from include.base.pools import worker_slots
from include.base.settings import Settings
from include.domain.cost.calibration import CALIBRATION, Calibration, calibration, ratio_of
from include.domain.cost.features import TitleFeatures, read_features, read_task_features
from include.domain.cost.predictor import Predictor
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import Pair, shape_of
from include.domain.cost.tasks import task_ratio
from include.domain.cost.work import expected_title, title_works
from include.domain.order.backlog import FRESH_S
from include.domain.order.valuation import FarmState, QueuedTitle, Valuation, Work, value_titles
from include.domain.plan.editions import first_version_rule
from include.domain.plan.plan import Plan
from include.domain.plan.presets import quickest
from include.domain.recipe.codecs import UNIVERSAL
from include.domain.recipe.tiers import TierPolicy, core_of
from include.domain.title.request import ParsedBatch, TitleRequest
from include.pipelines.core import current_pipelines
from include.recipes import load_recipes

log = logging.getLogger(__name__)

OVERHEAD_S = 12.0
"""Seconds of a title's life outside of its worker tasks, as measured: its release, Airflow's scheduling, planning,
publishing."""
FRESH = timedelta(seconds=FRESH_S)
"""How far back arrivals are counted to say how much work keeps coming."""
RECENT_ENCODES = 400
"""How many past encodes calibrate the forecast."""
RECENT_TASKS = 200
"""The same of the tasks beside the encodes, of which each title has three."""


def value_batch(
    batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime
) -> dict[str, tuple[Work, Valuation]]:
    """Work and valuation of a new batch's titles, by title id, as if they were in the queue. Changes nothing."""
    with _collector_paused():
        new, beside, farm = queue_with(batch, catalog, settings, now=now)
        wanted = {title.request_id for title in new.values()}
        valued = value_titles([*beside, *new.values()], farm=farm, now=now, policy=load_recipes().policy, only=wanted)
    return {title_id: (title.work, valued[title.request_id]) for title_id, title in new.items()}


def queue_with(
    batch: ParsedBatch, catalog: Catalog, settings: Settings, *, now: datetime
) -> tuple[dict[str, QueuedTitle], list[QueuedTitle], FarmState]:
    """The titles of a new batch by title id, as the queue would have them; the open titles; and the farm."""
    predictor = farm_predictor(catalog, settings)
    open_titles = catalog.queue.open_titles()
    queued = _queued(open_titles, predictor)
    works = works_of_requests([(request, batch.pipeline) for request in batch.titles], predictor)
    last = max((title.seq for title in queued), default=0)
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
            work=work,
        )
        for number, (request, work) in enumerate(zip(batch.titles, works, strict=True), start=1)
    }
    return new, queued, farm_state(open_titles, settings, now=now)


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
        # Only titles that an older release has accepted may be without a forecast of their work.
        known = all(title.work for title in open_titles)
        queued = _queued(open_titles, load_recipes().prior if known else farm_predictor(catalog, settings))
        farm = farm_state(open_titles, settings, now=now)
        valued = value_titles(queued, farm=farm, now=now, policy=load_recipes().policy)
    works = {title.request_id: title.work for title in queued}
    entered = {
        request_id: (works[request_id], valuation)
        for request_id, valuation in valued.items()
        if only is None or request_id == only
    }
    catalog.queue.value(entered, now=now)
    return valued


def works_of_requests(requests: Sequence[tuple[TitleRequest, str]], predictor: Predictor) -> list[Work]:
    """What titles will take that nobody has inspected yet.

    Args:
        requests: Each with its pipeline.
        predictor: Asked once for all of them.
    """
    recipes = load_recipes()
    least = {
        tier: quickest(recipes.tiers[tier], presets=recipes.presets, predictor=predictor)
        for tier in {request.tier for request, _ in requests}
    }
    cases = [_cases(request, pipeline, least[request.tier]) for request, pipeline in requests]
    works = iter(title_works([features for case in cases for features in case], predictor))
    return [
        Work(full=next(works), least=next(works), playable=next(works) if len(case) > 2 else None) for case in cases
    ]


def work_of_request(request: TitleRequest, pipeline: str, predictor: Predictor) -> Work:
    """The same of one title."""
    return works_of_requests([(request, pipeline)], predictor)[0]


def _cases(request: TitleRequest, pipeline: str, least: TierPolicy) -> list[TitleFeatures]:
    """A title's full work, its least, and that of a first version where the title has one in any case."""
    recipes = load_recipes()
    known = request.source
    source = shape_of(
        request.kind,
        duration_s=known.duration_s,
        width=known.width,
        height=known.height,
        fps=known.frame_rate,
        rates=recipes.rates,
    )
    chosen = [recipes.ladders[codec] for codec in codecs_of(pipeline) if codec in recipes.ladders]
    policy = recipes.tiers[request.tier]
    core = [core_of(ladder, policy) for ladder in chosen[:1]]
    rule = first_version_rule(request.playable_first, policy.playable_first)
    cases = [(chosen, policy), (chosen[:1] if rule == "never" else core, least)]
    if rule == "always":
        cases.append((core, policy))
    languages, text_files = max(1, len(request.languages)), len(request.subtitles)
    return [expected_title(source, ladders, by, languages=languages, text_files=text_files) for ladders, by in cases]


def codecs_of(pipeline: str) -> tuple[str, ...]:
    """Codecs of a pipeline's plan, from the option ``codecs`` of the stage that makes it."""
    described = current_pipelines().get(pipeline)
    planner = described.maker_of(Plan) if described else None
    default = (UNIVERSAL.name,)
    return tuple(planner.options.get("codecs", default)) if planner else default


def farm_predictor(catalog: Catalog, settings: Settings) -> Predictor:
    """What this farm's forecasts go by."""
    return PriorPredictor(
        rates=load_recipes().rates, factors=farm_factors(catalog, settings), task_factors=task_factors(catalog)
    )


def task_factors(catalog: Catalog) -> dict[str, float]:
    """How this farm differs from the prior's rates in the tasks beside the encodes, by its own recent ones."""
    rates, rows = load_recipes().rates, catalog.history.recent_tasks(limit=RECENT_TASKS)
    known = ((features, row) for row in rows if (features := read_task_features(row.features)) is not None)
    return calibration((features.task, task_ratio(features, row.cpu_s, rates)) for features, row in known)


def farm_factors(catalog: Catalog, settings: Settings) -> dict[Pair, float]:
    """How this farm differs from the prior's rates, by encoder and preset.

    Its own recent encodes say it; where they are too few, the sample encodes of ``callsheet calibrate``.
    """
    rates, rows = load_recipes().rates, catalog.history.recent(limit=RECENT_ENCODES)
    known = ((features, row) for row in rows if (features := read_features(row.features)) is not None)
    own = calibration(((each.encoder, each.preset), ratio_of(each, row.cpu_s, rates)) for each, row in known)
    kept = kept_calibration(settings)
    return {**(kept.factors(rates) if kept else {}), **own}


def kept_calibration(settings: Settings) -> Calibration | None:
    """The sample encodes of ``callsheet calibrate``; None where there are none that can be read.

    No title waits for them: the prior does without.
    """
    try:
        return load_document(open_store(settings), CALIBRATION, Calibration)
    except FileNotFoundError:
        return None
    except StorageError as error:
        log.warning("forecasts go without the calibration: %s", error)
        return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Python's garbage collector is off in this block.

    The block makes thousands of documents that all stay. Half of its time went into looking through them for garbage.
    """
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


def _queued(open_titles: Iterable[OpenTitle], predictor: Predictor) -> list[QueuedTitle]:
    titles = list(open_titles)
    unknown = [title for title in titles if title.work is None]
    works = iter(works_of_requests([(title.expected, title.pipeline) for title in unknown], predictor))
    return [title.as_queued(title.work or next(works)) for title in titles]
