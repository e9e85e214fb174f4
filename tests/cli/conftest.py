"""A Callsheet to talk to, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters import airflow_api
from include.adapters.catalog import Catalog
from include.base.settings import Settings, load_settings
from tests.cli.callsheet_server import airflow_of_users, application, served
from tests.orchestration.airflow_server import AirflowServer, airflow_server


@pytest.fixture(scope="session")
def _tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with airflow_of_users(tmp_path_factory.mktemp("users")) as tokens:
        yield tokens


@pytest.fixture
def tokens(_tokens: dict[str, str]) -> dict[str, str]:
    """A bearer token of each user."""
    return _tokens


@pytest.fixture(scope="session")
def _url(_tokens: dict[str, str]) -> Iterator[str]:
    with served(application(_tokens)) as url:
        yield url


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    Catalog(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture
def settings(tmp_path: Path, _migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(_migrated, home / "catalog.db")
    monkeypatch.setenv("CALLSHEET_HOME", str(home))
    # The second is a folder that this machine does not have: what lies in it is for other machines to say.
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", f"{home / 'mezzanines'},/folder-of-other-machines")
    monkeypatch.setenv("CALLSHEET_AIRFLOW_BASE_URL", "https://airflow.example")
    monkeypatch.setattr(airflow_api, "BACKOFF_S", 0.001)
    return load_settings()


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return Catalog(settings.catalog_url)


@pytest.fixture
def server(_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a running Callsheet; the command line is told of it."""
    monkeypatch.setenv("CALLSHEET_API_URL", _url)
    monkeypatch.setenv("CALLSHEET_API_USER", "admin")
    monkeypatch.setenv("CALLSHEET_API_PASSWORD", "right")
    return _url


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowServer]:
    """What the connection of Callsheet's service account leads to: it knows the batch ``spring``, and keeps runs."""
    with airflow_server() as running:
        running.dags.add("batch__spring")
        monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", running.connection)
        yield running
