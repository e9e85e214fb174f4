"""Concludes a title: the one way to its final state, for the stage ``settle`` and for the sweep of lost runs alike.

The order of the writes is fixed, and the final state comes last: a title that is not settled is looked at again, so a
conclusion that dies on its way is repeated, and each write finds what it has written before.
"""

from __future__ import annotations

import logging

from include.adapters.catalog import Catalog, HistoryRow, TaskRow, TitleRecord
from include.adapters.catalog.records import RepairKind
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import ObjectStore
from include.base.errors import ConfigurationError, ErrorDocument, TitleEndedBadly
from include.domain.cost.features import TaskName, encode_features, source_features, task_features, title_features
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import CheckResult, EncodeResult, PackageResult, WorkerUsage
from include.domain.outcome.settlement import (
    NO_WORD,
    UNEXPLAINED,
    PublishedSet,
    RunResults,
    Settlement,
    TaskFailure,
    settlement,
)
from include.domain.plan.binding import features_of
from include.domain.plan.plan import Plan
from include.domain.telling.alerts import AlertLevel
from include.domain.title.title import Origin, State, TitleJob
from include.domain.title.work import error_key, result_key, usage_key
from include.pipelines.core import find_pipeline
from include.pipelines.runner import early_packages
from include.recipes import load_tiers
from include.services.proofs import queue_proof
from include.stages.core import ControlContext
from include.stages.publish import is_current, make_current

log = logging.getLogger(__name__)

ALERTED: dict[State, AlertLevel] = {
    State.DEGRADED: "degraded",
    State.FAILED: "failed",
    State.REJECTED: "rejected",
}
"""Ends that a person hears of."""


def conclude(context: ControlContext, results: RunResults, *, unexplained: TaskFailure = UNEXPLAINED) -> Settlement:
    """Bring a title to its end: history, repair or back-fill, dead letter, alert, proof, and then the final state.

    Args:
        context: Of the title's last task.
        results: What its run has left.
        unexplained: The failure to tell of where no task has said anything.

    Raises :class:`TitleEndedBadly` where the title has come to another end meanwhile (it was cancelled, say): the first
    verdict stands, and nobody is called for another. Raises :class:`LookupError` for a request that is not known.
    """
    catalog, title, now = context.catalog, context.title, context.clock()
    whole = _published(context, results.packaged, whole=True)
    early = _latest_edition(context)
    record = _record(catalog, title)
    superseded = (catalog.versions.published_seq(title.title_id) or 0) > record.seq
    verdict = settlement(
        whole=whole,
        early=early,
        failures=task_failures(title, context.store),
        superseded=superseded,
        unexplained=unexplained,
    )
    if results.source is not None and results.plan is not None:
        rows = history_rows(results.source, results.analysis, results.plan, results.renditions, results.verdicts)
        catalog.history.record(title.request_id, rows, task_rows(title, context.store, results), now=now)
    if record.state.final and record.state is not verdict.state:
        raise TitleEndedBadly(f"title is settled as {record.state} already, not as {verdict.state}", reason="settled")
    # Nobody gets a set any more that a newer request's has replaced: it needs neither a repair nor a person.
    if not (verdict.state is State.DEGRADED and superseded):
        _follow_up(context, record, verdict, whole or early, unexplained)
    if whole is not None and not superseded:
        queue_proof(catalog, record, whole.version, now=now)
    catalog.titles.settle(title.request_id, verdict.state, reason=verdict.reason, message=verdict.message, now=now)
    log.info("%s settled as %s: %s", title.request_id, verdict.state, verdict.message or "all is well")
    return verdict


def _latest_edition(context: ControlContext) -> PublishedSet | None:
    """The latest edition before the whole set that was published; None where there is none."""
    try:
        packaged = early_packages(context.title, context.store)
    except ConfigurationError as error:
        # What the catalog knows of its first one is all that can be told.
        log.warning("%s: nothing is known of its editions: %s", context.title.request_id, error)
        packaged = [None]
    published = [_published(context, known, whole=False, place=place) for place, known in enumerate(packaged)]
    return next((found for found in reversed(published) if found is not None), None)


def _published(
    context: ControlContext, packaged: PackageResult | None, *, whole: bool, place: int = 0
) -> PublishedSet | None:
    """The whole set, or an edition before it, if the catalog or the pointer says that it was published."""
    catalog, title = context.catalog, context.title
    known = catalog.versions.of_request(title.request_id, whole=whole, place=place)
    if known is None and packaged is not None and is_current(context.store, title, whole=whole, place=place):
        # Players see it already: the publication died, for good, before the catalog heard of it.
        make_current(context, title, packaged)
        known = catalog.versions.of_request(title.request_id, whole=whole, place=place)
    if known is None:
        return None
    told = known if packaged is None else packaged
    return PublishedSet(
        version=known.version,
        degraded=told.degraded,
        missing=told.missing,
        given_up=packaged.given_up if packaged else (),
    )


def _record(catalog: Catalog, title: TitleJob) -> TitleRecord:
    found = catalog.titles.get(title.request_id)
    if found is None:
        raise LookupError(f"the catalog has no request {title.request_id!r}")
    return found


def _follow_up(
    context: ControlContext,
    record: TitleRecord,
    verdict: Settlement,
    shown: PublishedSet | None,
    unexplained: TaskFailure,
) -> None:
    """What follows from an end that is not good: somebody, or another request, has to do something about it."""
    catalog, request_id, now = context.catalog, record.request_id, context.clock()
    failure = verdict.failure
    if verdict.state is State.DEGRADED and shown is not None and not record.is_repair:
        kind: RepairKind = Origin.BACKFILL if verdict.reason == "for_deadline" else Origin.REPAIR
        catalog.repairs.queue(request_id, shown.missing, now, kind=kind)
    if verdict.state in {State.FAILED, State.REJECTED} and failure is not None:
        replay = f"callsheet replay {request_id}"
        catalog.history.record_dead_letter(
            request_id, error=failure.error, task=failure.task, replay_command=replay, now=now
        )
    level = ALERTED.get(verdict.state)
    if level is not None:
        cause = str(verdict.reason)
        if failure is not None and failure != unexplained:
            cause = f"{failure.error.owner}: {failure.error.reason or failure.error.type}"
        catalog.alerts.enter(
            title_id=record.title_id,
            request_id=request_id,
            level=level,
            cause=cause,
            message=verdict.message or "",
            now=now,
        )


def task_failures(title: TitleJob, store: ObjectStore) -> list[TaskFailure]:
    """The last failure of each task, or encode job, that has left no result; in the order of the pipeline.

    A pipeline that is not registered any more says nothing of its tasks.
    """
    try:
        pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    except ConfigurationError as error:
        log.warning("%s: nothing is known of its tasks: %s", title.request_id, error)
        return []
    found: list[TaskFailure] = []
    for task in pipeline.of_run[:-1]:
        items: list[str | None] = [None]
        if task.mapped_over:
            key = result_key(title, task.mapped_over)
            plan = load_if_valid(store, key, Plan)
            items = [job.name for job in plan.jobs] if plan else []
        for item in items:
            last_word = error_key(title, task.name, item)
            keys = [result_key(title, node.name, item) for node in task.nodes]
            if store.size(last_word) is not None and any(store.size(key) is None for key in keys):
                told = load_if_valid(store, last_word, ErrorDocument) or NO_WORD
                found.append(TaskFailure(task=task.name, item=item, error=told))
    return found


def history_rows(
    source: Inspection,
    analysis: Analysis | None,
    plan: Plan,
    renditions: tuple[EncodeResult, ...],
    verdicts: CheckResult | None,
) -> list[HistoryRow]:
    """What each finished rendition cost and how good it became, with what was known before."""
    ordered = {job.rendition.name: job for job in plan.jobs}
    scores = {verdict.rendition: verdict.vmaf for verdict in verdicts.renditions} if verdicts else {}
    known = source_features(source, analysis)
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
                features=encode_features(known, rendition).model_dump(mode="json"),
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


TASKS: dict[str, TaskName] = {
    "prepare": "prepare",
    "extras": "extras",
    "first_finish": "finish",
    "finish": "finish",
}
"""Tasks of our pipelines whose cost is forecast, and what each of them is to the predictor."""


def task_rows(title: TitleJob, store: ObjectStore, results: RunResults) -> list[TaskRow]:
    """What each task beside the encodes cost, with what was known before it.

    A task that an attempt before had done in part says nothing of what such a task costs, and neither does the second
    check of a title whose first version was checked before.
    """
    source, plan, policy = results.source, results.plan, load_tiers()[title.tier]
    if source is None or plan is None:
        return []
    known = title_features(title, source, results.analysis)
    rows = []
    for task, name in TASKS.items():
        if task == "finish" and plan.early:
            continue
        used = load_if_valid(store, usage_key(title, task), WorkerUsage)
        if used is None or not used.whole:
            continue
        part = plan.earliest if task == "first_finish" else plan
        features = task_features(name, features_of(part, known, policy))
        cost = used.model_dump(exclude={"whole"})
        rows.append(TaskRow(task=task, features=features.model_dump(mode="json"), **cost))
    return rows
