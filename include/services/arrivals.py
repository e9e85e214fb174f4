"""Looks for mezzanines that may arrive until a time which their request names, and marks those that are there.

A look goes over the network and may take its whole limit. So the release reads the catalog alone, and this runs after
everything else of a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from include.adapters.airflow_api import AirflowApi
from include.adapters.arrival import Found, look_at
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
    silent: set[str] = set()

    def has_arrived(request_id: str, uri: str) -> bool:
        looked.append(request_id)
        place = "{0.scheme}://{0.netloc}".format(urlsplit(uri))
        if place in silent:
            return False
        look = look_at(uri, settings, now=now)
        if look.found is Found.UNKNOWN:
            silent.add(place)
        return look.arrived

    calls = {request_id: partial(has_arrived, request_id, uri) for request_id, uri in awaited.items()}
    answers = answers_in_time(calls, at_once=LOOKS_AT_ONCE, limit_s=LOOKS_LIMIT_S)
    arrived = tuple(request_id for request_id, there in answers.items() if there)
    catalog.titles.note_looks(list(looked), arrived=arrived, now=now)
    return arrived
