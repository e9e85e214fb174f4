"""Keys of the store: which are allowed, and what their names say about the objects.

Keys are relative, ``/``-separated and made of safe segments only; nothing outside the root can be addressed.
"""

from __future__ import annotations

import itertools
import mimetypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from include.adapters.store.interface import ObjectStore
from include.base.errors import StorageError

MAX_KEY = 1024
"""Characters of a key; S3 allows no more."""
WRITTEN_FOLDERS = ("titles", "work", "models")
"""Folders of the store in which a killed writer can leave something unfinished (docs/decisions/0004)."""
MEDIA_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".vtt": "text/vtt; charset=utf-8",
    ".js": "text/javascript",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
}
"""Types that players insist on; the type of any other file is guessed from its name."""
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,219}")
"""Leaves a file name room for the suffix of a temporary one."""
_VERSION = re.compile(r"titles/[^/]+/v\d+/")


def checked_key(key: str) -> str:
    """``key``; raises :class:`StorageError` for one that is not made of safe segments."""
    if len(key) > MAX_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise StorageError(f"object key {key[:MAX_KEY]!a} is not made of safe segments", reason="bad_key")
    return key


def key_of(store: ObjectStore, uri: str) -> str:
    """The key of a full address beneath the store's root; raises :class:`StorageError` for one elsewhere."""
    prefix = store.uri + "/"
    if not uri.startswith(prefix):
        raise StorageError(f"{uri} is not in the configured store {store.uri}", reason="foreign_address")
    return unquote(uri.removeprefix(prefix))


def content_type(key: str) -> str:
    """Media type of the object at ``key``."""
    name = key.rpartition("/")[2]
    known = MEDIA_TYPES.get(Path(name).suffix)
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


def cache_control(key: str) -> str:
    """How long caches may keep the object at ``key``: a published version for ever, work in progress not at all."""
    if key.startswith("work/"):
        return "no-store"
    return "max-age=31536000, immutable" if _VERSION.match(key) else "no-cache"


def manifests_last(names: Iterable[str]) -> Iterator[list[str]]:
    """``names`` in the order in which they may appear to players: media, playlists in folders, the set's manifests.

    Files of one group do not refer to each other, so they may be written at the same time.
    """

    def group_of(name: str) -> int:
        refers = name.endswith((".m3u8", ".mpd", ".html"))
        return 0 if not refers else 1 if "/" in name else 2

    for _, group in itertools.groupby(sorted(names, key=group_of), key=group_of):
        yield list(group)
