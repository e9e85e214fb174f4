"""``python -m benchmarks``: every benchmark in turn; JSON under ``benchmarks/results/``, a table at the end.

``--smallest`` runs each in the form that the tests run: minutes in all, and it says that they work. A benchmark that
stopped leaves what it had measured in ``NAME.partial.json``, so that whole figures of an earlier day stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._report import say

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run all; returns 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--smallest", action="store_true", help="each in its smallest form")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON files")
    arguments = parser.parse_args(argv)
    arguments.results.mkdir(exist_ok=True)
    table = Table("benchmark", "metric", "value")
    codes = [_run(name, arguments.results, table, smallest=arguments.smallest) for name in NAMES]
    Console().print(table)
    return max(codes)


def _run(name: str, results: Path, table: Table, *, smallest: bool) -> int:
    say(f"== {name}")
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(["--smallest"] if smallest else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        table.add_row(name, "", f"failed with {done.returncode}", end_section=True)
        return 1
    partial = bool(found.get("partial"))
    (results / f"{name}{'.partial' if partial else ''}.json").write_text(done.stdout)
    rows = list(found["metrics"].items())
    if partial:
        rows.insert(0, ("stopped", found["stopped"]))
    for position, (metric, value) in enumerate(rows):
        table.add_row(name if position == 0 else "", metric, str(value), end_section=position == len(rows) - 1)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
