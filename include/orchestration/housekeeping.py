"""What the DAG ``housekeeping`` does."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, dag_id_of
from include.adapters.store import ObjectStore, open_store
from include.domain.title import FINAL_STATES
from include.settings import load_settings

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=30)
"""How many missed nights are made up for."""


def retire_batches() -> list[str]:
    """Retire batches all of whose titles are settled and none of whose runs is active; returns their ids."""
    settings = load_settings()
    with AirflowApi.from_connection() as api:
        return retire(Catalog(settings.catalog_url), api, now=datetime.now(UTC))


def retire(catalog: Catalog, api: AirflowApi, *, now: datetime) -> list[str]:
    """See :func:`retire_batches`. The scheduler ignores runs of a DAG that is gone, hence the look at active runs."""
    retired: list[str] = []
    for batch_id in catalog.retirable(now):
        if api.has_active_runs(dag_id_of(batch_id)):
            log.info("batch %s has settled but a run of it is active: it stays", batch_id)
        elif catalog.retire(batch_id, now):
            retired.append(batch_id)
    log.info("retired %d batches", len(retired))
    return retired


def clean_work() -> list[str]:
    """Remove the work folders of titles that settled longer ago than the configured grace; returns the folders."""
    settings = load_settings()
    before = datetime.now(UTC) - timedelta(hours=settings.work_retention_h)
    clean_scratch(settings.scratch, before=before)
    return clean(Catalog(settings.catalog_url), open_store(settings), before=before)


def clean(catalog: Catalog, store: ObjectStore, *, before: datetime) -> list[str]:
    """See :func:`clean_work`."""
    removed: list[str] = []
    settled = (before - LOOK_BACK, before)
    for title in catalog.titles(states=FINAL_STATES, settled=settled, limit=1_000_000):
        work = title.job().work
        if store.list(work):
            store.delete_tree(work)
            removed.append(work)
    log.info("removed %d work folders", len(removed))
    return removed


def clean_scratch(folder: Path, *, before: datetime) -> list[str]:
    """Remove what workers that were killed left on this machine; returns the names."""
    stale = [path for path in folder.glob("*") if path.lstat().st_mtime < before.timestamp()]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    log.info("removed %d stale scratch folders", len(stale))
    return [path.name for path in stale]
