"""Looks at the headers of mezzanines whose requests do not say how long and how large they are.

What a title is taken to be where nobody says is ten minutes of 1080p: a queue of short clips would seem to take days.
A look goes over the network and starts a tool, so it comes after everything else of a call, beside others and under
one limit. Each mezzanine is looked at once: what its header does not tell then is known when it is inspected.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from include.adapters import tools
from include.adapters.catalog import Catalog, OpenTitle
from include.adapters.header import read_header
from include.base.errors import ConfigurationError
from include.base.parallel import answers_in_time
from include.base.settings import Settings
from include.domain.order.valuation import Work
from include.domain.title.request import SourceExtent
from include.services.valuation import farm_predictor, revalue, works_of_requests

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 4
LOOKS_LIMIT_S = 8.0
"""For all looks of one call."""
SLOW_S = 2.0
"""A place that takes longer, for nothing, is asked no more by the same call."""
MOST_TITLES = 1000
"""Of one call; most of them are looked at by the next one where all wait for a look."""


def look_at_headers(
    catalog: Catalog,
    settings: Settings,
    *,
    batch_id: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Look at the headers of open titles and value the titles anew by what they say; returns how many said it.

    Args:
        catalog: Of the titles.
        settings: For roots, buckets, allowed origins and ffprobe: a machine without it does nothing.
        batch_id: Only the titles of this batch; None means all.
        clock: Tells the time.
    """
    now = clock()
    titles = catalog.queue.unseen(now, limit=MOST_TITLES, batch_id=batch_id)
    wanted = [title for title in titles if not title.source_known]
    if wanted:
        try:
            tools.ffprobe(settings)
        except ConfigurationError as error:
            log.info("no headers are looked at here: %s", error.message)
            return 0
    seen = _look_at_all(wanted, settings)
    needless = {title.request_id: SourceExtent() for title in titles if title.source_known}
    told = [title.model_copy(update={"header": seen[title.request_id]}) for title in wanted if _says(seen, title)]
    works: dict[str, Work] = {}
    if told:
        found = works_of_requests(
            [(title.expected, title.pipeline) for title in told], farm_predictor(catalog, settings)
        )
        works = {title.request_id: work for title, work in zip(told, found, strict=True)}
    catalog.queue.note_headers(
        {request_id: (header, works.get(request_id)) for request_id, header in {**needless, **seen}.items()}
    )
    if told:
        revalue(catalog, settings, now=clock())
    return len(told)


def _says(seen: Mapping[str, SourceExtent], title: OpenTitle) -> bool:
    return seen.get(title.request_id, SourceExtent()) != SourceExtent()


def _look_at_all(titles: Sequence[OpenTitle], settings: Settings) -> dict[str, SourceExtent]:
    """What the headers say, by request id: empty where a look came to nothing, without those that were not begun.

    A place that took too long is asked no more, so that it costs the others little time.
    """
    begun: list[str] = []
    silent: set[str] = set()

    def look(title: OpenTitle, scratch: Path) -> SourceExtent:
        begun.append(title.request_id)
        parts = urlsplit(title.request.mezzanine)
        if parts.netloc in silent:
            return SourceExtent()
        began = time.monotonic()
        extent = read_header(title.request.mezzanine, settings, scratch)
        if parts.netloc and not extent.known and time.monotonic() - began >= SLOW_S:
            silent.add(parts.netloc)
        return extent

    with TemporaryDirectory(prefix="callsheet-headers-", ignore_cleanup_errors=True) as folder:
        calls = {title.request_id: partial(look, title, Path(folder)) for title in titles}
        found = answers_in_time(calls, at_once=LOOKS_AT_ONCE, limit_s=LOOKS_LIMIT_S)
    return {request_id: found.get(request_id, SourceExtent()) for request_id in begun}
