"""What follows a settled title at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.domain.title.title import TitleJob
from include.services.release import release
from include.services.run_notes import put_note
from include.services.sending import send_alerts, send_webhooks

log = logging.getLogger(__name__)


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
