"""What another release has begun goes on under this one.

A batch gets the newest version of its pipeline. A run that was begun under another version, or with documents that this
release cannot read, begins again: it finds in its work folder what is finished and repeats the rest, so that no
finished encode is made twice.

``callsheet migrate`` moves the batches before Airflow starts; the DAG ``dispatch`` does both each minute, so that a
rolling deploy comes to the same end. Nothing is moved back by itself: of two releases that run side by side the older
one leaves alone what the newer one has moved.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.catalog.records import Stub
from include.adapters.store.interface import ObjectStore
from include.base.errors import CallsheetError
from include.pipelines.core import current_pipelines, registry
from include.pipelines.runner import drop_unreadable

log = logging.getLogger(__name__)


def move_batches(catalog: Catalog, *, now: datetime) -> list[str]:
    """Put live batches whose version of a pipeline this release no longer has under the newest; returns their ids."""
    newest = {name: pipeline.version for name, pipeline in current_pipelines().items()}
    moved: list[str] = []
    for stub in outdated_batches(catalog):
        version = newest[stub.pipeline]
        if catalog.batches.move(stub.batch_id, version, now=now):
            log.warning(
                "batch %s: this release has no %s v%d; its titles go on under v%d",
                stub.batch_id,
                stub.pipeline,
                stub.pipeline_version,
                version,
            )
            moved.append(stub.batch_id)
    return moved


def outdated_batches(catalog: Catalog) -> list[Stub]:
    """Live batches of a version of a pipeline that is older than all that this release has."""
    newest = {name: pipeline.version for name, pipeline in current_pipelines().items()}
    known = registry().keys()
    return [
        stub
        for stub in catalog.batches.stubs()
        if (stub.pipeline, stub.pipeline_version) not in known and stub.pipeline_version < newest.get(stub.pipeline, 0)
    ]


def foreign_batches(catalog: Catalog) -> list[Stub]:
    """Live batches that this release cannot run: of a pipeline that it does not have, or of a newer release."""
    outdated = {stub.batch_id for stub in outdated_batches(catalog)}
    known = registry().keys()
    return [
        stub
        for stub in catalog.batches.stubs()
        if (stub.pipeline, stub.pipeline_version) not in known and stub.batch_id not in outdated
    ]


def begin_runs_again(catalog: Catalog, api: AirflowApi, store: ObjectStore) -> list[str]:
    """Begin the runs again that another release has begun; returns their requests.

    What this release cannot read of their results is removed, and made again. A run whose batch was moved waits until
    Airflow has read the batch's new DAG: by the old one it would begin with tasks that are no more. One that Airflow
    refuses is tried again a minute later, and holds up no other.
    """
    begun: list[str] = []
    for title in catalog.titles.outdated():
        try:
            if _begin_again(catalog, api, store, title):
                begun.append(title.request_id)
        except CallsheetError as error:
            log.error("%s: its run cannot begin again yet: %s", title.request_id, error)
    return begun


def _begin_again(catalog: Catalog, api: AirflowApi, store: ObjectStore, title: TitleRecord) -> bool:
    assert title.run_id is not None  # the catalog lists released titles alone
    batch = catalog.batches.get(title.batch_id)
    parsed_at = api.parsed_at(title.dag_id)
    if parsed_at is None or (batch and batch.moved_at and parsed_at <= batch.moved_at):
        log.info("%s: Airflow has not read its batch's new DAG yet", title.request_id)
        return False
    run = api.run(title.dag_id, title.run_id)
    if run is not None:
        for key in drop_unreadable(title.job(), store):
            log.info("%s: %s/%s is of another release and is made again", title.request_id, store.uri, key)
        api.begin_again(title.dag_id, title.run_id)
        log.warning("%s: its run %s was begun by another release and begins again", title.request_id, title.run_id)
    # A run that has vanished is for the sweep of lost runs.
    catalog.titles.note_begun_again(title.request_id, now=datetime.now(UTC))
    return run is not None
