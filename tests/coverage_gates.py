"""What share of the code the tests must reach, by package. ``tests.run`` asks after a full run and fails below it."""

from __future__ import annotations

import fnmatch
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[1]
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
"""What coverage counts in a file."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The least share of some files' lines and branches."""

    what: str
    files: tuple[str, ...]
    """Patterns of paths from the project's root; a name ending in ``/*`` takes all beneath."""
    lines: float
    """Per cent."""
    branches: float = 0.0
    """Per cent of the branches alone."""
    each: bool = False
    """Whether every file must reach it by itself, not just all of them together."""


GATES = (
    Gate(
        what="value, priority, admission and their kin",
        files=("include/domain/order/*",),
        lines=100,
        branches=100,
        each=True,
    ),
    Gate(what="weights", files=("include/orchestration/weights.py",), lines=100, branches=100, each=True),
    Gate(what="deadlines", files=("include/orchestration/deadlines.py",), lines=100, branches=100, each=True),
    Gate(what="release", files=("include/services/release.py",), lines=100, branches=100, each=True),
    Gate(
        what="selection of recipes",
        files=("include/domain/recipe/*", "include/domain/plan/decide.py", "include/recipes/*"),
        lines=100,
        branches=100,
        each=True,
    ),
    Gate(what="planner", files=("include/domain/plan/*",), lines=95, branches=95),
    Gate(
        what="every module that schedules",
        files=("include/orchestration/*", "include/services/*", "include/domain/order/*"),
        lines=90,
        each=True,
    ),
    Gate(what="all of it", files=("include/*", "dags/*", "plugins/*", "ml/*"), lines=85),
)


def shortfalls(data_file: Path, gates: Sequence[Gate] = GATES) -> list[str]:
    """A sentence for each gate that was not reached; raises :class:`LookupError` for one that names no file.

    Args:
        data_file: What a run has measured, combined.
        gates: What is asked for.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        measured = coverage.Coverage(data_file=str(data_file), config_file=str(ROOT / "pyproject.toml"))
        measured.load()
        measured.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    counted = {name: Counter({key: known["summary"][key] for key in COUNTS}) for name, known in files.items()}
    found: list[str] = []
    for gate in gates:
        wanted = {
            name: counts
            for name, counts in counted.items()
            if any(fnmatch.fnmatch(name, pattern) for pattern in gate.files)
        }
        if not wanted:
            raise LookupError(f"coverage of {gate.what}: no file was measured that is called {', '.join(gate.files)}")
        groups = wanted if gate.each else {" and ".join(gate.files): sum(wanted.values(), Counter())}
        for name, counts in groups.items():
            for kind, reached, there_are, least in (
                ("lines", counts["covered_lines"], counts["num_statements"], gate.lines),
                ("branches", counts["covered_branches"], counts["num_branches"], gate.branches),
            ):
                share = 100.0 * reached / there_are if there_are else 100.0
                if share < least:
                    found.append(f"coverage of {gate.what}: {name}: {share:.2f} % of the {kind}, wanted {least:g} %")
    return found


def main(argv: list[str] | None = None) -> int:
    """Say what falls short in a data file; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    found = shortfalls(Path(arguments[0] if arguments else ROOT / ".coverage"))
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
