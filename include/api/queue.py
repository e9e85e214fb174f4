"""The queue: open titles in the policy's order, quotes for batches before they are entered, the page for people."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Body, HTTPException
from fastapi.responses import FileResponse

from include.adapters.catalog import Catalog
from include.api.access import CatalogDep, Limit, LoginFirst, SettingsDep, batch_checker, may
from include.api.steering import on_own_thread
from include.api.views import queued_view
from include.base.settings import Settings
from include.domain.title.title import State
from include.services.intake import quote_request

router = APIRouter(route_class=LoginFirst)

PAGE = Path(__file__).parent / "queue_page"
PAGE_FILES = {
    "queue": ("queue.html", "text/html; charset=utf-8"),
    "queue/queue.js": ("queue.js", "text/javascript; charset=utf-8"),
    "queue/queue.css": ("queue.css", "text/css; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


@router.get("/api/v1/queue")
def queue(user: GetUserDep, catalog: CatalogDep, settings: SettingsDep, limit: Limit = 200) -> dict[str, Any]:
    """Open titles that the caller may read: running ones first, then as they will be started."""
    roots = catalog.batches.roots()
    may_read, may_edit = batch_checker(user, "GET", roots), batch_checker(user, "PUT", roots)
    counts = catalog.queue.counts()
    readable = [batch_id for batch_id in counts if may_read(batch_id)]
    # Where the caller may read everything, the database need not compare thousands of ids.
    shown = catalog.queue.in_order(limit=limit, batch_ids=None if len(readable) == len(counts) else readable)
    states = {state.value: sum(counts[each].get(state, 0) for each in readable) for state in State if not state.final}
    return {
        "at": datetime.now(UTC).isoformat(),
        "titles": [
            {**queued_view(title, place), "may_edit": may_edit(title.batch_id)} for place, title in enumerate(shown, 1)
        ],
        "counts": {"open": sum(states.values()), **states},
        "farm": {
            "cpu_slots": settings.encode_slots,
            "gpu_slots": settings.gpu_slots,
            "release_window": settings.release_window,
        },
    }


@router.post("/api/v1/quotes")
async def quotes(
    user: GetUserDep, catalog: CatalogDep, settings: SettingsDep, conf: Annotated[Any, Body()]
) -> dict[str, Any]:
    """What a batch request would come to: finish, verdict, chance of a miss of each title, and whom it displaces.

    Validated as intake does; enters nothing.
    """
    if not may(user, "POST", "intake"):
        raise HTTPException(403, "this needs permission to start runs of intake, as a submission does")
    return await on_own_thread(partial(_quote, conf, user, catalog, settings))


def _quote(conf: Any, user: Any, catalog: Catalog, settings: Settings) -> dict[str, Any]:
    may_read = batch_checker(user, "GET", catalog.batches.roots())
    quote = quote_request(conf, catalog, settings, user=user.get_name(), now=datetime.now(UTC))
    found = quote.model_dump(mode="json")
    found["displaced"] = [each for each in found["displaced"] if may_read(each["request_id"].partition("/")[0])]
    return found


def _page(name: str) -> FileResponse:
    file, media_type = PAGE_FILES[name]
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(PAGE / file, media_type=media_type, headers=headers)


@router.get("/queue", include_in_schema=False)
def queue_page(user: GetUserDep) -> FileResponse:
    """The queue for people: a page of Airflow's UI, refreshed by itself."""
    return _page("queue")


@router.get("/queue/queue.js", include_in_schema=False)
def queue_script(user: GetUserDep) -> FileResponse:
    """The page's script."""
    return _page("queue/queue.js")


@router.get("/queue/queue.css", include_in_schema=False)
def queue_style(user: GetUserDep) -> FileResponse:
    """The page's style."""
    return _page("queue/queue.css")
