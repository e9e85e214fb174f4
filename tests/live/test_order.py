"""The order in which titles go, on a real Airflow with one encode slot: by value, changed while they wait and run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.adapters.catalog import TitleRecord
from include.orchestration.weights import weight_of
from tests.clips import make_clip
from tests.orchestration.steps import step
from tests.stack import LiveStack, processes_of, wait_for

POOL = "cpu_encode"
TITLES = 12
VIEWS = (10, 3e5, 2e3, 9e6, 100, 4e4, 4e4, 1e6, 30, 6e3, 2e5, 800)
"""Of the titles in the order of their arrival; the sixth and the seventh are worth the same."""


@pytest.fixture(scope="module")
def clip(live: LiveStack) -> Path:
    """One rung's worth of picture."""
    return make_clip(live.mezzanines / "order.mp4", seconds=1, size="256x144")


@pytest.fixture
def one_slot(live: LiveStack) -> Iterator[None]:
    """Nothing starts to encode until the test opens the one slot."""
    slots(live, 0)
    try:
        yield
    finally:
        slots(live, live.settings.encode_slots)


def slots(live: LiveStack, number: int) -> None:
    body = {"pool": POOL, "slots": number, "include_deferred": True}
    live.api("admin").request("PATCH", f"/api/v2/pools/{POOL}", json=body, params={"update_mask": "slots"})


def weights(live: LiveStack, title: TitleRecord) -> dict[str, int]:
    """Of the title's task instances, as Airflow shows them."""
    instances = live.api().task_instances(title.dag_id, title.run_id or "")
    return {each["task_id"]: each["priority_weight"] for each in instances}


def started(live: LiveStack, batch_id: str, task: str) -> list[str]:
    """Titles in the order in which their first such task started."""
    seen: dict[str, None] = {}
    for event in live.catalog.history.events(batch_id=batch_id, limit=5000):
        if event.kind == "task.started" and event.task == task and event.request_id:
            seen.setdefault(event.request_id.partition("/")[2])
    return list(seen)


def queued_in(live: LiveStack, title_id: str, task: str) -> bool:
    """Whether a task of the title waits for its slot, and the scheduler has seen it."""
    title = live.catalog.titles.find(title_id=title_id)[-1]
    if title.run_id is None or title.released_at is None:
        return False
    states = {each["task_id"]: each["state"] for each in live.api().task_instances(title.dag_id, title.run_id)}
    return states.get(task) == "scheduled"


def waiting_for_slot(live: LiveStack, names: list[str], task: str) -> None:
    for name in names:
        wait_for(lambda name=name: queued_in(live, name, task), f"{task} of {name}")


def request(name: str, clip: Path, views: float, **fields: Any) -> dict[str, Any]:
    source = {"duration_s": 1, "width": 256, "height": 144, "frame_rate": 25}
    return {"title_id": name, "mezzanine": clip.as_uri(), "tier": "ugc", "source": source,
            "signals": {"predicted_views_7d": views}, **fields}  # fmt: skip


@pytest.mark.timeout(600)
def test_with_one_slot_encodes_start_in_the_policy_s_order_and_a_boosted_title_is_next(
    live: LiveStack, clip: Path, one_slot: None
) -> None:
    names = [f"order-{number}" for number in range(TITLES)]
    live.submit("order", *(request(name, clip, views) for name, views in zip(names, VIEWS, strict=True)))
    policy = sorted(names, key=lambda name: (-VIEWS[names.index(name)], names.index(name)))
    assert [title.title_id for title in sorted(live.catalog.titles.find(batch_id="order"), key=_place)] == policy
    window = live.settings.release_window
    waiting_for_slot(live, policy[:window], "prepare")

    # The least valuable of all goes viral while nothing runs: it goes beyond the window, and starts first.
    viral = policy[-1]
    before = live.catalog.titles.find(title_id=viral)[-1]
    now = live.client("admin").signal(viral, {"views_last_hour": 5e7}, why="on every front page")
    assert now["score"] > before.score
    waiting_for_slot(live, [viral], "prepare")
    expected = [viral, *policy[:-1]]

    slots(live, 1)
    done: list[str] = []

    def all_have_started() -> bool:
        # What follows an encode's start is not what is looked at: it makes way for the next title.
        for name in started(live, "order", "encode"):
            if name not in done:
                live.client("admin").steer(name, {"cancel": True, "why": "seen enough of it"})
                done.append(name)
        return len(done) == TITLES

    wait_for(all_have_started, "the last encode", limit_s=500)

    assert started(live, "order", "prepare")[0] == viral
    assert started(live, "order", "encode") == expected
    revalued = [
        event.detail
        for event in live.catalog.history.events(request_id=f"order/{viral}")
        if event.kind == "title.revalued"
    ]
    assert [(event["by"], event["why"]) for event in revalued] == [("admin", "on every front page")]


def test_a_boost_of_a_released_title_holds_through_later_expansion(live: LiveStack, clip: Path, one_slot: None) -> None:
    live.submit("boosted", request("boosted", clip, 10), request("rival", clip, 1e5))
    waiting_for_slot(live, ["boosted", "rival"], "prepare")
    due = datetime(2099, 1, 1, tzinfo=UTC)

    live.client("admin").signal("boosted", {"views_last_hour": 9e7}, why="viral")
    live.client("admin").steer("boosted", {"publish_at": due.isoformat(), "why": "a new date"})

    boosted = live.catalog.titles.find(title_id="boosted")[-1]
    assert all(weight == weight_of(boosted.priority, step(task)) for task, weight in weights(live, boosted).items())
    run = live.api().run(boosted.dag_id, boosted.run_id or "")
    assert run is not None
    assert (run["conf"]["priority"], run["conf"]["publish_at"]) == (boosted.priority, due.isoformat())
    deadlines = live.api("admin").request("GET", f"/ui/dags/{boosted.dag_id}/dagRuns/{boosted.run_id}/deadlines")
    assert [datetime.fromisoformat(each["deadline_time"]) for each in deadlines["deadlines"]] == [due]
    slots(live, 1)
    live.settled("boosted")
    assert started(live, "boosted", "encode") == ["boosted", "rival"]
    # Each encode has the weight of the moment in which it was expanded or told last.
    rival = live.catalog.titles.find(title_id="rival")[-1]
    assert weights(live, boosted)["encode_cpu"] > weight_of(rival.priority, step("encode_cpu"))


def test_a_cancelled_title_stops_at_once_and_publishes_nothing(live: LiveStack) -> None:
    long = make_clip(live.mezzanines / "cancelled.mp4", seconds=40, size="640x360")
    live.submit("cancelled", {"title_id": "cancelled", "mezzanine": long.as_uri(), "tier": "premium"})
    wait_for(lambda: bool(_encoders("cancelled")), "the encoder")

    gone = live.client("admin").steer("cancelled", {"cancel": True, "why": "wrong cut"})

    assert (gone["state"], gone["message"]) == ("cancelled", "by admin: wrong cut")
    run = live.catalog.titles.find(title_id="cancelled")[-1]
    assert live.run_state(run.dag_id, run.run_id or "") == "failed"
    wait_for(lambda: not _encoders("cancelled"), "the end of its processes", limit_s=30)
    record = live.catalog.titles.find(title_id="cancelled")[-1]
    assert (record.state, record.version) == ("cancelled", None)
    assert live.store.list("titles/cancelled") == {}
    assert live.catalog.versions.current("cancelled") is None


def _place(title: TitleRecord) -> tuple[int, int]:
    return -title.priority, title.seq


def _encoders(title_id: str) -> list[psutil.Process]:
    """Media tools that encode a rendition of a title."""
    found = []
    for process in processes_of(title_id):
        with suppress(psutil.Error):
            words = process.cmdline()
            if "include.worker" not in words and "-c:v" in words:
                found.append(process)
    return found
