"""Every minute's work (the DAG dispatch), and what follows a settled title at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.adapters.airflow_api import AirflowApi
from include.base.errors import PlatformUnavailable
from include.services.lost_runs import settle_lost_runs
from include.services.release import release
from include.services.risks import note_at_risk, note_overdue
from include.services.run_notes import put_note
from include.services.sending import send_alerts, send_webhooks

if TYPE_CHECKING:
    from include.adapters.catalog import Catalog
    from include.base.settings import Settings
    from include.domain.title.title import TitleJob

log = logging.getLogger(__name__)

REPAIRS_AT_ONCE = 5


def after_settling(catalog: Catalog, settings: Settings, title: TitleJob) -> None:
    """What follows a settled title at once. None of it can fail the title: ``dispatch`` repeats all but the note."""
    now = datetime.now(UTC)
    steps: dict[str, Callable[[], object]] = {
        "release": lambda: _release_next(catalog, settings, now),
        "note": lambda: put_note(catalog, title),
        "alerts": lambda: send_alerts(catalog, settings, now=now),
        "webhooks": lambda: send_webhooks(catalog, settings, now=now),
    }
    for name, step in steps.items():
        try:
            step()
        except Exception:
            log.exception("%s: %s after settling failed", title.request_id, name)


def _release_next(catalog: Catalog, settings: Settings, now: datetime) -> None:
    with AirflowApi.from_connection() as api:
        release(catalog, api, settings, now=now)


def tick() -> dict[str, str]:
    """Every step of the DAG ``dispatch``; returns what each one did. Raises at the end if any step failed."""
    from include.adapters.catalog import Catalog
    from include.base.settings import load_settings
    from include.services.replay import take_backfills, take_repairs
    from include.services.steering import stop_cancelled
    from include.services.valuation import revalue

    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    now = datetime.now(UTC)
    said: dict[str, str] = {}
    failed: list[str] = []
    with AirflowApi.from_connection() as api:
        steps: dict[str, Callable[[], object]] = {
            "lost runs": lambda: settle_lost_runs(catalog, api, settings, now=now),
            "repairs": lambda: take_repairs(catalog, settings, now=now, limit=REPAIRS_AT_ONCE),
            "back-fills": lambda: take_backfills(catalog, settings, now=now),
            "values": lambda: note_at_risk(catalog, revalue(catalog, settings, now=now), now=now),
            "weights": api.tell_weights,
            "cancelled": lambda: stop_cancelled(catalog, api, now=now),
            "release": lambda: release(catalog, api, settings, now=now),
            "overdue": lambda: note_overdue(catalog, now=now),
            "alerts": lambda: send_alerts(catalog, settings, now=now),
            "webhooks": lambda: send_webhooks(catalog, settings, now=now),
        }
        if settings.runtime == "kubernetes":
            from include.orchestration.runtimes.kubernetes.sweep import sweep_pods

            steps["pods"] = lambda: sweep_pods(api, settings, now=now)
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
