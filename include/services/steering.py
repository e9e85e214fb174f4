"""What an operator or the CMS changes about a title that is under way, and what follows from it at once.

The catalog is changed first, with who and why, and counts. Everything after that may fail: ``dispatch`` repeats it
each minute.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from include.adapters.airflow_api import ACTIVE_RUN_STATES, AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.base.settings import Settings
from include.domain.title.steering import SignalUpdate, Steering
from include.domain.title.title import State
from include.services.valuation import revalue

log = logging.getLogger(__name__)

STOPPED_WITHIN = timedelta(hours=1)
"""How long after a title was cancelled ``dispatch`` looks whether its run has stopped."""


def take_signals(
    catalog: Catalog, settings: Settings, request_id: str, update: SignalUpdate, *, by: str, now: datetime
) -> TitleRecord:
    """Enter new signals of a title and value it anew.

    Raises :class:`SteeringRefused` for a settled title, :class:`LookupError` for an unknown one.
    """
    before = _known(catalog, request_id)
    catalog.queue.signal(request_id, update.signals, by=by, why=update.why, now=now)
    revalue(catalog, settings, now=now, only=request_id)
    return catalog.queue.note_revalued(before, by=by, why=update.why, now=now)


def steer_title(
    catalog: Catalog, settings: Settings, request_id: str, steering: Steering, *, by: str, now: datetime
) -> TitleRecord:
    """Change a title as asked and value it anew; of a cancelled one the caller stops the run (:func:`stop_run`).

    Raises :class:`SteeringRefused` for what is too late, :class:`LookupError` for an unknown title.
    """
    before = _known(catalog, request_id)
    after = catalog.queue.steer(request_id, steering, by=by, now=now)
    if after.state.final:
        return after
    revalue(catalog, settings, now=now, only=request_id)
    return catalog.queue.note_revalued(before, by=by, why=steering.why, now=now)


def stop_run(api: AirflowApi, title: TitleRecord) -> bool:
    """Stop the run of a cancelled title: Airflow ends what it runs. False where there is none to stop."""
    run = api.run(title.dag_id, title.run_id) if title.run_id else None
    if title.run_id is None or run is None or run["state"] not in ACTIVE_RUN_STATES:
        return False
    api.fail_run(title.dag_id, title.run_id)
    log.info("%s: its run %s is stopped", title.request_id, title.run_id)
    return True


def stop_cancelled(catalog: Catalog, api: AirflowApi, *, now: datetime) -> list[str]:
    """Stop the runs of titles that were cancelled of late and still run; returns their requests."""
    cancelled = catalog.titles.find(states={State.CANCELLED}, settled=(now - STOPPED_WITHIN, now))
    return [title.request_id for title in cancelled if stop_run(api, title)]


def _known(catalog: Catalog, request_id: str) -> TitleRecord:
    found = catalog.titles.get(request_id)
    if found is None:
        raise LookupError(f"the catalog has no request {request_id!r}")
    return found
