"""Callsheet's own endpoints, mounted by the plugin under ``/callsheet`` on Airflow's API server.

Every endpoint asks for Airflow's JWT (or its session cookie); reading needs read permission on the batch's DAG,
acting needs edit permission.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.interface import ObjectStore
from include.adapters.store.keys import cache_control, checked_key, content_type
from include.adapters.store.opening import open_store
from include.api import queue, steering
from include.api.access import CatalogDep, Limit, LoginFirst, SettingsDep, dag_checker, find_newest, find_request, may
from include.api.health import health_report
from include.api.views import batch_view, title_views
from include.base.errors import BatchConflict, CallsheetError, RequestRejected, SteeringRefused
from include.base.faults import faults
from include.base.settings import Settings
from include.services.replay import replay_title

POINTER = "current.json"
_VERSION_FOLDER = re.compile(r"v(?P<version>[0-9]{1,9})/")

app = FastAPI(
    title="Callsheet",
    description="Batches, titles and published sets. Reading needs read permission on the batch's DAG.",
    version="1",
)
app.router.route_class = LoginFirst
app.include_router(steering.router)
app.include_router(queue.router)


@app.exception_handler(CallsheetError)
async def refused(request: Request, error: Exception) -> JSONResponse:
    """A typed error as an answer: a change that comes too late is 409, the caller's fault 422, ours 503."""
    assert isinstance(error, CallsheetError)
    status = 503
    if isinstance(error, RequestRejected | BatchConflict):
        status = 409 if isinstance(error, SteeringRefused | BatchConflict) else 422
    return JSONResponse({"detail": error.message, "reason": error.reason}, status_code=status)


@app.exception_handler(RequestValidationError)
async def not_understood(request: Request, error: Exception) -> JSONResponse:
    """A request of the wrong form: 422 with field, value and reason of every fault."""
    assert isinstance(error, RequestValidationError)
    # The first part of each path says whether body or query is meant.
    found = faults(error, within=1)
    return JSONResponse(
        {
            "detail": "; ".join(f"{fault.field or 'request'}: {fault.reason} (got {fault.value})" for fault in found),
            "reason": "invalid_request",
            "faults": [
                {"field": fault.field or "request", "value": fault.value, "reason": fault.reason} for fault in found
            ],
        },
        status_code=422,
    )


@app.get("/api/v1/health")
def health(user: GetUserDep) -> JSONResponse:
    """Whether plugin, mutation hook, deadline reference, catalog and store of this deployment are as they must be."""
    report = health_report()
    return JSONResponse(report, status_code=200 if report["healthy"] else 503)


@app.get("/api/v1/batches")
def batches(user: GetUserDep, catalog: CatalogDep, limit: Limit = 50) -> list[dict[str, Any]]:
    """The newest batches that the caller may read."""
    readable = dag_checker(user, "GET")
    return [batch_view(batch, titles=None) for batch in catalog.batches.newest(limit=limit, readable=readable)]


@app.get("/api/v1/batches/{batch_id}")
def batch(batch_id: str, user: GetUserDep, catalog: CatalogDep, settings: SettingsDep) -> dict[str, Any]:
    """A batch with all its titles and refusals."""
    found = catalog.batches.get(batch_id)
    if found is None or not may(user, "GET", found.rights_dag_id):
        raise HTTPException(404, f"no batch {batch_id!r}")
    titles = title_views(catalog.titles.find(batch_id=batch_id), settings)
    return batch_view(found, titles=titles)


@app.get("/api/v1/titles/{title_id}")
def title(title_id: str, user: GetUserDep, catalog: CatalogDep, settings: SettingsDep) -> dict[str, Any]:
    """The newest request of a title, with what it went through."""
    return _with_events(find_newest(catalog, title_id, user, "GET"), catalog, settings)


@app.get("/api/v1/titles/{batch_id}/{title_id}")
def title_request(
    batch_id: str, title_id: str, user: GetUserDep, catalog: CatalogDep, settings: SettingsDep
) -> dict[str, Any]:
    """One request of a title, with what it went through."""
    return _with_events(find_request(catalog, batch_id, title_id, user, "GET"), catalog, settings)


@app.post("/api/v1/titles/{batch_id}/{title_id}/replay", status_code=202)
def replay(
    batch_id: str, title_id: str, user: GetUserDep, catalog: CatalogDep, settings: SettingsDep
) -> dict[str, str]:
    """The same title again, as a new request in a batch of its own."""
    found = find_request(catalog, batch_id, title_id, user, "PUT")
    if not found.state.final:
        raise HTTPException(409, f"{found.request_id} is {found.state}: only a settled title can be replayed")
    new_batch = replay_title(catalog, settings, found.request_id, now=datetime.now(UTC))
    return {"batch_id": new_batch, "request_id": f"{new_batch}/{title_id}"}


@app.post("/api/v1/titles/{batch_id}/{title_id}/webhooks/replay", status_code=202)
def replay_webhooks(batch_id: str, title_id: str, user: GetUserDep, catalog: CatalogDep) -> dict[str, int]:
    """All webhooks of a request once more, with the ids that they had; ``dispatch`` sends them within a minute."""
    found = find_request(catalog, batch_id, title_id, user, "PUT")
    return {"queued": catalog.outbox.replay(found.request_id, datetime.now(UTC))}


@app.get("/api/v1/dead-letters")
def dead_letters(user: GetUserDep, catalog: CatalogDep, limit: Limit = 100) -> list[dict[str, Any]]:
    """Failures with owner, command and the way to replay them, newest first."""
    readable = dag_checker(user, "GET")
    return [letter.model_dump(mode="json") for letter in catalog.history.dead_letters(limit, readable=readable)]


@app.get("/media/titles/{title_id}/{path:path}")
def media(
    title_id: str, path: str, request: Request, user: GetUserDep, catalog: CatalogDep, settings: SettingsDep
) -> Response:
    """A published file, for the preview page and for tests by hand; players go to ``CALLSHEET_PUBLIC_BASE_URL``.

    Also an object on S3 passes through here (the store's ``serve`` says why).
    """
    objects, key = open_store(settings), f"titles/{title_id}/{path}"
    try:
        # The store refuses keys that are not made of safe segments, hence every way out of the folder.
        checked_key(key)
    except CallsheetError:
        raise HTTPException(404, "no such file") from None
    headers = {"X-Content-Type-Options": "nosniff"}
    if path == POINTER:
        pointer = _pointer(objects, key)
        _check_version(catalog, title_id, pointer.version, user)
        # What was looked at is what goes out: the pointer may have moved to another batch's version meanwhile.
        return Response(pointer.content, headers={**headers, "Cache-Control": "no-store"}, media_type=content_type(key))
    folder = _VERSION_FOLDER.match(path)
    _check_version(catalog, title_id, int(folder["version"]) if folder else None, user)
    headers["Cache-Control"] = f"private, {cache_control(key)}"
    served = objects.serve(key, request.headers.get("range"))
    if served is None:
        raise HTTPException(404, "no such file")
    if served.file is not None:
        return FileResponse(served.file, media_type=content_type(key), headers=headers)
    status = 206 if "Content-Range" in served.headers else 200
    return StreamingResponse(served.body, status, {**headers, **served.headers}, content_type(key))


@dataclass(frozen=True, kw_only=True)
class _Pointer:
    """A title's pointer as it stands in the store."""

    version: int | None
    """Which version it names; None where there is no pointer, or none that can be read."""
    content: bytes = b""


def _pointer(objects: ObjectStore, key: str) -> _Pointer:
    try:
        content = objects.get_bytes(key)
        return _Pointer(version=int(json.loads(content)["version"]), content=content)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _Pointer(version=None)


def _check_version(catalog: Catalog, title_id: str, version: int | None, user: Any) -> None:
    """404 unless the user may read the batch whose request this version was made for, whoever has posted since."""
    dag_id = None if version is None else catalog.versions.rights_dag_id(title_id, version)
    if dag_id is None or not may(user, "GET", dag_id):
        raise HTTPException(404, "no such file")


def _with_events(record: TitleRecord, catalog: Catalog, settings: Settings) -> dict[str, Any]:
    events = catalog.history.events(request_id=record.request_id)
    (view,) = title_views([record], settings)
    return {**view, "events": [event.model_dump(mode="json") for event in events]}
