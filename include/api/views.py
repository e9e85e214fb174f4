"""Catalog records as the API and the CLI show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from include.adapters.catalog import BatchRecord, TitleRecord
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.settings import Settings
from include.base.text import origin_of
from include.domain.order.valuation import Valuation
from include.domain.title.title import State
from include.domain.title.work import progress_folder
from include.pipelines.core import find_pipeline
from include.pipelines.runner import Progress, TaskJob

LIVE = {State.RUNNING, State.PLAYABLE}


def batch_view(batch: BatchRecord, *, titles: list[dict[str, Any]] | None) -> dict[str, Any]:
    """A batch as JSON; with ``titles`` where they are asked for.

    Of its callback address the origin alone: path and query may hold a token, and whoever reads a batch is not the CMS.
    """
    view = batch.model_dump(mode="json")
    if batch.callback_url is not None:
        view["callback_url"] = origin_of(batch.callback_url)
    if titles is not None:
        view["titles"] = titles
    return view


def title_views(titles: list[TitleRecord], settings: Settings) -> list[dict[str, Any]]:
    """Titles as JSON: their states, where they are published, and what runs at the moment."""
    store = open_store(settings) if any(title.state in LIVE for title in titles) else None
    return [_title_view(title, store) for title in titles]


def _title_view(title: TitleRecord, store: ObjectStore | None) -> dict[str, Any]:
    view = title.model_dump(mode="json", exclude={"request"})
    view |= {
        "name": title.request.name,
        "tier": title.request.tier.value,
        "kind": title.request.kind,
        "deadline": title.deadline.isoformat() if title.deadline else None,
        "deadline_kept": deadline_kept(title),
        "metadata": title.request.metadata,
        "now": [],
        "source_known": title.source_known,
    }
    if title.valuation is not None and not title.state.final:
        view["valuation"]["admission"] = _admission(title.valuation)
    if store is not None and title.state in LIVE:
        view["now"] = [progress.model_dump(mode="json") for progress in running_stages(title, store)]
    return view


def queued_view(title: TitleRecord, place: int) -> dict[str, Any]:
    """An open title as the queue shows it.

    Args:
        title: The title.
        place: In the policy's order, from 1.
    """
    view: dict[str, Any] = {
        "place": place,
        **{name: getattr(title, name) for name in ("request_id", "batch_id", "title_id", "dag_id", "run_id")},
        "name": title.request.name,
        "tier": title.request.tier.value,
        "kind": title.request.kind,
        "state": title.state.value,
        "running": title.released_at is not None,
        "held": title.held,
        "pinned": title.pinned,
        "task": title.task,
        "progress": title.progress,
        "created_at": title.created_at.isoformat(),
        "deadline": title.deadline.isoformat() if title.deadline else None,
        "deadline_kept": deadline_kept(title),
        "version": title.version,
        "score": None,
        "priority": None,
        "laxity_s": None,
        "admission": None,
        "ahead": None,
        "at_risk": False,
        "source_known": title.source_known,
        "valued_at": None,
    }
    if title.valuation is not None:
        valued = title.valuation.model_dump(mode="json")
        view |= {name: valued[name] for name in ("score", "priority", "laxity_s", "ahead")}
        view |= {
            "admission": _admission(title.valuation),
            "at_risk": title.valuation.at_risk,
            "valued_at": valued["at"],
        }
    return view


def _admission(valuation: Valuation) -> dict[str, Any]:
    """The quote of an open title, which is up to a minute old: no finish that it tells lies in the past."""
    return valuation.admission.as_of(datetime.now(UTC)).model_dump(mode="json")


def deadline_kept(title: TitleRecord) -> bool | None:
    """Whether the title was playable by its deadline; None where it has none, or where that is still open."""
    if title.deadline is None:
        return None
    if title.playable_at is not None:
        return title.playable_at <= title.deadline
    return False if title.state.final else None


def running_stages(title: TitleRecord, store: ObjectStore) -> list[Progress]:
    """Progress of the tasks that have begun and are not done, as their workers last said."""
    job = title.job()
    pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    found: list[Progress] = []
    names = store.list(progress_folder(job))
    for task in pipeline.tasks:
        labels = [name.removesuffix(".json") for name in names if name.split(".")[0] == task.name]
        for label in labels:
            item = label.partition(".")[2] or None
            key = TaskJob(task=task.name, title=job, item=item, time_limit_s=0).progress_key
            progress = Progress.from_json(store.get_bytes(key))
            if progress.share < 1:
                found.append(progress)
    return found
