"""The object store: one interface over a local folder or S3, chosen by the scheme of ``CALLSHEET_STORE_URI``.

Keys are relative, ``/``-separated and made of safe segments only; nothing outside the root can be addressed.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import hashlib
import itertools
import mimetypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from include.base.errors import ConfigurationError, StorageError
from include.base.settings import Settings

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,219}")
"""Leaves a file name room for the suffix of a temporary one."""
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Name of a file that is being written; a lock file beside a pointer is none."""
_VERSION = re.compile(r"titles/[^/]+/v\d+/")
SWEPT = ("titles", "work", "models")
"""Folders of the store (docs/decisions/0004)."""
MAX_KEY = 1024
"""As object stores have it."""
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
"""What players insist on; the rest is guessed from the name."""
_WAYS_OUT = {
    errno.ENOSPC: ("disk_full", "free space there; the next attempt goes on from what is done"),
    errno.EDQUOT: ("disk_full", "free space there, or raise the quota; the next attempt goes on from what is done"),
    errno.EROFS: ("read_only", "mount it writable, then clear the task"),
    errno.EACCES: ("read_only", "give this user the right to write there, then clear the task"),
    errno.EPERM: ("read_only", "give this user the right to write there, then clear the task"),
}
"""Reason and way out by what the operating system says."""


class ConcurrentChange(StorageError):
    """A compare-and-set found another value than the expected one."""


class ObjectStore(Protocol):
    """What Callsheet needs of a store. Every write is whole or not at all."""

    uri: str
    """Root, without a trailing slash."""

    def put_file(self, key: str, path: Path) -> None:
        """Store the file at ``path``; the local store may move it."""

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Store many files by key, as :meth:`put_file` does; where one fails, others may be there."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store ``data``."""

    def get_bytes(self, key: str) -> bytes:
        """The content at ``key``; raises :class:`FileNotFoundError` where there is none."""

    def size(self, key: str) -> int | None:
        """Bytes at ``key``, None where there is nothing."""

    def list(self, prefix: str) -> dict[str, int]:
        """Keys beneath the folder ``prefix``, relative to it, with their sizes."""

    def readable(self, key: str) -> str:
        """What a media tool opens to read ``key``: a path, or a presigned address."""

    def lasts(self, seconds: float) -> bool:
        """Whether what :meth:`readable` gives now can be opened for that long; else take :meth:`local_copy`."""

    def local_copy(self, key: str, folder: Path) -> Path:
        """A path with the content of ``key``: the file itself, or a download into ``folder``. Do not write to it."""

    def copy_tree(self, source: str, target: str) -> None:
        """Make every file beneath ``source`` appear beneath ``target``, manifests after what they name.

        Safe to repeat after a crash.
        """

    def delete(self, key: str) -> None:
        """Remove ``key``; nothing there is as good."""

    def delete_tree(self, prefix: str) -> None:
        """Remove everything beneath ``prefix``."""

    def marker(self, key: str) -> str | None:
        """What changes whenever the content at ``key`` does; None where there is nothing."""

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Replace the content at ``key`` if its marker is ``expected``; else :class:`ConcurrentChange`."""

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Remove what writers that were killed left behind before that time, published folders included."""


class LocalStore:
    """A folder. Files appear by rename, so that no reader sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def put_file(self, key: str, path: Path) -> None:
        """Move ``path`` to ``key``; across file systems it is copied first."""
        target = self._path(key)
        with self._explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with written_whole(target) as temporary:
                    shutil.copyfile(path, temporary)
                path.unlink()

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Move them."""
        for key, path in files.items():
            self.put_file(key, path)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write ``data`` beside ``key`` and rename."""
        target = self._path(key)
        with self._explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(target) as temporary:
                temporary.write_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """The file's content."""
        path = self._file(key)
        with self._explained(key):
            return path.read_bytes()

    def size(self, key: str) -> int | None:
        """The file's size."""
        path = self._path(key)
        with self._explained(key):
            return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> dict[str, int]:
        """All files beneath the folder, temporary ones left out."""
        folder = self._path(prefix)
        sizes: dict[str, int] = {}
        with self._explained(prefix):
            for parent, _, names in os.walk(folder, onerror=_unless_gone):
                for name in names:
                    path = Path(parent, name)
                    if not name.startswith("."):
                        with suppress(FileNotFoundError):  # deleted meanwhile
                            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        return dict(sorted(sizes.items()))

    def readable(self, key: str) -> str:
        """The path."""
        return str(self._path(key))

    def lasts(self, seconds: float) -> bool:
        """Always."""
        return True

    def local_copy(self, key: str, folder: Path) -> Path:
        """The file itself."""
        return self._file(key)

    def copy_tree(self, source: str, target: str) -> None:
        """Hard links where the file system allows, copies elsewhere."""
        for name in itertools.chain.from_iterable(by_need(self.list(source))):
            origin, copy = self._path(f"{source}/{name}"), self._path(f"{target}/{name}")
            if copy.is_file() and copy.stat().st_size == origin.stat().st_size:
                continue
            with self._explained(f"{target}/{name}"):
                copy.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(copy) as temporary:
                    temporary.unlink()
                    try:
                        os.link(origin, temporary)
                    except OSError:
                        shutil.copyfile(origin, temporary)

    def delete(self, key: str) -> None:
        """Remove the file."""
        with self._explained(key):
            self._path(key).unlink(missing_ok=True)

    def delete_tree(self, prefix: str) -> None:
        """Remove the folder."""
        folder = self._path(prefix)
        with self._explained(prefix):
            if folder.exists():
                shutil.rmtree(folder)

    def marker(self, key: str) -> str | None:
        """SHA-256 of the content: used for small pointers only."""
        path = self._path(key)
        with self._explained(key):
            return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Under a lock file beside ``key``, which serialises all writers on this file system."""
        target = self._path(key)
        with self._explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / f".{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.marker(key) != expected:
                    raise ConcurrentChange(f"{self.uri}/{key} was changed by another writer")
                self.put_bytes(key, data)

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Temporary files whose writer died between writing and renaming; returns them, relative to the root."""
        swept = []
        for folder in SWEPT:
            with self._explained(folder):
                for path in (self.root / folder).rglob(".*"):
                    if _TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime < before.timestamp():
                        path.unlink(missing_ok=True)
                        swept.append(path.relative_to(self.root).as_posix())
        return swept

    def _file(self, key: str) -> Path:
        path = self._path(key)
        with self._explained(key):
            there = path.is_file()
        if not there:
            raise FileNotFoundError(f"nothing at {self.uri}/{key}")
        return path

    def _explained(self, key: str) -> AbstractContextManager[None]:
        return explained(f"{self.uri}/{key}")


def open_store(settings: Settings) -> ObjectStore:
    """The store at ``settings.store_uri``; raises :class:`ConfigurationError` for a scheme that is not served."""
    parts = urlsplit(settings.store_uri)
    if parts.scheme == "file" and not parts.netloc:
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from include.adapters.s3.store import S3Store

        return S3Store(settings.store_uri, settings)
    raise ConfigurationError(f"CALLSHEET_STORE_URI: file:///… or s3://… is served (got {settings.store_uri!r})")


def by_need(names: Iterable[str]) -> Iterator[list[str]]:
    """``names`` in groups, each before those that refer to it: media, their playlists, the set's manifests."""

    def need(name: str) -> int:
        refers = name.endswith((".m3u8", ".mpd", ".html"))
        return 0 if not refers else 1 if "/" in name else 2

    for _, group in itertools.groupby(sorted(names, key=need), key=need):
        yield list(group)


def content_type(key: str) -> str:
    """Media type of what lies at ``key``."""
    name = key.rpartition("/")[2]
    known = MEDIA_TYPES.get(Path(name).suffix)
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


def cache_control(key: str) -> str:
    """How long caches may keep what lies at ``key``: a published version for ever, work in progress not at all."""
    if key.startswith("work/"):
        return "no-store"
    return "max-age=31536000, immutable" if _VERSION.match(key) else "no-cache"


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


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` that becomes ``target`` when the block ends well."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _unless_gone(error: OSError) -> None:
    """A folder that is not there is empty; one that cannot be read is an error."""
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        raise error


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turns what the file system refuses inside into a typed error that names ``where`` and the way out."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        reason, way_out = _WAYS_OUT.get(error.errno or 0, (None, None))
        text = f"{where}: {error.strerror or error} ({name})"
        raise StorageError(f"{text}; {way_out}" if way_out else text, reason=reason) from error
