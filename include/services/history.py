"""Writes the farm's past titles as CSV (``callsheet history``), one line each, for the simulator's backtest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TextIO

from include.adapters.catalog import Catalog, Event, TitleRecord
from include.base.errors import ConfigurationError
from include.domain.cost.past_jobs import PAST_JOBS
from include.domain.title.title import GOOD_STATES
from include.pipelines.core import find_pipeline

EVERY = 1_000_000
"""A limit that no catalog reaches."""


def write_history(catalog: Catalog, target: TextIO, *, since: datetime, until: datetime) -> int:
    """Write the published titles that settled between the two moments as CSV; returns how many.

    A title is left out where its pipeline is not registered any more, or none of its tasks did anything.
    """
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(PAST_JOBS)
    written = 0
    for row in _rows(catalog, catalog.titles.find(states=GOOD_STATES, settled=(since, until), limit=EVERY)):
        writer.writerow(row)
        written += 1
    return written


def _rows(catalog: Catalog, titles: Iterable[TitleRecord]) -> Iterator[tuple[object, ...]]:
    for title in titles:
        try:
            tasks = find_pipeline(title.pipeline, title.pipeline_version).of_run
        except ConfigurationError:
            continue
        slots = {task.name for task in tasks if task.place == "worker"}
        actual_s = slot_seconds(catalog.history.events(request_id=title.request_id, limit=EVERY), slots)
        if actual_s <= 0:
            continue
        deadline, request = title.deadline, title.request
        yield (
            f"{title.created_at.timestamp():.3f}",
            request.tier.value,
            request.kind.value if request.kind else "",
            # A deadline that had passed when the request came is no deadline: nothing could have kept it.
            f"{deadline.timestamp():.3f}" if deadline is not None and deadline > title.created_at else "",
            f"{title.work.full.total.p50_s:.3f}" if title.work else "",
            f"{actual_s:.3f}",
            "" if request.signals.predicted_views_7d is None else f"{request.signals.predicted_views_7d:.0f}",
        )


def slot_seconds(events: Iterable[Event], tasks: set[str]) -> float:
    """Seconds for which ``tasks`` held slots: of a mapped task all items, of a repeated one the last attempt."""
    started: dict[tuple[str | None, str | None], datetime] = {}
    held: dict[tuple[str | None, str | None], float] = {}
    for event in events:
        key = (event.task, event.item)
        if event.task not in tasks:
            continue
        if event.kind == "task.started":
            started[key] = event.at
        elif event.kind == "task.finished" and key in started:
            held[key] = (event.at - started.pop(key)).total_seconds()
    return sum(held.values())
