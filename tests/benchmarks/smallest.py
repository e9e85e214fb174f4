"""Which test runs which benchmark in its smallest form, and what all of them print."""

from __future__ import annotations

import json
from typing import Any

SMALLEST = {
    "farm": "tests/benchmarks/test_reports.py",
    "forecast": "tests/benchmarks/test_reports.py",
    "chaos": "tests/production/test_chaos_benchmark.py",
    "orchestration": "tests/live/test_benchmarks.py",
    "order": "tests/live/test_benchmarks.py",
    "premium": "tests/live/test_benchmarks.py",
    "upgrade": "tests/upgrade/test_upgrade.py",
}


def printed(out: str) -> dict[str, Any]:
    """The one JSON object on stdout; its metrics are numbers by name."""
    assert out.count("\n") == 1, out
    found: dict[str, Any] = json.loads(out)
    assert {"benchmark", "commit", "date", "machine", "options", "metrics"} <= found.keys()
    assert all(type(value) in (int, float) for value in found["metrics"].values())
    return found
