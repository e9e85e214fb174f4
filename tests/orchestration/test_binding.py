"""Which option an encode task takes as it starts, and where that is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.domain.plan.plan import Plan
from include.domain.title.steering import Steering
from include.domain.title.work import result_key
from include.orchestration.runtimes.task import bound
from include.pipelines.core import find_pipeline
from include.pipelines.runner import TaskJob
from include.services.planning import farm_share_of, note_planned
from include.services.valuation import revalue
from tests.orchestration.lab import Lab, context, released
from tests.orchestration.test_settle import SOURCE
from tests.policy.test_binding import planned as a_plan
from tests.policy.test_playable import plan_of
from tests.predictions import prior_share

OPTIONS = [
    {"name": "slow", "p50_s": 3000, "p90_s": 4000, "vmaf_loss": 0},
    {"name": "veryfast", "p50_s": 800, "p90_s": 1000, "vmaf_loss": 1.8},
]
NAME = "h264_1p"


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def planned(lab: Lab, catalog: Catalog, *, due_in_s: float | None) -> TitleRecord:
    publish_at = {} if due_in_s is None else {"publish_at": in_s(due_in_s).isoformat()}
    title = released(catalog, metadata={"options": OPTIONS}, **publish_at)
    for task in ("look-around", "make-up-your-mind"):
        lab.task(task).execute(context(title))
    return title


def job_document(title: TitleRecord, store: LocalStore) -> TaskJob:
    return TaskJob.from_json(store.get_bytes(f"{title.job().work}/jobs/make-them.{NAME}.json"))


def taken(title: TitleRecord, store: LocalStore) -> str:
    job = job_document(title, store).encode
    assert job is not None
    assert job.binding is not None
    assert job.binding.option == job.rendition.preset
    return job.binding.option


@pytest.mark.parametrize(
    ("due_in_s", "degrade", "option"),
    [(2000, "true", "veryfast"), (5000, "true", "slow"), (None, "true", "slow"), (2000, "false", "slow")],
)
def test_a_worker_is_told_the_rendition_of_the_option_that_fits(
    due_in_s: float | None, degrade: str, option: str,
    lab: Lab, catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CALLSHEET_DEGRADE", degrade)
    title = planned(lab, catalog, due_in_s=due_in_s)

    lab.task("make-them", job=NAME).execute(context(title))

    assert taken(title, store) == option


def test_an_encode_binds_to_the_deadline_that_its_title_has_when_it_starts(
    lab: Lab, catalog: Catalog, store: LocalStore
) -> None:
    title = planned(lab, catalog, due_in_s=9000)
    sooner = Steering(publish_at=in_s(2000), why="the premiere is sooner")
    catalog.queue.steer(title.request_id, sooner, by="ops", now=datetime.now(UTC))

    lab.task("make-them", job=NAME).execute(context(title))

    assert taken(title, store) == "veryfast"


def test_what_was_given_up_stands_in_the_event_and_in_the_log(
    lab: Lab, catalog: Catalog, store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    title = planned(lab, catalog, due_in_s=2000)

    with caplog.at_level("INFO"):
        lab.task("make-them", job=NAME).execute(context(title))

    told: dict[str, Any] = catalog.history.events(request_id=title.request_id)[-1].detail
    words = "veryfast instead of slow: costs 1.8 VMAF, saves 2200 s; "
    assert (told["option"]["option"], told["option"]["instead_of"]) == ("veryfast", "slow")
    assert told["why"].startswith(words)
    assert words in caplog.text


def test_a_task_that_is_resumed_keeps_what_its_worker_was_told(
    lab: Lab, catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    title = planned(lab, catalog, due_in_s=2000)
    lab.task("make-them", job=NAME).execute(context(title))
    later = Steering(publish_at=in_s(9000), why="moved")
    moved = catalog.queue.steer(title.request_id, later, by="ops", now=datetime.now(UTC))
    job = TaskJob(task="make-them", title=title.job(), item=NAME, time_limit_s=1)

    resumed, anew = (
        bound(job, moved, settings, store, find_pipeline("lab", 1), resumed=each).encode for each in (True, False)
    )

    assert [each.binding.option for each in (resumed, anew) if each and each.binding] == ["veryfast", "slow"]


def test_a_planned_title_is_valued_by_its_plan(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    title = released(catalog, pipeline="vod", tier="standard", publish_at=in_s(900).isoformat())
    revalue(catalog, settings, now=datetime.now(UTC))
    job = title.job()

    def work() -> Any:
        found = catalog.titles.get(title.request_id)
        assert found is not None
        assert found.work is not None
        assert found.valuation is not None
        return found.work, found.valuation.remaining.p50_s

    before, remaining = work()
    note_planned(catalog, settings, job, store, farm_share=prior_share, now=datetime.now(UTC))
    assert work()[0] == before
    store.put_bytes(result_key(job, "inspect"), SOURCE.to_json().encode())
    store.put_bytes(result_key(job, "plan"), a_plan()[0].to_json().encode())
    note_planned(catalog, settings, job, store, farm_share=prior_share, now=datetime.now(UTC))

    after, less = work()
    assert (before.planned, after.planned) == (False, True)
    assert less < remaining
    assert len(after.least.encodes) < len(after.full.encodes) == len(a_plan()[0].jobs)


def test_a_title_whose_core_rungs_go_first_is_valued_by_the_way_to_them_and_says_why(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    title = released(catalog, pipeline="vod", tier="standard", publish_at=in_s(900).isoformat())
    job = title.job()
    store.put_bytes(result_key(job, "inspect"), SOURCE.to_json().encode())

    def noted(plan: Plan) -> tuple[Any, Any]:
        store.put_bytes(result_key(job, "plan"), plan.to_json().encode())
        told = note_planned(catalog, settings, job, store, farm_share=prior_share, now=datetime.now(UTC))
        found = catalog.titles.get(title.request_id)
        assert found is not None
        return told, found

    at_once, before = noted(plan_of())
    told, after = noted(plan_of(asked=True))

    assert (at_once, before.work.playable) == (None, None)
    assert (told["first"]["why"], told["first"]["jobs"]) == ("asked", ["h264_360p", "h264_720p"])
    assert after.work.full == before.work.full
    assert len(after.work.playable.encodes) == 2
    assert after.valuation.laxity_s > before.valuation.laxity_s
    assert after.valuation.remaining == before.valuation.remaining


def test_a_plan_whose_work_cannot_be_entered_fails_nothing(
    catalog: Catalog, store: LocalStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    title = released(catalog, pipeline="vod").job()
    for stage in ("inspect", "plan"):
        store.put_bytes(result_key(title, stage), b"{}")

    note_planned(catalog, settings, title, store, farm_share=prior_share, now=datetime.now(UTC))

    assert "the plan's work cannot be entered" in caplog.text


def test_a_more_valuable_title_gets_more_slots(catalog: Catalog, settings: Settings) -> None:
    roomy = settings.model_copy(update={"encode_slots": 10})
    slots = []
    for tier in ("ugc", "premium"):
        title = released(catalog, batch_id=tier, pipeline="vod", tier=tier)
        revalue(catalog, roomy, now=datetime.now(UTC))
        slots.append(farm_share_of(catalog, roomy, title.request_id).slots)

    assert 1 <= slots[0] < slots[1] <= 10
    assert farm_share_of(catalog, roomy, "nobody/knows").slots >= 1


def test_plans_of_the_lab_are_plans(lab: Lab, catalog: Catalog, store: LocalStore) -> None:
    title = planned(lab, catalog, due_in_s=None)

    plan = Plan.from_json(store.get_bytes(result_key(title.job(), "decide")))
    assert [each.option.name for each in plan.jobs[0].options] == ["slow", "veryfast"]
