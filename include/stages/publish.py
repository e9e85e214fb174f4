"""Publish: into an immutable version, then one pointer flips, the catalog last.

A request may have more than one version: editions such as its core rungs alone, and later the whole set. The version of
a newer request comes after that of an older one, and of one request a later edition after an earlier: in this order the
pointer only moves forward.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from include.adapters.airflow_api import ui_base_url
from include.adapters.store.interface import ConcurrentChange, ObjectStore
from include.base.document import canonical_json
from include.base.errors import ConfigurationError, NotReleased, PlatformUnavailable, StaleRequest, StorageError
from include.base.settings import Settings
from include.domain.outcome.results import PackageResult, PublishResult
from include.domain.title.title import TitleJob
from include.stages.core import ControlContext, stage
from include.stages.progress import moving, part

log = logging.getLogger(__name__)

FLIP_ATTEMPTS = 10
POINTER_FIELDS = frozenset({"request_id", "seq", "version", "published_at", "manifests", "preview"})
"""What this module reads of a pointer; ``whole``, ``place`` and ``playable_at`` are not in those of older releases."""
MEDIA_PATH = "/callsheet/media"
"""Where the API serves a local store (include/api)."""


@stage(place="airflow")
def publish(ctx: ControlContext, title: TitleJob, packaged: PackageResult) -> PublishResult:
    """Copies the set into a version of its own, makes it current unless a newer request already is, tells the catalog.

    Safe to repeat from any point: the version number belongs to the request and its part, files are compared before
    they are copied, and the pointer never goes back to an older request, or to an edition before the one that plays.
    """
    return make_current(ctx, title, packaged)


def make_current(ctx: ControlContext, title: TitleJob, packaged: PackageResult) -> PublishResult:
    """See :func:`publish`; what comes after a publication that died between pointer and catalog completes it so."""
    whole, place = packaged.whole, packaged.place
    seq = _open_request(ctx, title, whole=whole, place=place)
    version = ctx.catalog.versions.allocate(title.request_id, whole=whole, place=place, now=ctx.clock())
    prefix = f"titles/{title.title_id}/v{version}"
    copying = moving(part(ctx, 0.0, 0.99), f"copying into version {version}", sum(packaged.files.values()))
    ctx.store.copy_tree(packaged.prefix, prefix, copying)
    published = ctx.store.list(prefix)
    if published != packaged.files:
        wrong = sorted(
            name for name in packaged.files.keys() | published if packaged.files.get(name) != published.get(name)
        )
        raise StorageError(f"{prefix}: {len(wrong)} files are not as they were packaged, e.g. {wrong[0]}")

    base = f"{public_base(ctx.settings)}/{prefix}"
    now = ctx.clock().isoformat()
    pointer = {
        "title_id": title.title_id,
        "request_id": title.request_id,
        "seq": seq,
        "version": version,
        "whole": whole,
        # Only a second early edition needs it: every other set is told by ``whole`` alone.
        **({"place": place} if place else {}),
        "published_at": now,
        "playable_at": now,
        "degraded": packaged.degraded,
        "manifests": {
            "hls": f"{base}/{packaged.hls}",
            "dash": f"{base}/{packaged.dash}" if packaged.dash else None,
        },
        "preview": f"{base}/{packaged.preview}",
        "territories": list(title.territories) or ["*"],
    }
    # Copying takes a while: the title may have been cancelled, or a newer request published, meanwhile.
    _open_request(ctx, title, whole=whole, place=place)
    current = flip(ctx.store, pointer_key(title.title_id), pointer)
    # An earlier attempt may have flipped it and died: the pointer's word is what players have seen.
    published_at, playable_at = (datetime.fromisoformat(moment) for moment in _moments(current))
    result = PublishResult(
        version=current["version"],
        prefix=f"titles/{title.title_id}/v{current['version']}",
        published_at=published_at,
        playable_at=playable_at,
        whole=_place(current)[1],
        place=_place(current)[2],
        hls=current["manifests"]["hls"],
        dash=current["manifests"]["dash"],
        preview=current["preview"],
        degraded=packaged.degraded,
        deadline_met=None if title.publish_at is None else playable_at <= title.publish_at,
    )
    if (result.whole, result.place) != (whole, place):
        log.info("%s: a later edition is there already, this one is not wanted any more", title.request_id)
        return result
    ctx.catalog.versions.publish(title.request_id, result=result, package=packaged, now=ctx.clock())
    return result


def is_current(store: ObjectStore, title: TitleJob, *, whole: bool, place: int = 0) -> bool:
    """Whether players see this very set of the request: its pointer has flipped, whatever the catalog has heard."""
    _, current = _pointer(store, pointer_key(title.title_id))
    return current.get("request_id") == title.request_id and _place(current)[1:] == (whole, place)


def pointer_key(title_id: str) -> str:
    """Store key of a title's pointer."""
    return f"titles/{title_id}/current.json"


def flip(store: ObjectStore, key: str, pointer: dict[str, Any]) -> dict[str, Any]:
    """Make ``pointer`` current by compare-and-set; returns what is current then: it, or what the same request has set.

    A set that follows an earlier edition of its request has been playable since that. Raises :class:`StaleRequest`
    where a newer request's pointer is current.
    """
    for _ in range(FLIP_ATTEMPTS):
        marker, current = _pointer(store, key)
        if current and current["seq"] > pointer["seq"]:
            raise StaleRequest(
                f"{current['request_id']} is newer and already published as v{current['version']}",
                reason="superseded",
            )
        if current and current["seq"] == pointer["seq"]:
            if _place(current) >= _place(pointer):
                return current
            pointer = {**pointer, "playable_at": _moments(current)[1]}
        try:
            store.compare_and_set(key, canonical_json(pointer).encode(), marker)
        except ConcurrentChange:
            log.info("%s changed under us; looking again", key)
            continue
        return pointer
    raise StorageError(f"{key} kept changing under us {FLIP_ATTEMPTS} times")


def _place(pointer: dict[str, Any]) -> tuple[int, bool, int]:
    """The place of a version among those of its title: a later one is greater."""
    return pointer["seq"], pointer.get("whole", True), pointer.get("place", 0)


def _moments(pointer: dict[str, Any]) -> tuple[str, str]:
    """When a version was published, and since when its request has been playable."""
    return pointer["published_at"], pointer.get("playable_at", pointer["published_at"])


def _open_request(ctx: ControlContext, title: TitleJob, *, whole: bool, place: int) -> int:
    """Number of the request; raises where it has come to an end without this set, or a newer request is published."""
    record = ctx.catalog.titles.get(title.request_id)
    if record is None:
        raise PlatformUnavailable(f"{title.request_id} is not in the catalog")
    # What players see already is not taken back by a verdict that came after it.
    seen = ctx.catalog.versions.is_published(title.request_id, whole=whole, place=place)
    seen = seen or is_current(ctx.store, title, whole=whole, place=place)
    if record.state.final and not seen:
        raise NotReleased(
            f"{title.request_id} is settled as {record.state} and is not published any more: "
            f"repeat it with callsheet replay {title.request_id}",
            reason="settled",
        )
    # The pointer says the same, unless somebody has removed it.
    newest = ctx.catalog.versions.published_seq(title.title_id)
    if newest is not None and newest > record.seq:
        raise StaleRequest(f"a newer request of {title.title_id} is already published", reason="superseded")
    return record.seq


def _pointer(store: ObjectStore, key: str) -> tuple[str | None, dict[str, Any]]:
    """Marker and content of a pointer; raises :class:`StorageError` for one that is not ours."""
    marker = store.marker(key)
    if marker is None:
        return None, {}
    try:
        current = json.loads(store.get_bytes(key))
        if not isinstance(current, dict) or not current.keys() >= POINTER_FIELDS:
            raise ValueError(f"it has not the fields {', '.join(sorted(POINTER_FIELDS))}")
    except FileNotFoundError:
        # Removed between the two looks: the compare-and-set sees it.
        return None, {}
    except ValueError as error:
        raise StorageError(
            f"{store.uri}/{key} is no pointer of ours: {error}. Something else has written it; remove it and clear "
            "the publish task: the catalog knows which request is the newest",
            reason="corrupt_document",
        ) from error
    return marker, current


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
