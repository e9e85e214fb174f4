"""What an upgrade and going back change in the catalog, and what the doctor sees before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, select, text, update

from include.adapters import airflow_api, sandbox, tools
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.catalog.schema import batches, titles
from include.adapters.store.local import LocalStore
from include.base.errors import ConfigurationError
from include.base.release import PACKAGES, RELEASES, VERSION
from include.base.settings import Settings
from include.domain.title.request import parse_batch
from include.domain.title.title import State
from include.domain.title.work import FORMAT, result_key
from include.pipelines.core import current_pipelines
from include.services import doctor, upgrade
from include.services.doctor import Examination, Level, examine
from include.services.upgrade import take_catalog_back, upgrade_catalog
from tests.catalog.samples import NOW, a_batch, accept, after, start
from tests.orchestration.airflow_server import AirflowServer, airflow_server

NEWEST = current_pipelines()["vod"].version


@pytest.fixture
def settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(airflow_api, "BACKOFF_S", 0.001)
    monkeypatch.setattr(sandbox, "missing", lambda settings: "")
    return Settings(home=tmp_path / "home", catalog_url=url)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def airflow() -> Iterator[AirflowServer]:
    with airflow_server() as running:
        yield running


@pytest.fixture
def with_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """This release is one whose predecessor had other tables."""
    monkeypatch.setattr(upgrade, "RELEASES", {"0.1.0": "0004", "0.2.0": "0011"})
    monkeypatch.setattr(upgrade, "VERSION", "0.2.0")


def no_airflow() -> AirflowApi:
    raise ConfigurationError("no Callsheet to talk to")


def found(examination: Examination, about: str) -> list[tuple[Level, str]]:
    return [(finding.level, finding.said) for finding in examination.findings if finding.about == about]


def levels(examination: Examination) -> dict[str, Level]:
    return {finding.about: finding.level for finding in examination.findings}


def run_sql(url: str, statement: Any) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(statement)


def test_all_is_well_where_everything_is_as_tested(
    catalog: Catalog, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", "b", "c")
    start(catalog, "spring/a")

    seen = examine(settings, airflow.api)

    assert seen.well
    assert set(levels(seen).values()) == {Level.OK}
    assert list(levels(seen)) == [
        "packages", "ffmpeg", "ffprobe", "packager", "sandbox", "database", "schema", "batches", "store", "airflow",
        "plugin",
    ]  # fmt: skip
    assert (seen.version, seen.format, seen.revision, seen.due) == (VERSION, FORMAT, RELEASES[VERSION], ())
    assert seen.live is not None
    assert seen.live.titles == {State.QUEUED: 2, State.RUNNING: 1}
    assert [(each.pipeline, each.version, each.batches) for each in seen.live.batches] == [("vod", 3, 1)]
    assert [(run.format, run.version, run.titles) for run in seen.live.runs] == [(FORMAT, 3, 3)]
    assert LocalStore(settings.home / "store").list("work") == {}
    ((_, database),) = found(seen, "database")
    assert database.split()[0] == ("SQLite" if settings.catalog_url.startswith("sqlite") else "PostgreSQL")


def test_a_machine_without_a_sandbox_for_its_media_tools_is_told_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "missing", lambda settings: "bwrap is not installed")

    (finding,) = [each for each in examine(settings, no_airflow).findings if each.about == "sandbox"]

    assert (finding.level, finding.said) == (Level.WARNING, "media tools run without one: bwrap is not installed")
    assert "apt-get install bubblewrap" in finding.do


@pytest.mark.parametrize("revision", ["0001", "0004", "0005"])
def test_a_catalog_of_an_older_release_is_read_as_far_as_its_tables_go_and_its_migrations_are_named(
    revision: str, catalog: Catalog, settings: Settings
) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    catalog.batches.accept(a_batch("old", "c"), pipeline_version=NEWEST - 1, now=NOW)
    due = [migration.revision for migration in catalog.revisions.go_back(revision)][::-1]

    seen = examine(settings, no_airflow)

    assert not seen.well
    assert (seen.revision, seen.due) == (revision, tuple(due))
    assert found(seen, "schema") == [(Level.OPERATOR, f"at revision {revision}; due: {', '.join(due)}")]
    assert seen.live is not None
    assert seen.live.titles == {State.WAITING: 1, State.QUEUED: 1, State.RUNNING: 1}
    assert found(seen, "runs") == [(Level.WARNING, "2 were begun by another version")]
    assert found(seen, "batches") == [(Level.OPERATOR, f"of a version that is gone: old (vod v{NEWEST - 1})")]

    done = upgrade_catalog(catalog, now=after(9))

    assert [migration.revision for migration in done.applied] == due
    assert done.moved == ["old"]
    assert examine(settings, no_airflow).well
    again = upgrade_catalog(catalog, now=after(10))
    assert (again.applied, again.moved) == ([], [])


def test_a_database_without_tables_is_not_made_by_looking(empty_url: str, tmp_path: Path) -> None:
    seen = examine(Settings(home=tmp_path, catalog_url=empty_url), no_airflow)

    assert found(seen, "schema") == [(Level.OPERATOR, "the catalog has no tables yet")]
    assert (seen.revision, seen.live, len(seen.due)) == (None, None, 11)
    assert not (tmp_path / "new").exists()


def test_a_catalog_of_a_newer_release_is_left_alone(
    catalog: Catalog, settings: Settings, url: str, store: LocalStore
) -> None:
    run_sql(url, text("UPDATE alembic_version SET version_num = '9999'"))

    seen = examine(settings, no_airflow)

    ((level, said),) = found(seen, "schema")
    assert level is Level.OPERATOR
    assert "revision 9999, which this release does not know" in said
    for change in (catalog.migrate, lambda: take_catalog_back(catalog, store)):
        with pytest.raises(ConfigurationError, match="revision 9999, which this release does not know"):
            change()


def test_a_batch_of_a_newer_release_or_an_unknown_pipeline_is_for_an_operator(
    catalog: Catalog, settings: Settings, url: str
) -> None:
    catalog.batches.accept(a_batch("newer", "a"), pipeline_version=NEWEST + 1, now=NOW)
    for number in range(6):
        accept(catalog, f"gone{number}", "a")
    run_sql(url, update(batches).where(batches.c.batch_id.like("gone%")).values(pipeline="theirs"))

    seen = examine(settings, no_airflow)

    ((level, said),) = found(seen, "batches")
    assert (seen.well, level) == (False, Level.OPERATOR)
    assert said.startswith("of a pipeline or version that this release does not have: gone0 (theirs v3), ")
    assert said.endswith(" and 2 more")


def test_runs_of_another_version_begin_again_by_themselves(catalog: Catalog, settings: Settings, url: str) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    run_sql(url, update(titles).where(titles.c.title_id == "a").values(run_format=FORMAT - 1))

    seen = examine(settings, no_airflow)

    assert seen.well
    assert found(seen, "runs") == [(Level.WARNING, "1 were begun by another version")]
    assert seen.live is not None
    assert [(run.format, run.titles) for run in seen.live.runs] == [(FORMAT - 1, 1), (FORMAT, 1)]


def test_an_airflow_that_does_not_run_is_no_fault(settings: Settings) -> None:
    for connect in (no_airflow, lambda: AirflowApi("http://127.0.0.1:1", "callsheet", "x", timeout_s=1)):
        seen = examine(settings, connect)

        ((level, said),) = found(seen, "airflow")
        assert (seen.well, level) == (True, Level.WARNING)
        assert said.startswith("not reachable: ")


def test_an_airflow_of_another_version_or_that_is_not_well_is(settings: Settings, airflow: AirflowServer) -> None:
    airflow.version = "3.2.0"
    airflow.health["triggerer"] = {"status": None}
    airflow.plugin = {"healthy": False, "checks": {"plugin": "ok", "bundle": "no CatalogDagBundle"}}

    seen = examine(settings, airflow.api)

    assert not seen.well
    tested = PACKAGES["apache-airflow"]
    assert found(seen, "airflow") == [
        (Level.OPERATOR, f"3.2.0, tested with {tested}"),
        (Level.OPERATOR, "not healthy: triggerer"),
    ]
    assert found(seen, "plugin: bundle") == [(Level.OPERATOR, "no CatalogDagBundle")]


def test_an_airflow_without_the_plugin_or_with_another_password_is(settings: Settings, airflow: AirflowServer) -> None:
    airflow.html.add("/callsheet/api/v1/health")

    ((level, said),) = found(examine(settings, airflow.api), "plugin")
    assert (level, "did Callsheet's plugin load?" in said) == (Level.OPERATOR, True)
    ((level, said),) = found(examine(settings, lambda: airflow.api("wrong")), "airflow")
    assert (level, "refused the account 'callsheet'" in said) == (Level.OPERATOR, True)


def test_a_missing_tool_is_for_an_operator_and_another_build_is_told(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "packager"
    other.write_text("#!/bin/sh\necho packager version v2.6.1-release\n")
    other.chmod(0o755)
    mine = settings.model_copy(update={"ffmpeg": "/nowhere/ffmpeg", "packager": str(other)})

    seen = examine(mine, no_airflow)

    ((level, said),) = found(seen, "ffmpeg")
    assert (seen.well, level) == (False, Level.OPERATOR)
    assert "CALLSHEET_FFMPEG: '/nowhere/ffmpeg' is not an executable" in said
    ((level, said),) = found(seen, "packager")
    assert (level, said[:8]) == (Level.WARNING, "v2.6.1-r")
    assert found(seen, "ffprobe") == [(Level.OK, tools.ffprobe_version(settings))]


def test_packages_that_are_not_the_tested_ones_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {**PACKAGES, "alembic": "0.0.1", "no-such-package": "1.0"})

    seen = examine(settings, no_airflow)

    assert not seen.well
    assert found(seen, "packages") == [
        (Level.OPERATOR, f"alembic {PACKAGES['alembic']}, tested with 0.0.1"),
        (Level.OPERATOR, "no-such-package missing, tested with 1.0"),
    ]


def test_a_store_that_takes_nothing_is_for_an_operator(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    mine = settings.model_copy(update={"store_uri": f"file://{tmp_path}/file/store"})

    seen = examine(mine, no_airflow)

    assert (seen.well, [level for level, _ in found(seen, "store")]) == (False, [Level.OPERATOR])


def test_a_database_that_does_not_answer_is_one_finding_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    nobody = Settings(home=tmp_path, catalog_url="postgresql+psycopg://user:hunter2@127.0.0.1:1/callsheet")
    (tmp_path / "text.db").write_text("not a database, and long enough to be seen as none" * 50)

    for settings in (nobody, nobody.model_copy(update={"catalog_url": f"sqlite:///{tmp_path / 'text.db'}"})):
        seen = examine(settings, no_airflow)

        assert Level.OPERATOR in [level for level, _ in found(seen, "database")]
        assert "hunter2" not in seen.to_json()
        assert {"store", "airflow", "ffmpeg"} <= set(levels(seen))


@pytest.mark.usefixtures("with_own_tables")
def test_the_catalog_goes_back_to_the_release_before_with_all_that_is_in_it_and_forth_again(
    catalog: Catalog, store: LocalStore
) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    before = catalog.titles.find()

    done = take_catalog_back(catalog, store)

    assert (done.release, done.revision) == ("0.1.0", RELEASES["0.1.0"])
    assert [migration.revision for migration in done.undone] == ["0011", "0010", "0009", "0008", "0007", "0006", "0005"]
    assert (done.under_way, done.by_themselves) == (["spring/a", "spring/b"], False)
    assert catalog.revisions.current() == RELEASES["0.1.0"]
    with pytest.raises(ConfigurationError, match="no release before it"):
        take_catalog_back(catalog, store)
    upgrade_catalog(catalog, now=after(9))
    told = {"run_format": 1}
    assert catalog.titles.find() == [title.model_copy(update=told) for title in before]


def test_going_back_leaves_runs_under_way_nothing_that_the_release_before_may_not_read(
    catalog: Catalog, store: LocalStore
) -> None:
    accept(catalog, "spring", "a")
    title = start(catalog, "spring/a").job()
    kept = [f"{title.work}/first_publish.json", f"{title.work}/publish.json", f"{title.work}/renditions/h264_144p.mp4"]
    gone = [result_key(title, "inspect"), result_key(title, "plan"), result_key(title, "encode", "h264_144p")]
    for key in (*kept, *gone):
        store.put_bytes(key, b"{}")

    take_catalog_back(catalog, store)

    assert sorted(f"{title.work}/{name}" for name in store.list(title.work)) == kept


@pytest.mark.parametrize(("tables", "undone"), [("0011", 0), ("0006", 5), ("0005", 6)])
def test_the_release_before_may_have_the_same_tables_and_has_the_runs_begin_again_by_itself(
    tables: str, undone: int, catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "RELEASES", {"0.1.0": "0004", "0.2.0": tables, "0.3.0": "0011"})
    monkeypatch.setattr(upgrade, "VERSION", "0.3.0")
    accept(catalog, "spring", "a", "b", "c")
    title = start(catalog, "spring/a").job()
    store.put_bytes(result_key(title, "plan"), b"{}")
    catalog.titles.settle("spring/b", State.FAILED, now=after(5))

    done = take_catalog_back(catalog, store)

    assert (done.release, done.revision, done.by_themselves) == ("0.2.0", tables, tables >= "0006")
    assert (len(done.undone), done.under_way) == (undone, ["spring/a", "spring/c"])
    assert store.list(title.work) == {}
    catalog.migrate()
    assert {each.request_id for each in catalog.titles.outdated()} == {"spring/a", "spring/c"}


def test_going_back_takes_from_requests_what_the_release_before_does_not_know(
    catalog: Catalog, store: LocalStore, url: str
) -> None:
    subtitles = [{"uri": "file:///a.srt", "language": "en", "label": "English", "forced": True}]
    source = {"programme": 2, "width": 720}
    conf = {
        "batch_id": "new",
        "titles": [
            {"title_id": "a", "mezzanine": "file:///a.ts", "source": source, "subtitles": subtitles},
            {"title_id": "b", "mezzanine": "file:///b.ts"},
        ],
    }
    catalog.batches.accept(parse_batch(conf, pipelines=frozenset({"vod"})), pipeline_version=NEWEST, now=NOW)

    done = take_catalog_back(catalog, store)

    assert done.simplified == ["new/a"]
    with create_engine(url, poolclass=NullPool).connect() as connection:
        kept = {row.title_id: row.request for row in connection.execute(select(titles.c.title_id, titles.c.request))}
    assert kept["a"]["source"] == {"width": 720}
    assert kept["a"]["subtitles"] == [{"uri": "file:///a.srt", "language": "en"}]
    assert (kept["b"]["source"], kept["b"]["subtitles"], kept["b"]["territories"]) == ({}, [], [])


@pytest.mark.usefixtures("with_own_tables")
def test_a_catalog_between_two_releases_goes_back_to_the_older_one(catalog: Catalog, store: LocalStore) -> None:
    accept(catalog)
    catalog.revisions.go_back("0005")

    done = take_catalog_back(catalog, store)

    assert (done.release, [migration.revision for migration in done.undone]) == ("0.1.0", ["0005"])


def test_a_catalog_that_is_not_there_cannot_go_back(empty_url: str, store: LocalStore) -> None:
    with pytest.raises(ConfigurationError, match="revision none: there is no release before it"):
        take_catalog_back(Catalog(empty_url), store)


def test_releases_name_revisions_in_their_order_and_the_newest_is_this_one(catalog: Catalog) -> None:
    order = [migration.revision for migration in catalog.revisions.known()]

    assert sorted(RELEASES.values(), key=order.index) == list(RELEASES.values())
    assert (list(RELEASES)[-1], RELEASES[VERSION]) == (VERSION, order[-1])


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({}, Level.WARNING, "without one: bubblewrap is not installed"),
        (
            {"runtime": "kubernetes", "worker_image": "worker:1", "store_uri": "s3://bucket/store"},
            Level.OK,
            "run in pods",
        ),
        ({"worker_socket": "/run/callsheet/worker.sock"}, Level.OK, "run in the workers' container"),
    ],
)
def test_where_tools_run_in_a_container_of_their_own_no_sandbox_is_missed(
    changes: dict[str, Any], level: Level, says: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "missing", lambda settings: "bubblewrap is not installed")

    found = doctor._sandbox(settings.model_copy(update=changes))

    assert (found.level, says in found.said) == (level, True)
