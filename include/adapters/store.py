"""The object store: one interface over a local folder, chosen by the scheme of ``CALLSHEET_STORE_URI``.

Keys are relative, ``/``-separated and made of safe segments only; nothing outside the root can be addressed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from include.errors import ConfigurationError, StorageError
from include.settings import Settings

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,219}")
"""Leaves a file name room for the suffix of a temporary one."""
MAX_KEY = 1024
"""As object stores have it."""


class ConcurrentChange(StorageError):
    """A compare-and-set found another value than the expected one."""


class ObjectStore(Protocol):
    """What Callsheet needs of a store. Every write is whole or not at all."""

    uri: str
    """Root, without a trailing slash."""

    def put_file(self, key: str, path: Path) -> None:
        """Store the file at ``path``; the local store may move it."""

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

    def local_copy(self, key: str, folder: Path) -> Path:
        """A path with the content of ``key``: the file itself, or a download into ``folder``. Do not write to it."""

    def copy_tree(self, source: str, target: str) -> None:
        """Make every file beneath ``source`` appear beneath ``target``; safe to repeat after a crash."""

    def delete(self, key: str) -> None:
        """Remove ``key``; nothing there is as good."""

    def delete_tree(self, prefix: str) -> None:
        """Remove everything beneath ``prefix``."""

    def marker(self, key: str) -> str | None:
        """What changes whenever the content at ``key`` does; None where there is nothing."""

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Replace the content at ``key`` if its marker is ``expected``; else :class:`ConcurrentChange`."""


class LocalStore:
    """A folder. Files appear by rename, so that no reader sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri()

    def _path(self, key: str) -> Path:
        if len(key) > MAX_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
            raise StorageError(f"object key {key[:MAX_KEY]!a} is not made of safe segments", reason="bad_key")
        return self.root / key

    def put_file(self, key: str, path: Path) -> None:
        """Move ``path`` to ``key``; across file systems it is copied first."""
        target = self._path(key)
        with _explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with _temporary(target) as temporary:
                    shutil.copyfile(path, temporary)
                path.unlink()

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write ``data`` beside ``key`` and rename."""
        target = self._path(key)
        with _explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(target) as temporary:
                temporary.write_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """The file's content."""
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(f"nothing at {self.uri}/{key}")
        with _explained(key):
            return path.read_bytes()

    def size(self, key: str) -> int | None:
        """The file's size."""
        path = self._path(key)
        with _explained(key):
            return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> dict[str, int]:
        """All files beneath the folder, temporary ones left out."""
        folder = self._path(prefix)
        with _explained(prefix):
            return {
                path.relative_to(folder).as_posix(): path.stat().st_size
                for path in sorted(folder.rglob("*"))
                if path.is_file() and not path.name.startswith(".")
            }

    def readable(self, key: str) -> str:
        """The path."""
        return str(self._path(key))

    def local_copy(self, key: str, folder: Path) -> Path:
        """The file itself."""
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(f"nothing at {self.uri}/{key}")
        return path

    def copy_tree(self, source: str, target: str) -> None:
        """Hard links where the file system allows, copies elsewhere."""
        for name in self.list(source):
            origin, copy = self._path(f"{source}/{name}"), self._path(f"{target}/{name}")
            if copy.is_file() and copy.stat().st_size == origin.stat().st_size:
                continue
            with _explained(f"{target}/{name}"):
                copy.parent.mkdir(parents=True, exist_ok=True)
                with _temporary(copy) as temporary:
                    temporary.unlink()
                    try:
                        os.link(origin, temporary)
                    except OSError:
                        shutil.copyfile(origin, temporary)

    def delete(self, key: str) -> None:
        """Remove the file."""
        with _explained(key):
            self._path(key).unlink(missing_ok=True)

    def delete_tree(self, prefix: str) -> None:
        """Remove the folder."""
        folder = self._path(prefix)
        if folder.exists():
            with _explained(prefix):
                shutil.rmtree(folder)

    def marker(self, key: str) -> str | None:
        """SHA-256 of the content: used for small pointers only."""
        path = self._path(key)
        with _explained(key):
            return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Under a lock file beside ``key``, which serialises all writers on this file system."""
        target = self._path(key)
        with _explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / f".{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.marker(key) != expected:
                    raise ConcurrentChange(f"{self.uri}/{key} was changed by another writer")
                self.put_bytes(key, data)


def open_store(settings: Settings) -> ObjectStore:
    """The store at ``settings.store_uri``; raises :class:`ConfigurationError` for a scheme that is not served."""
    parts = urlsplit(settings.store_uri)
    if parts.scheme == "file" and not parts.netloc:
        return LocalStore(Path(unquote(parts.path)))
    raise ConfigurationError(f"CALLSHEET_STORE_URI: file:///… is served (got {settings.store_uri!r})")


def key_of(store: ObjectStore, uri: str) -> str:
    """The key of a full address beneath the store's root; raises :class:`StorageError` for one elsewhere."""
    prefix = store.uri + "/"
    if not uri.startswith(prefix):
        raise StorageError(f"{uri} is not in the configured store {store.uri}", reason="foreign_address")
    return unquote(uri.removeprefix(prefix))


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
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


@contextmanager
def _explained(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{key}: {error.strerror or error} ({errno.errorcode.get(error.errno or 0, '?')})"
        ) from error
