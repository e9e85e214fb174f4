"""Starts the runs of waiting titles: the highest priority first, as many as the farm can use."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from include.adapters.airflow_api import AirflowApi, DagUnknown, RequestRefused
from include.adapters.catalog import Catalog, TitleRecord
from include.base.errors import CallsheetError
from include.base.settings import Settings
from include.domain.order.parallel import express_places
from include.services.run_notes import run_note

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Released:
    """What one call of :func:`release` did."""

    started: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()
    """Titles whose batch DAG Airflow has not parsed yet, or cannot parse: given back, to be tried again."""


def release(catalog: Catalog, api: AirflowApi, settings: Settings, *, now: datetime) -> Released:
    """Start runs for waiting titles, up to the release window, the highest priority first.

    A title with a higher priority than all that have a run need not wait until one of them has ended: it may go beyond
    the window, by a quarter of it at most. A batch whose DAG Airflow does not have yet, or cannot parse, is passed
    over, so that it holds up no other. Whether a mezzanine that may come later is there, the catalog says
    (:mod:`include.services.arrivals`): no server of anybody's mezzanines is asked here.
    """
    started: list[str] = []
    not_ready: dict[str, list[str]] = {}
    claimant = f"{socket.gethostname()}:{os.getpid()}:{time.monotonic_ns()}"
    while claimed := catalog.titles.claim(
        window=settings.release_window,
        express=express_places(settings.release_window),
        now=now,
        claimant=claimant,
        except_batches=not_ready.keys(),
    ):
        try:
            for title in claimed:
                if title.awaits_mezzanine(now):
                    # Entered by an older release, which did not say so beside its row.
                    until = title.request.wait_until
                    catalog.titles.unclaim(title.request_id, claimant=claimant, until=until)
                elif title.batch_id in not_ready or not _start(catalog, api, title, claimant=claimant, now=now):
                    catalog.titles.unclaim(title.request_id, claimant=claimant)
                    not_ready.setdefault(title.batch_id, []).append(title.request_id)
                else:
                    started.append(title.request_id)
        except BaseException:
            # Otherwise the claimed titles would keep their places in the window until their claims expire.
            for title in claimed:
                catalog.titles.unclaim(title.request_id, claimant=claimant)
            raise
    return Released(started=tuple(started), not_ready=tuple(title for batch in not_ready.values() for title in batch))


def _start(catalog: Catalog, api: AirflowApi, title: TitleRecord, *, claimant: str, now: datetime) -> bool:
    """Start the run of a claimed title; False where Airflow does not have its DAG, or cannot parse it any more."""
    assert title.run_id is not None  # set by the claim
    try:
        api.trigger(title.dag_id, title.run_id, conf=run_conf(title), logical_date=arrival(title))
    except DagUnknown:
        return False
    except RequestRefused as error:
        log.error("%s cannot be released and is passed over: %s", title.request_id, error)
        return False
    catalog.titles.mark_released(title.request_id, claimant=claimant, run_id=title.run_id, now=now)
    log.info("released %s as run %s", title.request_id, title.run_id)
    try:
        api.note(title.dag_id, title.run_id, run_note(catalog.titles.get(title.request_id) or title))
    except CallsheetError as error:  # a note is for people: the title runs without
        log.warning("%s: its run has no note: %s", title.request_id, error)
    return True


def arrival(title: TitleRecord) -> datetime:
    """The logical date of a title's run. Of tasks with the same weight Airflow starts the earliest date first.

    All titles of a batch arrived in the same moment, and a DAG can have each date once. So each gets a few microseconds
    of its own, by its number in the order of arrival; together they are less than a second.
    """
    return title.created_at + timedelta(microseconds=title.seq % 1_000_000)


def run_conf(title: TitleRecord) -> dict[str, object]:
    """The conf of a title's run: ids, and what the weights and the deadline are read from."""
    return {
        "request_id": title.request_id,
        "tier": title.request.tier.value,
        "priority": title.priority,
        "slots": title.valuation.slots if title.valuation else None,
        "publish_at": title.deadline.isoformat() if title.deadline else None,
    }


def release_when_parsed(
    catalog: Catalog,
    api: AirflowApi,
    settings: Settings,
    *,
    patience_s: float,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = time.sleep,
) -> Released:
    """:func:`release`, repeated while new batch DAGs are not parsed yet, for at most ``patience_s`` seconds."""
    started: list[str] = []
    end = time.monotonic() + patience_s
    while True:
        done = release(catalog, api, settings, now=clock())
        started += done.started
        if not done.not_ready or time.monotonic() > end:
            return Released(started=tuple(started), not_ready=done.not_ready)
        pause(0.5)
