"""How far a title is while a task of hours runs, and when it will be done."""

from __future__ import annotations

from datetime import UTC, datetime

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.domain.title.title import State
from include.pipelines.runner import Progress, TaskJob
from include.services.progress import note_running
from include.services.valuation import revalue
from tests.catalog.samples import NOW, find
from tests.orchestration.lab import released


def test_the_time_that_is_left_follows_a_running_task(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    title = released(catalog, pipeline="vod")
    catalog.titles.begin(dag_id=str(title.dag_id), run_id=str(title.run_id), now=NOW)
    seen = []
    for share in (0.0, 0.1, 0.2, 0.2, 0.05):
        told = Progress(task="encode", item=None, stage="inspect", share=share, message="", at=datetime.now(UTC))
        store.put_bytes(TaskJob(task="extras", title=title.job(), time_limit_s=1).progress_key, told.to_json().encode())
        further = note_running(catalog, settings)
        left_s = revalue(catalog, settings, now=NOW)[title.request_id].remaining.p50_s
        seen.append((bool(further), find(catalog, title.request_id).progress, left_s))

    assert [further for further, _, _ in seen] == [False, True, True, False, False], "it only grows"
    progress, left = [each[1] or 0.0 for each in seen], [each[2] for each in seen]
    assert progress[0] < progress[1] < progress[2] == progress[3] == progress[4]
    assert left[0] > left[1] > left[2] == left[3] == left[4]


def test_nothing_is_entered_of_a_settled_title(catalog: Catalog) -> None:
    title = released(catalog, pipeline="vod")
    catalog.titles.settle(title.request_id, State.CANCELLED, now=NOW)
    before = find(catalog, title.request_id)

    catalog.titles.note_progress({title.request_id: 0.7, "spring/unknown": 0.5})

    assert find(catalog, title.request_id) == before
