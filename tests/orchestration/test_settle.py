"""Settling: the final state, and everything that is written beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.errors import (
    CallsheetError,
    CoreRungMissing,
    EncoderCrashed,
    MezzanineRejected,
    MissingInput,
    StaleRequest,
    TitleEndedBadly,
)
from include.base.settings import Settings
from include.domain.media.media import Analysis, Inspection, MezzanineIdentity, VideoStream
from include.domain.outcome.results import (
    CheckOutcome,
    CheckResult,
    Cost,
    EncodeResult,
    QualityScore,
    RenditionVerdict,
    WorkerUsage,
)
from include.domain.outcome.settlement import RunResults
from include.domain.plan.degradation import Binding, Option
from include.domain.plan.plan import Edition, EncodeJob, EncodeOption, Plan
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import Origin, State
from include.domain.title.work import result_key, usage_key
from include.pipelines.runner import TaskJob
from include.services.settling import conclude, history_rows, task_failures, task_rows
from include.stages.core import ControlContext
from include.stages.settle import settle
from tests.catalog.samples import NOW, accept, find, given_up, packaged, publish, published, start
from tests.predictions import predicted

COST = Cost(wall_s=2, cpu_s=3, peak_memory_mb=64)
CRASH = EncoderCrashed("x264 fell over", command="ffmpeg -i x", stderr_tail="boom")
REJECTED = MezzanineRejected("the file is empty", reason="empty")
MISSING = MissingInput("no result of prepare", reason="upstream_failed")


def rendition(name: str) -> Rendition:
    return Rendition(
        name=name, rung=name.partition("_")[2], codec="h264", encoder="libx264", width=256, height=144,
        frame_rate="25", frames=50, rate_control=CappedCrf(crf=23, maxrate_kbps=100, bufsize_kbps=200),
        treatment=SourceTreatment(), preset="fast", gop_frames=50,
        core=False,
    )  # fmt: skip


PLAN = Plan(
    jobs=tuple(
        EncodeJob(name=name, rendition=rendition(name), pool="cpu_encode", prediction=predicted(), time_limit_s=1)
        for name in ("h264_144p", "h264_360p")
    ),
    segment_frames=150,
    frame_rate="25",
)
SOURCE = Inspection(
    mezzanine=MezzanineIdentity(uri="file:///x.mov", size_bytes=1, marker="1"), container="mov", duration_s=2,
    video=VideoStream(
        index=0, codec="h264", width=640, height=360, display_width=640, display_height=360, frame_rate="25",
        duration_s=2, pixel_format="yuv420p",
    ),
    tool_version="9",
)  # fmt: skip
ANALYSIS = Analysis(windows=(), si_mean=40.5, ti_mean=None)
ENCODED = tuple(
    EncodeResult(
        rendition=name, key=f"key-{name}", uri="x", size_bytes=10, frames=50, duration_s=2, bitrate_kbps=40,
        encoder_version="x264", command="ffmpeg", cost=COST,
    )
    for name in ("h264_144p", "h264_360p")
)  # fmt: skip
VERDICTS = CheckResult(
    renditions=(
        RenditionVerdict(
            rendition="h264_144p", outcome=CheckOutcome.PASS,
            vmaf=QualityScore(harmonic_mean=91, p1=80, mean=92, frames=50, sampled=False, model="v"),
        ),
        RenditionVerdict(rendition="h264_360p", outcome=CheckOutcome.FAIL, reasons=("too short",)),
    ),
    tracks=(), texts=(), degraded=True, cost=COST,
)  # fmt: skip


class Desk:
    """A title that is ready to be settled."""

    def __init__(self, catalog: Catalog, store: LocalStore, settings: Settings, batch_id: str = "spring") -> None:
        accept(catalog, batch_id, "alpha")
        start(catalog, f"{batch_id}/alpha")
        self.catalog, self.store, self.settings = catalog, store, settings
        self.request_id = f"{batch_id}/alpha"
        self.title = find(catalog, self.request_id).job()

    def plan(self) -> None:
        self.store.put_bytes(result_key(self.title, "plan"), PLAN.to_json().encode())

    def failed(self, task: str, error: CallsheetError, item: str | None = None) -> None:
        job = TaskJob(task=task, title=self.title, item=item, time_limit_s=0)
        self.store.put_bytes(job.error_key, error.document().to_json().encode())

    def settle(
        self,
        *,
        all_results: bool = False,
        degraded: bool | None = None,
        gave_up: tuple[Binding, ...] = (),
        first: bool = False,
    ) -> Any:
        """Settle, with what a title has that came as far as its packaged set, or with nothing."""
        context = ControlContext(
            settings=self.settings, store=self.store, title=self.title, scratch=Path("unused"), catalog=self.catalog,
            clock=lambda: NOW, conclude=conclude,
        )  # fmt: skip
        known = (SOURCE, ANALYSIS, PLAN, ENCODED, VERDICTS) if all_results else (None, None, None, (), None)
        made = packaged(degraded=bool(degraded))
        made = made.model_copy(update={"given_up": gave_up, "missing": ()}) if gave_up else made
        sets = (None, None) if degraded is None else (made, published(1, degraded=degraded))
        if first:
            self.store.put_bytes(result_key(self.title, "first_package"), packaged(whole=False).to_json().encode())
        return settle.function(context, self.title, *known, *sets)

    @property
    def state(self) -> tuple[State, str | None]:
        title = find(self.catalog, self.request_id)
        return title.state, title.reason

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [(alert.level, alert.cause) for alert in self.catalog.alerts.claim_due(NOW, 10, 0)]

    @property
    def letters(self) -> list[tuple[str | None, str]]:
        return [(letter.task, letter.error.type) for letter in self.catalog.history.dead_letters()]


@pytest.fixture
def desk(catalog: Catalog, store: LocalStore, settings: Settings) -> Desk:
    return Desk(catalog, store, settings)


def test_a_published_title_is_settled_and_nobody_is_alarmed(desk: Desk) -> None:
    publish(desk.catalog, desk.request_id)

    verdict = desk.settle(degraded=False)

    assert verdict.state is State.PUBLISHED
    assert desk.state == (State.PUBLISHED, None)
    assert (desk.alerts, desk.letters, desk.catalog.repairs.pending()) == ([], [], [])


def test_a_degraded_title_is_settled_alerted_once_and_queued_for_repair_once(desk: Desk) -> None:
    publish(desk.catalog, desk.request_id, degraded=True)

    for _ in range(2):
        desk.settle(degraded=True)

    assert desk.state == (State.DEGRADED, "rendition_missing")
    (repair,) = desk.catalog.repairs.pending()
    assert (repair.request_id, repair.missing) == ("spring/alpha", ("h264_720p",))
    assert desk.alerts == [("degraded", "rendition_missing")]
    assert desk.letters == []


def test_a_title_that_gave_something_up_is_told_once_and_queued_for_a_back_fill(desk: Desk) -> None:
    publish(desk.catalog, desk.request_id, degraded=True)

    for _ in range(2):
        desk.settle(degraded=True, gave_up=(given_up(),))

    assert desk.state == (State.DEGRADED, "for_deadline")
    assert "h264_360p veryfast instead of slow: costs 1.8 VMAF, saves 41 s" in (
        find(desk.catalog, desk.request_id).message or ""
    )
    assert desk.catalog.repairs.pending() == []
    (backfill,) = desk.catalog.repairs.pending(kind=Origin.BACKFILL)
    assert (backfill.request_id, backfill.kind) == ("spring/alpha", "backfill")
    assert desk.alerts == [("degraded", "for_deadline")]


def test_a_title_that_ends_with_its_first_version_is_degraded_told_once_and_queued_for_repair(desk: Desk) -> None:
    publish(desk.catalog, desk.request_id, whole=False)
    desk.failed("finish", CRASH)

    for _ in range(2):
        desk.settle(first=True)

    assert desk.state == (State.DEGRADED, "rendition_missing")
    (repair,) = desk.catalog.repairs.pending()
    assert repair.missing == ("h264_720p",)
    assert desk.alerts == [("degraded", "encoder: EncoderCrashed")]
    assert desk.letters == []
    (told,) = [row.data for row in desk.catalog.outbox.of_request(desk.request_id) if row.type == "title.degraded"]
    assert (told["version"], told["missing"], told["deadline_met"]) == (1, ["h264_720p"], True)
    assert "which should have followed: x264 fell over" in told["message"]
    assert [rung["rendition"] for rung in told["rungs"]] == ["h264_144p", "h264_360p"]


def test_the_history_has_the_preset_that_was_really_used_and_nothing_of_a_rung_left_out() -> None:
    quick = EncodeOption(
        option=Option(name="ultrafast", p50_s=1, p90_s=1, vmaf_loss=1),
        rendition=rendition("h264_144p").model_copy(update={"preset": "ultrafast"}),
    )
    jobs = (PLAN.jobs[0].model_copy(update={"options": (quick,)}), PLAN.jobs[1])
    made = (
        ENCODED[0].model_copy(update={"degradation": given_up("ultrafast", "h264_144p")}),
        ENCODED[1].model_copy(update={"uri": "", "degradation": given_up("drop", "h264_360p")}),
    )

    (row,) = history_rows(SOURCE, ANALYSIS, PLAN.model_copy(update={"jobs": jobs}), made, VERDICTS)

    assert (row.rendition, row.features["preset"]) == ("h264_144p", "ultrafast")
    assert row.recipe_hash != rendition("h264_144p").recipe_hash


@pytest.mark.parametrize("origin", [Origin.REPAIR, Origin.BACKFILL])
def test_a_repair_that_ends_degraded_again_is_not_repaired_again(
    origin: Origin, desk: Desk, catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    again = catalog.batches.new_request_from(desk.request_id, origin=origin)
    catalog.batches.accept(again, pipeline_version=3, now=NOW)
    request_id = f"{again.batch_id}/alpha"
    start(catalog, request_id)
    publish(catalog, request_id, degraded=True)
    desk.request_id, desk.title = request_id, find(catalog, request_id).job()

    desk.settle(degraded=True)

    assert desk.state == (State.DEGRADED, "rendition_missing")
    assert [*catalog.repairs.pending(), *catalog.repairs.pending(kind=Origin.BACKFILL)] == []


@pytest.mark.parametrize(
    ("failures", "state", "reason", "letter"),
    [
        ([("prepare", REJECTED)], State.REJECTED, "empty", ("prepare", "MezzanineRejected")),
        ([("prepare", CRASH)], State.FAILED, "EncoderCrashed", ("prepare", "EncoderCrashed")),
        (
            [("finish", CoreRungMissing("no 360p", reason="core")), ("publish", MISSING)],
            State.FAILED,
            "core",
            ("finish", "CoreRungMissing"),
        ),
        ([("finish", MISSING), ("extras", REJECTED)], State.REJECTED, "empty", ("extras", "MezzanineRejected")),
        ([("publish", StaleRequest("a newer one", reason="superseded"))], State.CANCELLED, "superseded", None),
        ([], State.FAILED, "no_result", ("settle", "TitleEndedBadly")),
    ],
)
def test_what_came_to_nothing_has_its_cause_and_ends_red(
    failures: list[tuple[str, CallsheetError]], state: State, reason: str, letter: Any, desk: Desk
) -> None:
    for task, error in failures:
        desk.failed(task, error)

    for _ in range(2):
        with pytest.raises(TitleEndedBadly, match=f"^title {state}: "):
            desk.settle()

    assert desk.state == (state, reason)
    assert desk.letters == ([letter] if letter else [])
    alerts = desk.alerts
    assert [level for level, _ in alerts] == ([] if state is State.CANCELLED else [state.value])


def test_a_dead_letter_says_how_to_try_again(desk: Desk) -> None:
    desk.failed("prepare", CRASH)

    with pytest.raises(TitleEndedBadly):
        desk.settle()

    (letter,) = desk.catalog.history.dead_letters()
    assert letter.replay_command == "callsheet replay spring/alpha"
    assert (letter.error.command, letter.error.stderr_tail) == ("ffmpeg -i x", "boom")


def test_the_failure_of_a_task_that_succeeded_in_the_end_is_history(desk: Desk) -> None:
    desk.failed("prepare", CRASH)
    for stage in ("inspect", "analyse"):
        desk.store.put_bytes(result_key(desk.title, stage), b"{}")

    assert task_failures(desk.title, desk.store) == []


def test_each_encode_job_has_a_failure_of_its_own(desk: Desk) -> None:
    desk.plan()
    desk.failed("encode", CRASH, item="h264_144p")
    desk.failed("encode", CRASH, item="h264_360p")
    desk.store.put_bytes(result_key(desk.title, "encode", "h264_144p"), b"{}")

    assert [(each.task, each.item) for each in task_failures(desk.title, desk.store)] == [("encode", "h264_360p")]


def test_what_the_encodes_cost_goes_into_the_history_once_even_if_the_title_fails(desk: Desk) -> None:
    desk.failed("finish", CoreRungMissing("no 360p"))

    for _ in range(2):
        with pytest.raises(TitleEndedBadly):
            desk.settle(all_results=True)

    rows = {row.rendition: row for row in desk.catalog.history.of_request(desk.request_id)}
    assert set(rows) == {"h264_144p", "h264_360p"}
    good, bad = rows["h264_144p"], rows["h264_360p"]
    assert (good.cpu_s, good.wall_s, good.peak_memory_mb, good.vmaf, good.vmaf_p1) == (3, 2, 64, 91, 80)
    assert (bad.vmaf, bad.vmaf_p1) == (None, None)
    assert good.recipe_hash == PLAN.renditions[0].recipe_hash
    known = good.features
    assert (known["source_width"], known["source_fps"], known["content_si_mean"]) == (640, 25.0, 40.5)
    assert known["content_ti_mean"] is None
    assert all(isinstance(value, str | int | float | bool | None) for value in known.values())


def test_history_does_without_an_analysis_and_without_verdicts(desk: Desk) -> None:
    rows = history_rows(SOURCE, None, PLAN, ENCODED, None)

    assert [row.vmaf for row in rows] == [None, None]
    assert {value for name, value in rows[0].features.items() if name.startswith("content_")} == {None}


def used(desk: Desk, task: str, cpu_s: float, *, whole: bool = True) -> None:
    """What the last worker of a task has told."""
    told = WorkerUsage(wall_s=1, cpu_s=cpu_s, peak_memory_mb=64, whole=whole)
    desk.store.put_bytes(usage_key(desk.title, task), told.to_json().encode())


def test_what_the_other_tasks_cost_goes_into_their_history_once(desk: Desk) -> None:
    used(desk, "prepare", 2.0)
    used(desk, "extras", 7.5)
    used(desk, "finish", 4.0, whole=False)

    for _ in range(2):
        with pytest.raises(TitleEndedBadly):
            desk.settle(all_results=True)

    rows = {row.task: row for row in desk.catalog.history.recent_tasks(limit=10)}
    assert {task: row.cpu_s for task, row in rows.items()} == {"prepare": 2.0, "extras": 7.5}
    known = rows["extras"].features
    assert (known["task"], known["renditions"], known["audio_channels"], known["source_width"]) == ("extras", 2, 0, 640)
    assert len(desk.catalog.history.recent_tasks(limit=1)) == 1


def test_the_check_of_a_first_version_counts_and_the_one_after_it_does_not(desk: Desk) -> None:
    used(desk, "first_finish", 3.0)
    used(desk, "finish", 4.0)
    names = tuple(job.name for job in PLAN.jobs)
    editions = (Edition(name="first", jobs=names[:1], why="tier"), Edition(name="complete", jobs=names))
    plan = PLAN.model_copy(update={"editions": editions})

    rows = task_rows(desk.title, desk.store, RunResults(source=SOURCE, plan=plan))

    assert [(row.task, row.features["task"], row.features["renditions"]) for row in rows] == [
        ("first_finish", "finish", 1)
    ]


def test_tasks_of_a_title_without_a_plan_say_nothing(desk: Desk) -> None:
    used(desk, "prepare", 2.0)

    assert task_rows(desk.title, desk.store, RunResults(source=SOURCE)) == []
