"""``callsheet doctor`` and ``callsheet migrate``: what they say, and their exit codes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from include.adapters.catalog import Catalog
from include.base.release import RELEASES, VERSION
from include.base.settings import Settings
from include.cli.app import app
from include.cli.console import show_examination
from include.local import stack
from include.local.processes import start_time
from include.pipelines.core import current_pipelines
from include.services import upgrade
from include.services.doctor import examine
from tests.catalog.samples import NOW, a_batch, accept, start
from tests.orchestration.airflow_server import PASSWORD, AirflowServer

OLD = current_pipelines()["vod"].version - 1


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def well(airflow: AirflowServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AirflowServer:
    """A whole deployment; the command line is told of it."""
    for name, value in {"URL": airflow.origin, "USER": "callsheet", "PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(f"CALLSHEET_API_{name}", value)
    return airflow


def test_the_doctor_ends_with_0_where_all_is_well_and_machines_get_one_document(well: AirflowServer) -> None:
    done = call("doctor", "--json")

    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["version"], found["well"], found["revision"], found["due"]) == (VERSION, True, RELEASES[VERSION], [])
    assert {finding["level"] for finding in found["findings"]} == {"ok"}
    shown = call("doctor")
    assert (shown.exit_code, shown.stdout.rstrip().splitlines()[-1]) == (0, "all is well")


def test_the_doctor_ends_with_1_where_an_operator_is_needed(
    well: AirflowServer, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(catalog, "spring", "a")
    monkeypatch.setenv("CALLSHEET_FFMPEG", "/nowhere/ffmpeg")
    well.version = "3.1.0"

    done = call("doctor", "--json")

    found = json.loads(done.stdout)
    assert (done.exit_code, found["well"], found["live"]["titles"]) == (1, False, {"waiting": 1})
    wrong = {finding["about"] for finding in found["findings"] if finding["level"] == "operator"}
    assert wrong == {"ffmpeg", "airflow"}
    assert call("doctor").stdout.rstrip().endswith("2 for an operator to do")


def test_a_stack_that_is_down_is_only_told(settings: Settings) -> None:
    done = call("doctor", "--json")

    (found,) = [finding for finding in json.loads(done.stdout)["findings"] if finding["about"] == "airflow"]
    assert (done.exit_code, found["level"]) == (0, "warning")
    assert "no Callsheet to talk to: start one with `make up`" in found["said"]


def test_what_the_doctor_found_fits_eighty_columns(settings: Settings, catalog: Catalog, well: AirflowServer) -> None:
    accept(catalog, "spring", "a")
    start(catalog, "spring/a")
    for number in range(9):
        catalog.batches.accept(a_batch(f"{'x' * 60}{number}", "a"), pipeline_version=OLD, now=NOW)
    catalog.revisions.go_back("0004")
    out = io.StringIO()

    show_examination(examine(settings, well.api), Console(file=out, width=80))

    text = out.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    for part in (
        f"Callsheet {VERSION}: vod v3",
        f"live batches: 9 of vod v{OLD}, 1 of vod v3", "their titles: 9 waiting, 1 running",
        "runs under way: 1, begun by a version that did not note which", "at revision 0004; due: 0005, 0006, 0007",
        "→ callsheet migrate", "and 4 more",
    ):  # fmt: skip
        assert part in text, part


def test_migrating_says_what_it_did(settings: Settings, catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old", "a"), pipeline_version=OLD, now=NOW)
    catalog.revisions.go_back("0005")

    done = call("migrate")

    assert done.exit_code == 0
    assert "migration 0006 applied: Upgrades: " in done.stderr
    assert "under the newest version of their pipeline now: old\n" in done.stderr
    assert done.stderr.endswith("the catalog is up to date\n")


def test_going_back_says_what_was_undone_whom_the_catalog_fits_and_which_runs_are_to_be_cleared(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "RELEASES", {"0.1.0": "0004", "0.2.0": "0011"})
    monkeypatch.setattr(upgrade, "VERSION", "0.2.0")
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")

    done = call("migrate", "--back")

    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "migration 0011 undone",
        "migration 0010 undone",
        "migration 0009 undone",
        "migration 0008 undone",
        "migration 0007 undone",
        "migration 0006 undone",
        "migration 0005 undone",
        "the catalog is at revision 0004, as Callsheet 0.1.0 has it",
        "once the old version is up, clear their runs in Airflow, whole, so that they begin again",
    ]
    assert done.stderr.endswith(": spring/a, spring/b\n")
    assert catalog.revisions.current() == RELEASES["0.1.0"]


def test_going_back_to_a_release_with_the_same_tables_says_that_runs_begin_again(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "RELEASES", {"0.1.0": "0004", "0.2.0": "0011", "0.3.0": "0011"})
    monkeypatch.setattr(upgrade, "VERSION", "0.3.0")
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")

    done = call("migrate", "--back")

    assert done.stderr.splitlines() == [
        "the catalog is at revision 0011, as Callsheet 0.2.0 has it",
        "once the old version is up, these begin again within a minute or two: spring/a, spring/b",
    ]


def test_a_catalog_does_not_go_back_under_a_running_stack(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = {"pid": os.getpid(), "started": start_time(os.getpid()), "url": "http://127.0.0.1:1", "passwords": {}}
    (settings.home / "stack.json").write_text(json.dumps(me))

    done = call("migrate", "--back")

    assert done.exit_code == 1
    assert "`callsheet down` first" in str(done.exception)
    assert catalog.revisions.current() == RELEASES[VERSION]


def test_the_local_stack_moves_batches_before_it_starts(
    settings: Settings, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.batches.accept(a_batch("old", "a"), pipeline_version=OLD, now=NOW)
    catalog.revisions.go_back("0005")
    said: list[str] = []

    def no_more(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stack, "stack_secrets", no_more)
    with pytest.raises(KeyboardInterrupt):
        stack.up(settings, say=said.append)

    assert [line.partition(":")[0] for line in said] == [
        "migration 0006 applied",
        "migration 0007 applied",
        "migration 0008 applied",
        "migration 0009 applied",
        "migration 0010 applied",
        "migration 0011 applied",
        "under the newest version of their pipeline now",
    ]
    assert [stub.pipeline_version for stub in catalog.batches.stubs()] == [OLD + 1]


def test_title_ids_are_given_to_a_tenant(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    catalog.owners.give(["beta"], "acme", by="root", now=NOW)

    for arguments, said in (
        (("globex",), "nothing is given"),
        (("globex", "nobody"), "the catalog has no title 'nobody'"),
    ):
        assert said in str(call("give", *arguments).exception)
    assert call("give", "globex", "--without-owner").exit_code == 0
    assert [catalog.owners.of(name) for name in ("alpha", "beta")] == ["globex", "acme"]
    assert call("give", "globex", "beta").exit_code == 0
    assert catalog.owners.of("beta") == "globex"
