"""The catalog goes away: its connection is lost at many places of a task, or somebody else holds it for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text

from include.adapters.catalog import Catalog, database
from include.base.errors import PlatformUnavailable
from tests.nothing_lost.conftest import Life
from tests.nothing_lost.farm import Farm, reading
from tests.nothing_lost.points import CUT_VARIABLE, fired
from tests.postgres import postgres_server
from tests.stack import wait_for

CUTS = {"publish": range(1, 40, 5), "settle": range(1, 50, 6)}
"""Statements, commits among them, at which the server ends the connection."""


def copy_database(server: str, name: str, template: str) -> str:
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    return f"{server}/{name}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as address:
        yield str(address)


@pytest.fixture(scope="module")
def on_postgres(server: str, empty: Farm, mezzanine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Farm]:
    """The farm before its control tasks, with its catalog on PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres")
    farm = Farm(folder / "living", empty.environment, copy_database(server, "living", "template1"))
    farm.home.mkdir()
    Catalog(farm.catalog_url).migrate()
    farm.submit(mezzanine.as_uri())
    farm.live(until="publish")
    copy_database(server, "before_publish", "living")
    before = {"publish": farm.copied(folder / "before_publish")}
    farm.finish("publish")
    copy_database(server, "before_settle", "living")
    before["settle"] = farm.copied(folder / "before_settle")
    return before


@pytest.mark.parametrize(("step", "number"), [(step, number) for step, numbers in CUTS.items() for number in numbers])
def test_a_connection_that_is_lost_in_the_middle_of_a_task_costs_a_retry_and_nothing_else(
    step: str, number: int, server: str, on_postgres: dict[str, Farm], tmp_path: Path
) -> None:
    url = copy_database(server, f"{step}_{number}", f"before_{step}")
    farm = on_postgres[step].copied(tmp_path / "farm", catalog_url=url)
    with reading(farm):
        code = farm.run(step, **{CUT_VARIABLE: str(number)})
        assert fired(farm.home), "this task has fewer statements: shorten CUTS"
        farm.check()
        # What follows a settled title (release, note, alerts, webhooks) is repeated by dispatch.
        assert code == 1 or step == "settle"
        farm.live_from(step)
    farm.check_end()
    if code == 1:
        assert "the catalog: " in farm.said()


def test_a_writer_that_the_server_has_given_up_is_told_as_a_lost_connection(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(copy_database(server, "given_up", "template1"))
    monkeypatch.setattr(database, "WAIT_S", 0.05)

    with pytest.raises(PlatformUnavailable, match="the catalog: "):
        write_too_slowly(catalog)


def write_too_slowly(catalog: Catalog) -> None:
    """Begin to write, and go on when the server has ended the transaction and the connection."""
    with catalog.database.write() as connection:
        driver: Any = connection.connection.dbapi_connection
        with psycopg.connect(driver.info.dsn, autocommit=True) as other:
            there = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
            wait_for(lambda: other.execute(there, (driver.info.backend_pid,)).fetchone() == (0,), "its end", limit_s=30)
        connection.execute(text("SELECT 1"))


def test_a_catalog_that_somebody_holds_for_too_long_is_said(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = life.before["publish"].copied(tmp_path / "farm")
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    holder = sqlite3.connect(farm.home / "catalog.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(PlatformUnavailable, match="the catalog: database is locked"):
        farm.catalog.versions.allocate(farm.request_id, now=farm.record.created_at)
    holder.execute("ROLLBACK")
    holder.close()

    farm.live_from("publish")
    farm.check_end()
