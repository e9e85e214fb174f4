"""Releases of before are unpacked once."""

from __future__ import annotations

import pytest

from tests.upgrade.past import FIRST, Past, unpack


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """The release before this one."""
    return unpack(tmp_path_factory.mktemp("past") / "tree")


@pytest.fixture(scope="session")
def first_past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """The oldest release."""
    return unpack(tmp_path_factory.mktemp("past") / "tree", FIRST)
