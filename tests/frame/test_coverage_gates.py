"""The gates of coverage: what is not reached is named, file by file or all together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.coverage_gates import GATES, ROOT, Gate, shortfalls

HALF = """
def half(reached: bool) -> int:
    if reached:
        return 1
    return 2


half(True)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coverage of a run of two files: of one everything was reached, of the other half."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "half.py").write_text(HALF)
    (folder / "all.py").write_text("import half\n\nprint(half)\n")
    argv = [sys.executable, "-m", "coverage", "run", "--branch", f"--data-file={folder / 'data'}", "all.py"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder


def found(measured: Path, monkeypatch: pytest.MonkeyPatch, *gates: Gate) -> list[str]:
    monkeypatch.chdir(measured)
    return shortfalls(measured / "data", gates)


def test_a_file_below_its_gate_is_named_with_what_it_has(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(what="halves", files=("*.py",), lines=100, branches=100, each=True)

    said = found(measured, monkeypatch, gate)

    assert said == [
        "coverage of halves: half.py: 80.00 % of the lines, wanted 100 %",
        "coverage of halves: half.py: 50.00 % of the branches, wanted 100 %",
    ]


def test_together_a_good_file_makes_up_for_another(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(measured, monkeypatch, Gate(what="both", files=("*.py",), lines=80)) == []
    assert found(measured, monkeypatch, Gate(what="both", files=("*.py",), lines=90)) == [
        "coverage of both: *.py: 85.71 % of the lines, wanted 90 %"
    ]


def test_a_gate_that_names_no_file_is_no_gate(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match=r"coverage of nothing: no file was measured that is called moved/\*"):
        found(measured, monkeypatch, Gate(what="nothing", files=("moved/*",), lines=1))


def test_every_gate_names_files_that_exist() -> None:
    missing = [
        pattern for gate in GATES for pattern in gate.files if not list(ROOT.glob(pattern.replace("/*", "/**/*.py")))
    ]

    assert missing == []
