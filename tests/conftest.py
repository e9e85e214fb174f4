"""Fixtures that every layer's tests may use."""

from __future__ import annotations

import pytest

from tests.clips import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Tiny clips by name, made once per session."""
    return Clips(tmp_path_factory.mktemp("clips"))
