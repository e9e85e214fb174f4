"""Callsheet's real API with Airflow's real authorisation, in this process; Airflow's own endpoints are a few lines.

Intake is the real one. What a farm would make of a title follows from its id: ``good…`` is published, ``degraded…``
lacks a rung, ``slow…`` waits, every other one fails.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.errors import EncoderCrashed
from include.base.settings import load_settings
from include.domain.title.title import State
from include.orchestration.intake import accept_request
from tests.catalog.samples import packaged, published
from tests.cli.rights import RIGHTS, RightsPerDag

USERS = {"admin": "admin", "cms": "user", "viewer": "viewer"} | dict.fromkeys(RIGHTS, "viewer")
SECRET = "s" * 64


def tokens(folder: Path) -> dict[str, str]:
    """A real token for each user, from Airflow's auth manager; its database is in ``folder``."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{folder / 'airflow.db'}")
        import airflow.settings
        from airflow.models import import_all_models
        from airflow.models.base import Base

        airflow.settings.configure_vars()
        airflow.settings.configure_orm()
        import_all_models()
        Base.metadata.create_all(airflow.settings.engine)  # type: ignore[arg-type]  # it is configured now
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    manager = init_auth_manager()
    return {user: manager.generate_jwt(SimpleAuthManagerUser(username=user, role=role)) for user, role in USERS.items()}


@contextmanager
def airflow_of_users(folder: Path) -> Iterator[dict[str, str]]:
    """Airflow's configuration with its users; their tokens."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__CORE__AUTH_MANAGER", f"{RightsPerDag.__module__}.{RightsPerDag.__qualname__}")
        environment.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{u}:{r}" for u, r in USERS.items()))
        environment.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(folder / "passwords.json"))
        environment.setenv("AIRFLOW__API_AUTH__JWT_SECRET", SECRET)
        yield tokens(folder)


def farm(catalog: Catalog, now: datetime) -> None:
    """Take every waiting title to its end."""
    for title in catalog.titles.claim(window=1000, now=now, claimant="farm"):
        name, request_id, run_id = title.title_id, title.request_id, title.run_id or ""
        if name.startswith("slow"):
            continue
        catalog.titles.mark_released(request_id, claimant="farm", run_id=run_id, now=now)
        catalog.titles.begin(dag_id=title.dag_id, run_id=run_id, now=now)
        if not name.startswith(("good", "degraded", "bench", "encode")):
            error = EncoderCrashed("x264 fell over", command="ffmpeg", stderr_tail="boom").document()
            replay = f"callsheet replay {request_id}"
            catalog.history.record_dead_letter(request_id, error=error, task="encode", replay_command=replay, now=now)
            catalog.titles.settle(request_id, State.FAILED, reason="EncoderCrashed", message="x264 fell over", now=now)
            continue
        degraded = name.startswith("degraded")
        version = catalog.versions.allocate(request_id, now=now)
        result = published(version, degraded=degraded, at=now)
        catalog.versions.publish(request_id, result=result, package=packaged(degraded=degraded), now=now)
        catalog.titles.settle(request_id, State.DEGRADED if degraded else State.PUBLISHED, now=now)


def application(user_tokens: dict[str, str]) -> FastAPI:
    """The whole server."""
    from include.api.app import app as callsheet

    root = FastAPI()
    root.mount("/callsheet", callsheet)
    # By catalog: each test has one of its own, and knows nothing of the runs of another.
    runs: dict[tuple[str, str], str] = {}
    logs: dict[str, str] = {}

    def run_of(run_id: str) -> tuple[str, str]:
        return load_settings().catalog_url, run_id

    users = {f"Bearer {token}": user for user, token in user_tokens.items()}

    def user_of(request: Request) -> str | None:
        return users.get(request.headers.get("authorization", ""))

    @root.post("/auth/token", status_code=201)
    async def token(request: Request) -> dict[str, str]:
        body = await request.json()
        if body["password"] != "right":
            raise HTTPException(401, "wrong")
        return {"access_token": user_tokens[body["username"]]}

    @root.post("/api/v2/dags/{dag_id}/dagRuns")
    async def trigger(dag_id: str, request: Request) -> JSONResponse:
        body = await request.json()
        key = run_of(body["dag_run_id"])
        if key in runs:
            return JSONResponse({"detail": "exists"}, 409)
        runs[key] = "success"
        catalog = Catalog(load_settings().catalog_url)
        if dag_id == "intake":
            try:
                accept_request(body["conf"], user=user_of(request))
            except Exception as error:
                runs[key], logs[key[1]] = "failed", f'ERROR "{error}"' if body["conf"].get("batch_id") else "lost"
        farm(catalog, datetime.now(UTC))
        return JSONResponse({"dag_run_id": key[1]})

    @root.get("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
    def instances(dag_id: str, run_id: str) -> dict[str, Any]:
        return {"task_instances": [{"task_id": "accept", "state": runs[run_of(run_id)]}]}

    @root.get("/api/v2/dags/intake/dagRuns/{run_id}/taskInstances/accept/logs/1")
    def log(run_id: str) -> dict[str, Any]:
        return {"content": [{"event": logs[run_id]}]}

    return root


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The application on a free port; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def store_of(home: Path) -> LocalStore:
    return LocalStore(home / "store")
