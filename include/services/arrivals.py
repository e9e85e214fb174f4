"""Looks for mezzanines that may arrive until a time which their request names, and marks those that are there.

A look goes over the network and may take its whole limit. So the release reads the catalog alone, and this runs after
everything else of a tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from include.adapters.airflow_api import AirflowApi
from include.adapters.arrival import Found, Look, look_at
from include.adapters.catalog import Catalog
from include.base.parallel import answers_in_time
from include.base.settings import Settings
from include.services.release import Released, release

LOOKS_AT_ONCE = 8
LOOKS_LIMIT_S = 20.0
"""For all looks of one call."""
MOST_LOOKS = 500
"""Of one call; those that were looked for the longest time ago come first."""


def release_arrived(
    catalog: Catalog,
    api: AirflowApi,
    settings: Settings,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Released:
    """Look for the mezzanines that are waited for, then release what has arrived, as far as there is room."""
    if not look_for_arrivals(catalog, settings, now=clock()):
        return Released()
    return release(catalog, api, settings, now=clock())


def look_for_arrivals(catalog: Catalog, settings: Settings, *, now: datetime) -> tuple[str, ...]:
    """Look for the mezzanines that are waited for, a few at once; returns the titles whose mezzanine is there.

    A place that did not answer is asked no more by this call: its other titles are looked for by the next one.
    """
    awaited = {title.request_id: title.request.mezzanine for title in catalog.titles.awaited(now, limit=MOST_LOOKS)}
    looked: list[str] = []
    looks = look_at_all(
        awaited, settings, now=now, at_once=LOOKS_AT_ONCE, limit_s=LOOKS_LIMIT_S, on_begin=looked.append
    )
    arrived = tuple(request_id for request_id, look in looks.items() if look.arrived)
    catalog.titles.note_looks(list(looked), arrived=arrived, now=now)
    return arrived


def look_at_all(
    mezzanines: Mapping[str, str],
    settings: Settings,
    *,
    now: datetime,
    at_once: int,
    limit_s: float,
    on_begin: Callable[[str], None] = lambda key: None,
) -> dict[str, Look]:
    """Look at several mezzanines, by keys of the caller; those that did not answer in time are missing.

    Args:
        mezzanines: Their addresses.
        settings: For roots, buckets and allowed origins.
        now: The time.
        at_once: Looks side by side.
        limit_s: For all of them together.
        on_begin: Called with the key as a look begins, on a thread of its own.
    """
    silent: set[str] = set()

    def look(key: str, uri: str) -> Look:
        on_begin(key)
        parts = urlsplit(uri)
        place = f"{parts.scheme}://{parts.netloc}" if parts.netloc else uri
        if place in silent:
            return Look(found=Found.UNKNOWN, said=f"{place} did not answer a moment ago")
        seen = look_at(uri, settings, now=now)
        if seen.found is Found.UNKNOWN:
            silent.add(place)
        return seen

    calls = {key: partial(look, key, uri) for key, uri in mezzanines.items()}
    return answers_in_time(calls, at_once=at_once, limit_s=limit_s)
