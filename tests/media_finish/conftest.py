"""Titles that several tests look at."""

from __future__ import annotations

import pytest

from include.domain.outcome.results import CheckResult
from tests.clips import Clips
from tests.titles import Title, fast, make_title


@pytest.fixture(scope="session")
def title(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Title:
    """Seven seconds at 24000/1001 in two rungs, with two languages: checked in place, packaged by its tests."""
    clip = clips("finish.mp4", seconds=7, size="426x240", rate="24000/1001", languages=("eng", "ger"))
    return make_title(tmp_path_factory.mktemp("finish"), clip, change=fast, name="Seven seconds")


@pytest.fixture(scope="session")
def verdicts(title: Title) -> CheckResult:
    """What the checks found of it."""
    return title.check()
