"""What Callsheet needs of an object store, whichever kind it is."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from include.base.errors import StorageError

Moved = Callable[[int], None]
"""Gets how many bytes of a transfer are done, each time that there are more. Whoever calls it may be another thread."""


def unheard(done: int) -> None:
    """A :data:`Moved` that nobody listens to."""


class ConcurrentChange(StorageError):
    """A compare-and-set found another value than the expected one."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """An object on its way to somebody who asked Callsheet's own endpoint for it: a file, or a body to pass on."""

    file: Path | None = None
    """Where it lies on this machine; None where :attr:`body` is to be passed on."""
    body: Iterator[bytes] = field(default_factory=lambda: iter(()))
    """The bytes that were asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers that describe :attr:`body`: length, range and ETag."""


class ObjectStore(Protocol):
    """What Callsheet needs of a store. A write takes place completely or not at all."""

    uri: str
    """Root, without a trailing slash."""

    def put_file(self, key: str, path: Path, moved: Moved = unheard) -> None:
        """Store the file at ``path``; the local store may move it."""

    def put_files(self, files: Mapping[str, Path], moved: Moved = unheard) -> None:
        """Store many files by key, as :meth:`put_file` does. If one fails, others may have been stored already.

        ``moved`` gets the bytes of all of them together.
        """

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

    def local_copy(self, key: str, folder: Path, moved: Moved = unheard) -> Path:
        """A path with the content of ``key``: the file itself, or a download into ``folder``. Do not write to it."""

    def serve(self, key: str, byte_range: str | None) -> Served | None:
        """The object for a reader over HTTP; None where there is nothing.

        Args:
            key: The object.
            byte_range: The reader's ``Range`` header, e.g. ``bytes=0-99``; None for all of it. A store that gives a
                file leaves the range to whoever sends the file.
        """

    def copy_tree(self, source: str, target: str, moved: Moved = unheard) -> None:
        """Make every file beneath ``source`` appear beneath ``target``, manifests after the files that they name.

        Safe to repeat after a crash. ``moved`` gets the bytes of all files together.
        """

    def delete(self, key: str) -> None:
        """Remove ``key``; it is no error if nothing is there."""

    def delete_tree(self, prefix: str) -> None:
        """Remove everything beneath ``prefix``."""

    def marker(self, key: str) -> str | None:
        """What changes whenever the content at ``key`` does; None where there is nothing."""

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Replace the content at ``key`` if its marker is ``expected``; else raise :class:`ConcurrentChange`."""

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Remove unfinished writes that began before that time, everywhere in the store; returns what was removed.

        Only writers that were killed leave such.
        """
