"""``python -m tests.run [pytest arguments]``: every test in two processes, with coverage; the last line counts them."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress

import pytest

from tests.node import node_modules


class Count:
    """Counts tests by how they ended; a test that fails in set-up or tear-down has failed."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        known = self.outcomes.get(report.nodeid)
        if report.failed or known is None or (known == "passed" and report.skipped):
            self.outcomes[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"


def main() -> int:
    """Run pytest; returns its exit code."""
    count = Count()
    arguments = sys.argv[1:] or [
        "--numprocesses=2",
        "--dist=loadscope",
        "--no-loadscope-reorder",  # those that need Airflow come first
        "--cov",
        "--cov-report=term:skip-covered",
        "--durations=25",
    ]
    everything = not sys.argv[1:]
    if everything:
        # npm empties the folder before it fills it: done now, while no test publishes a page with the player in it.
        with suppress(pytest.fail.Exception, pytest.skip.Exception):
            node_modules()
    code = int(pytest.main(arguments, plugins=[count]))
    if everything and code == 0:
        # A run with a failure has reached less than it would: what it lacks would only hide the failure.
        from tests.coverage_gates import main as gates

        code = gates([])
    found = Counter(count.outcomes.values())
    print(f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
