"""``python -m benchmarks``: every benchmark in turn; JSON under ``benchmarks/results/``, a table at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    """Run all; returns 1 where one failed."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    table = Table("benchmark", "metric", "value")
    failed = 0
    for name in NAMES:
        print(f"== {name}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--json"], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            failed = 1
            table.add_row(name, "", f"failed with {done.returncode}", end_section=True)
            continue
        (results / f"{name}.json").write_text(done.stdout)
        metrics = json.loads(done.stdout)["metrics"]
        for position, (metric, value) in enumerate(metrics.items()):
            table.add_row(name if position == 0 else "", metric, str(value), end_section=position == len(metrics) - 1)
    Console().print(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
