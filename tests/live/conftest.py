"""One real stack for this folder's tests, stopped after the last of them: what is idle takes the others' time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import LiveStack, live_stack


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The running stack."""
    with live_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
