"""Processes of a real farm die while titles are under way: each title comes to its one end, and no reader notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.farm import Farm
from tests.production.chaos import (
    Kill,
    accept,
    at_rest,
    end_violations,
    kill_when_due,
    wait_until,
    watching,
)

KILLS = [
    Kill(victim="worker", task="prepare"),
    Kill(victim="task", task="plan"),
    Kill(victim="dag-processor", task="prepare"),
    Kill(victim="tool", task="encode"),
    Kill(victim="database", task="extras"),
    Kill(victim="supervisor", task="encode"),
    Kill(victim="scheduler", task="encode"),
    Kill(victim="api-server", task="finish"),
    Kill(victim="triggerer", task="encode"),
    Kill(victim="connections", task="publish"),
    Kill(victim="task", task="publish"),
    Kill(victim="task", task="settle"),
]
"""In the order in which a stream of titles comes by them."""
TITLES = 8
LIMIT_S = 280


@pytest.fixture(scope="module")
def clip(production: Farm) -> Path:
    return make_clip(production.mezzanines / "killed.mp4", seconds=1, size="160x90")


@pytest.mark.timeout(600)
def test_titles_come_to_one_end_each_whatever_is_killed_around_them(production: Farm, clip: Path) -> None:
    titles = [f"killed-{number}" for number in range(TITLES)]
    with watching(production) as watch:
        watch.titles += titles
        accept(production, "killed", [{"title_id": each, "mezzanine": clip.as_uri(), "tier": "ugc"} for each in titles])
        for each in KILLS:
            kill_when_due(production, each)
        wait_until(lambda: at_rest(production, ["killed"]), LIMIT_S)

    assert watch.violations == []
    assert end_violations(production, ["killed"]) == []
    ends = {each.title_id: (str(each.state), each.message) for each in production.catalog.titles(batch_id="killed")}
    assert ends == dict.fromkeys(titles, ("published", None))
    assert watch.looks > 10
