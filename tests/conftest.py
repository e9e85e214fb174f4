"""Fixtures that every layer's tests may use."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest

from tests.clips import Clips

# Airflow writes its configuration where it first looks for it, when it is imported: not into a person's home.
_airflow_home = tempfile.TemporaryDirectory(prefix="callsheet-tests-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


NEED_AIRFLOW = ("tests/live/", "tests/production/", "tests/upgrade/test_upgrade.py")
START_MANY_PROCESSES = ("tests/hostile/", "tests/media_core/", "tests/media_finish/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a running Airflow come first: they are the longest part of a run in two processes.

    Behind them come those that run media tools by the thousand: a fork out of 100 MB takes a tenth of one out of 1 GB,
    which a process of the tests has in the end.
    """
    parts = (NEED_AIRFLOW, START_MANY_PROCESSES, ("",))
    items.sort(key=lambda item: next(place for place, part in enumerate(parts) if item.nodeid.startswith(part)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs what needs Airflow, so that there is one stack of each kind; the other one file after file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByStack(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "airflow" if nodeid.startswith(NEED_AIRFLOW) else nodeid.partition("::")[0]

    return ByStack(config, log)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Tiny clips by name, made once per session."""
    return Clips(tmp_path_factory.mktemp("clips"))
