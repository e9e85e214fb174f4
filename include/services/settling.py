"""Concludes titles whose run ended, or vanished, without its last task."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from include.adapters.airflow_api import AirflowApi
from include.base.errors import ErrorDocument, Owner, Retry
from include.domain.title.title import State

if TYPE_CHECKING:
    from include.adapters.catalog import Catalog, TitleRecord
    from include.adapters.catalog.records import RepairKind
    from include.base.settings import Settings


LOST_AFTER = timedelta(minutes=5)
"""A run that has ended in Airflow and is not settled after this long will not settle itself."""


def settle_lost_runs(catalog: Catalog, api: AirflowApi, settings: Settings, *, now: datetime) -> list[str]:
    """Settle titles whose run has ended, or vanished, without its last task: nothing stays running for ever."""
    lost: list[str] = []
    for title in catalog.titles.find(states={State.QUEUED, State.RUNNING, State.PLAYABLE}):
        since = title.released_at or title.created_at
        if title.run_id is None or _is_recent(since, now):
            continue
        run = api.run(title.dag_id, title.run_id)
        if run is not None and run["state"] not in {"success", "failed"}:
            continue
        if run is not None and run["end_date"] and _is_recent(datetime.fromisoformat(run["end_date"]), now):
            continue
        if _completed(catalog, settings, title) or title.state is State.PLAYABLE:
            if _settle_published(catalog, settings, title, now=now):
                lost.append(title.request_id)
            continue
        how = "has vanished from Airflow" if run is None else f"ended as {run['state']}"
        message = f"the run {title.run_id} {how} without settling the title"
        error = ErrorDocument(
            type="RunLost", message=message, owner=Owner.PLATFORM, retry=Retry.TRANSIENT, reason="run_lost"
        )
        replay = f"callsheet replay {title.request_id}"
        # The end comes last: a sweep that dies in between is repeated, a settled title is not looked at again.
        catalog.history.record_dead_letter(
            title.request_id, error=error, task=title.task, replay_command=replay, now=now
        )
        catalog.alerts.enter(
            title_id=title.title_id,
            request_id=title.request_id,
            level="failed",
            cause="run_lost",
            message=message,
            now=now,
        )
        if catalog.titles.settle(title.request_id, State.FAILED, reason="run_lost", message=message, now=now):
            lost.append(title.request_id)
    return lost


def _is_recent(moment: datetime, now: datetime) -> bool:
    """Whether a moment lies less than ``LOST_AFTER`` back.

    One in the future comes from another machine's clock: it tells nothing, and waiting for it may take hours.
    """
    return timedelta(0) <= now - moment < LOST_AFTER


def _completed(catalog: Catalog, settings: Settings, title: TitleRecord) -> bool:
    """Tell the catalog of publications that died between pointer and catalog; False where players see another set."""
    from include.adapters.store.store import open_store
    from include.domain.outcome.results import PackageResult
    from include.pipelines.runner import load_result
    from include.stages.core import ControlContext
    from include.stages.publish import is_current, make_current

    job, store = title.job(), open_store(settings)
    context = ControlContext(settings=settings, store=store, title=job, scratch=settings.scratch, catalog=catalog)
    for stage, whole in (("first_package", False), ("package", True)):
        if catalog.versions.is_published(title.request_id, whole=whole):
            continue
        packaged = load_result(job, stage, PackageResult, store) if is_current(store, job, whole=whole) else None
        if isinstance(packaged, PackageResult):
            make_current(context, job, packaged)
            return True
    return False


def _settle_published(catalog: Catalog, settings: Settings, title: TitleRecord, *, now: datetime) -> bool:
    """Settle a title whose run was lost after its set had gone out: it is published, whatever became of the run."""
    from include.adapters.store.documents import load_if_valid
    from include.adapters.store.store import open_store
    from include.domain.outcome.results import PackageResult
    from include.domain.outcome.settlement import lacks, why_degraded
    from include.pipelines.runner import result_key

    version = catalog.versions.current(title.title_id)
    if version is None or version.request_id != title.request_id or (version.whole and not version.degraded):
        if catalog.versions.is_published(title.request_id, whole=True):
            return catalog.titles.settle(title.request_id, State.PUBLISHED, now=now)
        message = "its first version was published; a newer request was quicker than its whole set"
        return catalog.titles.settle(title.request_id, State.CANCELLED, reason="superseded", message=message, now=now)
    reason, message = "rendition_missing", f"published as v{version.version} without {', '.join(version.missing)}"
    packaged = load_if_valid(open_store(settings), result_key(title.job(), "package"), PackageResult)
    if packaged is not None and version.whole:
        reason, message = why_degraded(packaged), lacks(packaged, version.version)
    if not title.is_repair:
        kind: RepairKind = "backfill" if reason == "for_deadline" else "repair"
        catalog.repairs.queue(title.request_id, version.missing, now, kind=kind)
    return catalog.titles.settle(title.request_id, State.DEGRADED, reason=reason, message=message, now=now)
