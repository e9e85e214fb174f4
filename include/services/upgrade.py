"""What another release has begun goes on under this one.

A batch gets the newest version of its pipeline. A run that was begun under another version, or with documents that this
release cannot read, begins again: it finds in its work folder what is finished and repeats the rest, so that no
finished encode is made twice.

``callsheet migrate`` moves the batches before Airflow starts; the DAG ``dispatch`` does both each minute, so that a
rolling deploy comes to the same end. Nothing is moved back by itself: of two releases that run side by side the older
one leaves alone what the newer one has moved.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, Migration, TitleRecord
from include.adapters.catalog.records import Stub
from include.adapters.catalog.titles import RELEASED_STATES
from include.adapters.store.interface import ObjectStore
from include.base.errors import CallsheetError, ConfigurationError
from include.base.release import RELEASES, VERSION
from include.domain.title.work import result_key
from include.pipelines.core import current_pipelines, registry
from include.pipelines.runner import drop_results, drop_unreadable

log = logging.getLogger(__name__)

ONE_CLOCK = 3
"""The format of documents since which times count from the title's zero; before, they counted from the container's."""
SAME_END_S = 0.035
"""Sound that goes on for less behind the picture is a codec's padding, which makes no title longer."""
NEW_IN_REQUESTS = {
    "source": ("programme", "audio_layouts"),
    "subtitles": ("label", "forced", "hearing_impaired", "default"),
}
"""Fields of requests that the release before this one refuses, by the part that has them."""
TELLS_RUNS_APART = "0006"
"""The catalog's revision since which a release has runs begin again that another one has begun."""


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """What an upgrade has changed in the catalog."""

    applied: list[Migration]
    moved: list[str]
    """Batches that go on under the newest version of their pipeline."""


@dataclass(frozen=True, kw_only=True)
class WentBack:
    """What was taken back, and whom the catalog fits now."""

    release: str
    revision: str
    undone: list[Migration]
    """The newest first."""
    under_way: list[str]
    """Requests whose run has to begin again under the release before."""
    simplified: list[str]
    """Requests that have lost fields which the release before does not know."""
    by_themselves: bool
    """Whether the release before has them begin again; else an operator has to clear them."""


def upgrade_catalog(catalog: Catalog, *, now: datetime) -> Upgraded:
    """Migrate the tables, then move the batches; raises as :meth:`Catalog.migrate` does."""
    applied = catalog.migrate()
    return Upgraded(applied=applied, moved=move_batches(catalog, now=now))


def take_catalog_back(catalog: Catalog, store: ObjectStore) -> WentBack:
    """Take the tables, with what is in them, back to the release before; nothing may use them meanwhile.

    The results of runs under way are removed from their work folders: the release before would fail over those that it
    cannot read. A finished encode stays, and is used again by a release that can read its record.

    Raises :class:`ConfigurationError` where there is no release before, or no catalog.
    """
    order = [migration.revision for migration in catalog.revisions.known()]
    current = catalog.revisions.current()
    if current is not None:
        catalog.revisions.due()  # refuses a newer catalog
    before = _releases_before(current, order)
    if not before:
        raise ConfigurationError(
            f"the catalog is at revision {current or 'none'}: there is no release before it that it could go back to"
        )
    release, revision = before[-1]
    # The tables between two releases are read by neither.
    running = [] if catalog.revisions.due() else catalog.titles.find(states=RELEASED_STATES)
    for title in running:
        # One of a pipeline that this release does not have has no results of this release either.
        if (title.pipeline, title.pipeline_version) in registry():
            drop_results(title.job(), store)
    if running:
        catalog.titles.forget_beginnings([title.request_id for title in running])
    # From a catalog of an older release nothing of this one has to go.
    simplified = catalog.titles.forget_fields(NEW_IN_REQUESTS) if current == RELEASES[VERSION] else []
    undone = catalog.revisions.go_back(revision)
    return WentBack(
        release=release,
        revision=revision,
        undone=undone,
        under_way=[title.request_id for title in running],
        simplified=simplified,
        by_themselves=order.index(revision) >= order.index(TELLS_RUNS_APART),
    )


def _releases_before(current: str | None, order: list[str]) -> list[tuple[str, str]]:
    """Older releases with their revisions, the newest last, that a catalog at ``current`` can go back to.

    The release before this one may have the same tables; from older tables the way leads to still older ones alone.
    """
    if current is None:
        return []
    older = list(RELEASES.items())[: list(RELEASES).index(VERSION)]
    end = order.index(current) + (current == RELEASES[VERSION])
    return [(name, at) for name, at in older if order.index(at) < end]


def move_batches(catalog: Catalog, *, now: datetime) -> list[str]:
    """Put live batches whose version of a pipeline this release no longer has under the newest; returns their ids."""
    newest = _newest_versions()
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
    newest = _newest_versions()
    return [stub for stub in _unregistered(catalog) if stub.pipeline_version < newest.get(stub.pipeline, 0)]


def foreign_batches(catalog: Catalog) -> list[Stub]:
    """Live batches that this release cannot run: of a pipeline that it does not have, or of a newer release."""
    newest = _newest_versions()
    return [stub for stub in _unregistered(catalog) if stub.pipeline_version >= newest.get(stub.pipeline, 0)]


def _newest_versions() -> dict[str, int]:
    return {name: pipeline.version for name, pipeline in current_pipelines().items()}


def _unregistered(catalog: Catalog) -> list[Stub]:
    """Live batches whose version of a pipeline this release does not have."""
    known = registry().keys()
    return [stub for stub in catalog.batches.stubs() if (stub.pipeline, stub.pipeline_version) not in known]


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
        for key in [*drop_unreadable(title.job(), store), *_drop_other_clock(title, store)]:
            log.info("%s: %s/%s is of another release and is made again", title.request_id, store.uri, key)
        api.begin_again(title.dag_id, title.run_id)
        log.warning("%s: its run %s was begun by another release and begins again", title.request_id, title.run_id)
    # A run that has vanished is for the sweep of lost runs.
    catalog.titles.note_begun_again(title.request_id, now=datetime.now(UTC))
    return run is not None


def _drop_other_clock(title: TitleRecord, store: ObjectStore) -> list[str]:
    """Remove an inspection whose times are the container's, and all that is made from one that counted otherwise.

    Where the picture begins with the container and nothing goes on behind it, both clocks say the same: what is encoded
    is as it would be made today, and stays. Returns the keys.
    """
    job = title.job()
    key = result_key(job, "inspect")
    if (title.run_format or 0) >= ONE_CLOCK or store.size(key) is None:
        return []
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(store.get_bytes(key))
        start_s = said["video"]["start_time_s"]
        end_s = start_s + said["video"]["duration_s"]
        if start_s == 0 and said["duration_s"] - end_s <= SAME_END_S:
            store.delete(key)
            return [key]
    return drop_results(job, store)
