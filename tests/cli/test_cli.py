"""``callsheet`` against its real API: JSON alone on stdout, prose on stderr, failures by exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.cli import app as cli
from include.cli import client
from include.cli.app import app
from tests.catalog.samples import NOW
from tests.clips import Clips

TITLE = {"title_id": "good-one", "mezzanine": "file:///folder-of-other-machines/a.mov"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_S", 0.01)


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def request_file(folder: Path, *titles: dict[str, Any], batch_id: str = "spring", **fields: Any) -> str:
    path = folder / f"{batch_id}.json"
    path.write_text(json.dumps({"batch_id": batch_id, "titles": list(titles or (TITLE,)), **fields}))
    return str(path)


def main(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The entry point as the shell calls it; its exit code."""
    monkeypatch.setattr(sys, "argv", ["callsheet", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_a_request_is_submitted_and_what_was_refused_is_said(server: str, tmp_path: Path) -> None:
    file = request_file(tmp_path, TITLE, {"title_id": "bad", "mezzanine": "ftp://x"})

    done = call("submit", file)

    assert (done.exit_code, done.stdout) == (0, "")
    assert "refused bad: mezzanine: must start with" in done.stderr.replace("\n", " ")
    assert "batch spring: 1 titles accepted, 1 refusals" in done.stderr


def test_for_machines_a_submission_is_one_json_document(server: str, tmp_path: Path) -> None:
    done = call("submit", request_file(tmp_path), "--json")

    assert json.loads(done.stdout)["batch_id"] == "spring"
    again = call("submit", request_file(tmp_path), "--json")
    assert again.exit_code == 0


def test_a_request_may_come_from_stdin_and_be_watched_to_its_end(server: str) -> None:
    text = json.dumps({"batch_id": "piped", "titles": [TITLE]})

    done = call("submit", "-", "--watch", "--json", stdin=text)

    assert done.exit_code == 0
    (title,) = json.loads(done.stdout)
    assert title["state"] == "published"
    assert "piped/good-one: published" in done.stderr


def test_a_title_that_fails_is_a_failure_of_the_watcher(server: str, tmp_path: Path) -> None:
    done = call("submit", request_file(tmp_path, TITLE, {**TITLE, "title_id": "broken"}), "--watch")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert "x264 fell over" in done.stderr


def test_a_degraded_title_is_none(server: str, tmp_path: Path) -> None:
    assert call("submit", request_file(tmp_path, {**TITLE, "title_id": "degraded"}), "--watch").exit_code == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ("{}", "batch_id: Field required"),
        ('{"batch_id": "x", "titles": [], "pipeline": "nope"}', "titles: "),
        ('{"batch_id": "x", "titles": [{"title_id": "a", "mezzanine": "file:///x"}], "pipeline": "nope"}',
         "no pipeline of this name is registered"),
    ],
)  # fmt: skip
def test_a_bad_request_is_one_line_and_exit_code_1(
    text: str, complaint: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "bad.json").write_text(text)
    if text == "{}":
        complaint = "its log in Airflow's UI says why"

    assert main("submit", str(tmp_path / "bad.json"), monkeypatch=monkeypatch) == 1

    said = capfd.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert line.startswith("callsheet: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("submit", "/nowhere.json"), "/nowhere.json: No such file or directory"),
        (("status", "nobody"), "no batch and no title has the id 'nobody'"),
        (("status", "a/b/c"), "'a/b/c' is not an id"),
        (("status", "x\n"), "is not an id"),
        (("watch", "../x"), "is not an id"),
        (("replay", "no/body"), "no request no/body"),
        (("submit", "/"), "/: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(
    arguments: tuple[str, ...], complaint: str, server: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(*arguments, monkeypatch=monkeypatch) == 1

    said = capfd.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert complaint in line


def test_without_a_callsheet_the_way_to_one_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CALLSHEET_API_URL", raising=False)
    assert main("status", "x", monkeypatch=monkeypatch) == 1
    assert "start one with `make up`" in capfd.readouterr().err

    monkeypatch.setenv("CALLSHEET_API_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("CALLSHEET_API_USER", raising=False)
    assert main("status", "x", monkeypatch=monkeypatch) == 1
    assert "CALLSHEET_API_PASSWORD too" in capfd.readouterr().err

    monkeypatch.setenv("CALLSHEET_API_USER", "x")
    monkeypatch.setenv("CALLSHEET_API_PASSWORD", "topsecret")
    assert main("status", "x", monkeypatch=monkeypatch) == 1
    said = capfd.readouterr().err
    assert "did not answer" in said
    assert "topsecret" not in said


def test_the_state_of_a_batch_or_a_title_is_a_table_or_json(server: str, tmp_path: Path) -> None:
    call("submit", request_file(tmp_path))

    assert "good-one" in call("status", "spring").stdout
    assert "640×360" in call("status", "spring", "--wide").stdout
    assert "640×360" in call("status", "good-one").stdout
    assert json.loads(call("status", "spring", "--json").stdout)["counts"] == {"published": 1}
    for name in ("good-one", "spring/good-one"):
        assert json.loads(call("status", name, "--json").stdout)["request_id"] == "spring/good-one"


def test_a_watcher_of_a_settled_title_is_done_at_once(server: str, tmp_path: Path) -> None:
    call("submit", request_file(tmp_path))

    done = call("watch", "good-one", "--json")

    assert (done.exit_code, json.loads(done.stdout)[0]["version"]) == (0, 1)


def test_dead_letters_say_whose_fault_it_was_and_how_to_try_again(server: str, tmp_path: Path) -> None:
    call("submit", request_file(tmp_path, {**TITLE, "title_id": "broken"}))

    said = call("dead-letters").stderr
    assert "spring/broken  EncoderCrashed (owner: encoder)" in said
    assert "callsheet replay spring/broken" in said
    (letter,) = json.loads(call("dead-letters", "--json").stdout)
    assert letter["error"]["stderr_tail"] == "boom"
    assert call("dead-letters", "--limit", "0").exit_code == 2


def test_a_settled_title_is_replayed_and_an_open_one_is_not(server: str, tmp_path: Path) -> None:
    call("submit", request_file(tmp_path, TITLE, {**TITLE, "title_id": "slow"}))

    done = call("replay", "good-one", "--watch", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)[0]["request_id"] == "spring-replay1/good-one"
    assert json.loads(call("replay", "spring/good-one", "--json").stdout)["batch_id"] == "spring-replay2"
    refused = call("replay", "slow")
    assert refused.exit_code == 1
    assert "only a settled title can be replayed" in str(refused.exception)


def test_the_webhooks_of_a_title_are_sent_again(
    server: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "signed")
    call("submit", request_file(tmp_path, callback_url="https://8.8.8.8/hook"))
    sent = catalog.outbox.of_request("spring/good-one")
    assert sent
    for row in sent:
        catalog.outbox.delivered(row.id, NOW)

    done = call("resend", "good-one")

    assert (done.exit_code, done.stdout) == (0, "")
    assert f"{len(sent)} webhooks are queued" in done.stderr
    again = catalog.outbox.of_request("spring/good-one")
    assert {row.state for row in again} == {"pending"}
    assert [row.event_id for row in again] == [row.event_id for row in sent]


def test_a_catalog_is_brought_to_this_versions_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_HOME", str(tmp_path / "fresh"))

    done = call("migrate")

    *applied, last = done.stderr.splitlines()
    assert (done.exit_code, done.stdout, last) == (0, "", "the catalog is up to date")
    assert [line.split(":")[0] for line in applied][::7] == ["migration 0001 applied", "migration 0008 applied"]
    assert call("migrate").stderr == "the catalog is up to date\n"
    assert Catalog(f"sqlite:///{tmp_path / 'fresh' / 'catalog.db'}").batches.stubs() == []


def test_a_home_that_migrating_makes_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "new" / "fresh"
    monkeypatch.setenv("CALLSHEET_HOME", str(home))
    was = os.umask(0o022)
    try:
        assert call("migrate").exit_code == 0
        with Catalog(f"sqlite:///{home / 'catalog.db'}").database.write():
            rights = {path.name: oct(path.stat().st_mode & 0o777) for path in (home, *home.iterdir())}
    finally:
        os.umask(was)

    assert rights.pop("fresh") == "0o700"
    assert {"catalog.db", "catalog.db-wal", "catalog.db.lock"} <= set(rights)
    assert set(rights.values()) == {"0o600"}


def test_one_file_is_encoded_from_where_mezzanines_may_lie(
    server: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", str(tmp_path / "allowed"))
    file = tmp_path / "good Ω clip!.mov"
    file.write_bytes(b"film")

    done = call("encode", str(file), "--tier", "ugc", "--publish-at", "2100-01-01T00:00:00+01:00", "--json")

    assert done.exit_code == 0
    (title,) = catalog.titles.find()
    assert title.title_id == "good-clip"
    assert title.request.tier == "ugc"
    assert str(title.deadline) == "2099-12-31 23:00:00+00:00"
    copy = Path(title.request.mezzanine.removeprefix("file://"))
    assert copy.parent == tmp_path / "allowed" / "callsheet-encode"
    assert copy.samefile(file), "no second copy of the bytes where a link will do"
    assert call("encode", str(tmp_path / "none.mov")).exit_code == 2
    assert call("encode", str(file), "--publish-at", "2100-01-01T00:00:00").exit_code == 2


def test_a_file_beneath_a_root_is_encoded_where_it_lies(
    server: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", f"{tmp_path / 'first'},{tmp_path / 'second'}")
    file = tmp_path / "second" / "deep" / "good.mov"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"film")

    assert call("encode", str(file), "--json").exit_code == 0

    (title,) = catalog.titles.find()
    assert title.request.mezzanine == file.as_uri()
    assert not (tmp_path / "first").exists()


def test_a_file_that_nobody_takes_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", str(tmp_path / "allowed"))
    monkeypatch.setenv("CALLSHEET_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CALLSHEET_API_USER", "nobody")
    monkeypatch.setenv("CALLSHEET_API_PASSWORD", "nothing")
    file = tmp_path / "good.mov"
    file.write_bytes(b"film")

    assert call("encode", str(file)).exit_code != 0

    assert [path for path in (tmp_path / "allowed").rglob("*") if path.is_file()] == []


def test_a_file_without_a_single_plain_letter_has_a_name_too(server: str, tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "Ω.mov"
    file.write_bytes(b"film")

    call("encode", str(file))

    assert [title.title_id for title in catalog.titles.find()] == ["title"]


def test_the_schema_is_json(settings: Settings) -> None:
    assert json.loads(call("schema").stdout)["title"] == "Callsheet batch request"


def test_one_file_is_planned_without_airflow_and_nothing_is_left(
    settings: Settings, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(settings.home.rglob("*"))

    done = call("plan", str(clips("planned.mp4", seconds=1)), "--tier", "ugc")

    found = json.loads(done.stdout)
    assert {"inspect", "analyse", "plan"} <= set(found)
    first, second = found["plan"]["jobs"]
    assert first["name"] == "h264_144p"
    assert second["rendition"]["height"] == 180
    assert set(settings.home.rglob("*")) == before


def test_a_plan_of_an_unknown_pipeline_or_no_video_is_one_line(settings: Settings, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")

    for arguments, complaint in ((("--pipeline", "nope"), "no pipeline 'nope'"), ((), "Invalid file type")):
        # A process of its own: Airflow, where a test has imported it, logs to stdout.
        argv = [sys.executable, "-m", "include.cli.app", "plan", str(text), *arguments]
        said = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert said.returncode == 1
        assert said.stdout == ""
        assert complaint in said.stderr.strip().splitlines()[-1]


def test_the_report_of_many_jobs_is_one_json_document(server: str, tmp_path: Path, settings: Settings) -> None:
    video = tmp_path / "v.mov"
    video.write_bytes(b"film")

    done = call("bench", "--video", str(video), "--jobs", "5", "--concurrent", "2")

    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert (report["jobs"], report["succeeded"], report["success_rate"], report["concurrent"]) == (5, 5, 1.0, 2)
    for latency in ("intake_latency_s", "processing_latency_s"):
        found = report[latency]
        assert set(found) == {"min", "max", "mean", "p50", "p95"}
        assert found["min"] <= found["p50"] <= found["p95"] <= found["max"]
    assert "5/5: " in done.stderr
    assert list(settings.mezzanine_roots[0].iterdir()) == []
    written = call("bench", "--video", str(video), "--jobs", "1", "--output", str(tmp_path / "report.json"))
    assert written.stdout == ""
    assert json.loads((tmp_path / "report.json").read_text())["jobs"] == 1


def test_the_stack_is_stopped_or_was_not_running(settings: Settings) -> None:
    done = call("down")

    assert (done.exit_code, done.stderr.strip()) == (0, "nothing was running")


COMMANDS = [
    "submit",
    "status",
    "watch",
    "replay",
    "encode",
    "plan",
    "schema",
    "dead-letters",
    "up",
    "down",
    "configure",
    "doctor",
    "migrate",
    "demo",
    "bench",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = call(command, "--help")

    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_the_installed_command_lists_its_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "include.cli.app", "--help"], capture_output=True, text=True, check=True
    )

    assert all(command in done.stdout for command in COMMANDS)
    assert done.stderr == ""


def test_a_store_is_not_touched_by_looking(server: str, settings: Settings) -> None:
    call("status", "nobody")

    assert LocalStore(settings.home / "store").list("titles") == {}
