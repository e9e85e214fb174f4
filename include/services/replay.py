"""Repeats a settled title, as a replay, a repair or a back-fill: always as a new request, in a batch of its own."""

from __future__ import annotations

import logging
from datetime import datetime

from include.adapters.catalog import Catalog
from include.adapters.catalog.records import Repair, RepairKind
from include.base.errors import RequestRejected
from include.base.pools import worker_slots
from include.base.settings import Settings
from include.domain.title.title import Origin, State
from include.pipelines.core import current_pipelines
from include.services.valuation import value_batch

log = logging.getLogger(__name__)


def replay_title(
    catalog: Catalog, settings: Settings, request_id: str, *, now: datetime, origin: Origin = Origin.REPLAY
) -> str:
    """Enter the original request of a title once more; returns the id of the new batch. ``dispatch`` releases it."""
    batch = catalog.batches.new_request_from(request_id, origin=origin)
    pipeline = current_pipelines().get(batch.pipeline)
    if pipeline is None:
        raise RequestRejected(
            f"{request_id} cannot be repeated: its pipeline {batch.pipeline!r} is not registered any more",
            reason="unknown_pipeline",
        )
    valued = value_batch(batch, catalog, settings, now=now)
    catalog.batches.accept(batch, pipeline_version=pipeline.version, now=now, valued=valued)
    return batch.batch_id


def take_repairs(
    catalog: Catalog, settings: Settings, *, now: datetime, limit: int, kind: RepairKind = Origin.REPAIR
) -> list[str]:
    """Turn queued repairs of degraded titles into new requests; returns the ids of their batches."""
    taken: list[str] = []
    for repair in catalog.repairs.pending(limit, kind=kind):
        newer = _newer_request(catalog, repair)
        if newer is not None:
            log.info("%s is not made good: %s is newer, and would be published over", repair.request_id, newer)
            catalog.repairs.taken(repair.id, None, now)
            continue
        try:
            batch_id = replay_title(catalog, settings, repair.request_id, now=now, origin=kind)
        except RequestRejected as error:
            # A person hears of it, and it counts as taken: otherwise it would hold up the repairs behind it.
            catalog.alerts.enter(
                title_id=repair.title_id,
                request_id=repair.request_id,
                level="repair",
                cause=error.reason or "refused",
                message=error.message,
                now=now,
            )
            catalog.repairs.taken(repair.id, None, now)
            continue
        catalog.repairs.taken(repair.id, f"{batch_id}/{repair.title_id}", now)
        taken.append(batch_id)
    return taken


def take_backfills(catalog: Catalog, settings: Settings, *, now: datetime) -> list[str]:
    """Turn the oldest back-fill into a new request, without a deadline, if the farm is idle; returns its batch's id."""
    return take_repairs(catalog, settings, now=now, limit=1, kind=Origin.BACKFILL) if is_idle(catalog, settings) else []


def is_idle(catalog: Catalog, settings: Settings) -> bool:
    """Whether no title waits for its run, and a slot is free even while those with a run encode all at once."""
    slots = worker_slots(settings)
    opened = catalog.queue.open_titles()
    if any(title.released_at is None and not title.held for title in opened):
        return False
    running = [title for title in opened if title.released_at is not None]
    used = sum(len(title.work.full.encodes) if title.work else slots for title in running)
    return used < slots


def _newer_request(catalog: Catalog, repair: Repair) -> str | None:
    """The title's newest request, if that is a later one than the repair's and is under way or published."""
    states = set(State) - {State.FAILED, State.REJECTED, State.CANCELLED}
    newest = catalog.titles.newest(repair.title_id, states=states)
    return newest.request_id if newest and newest.request_id != repair.request_id else None
