"""Every test of the catalog meets both databases; each gets one of its own, migrated."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from include.adapters.catalog import Catalog
from tests.catalog.together import Together, processes
from tests.postgres import postgres_server
from tests.receivers import Receiver, http_receiver

BACKENDS = ("sqlite", "postgresql")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "catalog.db"
    Catalog(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    create_database(postgres, "migrated")
    Catalog(f"{postgres}/migrated").migrate()
    return "migrated"


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'catalog.db'}"
    server: str = request.getfixturevalue("postgres")
    return f"{server}/{create_database(server, f'empty_{next(_numbers)}')}"


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes a migrated, empty catalog on the given backend."""

    def make(backend: str) -> str:
        number = next(_numbers)
        if backend == "sqlite":
            path = tmp_path / f"catalog_{number}.db"
            shutil.copy(request.getfixturevalue("migrated_file"), path)
            return f"sqlite:///{path}"
        server: str = request.getfixturevalue("postgres")
        template: str = request.getfixturevalue("migrated_template")
        return f"{server}/{create_database(server, f'catalog_{number}', template=template)}"

    return make


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(request.param)


@pytest.fixture
def catalog(url: str) -> Catalog:
    return Catalog(url)


@pytest.fixture(scope="session")
def together() -> Iterator[Together]:
    with processes() as call:
        yield call


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as running:
        yield running


def create_database(server: str, name: str, *, template: str = "template1") -> str:
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    return name
