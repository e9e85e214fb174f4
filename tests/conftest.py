"""Fixtures that every layer's tests may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from tests.clips import Clips
from tests.stack import LiveStack, live_stack

# Airflow writes its configuration where it first looks for it, when it is imported: not into a person's home.
_airflow_home = tempfile.TemporaryDirectory(prefix="callsheet-tests-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


STACKS = {"live", "production"}
"""Session fixtures that start Airflow."""


# First: xdist reads the groups in this hook, too.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a running Airflow form one group and come first; of the others each file is a group.

    A group runs in one process; ``python -m tests.run`` has two, so that one works while the other waits for Airflow.
    """

    def needs_airflow(item: pytest.Item) -> bool:
        return not STACKS.isdisjoint(getattr(item, "fixturenames", ()))

    for item in items:
        item.add_marker(pytest.mark.xdist_group("airflow" if needs_airflow(item) else str(item.path)))
    items.sort(key=lambda item: not needs_airflow(item))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Tiny clips by name, made once per session."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The one real stack of the session."""
    with live_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
