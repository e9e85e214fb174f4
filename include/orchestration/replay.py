"""A settled title again: always as a new request, in a batch of its own."""

from __future__ import annotations

from datetime import datetime

from include.adapters.catalog import REPAIR_SUFFIX, Catalog
from include.errors import RequestRejected
from include.orchestration.valuation import value_batch
from include.pipelines.core import current_pipelines
from include.settings import Settings

REPLAY_SUFFIX = "replay"


def replay_title(
    catalog: Catalog, settings: Settings, request_id: str, *, now: datetime, suffix: str = REPLAY_SUFFIX
) -> str:
    """Enter the original request of a title once more; returns the id of the new batch. ``dispatch`` releases it."""
    batch = catalog.new_request_from(request_id, suffix=suffix, now=now)
    pipeline = current_pipelines().get(batch.pipeline)
    if pipeline is None:
        raise RequestRejected(
            f"{request_id} cannot be repeated: its pipeline {batch.pipeline!r} is not registered any more",
            reason="unknown_pipeline",
        )
    valued = value_batch(batch, catalog, settings, now=now)
    catalog.accept_batch(batch, pipeline_version=pipeline.version, now=now, valued=valued)
    return batch.batch_id


def take_repairs(catalog: Catalog, settings: Settings, *, now: datetime, limit: int) -> list[str]:
    """Turn queued repairs of degraded titles into new requests; returns the ids of their batches."""
    taken: list[str] = []
    for repair in catalog.pending_repairs(limit):
        try:
            batch_id = replay_title(catalog, settings, repair.request_id, now=now, suffix=REPAIR_SUFFIX)
        except RequestRejected as error:
            # It must not hold up the repairs behind it: a person hears of it, and it is done with.
            catalog.claim_alert(
                title_id=repair.title_id,
                request_id=repair.request_id,
                level="repair",
                cause=error.reason or "refused",
                message=error.message,
                now=now,
            )
            catalog.repair_taken(repair.id, None, now)
            continue
        catalog.repair_taken(repair.id, f"{batch_id}/{repair.title_id}", now)
        taken.append(batch_id)
    return taken
