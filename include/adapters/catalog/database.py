"""Connections and transactions of the catalog, alike on SQLite and PostgreSQL.

One writer at a time on both: SQLite begins with its write lock, PostgreSQL with one advisory lock. Writes take
milliseconds and a farm makes a few each second; in return nobody meets a deadlock, a claim counts what is really
open, and events and webhooks are numbered in the order in which they became visible.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    NullPool,
    RowMapping,
    Select,
    and_,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from include.base.errors import ConfigurationError, PlatformUnavailable

ROWS_AT_ONCE = 500
"""Of a long answer that is read as it is needed."""
WAIT_S = 30
"""How long a writer waits for the one before it."""
_WRITER_LOCK = 0x63616C6C
CLOCK_SLACK = timedelta(minutes=5)
"""How far the clocks of those who claim may differ."""


class Database:
    """The engine of one catalog. Holds no connection between calls, so that a process may fork at any time."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._url = make_url(url)
            if self._url.get_backend_name() not in {"sqlite", "postgresql"}:
                raise ArgumentError("sqlite:///… or postgresql+psycopg://… is served")
            connect_args = {"timeout": WAIT_S} if self._sqlite else {"connect_timeout": 10}
            self._engine = create_engine(
                self._url,
                poolclass=NullPool,
                connect_args=connect_args,
                json_serializer=_strict_json,
                # An error's parameters are titles and addresses: they do not belong into logs.
                hide_parameters=True,
            )
        except (ArgumentError, NoSuchModuleError) as error:
            raise ConfigurationError(f"CALLSHEET_CATALOG_URL: {error}") from error
        self._writer = self._engine.execution_options(callsheet_writer=True)
        if self._sqlite:
            self._reader: Engine = self._engine
            _begin_by_hand(self._engine)
        else:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @property
    def _sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalog, and changes nothing."""
        with _explained(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is the only writer; committed when the block ends well, undone otherwise."""
        with _explained(), self._writer.begin() as connection:
            if not self._sqlite:
                # Local to the transaction, so that a pooler between us and the server leaks nothing. A writer that
                # is stopped in the middle loses its transaction instead of holding everyone up.
                connection.execute(
                    text(
                        "SELECT set_config('lock_timeout', :wait, true), "
                        "set_config('idle_in_transaction_session_timeout', :wait, true)"
                    ),
                    {"wait": f"{WAIT_S}s"},
                )
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield connection

    def server(self) -> tuple[str, str]:
        """What serves it, and in which version: ``("PostgreSQL", "16.4")`` or ``("SQLite", "3.45.1")``."""
        if self._sqlite:
            return "SQLite", sqlite3.sqlite_version
        with self.read() as connection:
            return "PostgreSQL", str(connection.scalar(text("SHOW server_version"))).split()[0]

    def prepare_file(self) -> None:
        """On SQLite: the folder and the write-ahead log, under a lock file: switching the log on waits for nobody.

        What is made is its owner's alone: requests are in it, with their addresses. SQLite gives its further files the
        rights of the first.
        """
        if not self._sqlite or not self._url.database:
            return
        path = Path(self._url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_path = path.with_name(path.name + ".lock")
        for each in (lock_path, path):
            each.touch(mode=0o600)
        with lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _explained(), self._engine.connect() as connection:
                driver: Any = connection.connection.dbapi_connection
                driver.execute("PRAGMA journal_mode=WAL")


class Part:
    """A part of the catalog, on the one database: what it reads and writes, each method in one transaction."""

    def __init__(self, database: Database) -> None:
        self._read = database.read
        self._write = database.write


def first_shown(
    connection: Connection, query: Select[Any], *, limit: int, shown: Callable[[RowMapping], bool]
) -> list[RowMapping]:
    """The first rows of a query that may be shown: what may not takes no place of the limit.

    Rows are read as they are needed.
    """
    rows = connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).mappings()
    try:
        return list(islice(filter(shown, rows), limit))
    finally:
        rows.close()


def leased(until: Column[datetime | None], *, now: datetime, ttl_s: float) -> ColumnElement[bool]:
    """Whether somebody holds the claim on a row, which ends at ``until``; NULL where nobody has claimed it.

    A claim that ends later than any can was made by a clock that is ahead: waiting for its end may take hours.
    """
    return and_(until > now, until <= now + timedelta(seconds=ttl_s) + CLOCK_SLACK)


def _begin_by_hand(engine: Engine) -> None:
    """Python's sqlite3 begins late and shared, which lets two readers both become writers, and one of them fail."""

    @event.listens_for(engine, "connect")
    def _connected(driver: Any, record: Any) -> None:
        driver.isolation_level = None
        driver.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writer = connection.get_execution_options().get("callsheet_writer", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def _strict_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


@contextmanager
def _explained() -> Iterator[None]:
    """A database that does not answer is the platform's fault and worth another try."""
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error, OperationalError | InterfaceError) and not error.connection_invalidated:
            raise
        raise PlatformUnavailable(f"the catalog: {_first_line(error)}", reason="catalog_unavailable") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
