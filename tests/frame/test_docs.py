from __future__ import annotations

from pathlib import Path

import pytest

from include.cli import docs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project by links, with docs of its own."""
    (tmp_path / "dags").symlink_to(docs.ROOT / "dags")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "TARGET", tmp_path / "docs" / "DAGs.md")
    return tmp_path / "docs" / "DAGs.md"


def test_a_written_file_is_fresh_and_a_changed_one_is_stale(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 1
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    place.write_text(place.read_text() + "by hand")
    assert docs.main(["--check"]) == 1
    assert "docs/DAGs.md is stale: run `make docs`" in capsys.readouterr().err


def test_every_dag_and_every_task_of_every_pipeline_is_told() -> None:
    text = docs.render()

    for name in ("intake", "dispatch", "housekeeping", "batch__<batch_id>"):
        assert f"## `{name}`" in text
    assert text.count("**If it fails**") == 3
    for pipeline in ("`vod` v3", "`vod-download` v3"):
        assert f"### Pipeline {pipeline}" in text
    assert "| `encode` (mapped over the plan's jobs, by pool: `encode_cpu`, `encode_gpu`) | worker | `prepare`" in text
    assert "| `prepare` | worker | — | all_success |" in text
