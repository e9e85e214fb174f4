"""Proves what was published, where its tier asks for it: every frame against the mezzanine, at the lowest weight.

A proof waits in the catalog, not in Airflow: many active runs choke its scheduler. ``dispatch`` starts a run of the DAG
``proofs`` for each slice of it, at most as many at once as there are slots; a slice works for a few minutes and leaves
its slot to whoever wants it (docs/decisions/0026-proof-after-publication.md). The title is settled all the while:
neither its state nor anything that was told of it depends on its proof.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from include.adapters.airflow_api import ACTIVE_RUN_STATES, AirflowApi, DagUnknown
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.catalog.records import ProofRecord
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import ObjectStore
from include.base.errors import ConfigurationError, ErrorDocument, Retry
from include.base.pools import worker_pools
from include.base.settings import Settings
from include.domain.outcome.proof import Proof
from include.domain.title.work import error_key, result_key
from include.pipelines.core import Task, find_pipeline
from include.recipes import load_tiers

log = logging.getLogger(__name__)

TASK = "prove"
"""The task in the pipelines, and in the DAG of the slices."""
FAILURES = 3
"""Slices in a row that leave nothing, each with the retries of its task: then the proof is given up."""
WAITS_FOR = timedelta(days=7)
"""A proof that has not come to its end by then is given up: the title's work folder is kept for it all the while."""


def queue_proof(catalog: Catalog, title: TitleRecord, version: int, *, now: datetime) -> bool:
    """Queue the proof of the set that a title has published, where its tier asks for one and its pipeline has one."""
    if not _asked_for(title) or _task(title) is None:
        return False
    return catalog.proofs.queue(title.request_id, version, now)


def follow_proofs(
    catalog: Catalog, api: AirflowApi, settings: Settings, store: ObjectStore, *, dag_id: str, now: datetime
) -> dict[str, int]:
    """Take note of slices that have ended, conclude proofs, start the next slices; returns how many of each.

    The runs of ``dag_id`` are the slices.
    """
    told = {"ended": 0, "under way": 0, "started": 0}
    waiting: list[tuple[ProofRecord, TitleRecord]] = []
    # A slice is a task of the first pool.
    slots = worker_pools(settings)[0].slots
    for proof in catalog.proofs.open():
        if proof.run_id is None and len(waiting) >= slots and not _expired(proof, now):
            continue  # its turn is later: thousands may wait, and each look asks catalog and store
        title = catalog.titles.get(proof.request_id)
        assert title is not None  # the tables refer to each other
        if proof.run_id is not None and _is_active(api, dag_id, proof.run_id):
            told["under way"] += 1
        elif _ended(catalog, store, proof, title, now=now):
            told["ended"] += 1
        else:
            waiting.append((proof, title))
    free = max(0, slots - told["under way"])
    for proof, title in waiting[:free]:
        told["started"] += _start(catalog, api, store, dag_id, proof, title)
    return told


def _asked_for(title: TitleRecord) -> bool:
    return load_tiers()[title.request.tier].proof is not None


def _task(title: TitleRecord) -> Task | None:
    """The task that proves titles of this pipeline; None where that has none, or is not registered any more."""
    try:
        pipeline = find_pipeline(title.pipeline, title.pipeline_version)
    except ConfigurationError:
        return None
    return next((task for task in pipeline.tasks if task.apart and task.name == TASK), None)


def _is_active(api: AirflowApi, dag_id: str, run_id: str) -> bool:
    run = api.run(dag_id, run_id)
    return run is not None and run["state"] in ACTIVE_RUN_STATES


def _ended(catalog: Catalog, store: ObjectStore, proof: ProofRecord, title: TitleRecord, *, now: datetime) -> bool:
    """Whether the proof has come to its end, by what its last slice has left or by what has happened meanwhile."""
    job = title.job()
    found = load_if_valid(store, result_key(job, TASK), Proof)
    if found is not None and found.done:
        _conclude(catalog, proof, title, found, now=now)
        return True
    failures = proof.failures
    if proof.run_id is not None:
        failures = 0 if found is not None else failures + 1
        catalog.proofs.end_slice(proof.request_id, failed=found is None)
    why = _why_not(catalog, proof, title, now=now)
    if why is None and failures:
        said = load_if_valid(store, error_key(job, TASK), ErrorDocument)
        if failures >= FAILURES or (said is not None and said.retry is Retry.NEVER):
            why = said.message if said else f"{failures} runs in a row left no result; their logs may say why"
    if why is None:
        return False
    log.warning("%s: the proof of v%d is given up: %s", proof.request_id, proof.version, why)
    cost = found.cost.cpu_s if found else 0.0
    catalog.proofs.end(
        proof.request_id, "given_up", now, detail={"version": proof.version, "message": why, "cpu_s": cost}
    )
    return True


def _why_not(catalog: Catalog, proof: ProofRecord, title: TitleRecord, *, now: datetime) -> str | None:
    """Why a proof needs no further slice, or cannot have one; None where it goes on."""
    if _superseded(catalog, proof, title):
        return "a newer version is published"
    if not _asked_for(title):
        return f"the tier {title.request.tier} asks for no proof any more"
    if title.begun_by_another_release or _task(title) is None:
        return "another release has encoded the title, whose work this one does not read"
    if _expired(proof, now):
        return f"it did not come to its end within {WAITS_FOR.days} days: no slot was free for so long"
    return None


def _expired(proof: ProofRecord, now: datetime) -> bool:
    return now - proof.queued_at > WAITS_FOR


def _superseded(catalog: Catalog, proof: ProofRecord, title: TitleRecord) -> bool:
    current = catalog.versions.current(title.title_id)
    return current is not None and current.version != proof.version


def _start(
    catalog: Catalog, api: AirflowApi, store: ObjectStore, dag_id: str, proof: ProofRecord, title: TitleRecord
) -> bool:
    """Start the run of the next slice; False where Airflow does not have the DAG yet."""
    run_id = f"{title.title_id}__{title.batch_id}__{proof.slices + 1}"
    # Of the slice before: a task whose result is there is done.
    store.delete(result_key(title.job(), TASK))
    try:
        api.trigger(dag_id, run_id, conf={"request_id": title.request_id})
    except DagUnknown:
        return False
    catalog.proofs.begin_slice(title.request_id, run_id)
    log.info("%s: slice %d of its proof runs as %s", title.request_id, proof.slices + 1, run_id)
    return True


def _conclude(catalog: Catalog, proof: ProofRecord, title: TitleRecord, found: Proof, *, now: datetime) -> None:
    """What the proof has found follows as from any other finding: a repair, and an alert. Its own end comes last."""
    told: dict[str, Any] = {
        "version": proof.version,
        "cpu_s": found.cost.cpu_s,
        "wall_s": found.cost.wall_s,
        "renditions": [each.model_dump(mode="json") for each in found.renditions],
    }
    if found.wrong and not _superseded(catalog, proof, title):
        _follow_up(catalog, title, {each.rendition: each.reasons for each in found.wrong}, proof.version, now=now)
    catalog.proofs.end(title.request_id, "wrong" if found.wrong else "proved", now, detail=told)
    log.info("%s: v%d is proved, %d renditions wrong", title.request_id, proof.version, len(found.wrong))


def _follow_up(
    catalog: Catalog, title: TitleRecord, wrong: Mapping[str, tuple[str, ...]], version: int, *, now: datetime
) -> None:
    if not title.is_repair:
        catalog.repairs.queue(title.request_id, wrong.keys(), now)
    catalog.alerts.enter(
        title_id=title.title_id,
        request_id=title.request_id,
        level="proof",
        cause="wrong_after_publication",
        message=f"v{version}: " + "; ".join(f"{name} {reasons[0]}" for name, reasons in wrong.items()),
        now=now,
    )
