from __future__ import annotations

from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, inspect, select, text

from include.adapters.catalog import Catalog
from include.adapters.catalog.schema import metadata, titles
from include.base.errors import ConfigurationError, PlatformUnavailable
from include.domain.title.title import Origin
from tests.catalog.samples import NOW, accept, after, publish, start
from tests.catalog.test_queue import valued
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


def downgrade(url: str, revision: str) -> None:
    """Take the catalog back to a revision, in one transaction of its only writer."""
    config = Config()
    config.set_main_option("script_location", "include.adapters.catalog:migrations")
    with Catalog(url).database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_every_migration_can_be_undone_and_done_again(empty_url: str) -> None:
    Catalog(empty_url).migrate()
    downgrade(empty_url, "base")
    with create_engine(empty_url, poolclass=NullPool).connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    Catalog(empty_url).migrate()
    accept(Catalog(empty_url))


def test_requests_of_an_older_release_get_their_origin_from_what_their_ids_say(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog, "film-repair", "alpha")
    requests = {"film-repair/alpha": Origin.NEW}
    for origin in (Origin.REPLAY, Origin.REPAIR, Origin.BACKFILL):
        batch = catalog.batches.new_request_from("film-repair/alpha", origin=origin)
        catalog.batches.accept(batch, pipeline_version=3, now=NOW)
        requests[f"film-repair-{origin}1/alpha"] = origin
    before = catalog.titles.find()

    downgrade(url, "0004")
    catalog.migrate()

    assert {title.request_id: title.origin for title in catalog.titles.find()} == requests
    assert catalog.titles.find() == before


def test_the_release_before_looks_itself_for_a_mezzanine_that_may_still_arrive(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog, wait_until=after(600).isoformat())
    assert catalog.titles.claim(window=9, now=NOW, claimant="this release") == []

    downgrade(url, "0006")

    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM titles WHERE not_before IS NULL")) == 1


def test_the_release_before_finds_nothing_in_a_valuation_that_it_does_not_know(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog)
    accept(catalog, batch_id="summer")
    work, valuation = valued(50)
    promised = valuation.model_copy(
        update={
            "spare_s": 60.0,
            "kept": False,
            "hurried": True,
            "admission": valuation.admission.model_copy(update={"displaces": ("autumn/beta",)}),
        }
    )
    catalog.queue.value({"spring/alpha": (work, promised)}, now=NOW)

    downgrade(url, "0010")

    with catalog.database.read() as connection:
        found = dict(connection.execute(select(titles.c.request_id, titles.c.valuation)).all())
    old = {*valuation.model_dump()} - {"spare_s", "kept", "hurried"}
    assert {*found["spring/alpha"]} == old
    assert {*found["spring/alpha"]["admission"]} == {*valuation.admission.model_dump()} - {"displaces"}
    assert found["summer/alpha"] is None or {*found["summer/alpha"]} == old
    catalog.migrate()
    assert catalog.titles.get("spring/alpha") is not None


def test_a_first_version_goes_back_where_a_request_has_no_other_version(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")

    downgrade(url, "0003")
    catalog.migrate()

    assert catalog.versions.is_published("spring/alpha", whole=True)


def test_two_versions_of_one_request_do_not_fit_into_the_tables_before(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog)
    start(catalog, "spring/alpha")
    for whole in (False, True):
        publish(catalog, "spring/alpha", whole=whole)

    with pytest.raises(ValueError, match="spring/alpha has a first version beside its whole set"):
        downgrade(url, "0003")

    assert catalog.versions.is_published("spring/alpha", whole=False)


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
