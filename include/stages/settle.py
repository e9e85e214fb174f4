"""Settle: the title's final state, what its encodes cost, and a dead letter where it came to nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from include.adapters.store.documents import load_if_valid
from include.adapters.store.store import ObjectStore
from include.base.errors import ErrorDocument, TitleEndedBadly
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import CheckResult, EncodeResult, PackageResult, PublishResult
from include.domain.outcome.settlement import NO_WORD, Settlement, TaskFailure, settlement
from include.domain.plan.plan import Plan
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import GOOD_STATES, State, TitleJob
from include.pipelines.core import find_pipeline
from include.pipelines.runner import TaskJob, result_key
from include.stages.core import ControlContext, stage
from include.stages.publish import is_current, make_current

if TYPE_CHECKING:
    # Workers import this module for its place in the pipeline, and have no database library.
    from include.adapters.catalog import HistoryRow
    from include.adapters.catalog.records import RepairKind

log = logging.getLogger(__name__)


@stage(place="airflow")
def settle(
    ctx: ControlContext,
    title: TitleJob,
    source: Inspection | None,
    analysis: Analysis | None,
    plan: Plan | None,
    renditions: tuple[EncodeResult, ...],
    verdicts: CheckResult | None,
    packaged: PackageResult | None,
    published: PublishResult | None,
    first_packaged: PackageResult | None = None,
    first_published: PublishResult | None = None,
) -> Settlement:
    """Writes history, alert, repair and dead letter, then the final state.

    Raises the title's own failure in the end, so that its run is red in Airflow and a cleared run settles anew.
    """
    now = ctx.clock()
    # Players see it already: the publication died, for good, before the catalog heard of it.
    if published is None and packaged is not None and is_current(ctx.store, title, whole=True):
        published = make_current(ctx, title, packaged)
    if first_published is None and first_packaged is not None and is_current(ctx.store, title, whole=False):
        first_published = make_current(ctx, title, first_packaged)
    verdict = settlement(
        packaged=packaged,
        published=published,
        first_packaged=first_packaged,
        first_published=first_published,
        failures=task_failures(title, ctx.store),
    )
    shown = packaged if published is not None else first_packaged
    if source is not None and plan is not None:
        rows = history_rows(source, analysis, plan, renditions, verdicts)
        ctx.catalog.history.record(title.request_id, rows, now=now)
    replay = f"callsheet replay {title.request_id}"
    record = ctx.catalog.titles.get(title.request_id)
    if record is not None and record.state.final and record.state is not verdict.state:
        # It was cancelled meanwhile, say. The first verdict stands, and nobody is called for another.
        raise TitleEndedBadly(f"title is settled as {record.state} already, not as {verdict.state}", reason="settled")
    if verdict.state is State.DEGRADED and shown is not None and record is not None and not record.is_repair:
        kind: RepairKind = "backfill" if verdict.reason == "for_deadline" else "repair"
        ctx.catalog.repairs.queue(title.request_id, shown.missing, now, kind=kind)
    if verdict.failure is not None and verdict.state in {State.FAILED, State.REJECTED}:
        ctx.catalog.history.record_dead_letter(
            title.request_id, error=verdict.failure.error, task=verdict.failure.task, replay_command=replay, now=now
        )
    if verdict.state in {State.DEGRADED, State.FAILED, State.REJECTED}:
        error = verdict.failure.error if verdict.failure else None
        ctx.catalog.alerts.enter(
            title_id=title.title_id,
            request_id=title.request_id,
            level=verdict.state.value,  # type: ignore[arg-type]  # these three states are alert levels
            cause=f"{error.owner}: {error.reason or error.type}" if error else str(verdict.reason),
            message=verdict.message or "",
            now=now,
        )
    ctx.catalog.titles.settle(title.request_id, verdict.state, reason=verdict.reason, message=verdict.message, now=now)
    log.info("%s settled as %s: %s", title.request_id, verdict.state, verdict.message or "all is well")
    if verdict.state not in GOOD_STATES:
        raise TitleEndedBadly(f"title {verdict.state}: {verdict.message}", reason=verdict.reason)
    return verdict


def task_failures(title: TitleJob, store: ObjectStore) -> list[TaskFailure]:
    """The last failure of each task, or encode job, that has left no result; in the order of the pipeline."""
    pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    found: list[TaskFailure] = []
    for task in pipeline.tasks[:-1]:
        items: list[str | None] = [None]
        if task.mapped_over:
            key = result_key(title, task.mapped_over)
            plan = load_if_valid(store, key, Plan)
            items = [job.name for job in plan.jobs] if plan else []
        for item in items:
            job = TaskJob(task=task.name, title=title, item=item, time_limit_s=0)
            keys = [result_key(title, node.name, item) for node in task.nodes]
            if store.size(job.error_key) is not None and any(store.size(key) is None for key in keys):
                error = load_if_valid(store, job.error_key, ErrorDocument) or NO_WORD
                found.append(TaskFailure(task=task.name, item=item, error=error))
    return found


def history_rows(
    source: Inspection,
    analysis: Analysis | None,
    plan: Plan,
    renditions: tuple[EncodeResult, ...],
    verdicts: CheckResult | None,
) -> list[HistoryRow]:
    """What each finished rendition cost and how good it became, with what was known before."""
    from include.adapters.catalog import HistoryRow

    ordered = {job.rendition.name: job for job in plan.jobs}
    scores = {verdict.rendition: verdict.vmaf for verdict in verdicts.renditions} if verdicts else {}
    rows = []
    for done in renditions:
        if not done.made:
            continue
        score = scores.get(done.rendition)
        option = done.degradation.option if done.degradation else None
        rendition = ordered[done.rendition].made_by(done.encoder, option)
        rows.append(
            HistoryRow(
                rendition=done.rendition,
                recipe_hash=rendition.recipe_hash,
                encoder_version=done.encoder_version,
                features=features(source, analysis, rendition),
                cpu_s=done.cost.cpu_s,
                wall_s=done.cost.wall_s,
                peak_memory_mb=done.cost.peak_memory_mb,
                size_bytes=done.size_bytes,
                frames=done.frames,
                duration_s=done.duration_s,
                vmaf=score.harmonic_mean if score else None,
                vmaf_p1=score.p1 if score else None,
            )
        )
    return rows


def features(source: Inspection, analysis: Analysis | None, rendition: Rendition) -> dict[str, Any]:
    """What was known of an encode before it ran: numbers and words, flat; None where not measured."""
    measured = analysis.model_dump(exclude={"windows", "scene_cuts", "crop", "brightest_s"}) if analysis else {}
    video = source.video
    return {
        **{f"source_{name}": getattr(video, name) for name in ("codec", "width", "height", "bit_depth", "duration_s")},
        "source_fps": float(video.fps),
        "source_bitrate_kbps": source.bitrate_kbps,
        **{f"content_{name}": value for name, value in measured.items()},
        **rendition.model_dump(mode="json", exclude={"name", "rung"}),
    }
