"""Every minute's work: the DAG dispatch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.errors import PlatformUnavailable
from include.base.pools import worker_pools
from include.base.settings import load_settings
from include.orchestration.names import PROOFS_DAG
from include.orchestration.runtimes.registry import runtimes_of
from include.services.arrivals import release_arrived
from include.services.headers import look_at_headers
from include.services.lost_runs import settle_lost_runs
from include.services.progress import note_running
from include.services.proofs import follow_proofs
from include.services.release import release
from include.services.replay import take_backfills, take_repairs
from include.services.risks import note_at_risk, note_overdue
from include.services.sending import send_alerts, send_webhooks
from include.services.steering import stop_cancelled
from include.services.upgrade import begin_runs_again, move_batches
from include.services.valuation import revalue

log = logging.getLogger(__name__)

REPAIRS_AT_ONCE = 5
"""How many repairs become requests in one minute: many at once would push new titles back."""


def tick() -> dict[str, str]:
    """Every step of the DAG ``dispatch``; returns what each one did. Raises at the end if any step failed."""
    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    now = datetime.now(UTC)
    said: dict[str, str] = {}
    failed: list[str] = []
    with AirflowApi.from_connection() as api:
        steps: dict[str, Callable[[], object]] = {
            "moved batches": lambda: move_batches(catalog, now=now),
            "moved runs": lambda: begin_runs_again(catalog, api, open_store(settings)),
            "lost runs": lambda: settle_lost_runs(catalog, api, settings, now=now),
            "repairs": lambda: take_repairs(catalog, settings, now=now, limit=REPAIRS_AT_ONCE),
            "back-fills": lambda: take_backfills(catalog, settings, now=now),
            "progress": lambda: note_running(catalog, settings),
            "values": lambda: note_at_risk(catalog, revalue(catalog, settings, now=now), now=now),
            "weights": api.tell_weights,
            "cancelled": lambda: stop_cancelled(catalog, api, now=now),
            "release": lambda: release(catalog, api, settings, now=now),
            "proofs": lambda: follow_proofs(catalog, api, settings, open_store(settings), dag_id=PROOFS_DAG, now=now),
            "overdue": lambda: note_overdue(catalog, now=now),
            "alerts": lambda: send_alerts(catalog, settings, now=now),
            "webhooks": lambda: send_webhooks(catalog, settings, now=now),
        }
        for runtime in runtimes_of(worker_pools(settings)):
            if runtime.leftovers:
                steps[runtime.leftovers] = partial(runtime.sweep, api, settings, now=now)
        # Last, as they may wait for servers that are not ours.
        steps["arrivals"] = lambda: release_arrived(catalog, api, settings)
        steps["headers"] = lambda: look_at_headers(catalog, settings)
        for name, step in steps.items():
            try:
                said[name] = str(step())
            except Exception as error:
                log.exception("%s failed", name)
                said[name] = f"failed: {error}"
                failed.append(name)
    if failed:
        raise PlatformUnavailable(f"steps that failed and are tried again in a minute: {', '.join(failed)}")
    return said
