"""A title's deadline in Airflow: ``publish_at`` from the run's conf, and what happens when it has passed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseDeadlineReference, deadline_reference

from include.adapters.catalog import Catalog
from include.base.settings import load_settings
from include.services.risks import note_missed
from include.services.sending import send_alerts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

CONF_KEY = "publish_at"


@deadline_reference()
class TitleDeadline(BaseDeadlineReference):
    """The moment in the run's conf; a run without one has no deadline."""

    required_kwargs = {"dag_id", "run_id"}  # noqa: RUF012 - Airflow reads it from the class

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **_: Any) -> datetime | None:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        conf = session.scalar(select(DagRun.conf).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        return deadline_of(conf)


def deadline_of(conf: Any) -> datetime | None:
    """The aware deadline in a run's conf; None for anything that is not one. Airflow must be able to create any run."""
    value = conf.get(CONF_KEY) if isinstance(conf, dict) else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):  # the first and last days of the calendar have no UTC in every zone
        return None


async def title_missed_its_deadline(context: dict[str, Any] | None = None, **_: Any) -> None:
    """Airflow's deadline callback, in the triggerer: enters the miss in the alert ledger and sends what is due.

    The catalog decides whether it was a miss: the callback also fires for runs that failed, and for titles that were
    published in time.
    """
    run = (context or {}).get("dag_run") or {}
    request_id = (run.get("conf") or {}).get("request_id")
    if isinstance(request_id, str):
        await asyncio.to_thread(_note_miss, request_id)


def _note_miss(request_id: str) -> None:
    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    title = catalog.titles.get(request_id)
    now = datetime.now(UTC)
    if title is not None and note_missed(catalog, title, now=now):
        send_alerts(catalog, settings, now=now)
