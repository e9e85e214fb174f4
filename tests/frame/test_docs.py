from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from include.base.release import PACKAGES, RELEASES, VERSION
from include.base.settings import Settings
from include.cli import docs, reference
from include.cli.app import app


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project by links, with docs of its own."""
    (tmp_path / "dags").symlink_to(docs.ROOT / "dags")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    return tmp_path / "docs"


@pytest.mark.parametrize("name", ["DAGs.md", "configuration.md", "commands.md"])
def test_a_written_file_is_fresh_and_a_changed_one_is_stale(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert docs.main(["--check"]) == 1
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    capsys.readouterr()
    (place / name).write_text((place / name).read_text() + "by hand")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == f"docs/{name} is stale: run `make docs`\n"


def test_every_dag_and_every_task_of_every_pipeline_is_told() -> None:
    text = docs.dags()

    for name in ("intake", "dispatch", "housekeeping", "proofs", "batch__<batch_id>"):
        assert f"## `{name}`" in text
    assert text.count("**If it fails**") == 4
    for pipeline in ("`vod` v3", "`vod-download` v3"):
        assert f"### Pipeline {pipeline}" in text
    assert "| `encode` (mapped over the plan's jobs, by pool: `encode_cpu`, `encode_gpu`) | worker | `prepare`" in text
    assert "| `prepare` | worker | — | all_success |" in text


def test_every_setting_is_told_with_default_bounds_and_meaning() -> None:
    text = reference.configuration()

    for name in Settings.model_fields:
        assert text.count(f"\n| `CALLSHEET_{name.upper()}` | ") == 1
    assert "| `CALLSHEET_RELEASE_WINDOW` | `4` | Titles that may have an active run at once. 1 to 200. |" in text
    assert "One of `local`, `kubernetes`." in text
    assert all(field.description for field in Settings.model_fields.values())


def test_every_command_is_told_with_its_arguments_and_options() -> None:
    text = reference.commands()

    for name in get_group(app).commands:
        assert f"\n### `callsheet {name}" in text
    assert "### `callsheet hold ID --why TEXT`" in text
    assert "| `--limit N` | Titles at most. 1 to 1000. Default: `50`. |" in text


def test_the_version_can_be_asked_for_and_is_that_of_the_project_and_of_the_changelogs_newest_heading() -> None:
    project = tomllib.loads((docs.ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## (\S+) – (\S+)$", (docs.ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    done = CliRunner().invoke(app, ["--version"])

    assert (done.exit_code, done.stdout) == (0, f"callsheet {project['version']}\n")
    assert project["version"] == headings[0][0]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in headings)
    assert list(RELEASES) == [version for version, _ in reversed(headings)]


def test_images_are_tagged_with_the_version() -> None:
    places = ("deploy/values.yaml", "deploy/gpu-node-pool.md", "docker/compose.yaml", "docs/deploy.md")
    for place in (*places, "docker/airflow.Dockerfile", "docker/worker.Dockerfile"):
        text = (docs.ROOT / place).read_text()
        tags = re.findall(r"(?:callsheet-(?:worker|airflow):|defaultAirflowTag: )([\w.-]+)", text)
        assert set(tags) == {VERSION}, place


def test_what_a_release_is_tested_with_is_what_its_requirements_pin() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (docs.ROOT / "requirements.txt").read_text(), flags=re.MULTILINE))

    assert {name: pins[name] for name in PACKAGES} == PACKAGES
