from __future__ import annotations

from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, text

from include.adapters.catalog import Catalog
from include.adapters.catalog.schema import metadata
from include.base.errors import ConfigurationError, PlatformUnavailable
from tests.catalog.samples import accept
from tests.catalog.together import PROCESSES, Together


def test_the_newest_migration_gives_the_tables_that_the_code_expects(empty_url: str) -> None:
    Catalog(empty_url).migrate()
    with create_engine(empty_url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
        assert context.get_current_revision() is not None
        assert compare_metadata(context, metadata) == []


def test_migrating_again_keeps_what_is_there(catalog: Catalog) -> None:
    accept(catalog)
    catalog.migrate()
    assert [batch.batch_id for batch in catalog.batches.newest()] == ["spring"]


def test_processes_that_migrate_at_once_do_not_disturb_each_other(empty_url: str, together: Together) -> None:
    assert together(_migrate, *[(empty_url,)] * PROCESSES) == [0] * PROCESSES


def _migrate(url: str) -> int:
    catalog = Catalog(url)
    catalog.migrate()
    return len(catalog.batches.newest())


def test_sqlite_keeps_a_write_ahead_log_so_that_readers_do_not_wait_for_a_writer(
    new_url: Callable[[str], str],
) -> None:
    with create_engine(new_url("sqlite"), poolclass=NullPool).connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_failed_migration_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.command

    def upgrade_and_fail(config: Config, target: str) -> None:
        upgrade(config, target)
        raise RuntimeError("power cut")

    upgrade = alembic.command.upgrade
    monkeypatch.setattr(alembic.command, "upgrade", upgrade_and_fail)
    with pytest.raises(RuntimeError, match="power cut"):
        Catalog(empty_url).migrate()
    with create_engine(empty_url, poolclass=NullPool).connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() is None


@pytest.mark.parametrize(
    "address", ["mysql://db/callsheet", "not an address", "oracle+nonsense://db", "postgresql+nonsense://db/x"]
)
def test_a_database_that_is_not_served_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="CALLSHEET_CATALOG_URL"):
        Catalog(address)


@pytest.mark.parametrize(
    "address", ["sqlite:////nowhere/at/all/catalog.db", "postgresql+psycopg://user:hunter2@127.0.0.1:1/callsheet"]
)
def test_a_database_that_does_not_answer_is_worth_another_try_and_its_password_stays_secret(address: str) -> None:
    with pytest.raises(PlatformUnavailable, match="the catalog") as caught:
        Catalog(address).batches.stubs()
    assert "hunter2" not in str(caught.value)
