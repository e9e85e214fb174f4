"""Processes of a real farm die while titles are under way: each title comes to its one end, and no reader notices."""

from __future__ import annotations

import pytest

from tests.farm import Farm
from tests.production.chaos import Kill, Stream, at_rest, end_violations, kill_when_due, wait_until, watching

KILLS = [
    Kill(victim="worker", task="prepare"),
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
LIMIT_S = 280


@pytest.mark.timeout(1800)
def test_titles_come_to_one_end_each_whatever_is_killed_around_them(production: Farm, mezzanine: str) -> None:
    left = list(KILLS)
    with watching(production) as watch:
        stream = Stream(production, mezzanine, "killed", watch, ahead=4)
        while left:
            left.remove(kill_when_due(production, left, stream.top_up))
        wait_until(lambda: at_rest(production, stream.batches), LIMIT_S)

    assert watch.violations == []
    assert end_violations(production, stream.batches) == []
    assert [said for title in watch.titles if (said := not_published(production, title))] == []
    assert watch.looks > 10


def not_published(production: Farm, title_id: str) -> str:
    """What became of the title instead; empty where it was published."""
    (title,) = production.catalog.titles.find(title_id=title_id)
    return "" if title.state == "published" else f"{title.request_id} is {title.state}: {title.message}"
