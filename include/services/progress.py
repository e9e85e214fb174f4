"""How far running titles are, between the ends of their tasks: a long title's forecast of its end goes by that."""

from __future__ import annotations

from functools import partial

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.parallel import answers_in_time
from include.base.settings import Settings
from include.domain.title.title import State
from include.pipelines.core import find_pipeline
from include.pipelines.runner import share_done

AT_ONCE = 8
LIMIT_S = 10.0
"""For all titles together. What was not asked in time is asked in a minute."""


def note_running(catalog: Catalog, settings: Settings) -> list[str]:
    """Enter in the catalog how far the running titles are; returns the requests that have got further."""
    running = catalog.titles.find(states={State.RUNNING, State.PLAYABLE})
    if not running:
        return []
    store = open_store(settings)
    calls = {title.request_id: partial(_share, title, store) for title in running}
    shares = answers_in_time(calls, at_once=AT_ONCE, limit_s=LIMIT_S)
    further = {title.request_id: shares[title.request_id] for title in running
               if shares.get(title.request_id, 0.0) > (title.progress or 0.0)}  # fmt: skip
    if further:
        catalog.titles.note_progress(further)
    return list(further)


def _share(title: TitleRecord, store: ObjectStore) -> float:
    return share_done(find_pipeline(title.pipeline, title.pipeline_version), title.job(), store)
