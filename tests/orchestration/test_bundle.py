"""Stub files: written from the catalog, left alone while they are right, removed with their batch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import include
from include.adapters.catalog import Catalog, Stub
from include.base.settings import Settings
from include.domain.title.request import parse_batch
from include.domain.title.title import State
from include.orchestration import bundle
from include.orchestration.bundle import CatalogDagBundle, stub_text, write_stubs
from tests.orchestration.lab import NOW

ROOT = Path(next(iter(include.__path__))).parent


def stub(batch_id: str, *, version: int = 1) -> Stub:
    return Stub(batch_id=batch_id, pipeline="vod", pipeline_version=version)


def traces(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_each_batch_has_one_file_and_none_of_it_is_left_over(tmp_path: Path) -> None:
    write_stubs(tmp_path / "new", lambda: [stub("one"), stub("two")])

    assert set(traces(tmp_path / "new")) == {"batch_one.py", "batch_two.py"}


def test_a_file_that_is_right_is_not_touched(tmp_path: Path) -> None:
    write_stubs(tmp_path, lambda: [stub("one"), stub("two")])
    before = traces(tmp_path)

    write_stubs(tmp_path, lambda: [stub("one"), stub("two"), stub("three")])

    assert before.items() <= traces(tmp_path).items()
    assert len(traces(tmp_path)) == 3


def test_a_file_that_is_wrong_is_replaced_whole(tmp_path: Path) -> None:
    write_stubs(tmp_path, lambda: [stub("one"), stub("two")])
    before = traces(tmp_path)
    (tmp_path / "batch_two.py").write_text("half a fi")

    write_stubs(tmp_path, lambda: [stub("one"), stub("two")])

    after = traces(tmp_path)
    assert before["batch_one.py"] == after["batch_one.py"]
    assert (tmp_path / "batch_two.py").read_text() == stub_text(stub("two"))


def test_a_retired_batch_loses_its_file_and_a_foreign_file_stays(tmp_path: Path) -> None:
    write_stubs(tmp_path, lambda: [stub("one"), stub("two")])
    (tmp_path / "somebody_elses.py").write_text("x = 1")

    write_stubs(tmp_path, lambda: [stub("two")])

    assert set(traces(tmp_path)) == {"batch_two.py", "somebody_elses.py"}


def test_a_deploy_touches_every_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stubs(tmp_path, lambda: [stub("one")])
    before = traces(tmp_path)
    monkeypatch.setattr(bundle, "code_fingerprint", lambda: "0123456789ab")

    write_stubs(tmp_path, lambda: [stub("one")])

    assert before != traces(tmp_path)
    assert "0123456789ab" in (tmp_path / "batch_one.py").read_text()


def test_the_fingerprint_of_the_code_is_that_of_its_files() -> None:
    bundle.code_fingerprint.cache_clear()
    first = bundle.code_fingerprint()
    bundle.code_fingerprint.cache_clear()

    assert first == bundle.code_fingerprint()
    assert len(first) == 12


NASTY = ["'''", '"""', "\n\nimport os", "\\", "{code}", "\x0c", "\u2028", "\ud800"]


@given(
    batch_id=st.text(st.characters(), max_size=40) | st.sampled_from(NASTY),
    pipeline=st.text(max_size=40) | st.sampled_from(NASTY),
    version=st.integers(-(2**40), 2**40),
)
def test_whatever_the_ids_are_they_stay_values(batch_id: str, pipeline: str, version: int) -> None:
    text = stub_text(Stub.model_construct(batch_id=batch_id, pipeline=pipeline, pipeline_version=version))

    text.encode()
    tree = ast.parse(text)
    importing, assigning = tree.body
    assert isinstance(importing, ast.ImportFrom)
    assert importing.module == "include.orchestration.factory"
    assert isinstance(assigning, ast.Assign)
    assert isinstance(assigning.value, ast.Call)
    assert ast.unparse(assigning.value.func) == "batch_dag"
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in assigning.value.keywords}
    assert given == {"batch_id": batch_id, "pipeline": pipeline, "pipeline_version": version}


def test_airflows_safe_mode_reads_a_stub() -> None:
    text = stub_text(stub("one")).lower()

    assert "airflow" in text
    assert "dag" in text


def test_the_bundle_says_what_the_catalog_says(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    conf = {"batch_id": "spring", "titles": [{"title_id": "alpha", "mezzanine": "file:///a.mov"}]}
    catalog.batches.accept(parse_batch(conf, pipelines=frozenset({"vod"})), pipeline_version=1, now=NOW)
    dags = CatalogDagBundle(name="batches", refresh_interval=2)
    dags.initialize()

    assert set(traces(dags.path)) == {"batch_spring.py"}
    assert dags.get_current_version() is None
    for title in catalog.titles.claim(window=1, now=NOW, claimant="t"):
        catalog.titles.mark_released(title.request_id, claimant="t", run_id=title.run_id or "", now=NOW)
        catalog.titles.settle(title.request_id, State.FAILED, now=NOW)
    assert catalog.batches.retire("spring", NOW)
    dags.refresh()
    assert traces(dags.path) == {}


def test_processes_that_refresh_at_once_end_with_the_same_files(settings: Settings, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from include.adapters.catalog import Stub
from include.orchestration.bundle import write_stubs
stubs = [Stub(batch_id=f"b{n}", pipeline="vod", pipeline_version=1) for n in range(200)]
sys.stdin.readline()
for _ in range(5):
    write_stubs(Path(sys.argv[1]), lambda: stubs)
"""
    folder = tmp_path / "shared"
    folder.mkdir()
    for number in range(100):
        (folder / f"batch_old{number}.py").write_text("stale")
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT)}) for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()

    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert set(traces(folder)) == {f"batch_b{number}.py" for number in range(200)}
    for path in folder.iterdir():
        last = path.read_text().splitlines()[-1]
        assert f"batch_dag(batch_id={path.stem.removeprefix('batch_')!r}, pipeline='vod'" in last
