"""Fixtures of the orchestration: a catalog, a store and settings of each test's own, and something like Airflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters import airflow_api
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.settings import Settings, load_settings
from tests.orchestration.airflow_server import AirflowServer, airflow_server
from tests.orchestration.lab import Lab, Supervisor, built_project


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    Catalog(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture
def settings(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings as a task finds them in its environment; the catalog is there and empty."""
    home = tmp_path / "home"
    (home / "mezzanines").mkdir(parents=True)
    shutil.copy(migrated, home / "catalog.db")
    for name, value in {
        "CALLSHEET_HOME": str(home),
        "CALLSHEET_AIRFLOW_BASE_URL": "https://airflow.example",
        "CALLSHEET_RELEASE_WINDOW": "3",
        "CALLSHEET_ENCODE_SLOTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return Catalog(settings.catalog_url)


@pytest.fixture
def store(settings: Settings) -> LocalStore:
    return LocalStore(settings.home / "store")


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowServer]:
    """An Airflow that knows the batch ``spring``; the connection of Callsheet's service account leads to it."""
    monkeypatch.setattr(airflow_api, "BACKOFF_S", 0.001)
    with airflow_server() as running:
        running.dags.add("batch__spring")
        monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", running.connection)
        yield running


@pytest.fixture(autouse=True)
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """Whom a task of this process talks to."""
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", listening := Supervisor(), raising=False)
    return listening


@pytest.fixture
def api(airflow: AirflowServer) -> Iterator[AirflowApi]:
    with airflow.api() as client:
        yield client


@pytest.fixture(scope="session")
def lab_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def lab(lab_project: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A pipeline of a user's own, in one file, known here and in the workers that a task starts."""
    return Lab.install(lab_project, monkeypatch)
