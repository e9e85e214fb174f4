"""Settles titles whose run ended, or vanished, without its last task: nothing stays running for ever."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.documents import CorruptDocument
from include.adapters.store.opening import open_store
from include.base.errors import ConfigurationError, ErrorDocument, MissingInput, Owner, Retry, TitleEndedBadly
from include.base.settings import Settings
from include.domain.outcome.settlement import RunResults, TaskFailure
from include.domain.title.title import State
from include.pipelines.runner import stage_inputs
from include.services.settling import conclude
from include.stages.core import ControlContext
from include.stages.settle import settle

log = logging.getLogger(__name__)

LOST_AFTER = timedelta(minutes=5)
"""A run that has ended in Airflow and is not settled after this long will not settle itself."""


def settle_lost_runs(catalog: Catalog, api: AirflowApi, settings: Settings, *, now: datetime) -> list[str]:
    """Settle the titles of runs that are lost; returns their requests."""
    lost: list[str] = []
    for title in catalog.titles.find(states={State.QUEUED, State.RUNNING, State.PLAYABLE}):
        how = _lost(api, title, now=now)
        if how is not None:
            message = f"the run {title.run_id} {how} without settling the title"
            if _settle(catalog, settings, title, message, now=now):
                lost.append(title.request_id)
    return lost


def _lost(api: AirflowApi, title: TitleRecord, *, now: datetime) -> str | None:
    """What became of a title's run that is lost; None while it may still settle the title."""
    if title.run_id is None or _is_recent(title.released_at or title.created_at, now):
        return None
    run = api.run(title.dag_id, title.run_id)
    if run is None:
        return "has vanished from Airflow"
    if run["state"] not in {"success", "failed"}:
        return None
    if run["end_date"] and _is_recent(datetime.fromisoformat(run["end_date"]), now):
        return None
    return f"ended as {run['state']}"


def _is_recent(moment: datetime, now: datetime) -> bool:
    """Whether a moment lies less than ``LOST_AFTER`` back.

    One in the future comes from another machine's clock: it tells nothing, and waiting for it may take hours.
    """
    return timedelta(0) <= now - moment < LOST_AFTER


def _settle(catalog: Catalog, settings: Settings, title: TitleRecord, message: str, *, now: datetime) -> bool:
    """Do for a title what the last task of its run would have done. False where it has come to an end meanwhile."""
    known = catalog.titles.get(title.request_id)
    if known is None or known.state.final:
        return False
    error = ErrorDocument(
        type="RunLost", message=message, owner=Owner.PLATFORM, retry=Retry.TRANSIENT, reason="run_lost"
    )
    unexplained = TaskFailure(task=title.task or settle.name, error=error)
    context = ControlContext(
        settings=settings,
        store=open_store(settings),
        title=title.job(),
        scratch=settings.scratch,
        catalog=catalog,
        clock=lambda: now,
        conclude=partial(conclude, unexplained=unexplained),
    )
    try:
        documents = _documents(context)
        if documents is None:
            context.conclude(context, RunResults())
        else:
            settle.function(context, *documents)
    except TitleEndedBadly as end:
        # Raised so that a run ends red; this one has ended.
        log.info("%s: %s", title.request_id, end)
        return end.reason != "settled"
    return True


def _documents(context: ControlContext) -> list[Any] | None:
    """What the stage ``settle`` would have had; None where it cannot be read, or the pipeline has no such stage."""
    try:
        return stage_inputs(context.title, settle, context.store)
    except (ConfigurationError, CorruptDocument, MissingInput) as error:
        log.warning("%s is settled without the results of its run: %s", context.title.request_id, error)
        return None
