"""Publish: into an immutable version, then one pointer flips, the catalog last."""

from __future__ import annotations

import json
import logging

from include.adapters.airflow_api import ui_base_url
from include.adapters.store import ConcurrentChange, ObjectStore
from include.domain.document import canonical_json
from include.domain.results import PackageResult, PublishResult
from include.domain.title import TitleJob
from include.errors import ConfigurationError, PlatformUnavailable, StaleRequest, StorageError
from include.settings import Settings
from include.stages.core import ControlContext, stage

log = logging.getLogger(__name__)

FLIP_ATTEMPTS = 10
MEDIA_PATH = "/callsheet/media"
"""Where the API serves a local store (include/api)."""


@stage(place="airflow")
def publish(ctx: ControlContext, title: TitleJob, packaged: PackageResult) -> PublishResult:
    """Copies the set into a version of its own, makes it current unless a newer request already is, tells the catalog.

    Safe to repeat from any point: the version number belongs to the request, files are compared before they are
    copied, and the pointer never goes back to an older request.
    """
    record = ctx.catalog.title(title.request_id)
    if record is None:
        raise PlatformUnavailable(f"{title.request_id} is not in the catalog")
    version = ctx.catalog.allocate_version(title.request_id, now=ctx.clock())
    prefix = f"titles/{title.title_id}/v{version}"
    ctx.store.copy_tree(packaged.prefix, prefix)
    published = ctx.store.list(prefix)
    if published != packaged.files:
        wrong = sorted(
            name for name in packaged.files.keys() | published if packaged.files.get(name) != published.get(name)
        )
        raise StorageError(f"{prefix}: {len(wrong)} files are not as they were packaged, e.g. {wrong[0]}")

    now = ctx.clock()
    base = f"{public_base(ctx.settings)}/{prefix}"
    result = PublishResult(
        version=version,
        prefix=prefix,
        published_at=now,
        hls=f"{base}/{packaged.hls}",
        dash=f"{base}/{packaged.dash}" if packaged.dash else None,
        preview=f"{base}/{packaged.preview}",
        degraded=packaged.degraded,
        deadline_met=None if title.publish_at is None else now <= title.publish_at,
    )
    pointer = {
        "title_id": title.title_id,
        "request_id": title.request_id,
        "seq": record.seq,
        "version": version,
        "published_at": now.isoformat(),
        "degraded": packaged.degraded,
        "manifests": {"hls": result.hls, "dash": result.dash},
        "preview": result.preview,
        "territories": list(title.territories) or ["*"],
    }
    flip(ctx.store, f"titles/{title.title_id}/current.json", pointer, seq=record.seq)
    ctx.catalog.publish(title.request_id, result=result, package=packaged, now=now)
    return result


def flip(store: ObjectStore, key: str, pointer: dict[str, object], *, seq: int) -> None:
    """Make ``pointer`` current by compare-and-set; raises :class:`StaleRequest` where a newer request's already is."""
    for _ in range(FLIP_ATTEMPTS):
        marker = store.marker(key)
        current = json.loads(store.get_bytes(key)) if marker is not None else {}
        if current.get("seq", -1) > seq:
            raise StaleRequest(
                f"{current['request_id']} is newer and already published as v{current['version']}",
                reason="superseded",
            )
        if current.get("seq") == seq:
            return
        try:
            store.compare_and_set(key, canonical_json(pointer).encode(), marker)
        except ConcurrentChange:
            log.info("%s changed under us; looking again", key)
            continue
        return
    raise StorageError(f"{key} kept changing under us {FLIP_ATTEMPTS} times")


def public_base(settings: Settings) -> str:
    """Address beneath which players find the store's keys; raises :class:`ConfigurationError` where none is known."""
    if settings.public_base_url:
        return settings.public_base_url.rstrip("/")
    base = ui_base_url(settings)
    if not base:
        raise ConfigurationError(
            "nobody says where players find what is published: set CALLSHEET_PUBLIC_BASE_URL (a CDN) or "
            "CALLSHEET_AIRFLOW_BASE_URL"
        )
    return base + MEDIA_PATH
