"""Steering: new signals, and what an operator changes about a title; the weights of live runs.

Everything here waits for databases, and for Airflow's own API in this very process: it works on threads of its own, so
that a hundred operators at once leave threads to those who answer them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, TypeVar
from uuid import UUID

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import GetUserDep
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.api.access import CatalogDep, LoginFirst, SettingsDep, find_newest, find_request
from include.api.views import title_views
from include.base.settings import Settings
from include.domain.title.steering import SignalUpdate, Steering
from include.orchestration.live_runs import share_slots, tell_runs
from include.services.release import release
from include.services.steering import steer_title, stop_run, take_signals

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api/v1", route_class=LoginFirst)

_steering = CapacityLimiter(4)
_afterwards = CapacityLimiter(1)
T = TypeVar("T")
Find = Callable[[], TitleRecord]


async def on_own_thread(work: Callable[[], T]) -> T:
    """``work``'s result, from one of the few threads of these endpoints."""
    return await to_thread.run_sync(work, limiter=_steering)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What every change of a title is given beside its name and body."""

    user: BaseUser
    catalog: Catalog
    settings: Settings
    after: BackgroundTasks


async def _call(user: GetUserDep, catalog: CatalogDep, settings: SettingsDep, after: BackgroundTasks) -> Call:
    return Call(user=user, catalog=catalog, settings=settings, after=after)


CallDep = Annotated[Call, Depends(_call)]


@router.post("/titles/{title_id}/signals")
async def signals(title_id: str, body: SignalUpdate, call: CallDep) -> dict[str, Any]:
    """New signals of a title's newest request: its value, place in the order and weights change at once."""
    find = partial(find_newest, call.catalog, title_id, call.user, "PUT")
    return await on_own_thread(partial(_take_signals, call, find, body))


@router.post("/titles/{batch_id}/{title_id}/signals")
async def signals_of_request(batch_id: str, title_id: str, body: SignalUpdate, call: CallDep) -> dict[str, Any]:
    """New signals of one request of a title."""
    find = partial(find_request, call.catalog, batch_id, title_id, call.user, "PUT")
    return await on_own_thread(partial(_take_signals, call, find, body))


@router.patch("/titles/{title_id}")
async def steer(title_id: str, body: Steering, call: CallDep) -> dict[str, Any]:
    """Change a title's newest request: publish_at, tier, hold, pin, or cancel it. Audited with user and why."""
    find = partial(find_newest, call.catalog, title_id, call.user, "PUT")
    return await on_own_thread(partial(_steer, call, find, body))


@router.patch("/titles/{batch_id}/{title_id}")
async def steer_request(batch_id: str, title_id: str, body: Steering, call: CallDep) -> dict[str, Any]:
    """Change one request of a title."""
    find = partial(find_request, call.catalog, batch_id, title_id, call.user, "PUT")
    return await on_own_thread(partial(_steer, call, find, body))


@router.post("/weights")
async def weights(user: GetUserDep, catalog: CatalogDep, ended: UUID | None = None) -> list[dict[str, Any]]:
    """Bring live runs to the priorities and deadlines of the catalog, and share out the slots; answers what changed.

    For the service account, which needs edit permission on all DAGs. Takes no values, the catalog's count; only the
    task instance that is about to free its slot says so (``ended``).
    """
    if not get_auth_manager().is_authorized_dag(method="PUT", user=user):
        raise HTTPException(403, "this needs edit permission on all DAGs")
    told = await on_own_thread(partial(tell_runs, catalog))
    await on_own_thread(partial(share_slots, ended))
    return [each.model_dump(mode="json") for each in told]


def _take_signals(call: Call, find: Find, body: SignalUpdate) -> dict[str, Any]:
    request_id, now = find().request_id, datetime.now(UTC)
    changed = take_signals(call.catalog, call.settings, request_id, body, by=call.user.get_name(), now=now)
    return _follow_up(call, changed)


def _steer(call: Call, find: Find, body: Steering) -> dict[str, Any]:
    request_id, now = find().request_id, datetime.now(UTC)
    changed = steer_title(call.catalog, call.settings, request_id, body, by=call.user.get_name(), now=now)
    if body.cancel:
        try:
            with AirflowApi.from_connection() as api:
                stop_run(api, changed)
        except Exception:  # it is cancelled; dispatch stops its run within a minute
            log.exception("%s is cancelled, and its run could not be stopped yet", changed.request_id)
    return _follow_up(call, changed)


def _follow_up(call: Call, title: TitleRecord) -> dict[str, Any]:
    """Tell the runs their weights; then, when the answer is out, release what may go now."""
    tell_runs(call.catalog)
    call.after.add_task(_release, call.catalog, call.settings)
    (view,) = title_views([title], call.settings)
    return view


async def _release(catalog: Catalog, settings: Settings) -> None:
    await to_thread.run_sync(partial(release_now, catalog, settings), limiter=_afterwards)


def release_now(catalog: Catalog, settings: Settings) -> None:
    """Release at once what may go; ``dispatch`` does the same each minute."""
    try:
        with AirflowApi.from_connection() as api:
            release(catalog, api, settings, now=datetime.now(UTC))
    except Exception:  # the answer is out: nobody else would hear of it
        log.exception("release after steering failed; dispatch repeats it within a minute")
