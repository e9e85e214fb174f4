"""Around the planning of a title: what it has to know of the farm, and what the catalog learns from the plan."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from include.adapters.catalog import Catalog
from include.adapters.store.interface import ObjectStore
from include.base.pools import worker_slots
from include.base.settings import Settings
from include.domain.cost.features import title_features
from include.domain.media.media import Analysis, Inspection
from include.domain.order.parallel import slots_for
from include.domain.order.valuation import Work
from include.domain.outcome.report import FirstSet
from include.domain.plan.binding import FarmShare, least_work, work_of
from include.domain.plan.plan import Plan
from include.domain.title.title import TitleJob
from include.pipelines.runner import find_result
from include.recipes import load_policy, load_tiers
from include.services.valuation import OVERHEAD_S, farm_predictor, revalue

log = logging.getLogger(__name__)


def farm_share_of(catalog: Catalog, settings: Settings, request_id: str) -> FarmShare:
    """How quickly a title gets on: this farm's speed, and the slots that its value and its laxity give it."""
    title = catalog.titles.get(request_id)
    slots = slots_for(
        score=title.score if title else 0,
        laxity_s=title.valuation.pressing_s if title and title.valuation else None,
        slots=worker_slots(settings),
        policy=load_policy().parallel,
    )
    return FarmShare(predictor=farm_predictor(catalog, settings), slots=slots, overhead_s=OVERHEAD_S)


def note_planned(
    catalog: Catalog,
    settings: Settings,
    title: TitleJob,
    store: ObjectStore,
    *,
    farm_share: Callable[[], FarmShare],
    now: datetime,
) -> dict[str, Any] | None:
    """Value a title by the work in its plan, instead of by what is typical for such a title.

    Returns what the event of the planning should tell: why its core rungs go first, if they do.

    An error in here is logged and does not fail the title: ``dispatch`` values it anew each minute. A pipeline of a
    user's own may make no inspection or no plan of ours; its titles keep the work that they have.
    """
    try:
        source, plan = find_result(title, Inspection, store), find_result(title, Plan, store)
        if source is None or plan is None:
            return None
        known = title_features(title, source, find_result(title, Analysis, store))
        timed, predictor, policy = plan.earliest, farm_share().predictor, load_tiers()[title.tier]
        full, needed = (work_of(part, known, predictor=predictor, policy=policy) for part in (plan, timed))
        playable = needed if plan.early else None
        work = Work(full=full, least=least_work(timed, needed), playable=playable, planned=True)
        catalog.queue.note_work(title.request_id, work)
        valued = revalue(catalog, settings, now=now, only=title.request_id).get(title.request_id)
        if valued is not None:
            log.info("%s planned: %s", title.request_id, valued.admission)
    except Exception:
        log.exception("%s: the plan's work cannot be entered", title.request_id)
        return None
    first = FirstSet.of(plan)
    return {plan.early[0].name: first.model_dump(mode="json")} if first else None
