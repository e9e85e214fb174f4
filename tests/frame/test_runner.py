"""The stages of one task: what they read, what they leave, what is not done twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.adapters.store.local import LocalStore
from include.base.errors import MissingInput
from include.domain.title.work import FORMAT, progress_key, result_key
from include.pipelines import runner
from include.pipelines.core import current_pipelines, find_pipeline
from include.pipelines.runner import Progress, TaskJob, load_plan, run_task, share_done
from include.stages.core import StageContext
from tests.clips import stage_context
from tests.orchestration.lab import Lab

Run = Callable[..., None]


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Lab:
    from tests.orchestration.lab import built_project

    return Lab.install(built_project(tmp_path_factory.mktemp("project")), monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> StageContext:
    ctx: StageContext = stage_context(tmp_path, "file:///x.mov", pipeline="lab", pipeline_version=1)
    return ctx


@pytest.fixture
def store(place: StageContext) -> LocalStore:
    assert isinstance(place.store, LocalStore)
    return place.store


@pytest.fixture
def run(lab: Lab, place: StageContext, tmp_path: Path) -> Run:
    """Runs a task of the title; ``metadata`` tells its stages what to do."""

    def go(task: str, item: str | None = None, **metadata: Any) -> None:
        title = place.title.model_copy(update={"metadata": metadata})
        run_task(
            TaskJob(task=task, title=title, item=item, time_limit_s=60),
            lambda **given: StageContext(settings=place.settings, **given),
            store=place.store,
            scratch=tmp_path / "scratch",
        )

    return go


def test_a_stage_reads_its_inputs_and_leaves_one_result(run: Run, place: StageContext, store: LocalStore) -> None:
    run("look-around")
    run("make-up-your-mind")
    run("make-them", "h264_1p")
    run("add-up")

    work = store.list(place.title.work)
    assert {"look.json", "decide.json", "make.h264_1p.json", "bill.json"} <= set(work)
    assert store.get_bytes(result_key(place.title, "bill")) == b'{"names":["h264_1p"],"seen":true}'


def test_what_is_done_is_not_done_again(run: Run, store: LocalStore, place: StageContext) -> None:
    run("look-around")
    before = store.get_bytes(result_key(place.title, "look"))

    run("look-around", do="crash")

    assert store.get_bytes(result_key(place.title, "look")) == before


def test_a_missing_input_is_named(run: Run) -> None:
    with pytest.raises(MissingInput, match="task make-up-your-mind needs the result of stage look") as caught:
        run("make-up-your-mind")
    assert caught.value.reason == "upstream_failed"


def test_a_stage_that_can_do_without_gets_none_and_no_renditions(
    run: Run, store: LocalStore, place: StageContext
) -> None:
    run("add-up")

    assert store.get_bytes(result_key(place.title, "bill")) == b'{"names":[],"seen":false}'


def test_a_job_that_the_plan_does_not_have_is_missing(run: Run) -> None:
    run("look-around")
    run("make-up-your-mind")

    with pytest.raises(MissingInput, match="no job 'x'"):
        run("make-them", "x")


def test_a_mapped_task_without_a_plan_is_missing_input(run: Run, place: StageContext) -> None:
    task = find_pipeline("lab", 1).task("make-them")

    with pytest.raises(MissingInput, match="no plan to take its jobs from"):
        load_plan(place.title, task, place.store)


def test_scratch_is_empty_before_a_stage_and_gone_after_it_even_if_it_fails(run: Run, tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "look-around.look"
    left.mkdir(parents=True)
    (left / "old").touch()

    with pytest.raises(Exception, match="fell over"):
        run("look-around", do="crash")
    assert not left.exists()


def test_progress_tells_the_stage_and_its_share_of_the_task(
    run: Run, store: LocalStore, place: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Progress] = []
    put = LocalStore.put_bytes

    def keep(self: LocalStore, key: str, data: bytes) -> None:
        if "/progress/" in key:
            said.append(Progress.from_json(data))
        put(self, key, data)

    monkeypatch.setattr(LocalStore, "put_bytes", keep)
    monkeypatch.setattr(runner, "PROGRESS_EVERY_S", 0.0)
    run("look-around")

    assert [(each.stage, each.share, each.message) for each in said] == [
        ("look", 0.0, "started"),
        ("look", 0.5, "half way"),
        ("look", 1.0, "done"),
    ]
    assert Progress.from_json(store.get_bytes(progress_key(place.title, "look-around"))).share == 1.0


def test_progress_in_between_is_written_now_and_then_only(
    run: Run, store: LocalStore, place: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PROGRESS_EVERY_S", 1e9)
    keys: list[str] = []
    put = LocalStore.put_bytes
    monkeypatch.setattr(LocalStore, "put_bytes", lambda self, key, data: (keys.append(key), put(self, key, data))[1])

    run("look-around")

    assert sum("/progress/" in key for key in keys) == 2


def test_a_title_is_as_far_as_its_results(run: Run, place: StageContext) -> None:
    described = find_pipeline("lab", 1)
    shares = [share_done(described, place.title, place.store)]
    for task, item in (("look-around", None), ("make-up-your-mind", None), ("make-them", "h264_0p"),
                       ("make-them", "h264_1p"), ("add-up", None)):  # fmt: skip
        run(task, item)
        shares.append(share_done(described, place.title, place.store))

    assert shares == [0.0, 0.25, 0.5, 0.625, 0.75, 1.0]


def test_what_a_running_task_has_told_counts_until_its_result_is_there(run: Run, place: StageContext) -> None:
    described = find_pipeline("lab", 1)
    run("look-around")
    run("make-up-your-mind")
    key = TaskJob(task="make-them", title=place.title, item="h264_1p", time_limit_s=1).progress_key

    def told(share: float) -> float:
        said = Progress(task="make-them", item="h264_1p", stage="make", share=share, message="", at=datetime.now(UTC))
        place.store.put_bytes(key, said.to_json().encode())
        return share_done(described, place.title, place.store)

    assert [told(0.0), told(0.4), told(1.0)] == [0.5, 0.55, 0.624]
    run("make-them", "h264_1p")
    assert share_done(described, place.title, place.store) == 0.625
    place.store.put_bytes(key, b"{}")
    assert share_done(described, place.title, place.store) == 0.625


def test_a_plan_without_jobs_has_progress_too(run: Run, place: StageContext) -> None:
    run("look-around")
    run("make-up-your-mind", jobs=0)

    assert share_done(find_pipeline("lab", 1), place.title, place.store) == 0.5


def test_documents_of_a_task_have_their_places(place: StageContext) -> None:
    one = TaskJob(task="encode", title=place.title, item="h264_144p", time_limit_s=1)

    assert one.key == "work/title1/batch1.1/jobs/encode.h264_144p.json"
    assert one.error_key == f"work/title1/batch1.1/format{FORMAT}/errors/encode.h264_144p.json"
    assert one.progress_key == f"work/title1/batch1.1/format{FORMAT}/progress/encode.h264_144p.json"
    assert current_pipelines()["vod"].task("encode").mapped_over == "plan"


def test_a_context_has_keys_and_at_least_a_second(place: StageContext) -> None:
    assert place.key("audio/x.mp4") == f"work/title1/batch1.1/format{FORMAT}/audio/x.mp4"
    assert place.kept_key("renditions/x.mp4") == "work/title1/batch1.1/renditions/x.mp4"
    assert place.time_left_s > 3600
    late = StageContext(
        settings=place.settings, store=place.store, title=place.title, scratch=place.scratch, deadline=0.0
    )
    assert late.time_left_s == 1.0
    late.report(0.5, "into the void")


def test_a_plan_that_cannot_be_read_says_nothing_of_how_far_a_title_is(
    run: Run, place: StageContext, store: LocalStore
) -> None:
    run("look-around")
    before = share_done(find_pipeline("lab", 1), place.title, store)
    store.put_bytes(result_key(place.title, "decide"), b'{"of": "another release"}')

    assert share_done(find_pipeline("lab", 1), place.title, store) >= before
