"""Who may see and change what: every endpoint asks here."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import cache, partial
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.routing import APIRoute

from include.adapters.catalog import Catalog, TitleRecord, dag_id_of
from include.base.settings import Settings, load_settings


def open_catalog(settings: Annotated[Settings, Depends(load_settings)]) -> Catalog:
    """The catalog of this deployment."""
    return Catalog(settings.catalog_url)


Limit = Annotated[int, Query(ge=1, le=1000)]
SettingsDep = Annotated[Settings, Depends(load_settings)]
CatalogDep = Annotated[Catalog, Depends(open_catalog)]


class LoginFirst(APIRoute):
    """A route that reads the body of those alone who are logged in: FastAPI parses it before it asks who calls."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, behind the login where the route takes a body."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_users(request: Request) -> Response:
            await get_user(request, None, await bearer_scheme(request))
            return await handle(request)

        return handle_users


def may(user: Any, method: str, dag_id: str) -> bool:
    """Whether the user may do this to runs of a DAG."""
    return get_auth_manager().is_authorized_dag(
        method=method,  # type: ignore[arg-type]  # one of Airflow's literals
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id),
        user=user,
    )


def dag_checker(user: Any, method: str) -> Callable[[str], bool]:
    """A function that says of a DAG whether the user may do this to its runs; Airflow is asked once for each DAG."""
    return cache(partial(may, user, method))


def batch_checker(user: Any, method: str, roots: Mapping[str, str]) -> Callable[[str], bool]:
    """A function that says of a live batch whether the user may do this to it; Airflow is asked once for each batch.

    Args:
        user: Who asks.
        method: What they want to do.
        roots: Of batches that repeat a title, the one whose rights count.
    """
    check = dag_checker(user, method)
    return lambda batch_id: check(dag_id_of(roots.get(batch_id, batch_id)))


def find_request(catalog: Catalog, batch_id: str, title_id: str, user: Any, method: str) -> TitleRecord:
    """One request of a title; 404 where it is not there for this user, 403 where they may only look at it."""
    return _allowed(catalog.titles.get(f"{batch_id}/{title_id}"), f"request {batch_id}/{title_id}", user, method)


def find_newest(catalog: Catalog, title_id: str, user: Any, method: str) -> TitleRecord:
    """The newest request of a title, under the same rules."""
    return _allowed(catalog.titles.newest(title_id), f"title {title_id!r}", user, method)


def _allowed(found: TitleRecord | None, what: str, user: Any, method: str) -> TitleRecord:
    if found is None or not may(user, "GET", found.rights_dag_id):
        raise HTTPException(404, f"no {what}")
    if not may(user, method, found.rights_dag_id):
        raise HTTPException(403, f"this needs edit permission on {found.rights_dag_id}")
    return found
