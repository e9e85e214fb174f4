"""What the DAG ``housekeeping`` does."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.adapters import slack
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord, dag_id_of
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.settings import load_settings
from include.domain.telling.digest import DAY, Digest, Due, Ended, digest_of
from include.domain.title.title import FINAL_STATES, State
from include.services.copies import clean_copies

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=30)
"""How far back titles are looked at, so that nights on which this did not run are made up for."""
EVERY = 1_000_000
"""A limit that no catalog reaches."""


def send_digest() -> bool:
    """Tell the channel how the last day went; False where there is none."""
    settings = load_settings()
    return slack.send_digest(todays_digest(Catalog(settings.catalog_url), now=datetime.now(UTC)), settings)


def todays_digest(catalog: Catalog, *, now: datetime) -> Digest:
    """The day that ends ``now``, from the catalog."""
    ended = [
        Ended(
            name=title.request.name or title.title_id,
            tier=title.request.tier,
            state=title.state,
            publish_at=title.deadline,
            playable_at=title.playable_at,
        )
        for title in catalog.titles.find(states=FINAL_STATES, settled=(now - DAY, now), limit=EVERY)
    ]
    due = [
        Due(
            name=title.request.name or title.title_id,
            tier=title.request.tier,
            publish_at=title.deadline,
            miss_chance=(title.valuation.admission.miss_chance or 0.0) if title.valuation else 0.0,
            at_risk=title.valuation is not None and title.valuation.at_risk,
        )
        for title in catalog.titles.find(states=set(State) - FINAL_STATES, limit=EVERY)
        if title.deadline is not None
    ]
    return digest_of(ended, due, cpu_s=catalog.history.encode_cpu_s(now - DAY, now), now=now)


def retire_batches() -> list[str]:
    """Retire batches all of whose titles are settled and none of whose runs is active; returns their ids."""
    settings = load_settings()
    with AirflowApi.from_connection() as api:
        return retire(Catalog(settings.catalog_url), api, now=datetime.now(UTC))


def retire(catalog: Catalog, api: AirflowApi, *, now: datetime) -> list[str]:
    """See :func:`retire_batches`. A batch with an active run stays: Airflow ignores runs of a DAG that is gone."""
    retired: list[str] = []
    for batch_id in catalog.batches.retirable(now):
        if api.has_active_runs(dag_id_of(batch_id)):
            log.info("batch %s has settled but a run of it is active: it stays", batch_id)
        elif catalog.batches.retire(batch_id, now):
            retired.append(batch_id)
    log.info("retired %d batches", len(retired))
    return retired


def clean_work() -> list[str]:
    """Remove the work folders of titles that settled longer ago than the configured grace; returns the folders.

    What workers that were killed have left, and copies of mezzanines that nothing reads any more, go as well.
    """
    settings = load_settings()
    now = datetime.now(UTC)
    before = now - timedelta(hours=settings.work_retention_h)
    clean_scratch(settings.scratch, before=before)
    store = open_store(settings)
    swept = store.sweep(before=before)
    log.info("removed %d unfinished files from the store", len(swept))
    catalog = Catalog(settings.catalog_url)
    live = [*catalog.titles.find(states=set(State) - FINAL_STATES, limit=EVERY), *_in_proof(catalog)]
    settled = catalog.titles.find(states=FINAL_STATES, settled=(before - LOOK_BACK, now), limit=EVERY)
    clean_copies(settings, live, settled, before=before)
    return clean(catalog, store, before=before)


def clean(catalog: Catalog, store: ObjectStore, *, before: datetime) -> list[str]:
    """See :func:`clean_work`."""
    removed: list[str] = []
    in_proof = {title.request_id for title in _in_proof(catalog)}
    settled = (before - LOOK_BACK, before)
    for title in catalog.titles.find(states=FINAL_STATES, settled=settled, limit=EVERY):
        work = title.job().work
        if title.request_id not in in_proof and store.list(work):
            store.delete_tree(work)
            removed.append(work)
    log.info("removed %d work folders", len(removed))
    return removed


def _in_proof(catalog: Catalog) -> list[TitleRecord]:
    """Titles whose published set is still to be proved: their work and their mezzanines are needed for that."""
    found = (catalog.titles.get(proof.request_id) for proof in catalog.proofs.open())
    return [title for title in found if title is not None]


def clean_scratch(folder: Path, *, before: datetime) -> list[str]:
    """Remove what workers that were killed left on this machine; returns the names."""
    stale = [path for path in folder.glob("*") if path.lstat().st_mtime < before.timestamp()]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    log.info("removed %d stale scratch folders", len(stale))
    return [path.name for path in stale]
