"""The release of before is unpacked once."""

from __future__ import annotations

import pytest

from tests.upgrade.past import Past, unpack


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return unpack(tmp_path_factory.mktemp("past") / "tree")
