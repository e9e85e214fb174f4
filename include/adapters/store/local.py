"""The store in a folder of this machine, or of a file system that all machines share."""

from __future__ import annotations

import builtins
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

from include.adapters.store.files import TEMPORARY, atomic_file, copy_file, file_errors, unless_gone
from include.adapters.store.interface import ConcurrentChange, Moved, Served, unheard
from include.adapters.store.keys import WRITTEN_FOLDERS, checked_key, manifests_last


class LocalStore:
    """A folder. Files appear by rename, so that no reader sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def put_file(self, key: str, path: Path, moved: Moved = unheard) -> None:
        """Move ``path`` to ``key``; across file systems it is copied first."""
        target = self._path(key)
        with self._errors_at(key):
            size = path.stat().st_size
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with atomic_file(target) as temporary:
                    copy_file(path, temporary, moved)
                path.unlink()
            moved(size)

    def put_files(self, files: Mapping[str, Path], moved: Moved = unheard) -> None:
        """Move them."""
        done = 0
        for key, path in files.items():
            size = path.stat().st_size
            self.put_file(key, path, _behind(done, moved))
            done += size

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write ``data`` beside ``key`` and rename."""
        target = self._path(key)
        with self._errors_at(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as temporary:
                temporary.write_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """The file's content."""
        path = self._file(key)
        with self._errors_at(key):
            return path.read_bytes()

    def size(self, key: str) -> int | None:
        """The file's size."""
        path = self._path(key)
        with self._errors_at(key):
            return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> dict[str, int]:
        """All files beneath the folder, temporary ones left out."""
        folder = self._path(prefix)
        sizes: dict[str, int] = {}
        with self._errors_at(prefix):
            for parent, _, names in os.walk(folder, onerror=unless_gone):
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

    def local_copy(self, key: str, folder: Path, moved: Moved = unheard) -> Path:
        """The file itself."""
        return self._file(key)

    def serve(self, key: str, byte_range: str | None) -> Served | None:
        """The file; whoever sends it knows about ranges."""
        path = self._path(key)
        with self._errors_at(key):
            return Served(file=path) if path.is_file() else None

    def copy_tree(self, source: str, target: str, moved: Moved = unheard) -> None:
        """Hard links where the file system allows, copies elsewhere."""
        sizes, done = self.list(source), 0
        for name in itertools.chain.from_iterable(manifests_last(sizes)):
            origin, copy = self._path(f"{source}/{name}"), self._path(f"{target}/{name}")
            with self._errors_at(f"{target}/{name}"):
                if not copy.is_file() or copy.stat().st_size != origin.stat().st_size:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    with atomic_file(copy) as temporary:
                        temporary.unlink()
                        try:
                            os.link(origin, temporary)
                        except OSError:
                            copy_file(origin, temporary, _behind(done, moved))
            done += sizes[name]
            moved(done)

    def delete(self, key: str) -> None:
        """Remove the file."""
        with self._errors_at(key):
            self._path(key).unlink(missing_ok=True)

    def delete_tree(self, prefix: str) -> None:
        """Remove the folder."""
        folder = self._path(prefix)
        with self._errors_at(prefix):
            if folder.exists():
                shutil.rmtree(folder)

    def marker(self, key: str) -> str | None:
        """SHA-256 of the content: used for small pointers only."""
        path = self._path(key)
        with self._errors_at(key):
            return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """Under a lock file beside ``key``, which serialises all writers on this file system."""
        target = self._path(key)
        with self._errors_at(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / f".{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.marker(key) != expected:
                    raise ConcurrentChange(f"{self.uri}/{key} was changed by another writer")
                self.put_bytes(key, data)

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Temporary files whose writer died between writing and renaming; returns them, relative to the root."""
        swept = []
        for folder in WRITTEN_FOLDERS:
            with self._errors_at(folder):
                for path in (self.root / folder).rglob(".*"):
                    if TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime < before.timestamp():
                        path.unlink(missing_ok=True)
                        swept.append(path.relative_to(self.root).as_posix())
        return swept

    def _file(self, key: str) -> Path:
        path = self._path(key)
        with self._errors_at(key):
            there = path.is_file()
        if not there:
            raise FileNotFoundError(f"nothing at {self.uri}/{key}")
        return path

    def _errors_at(self, key: str) -> AbstractContextManager[None]:
        return file_errors(f"{self.uri}/{key}")


def _behind(done: int, moved: Moved) -> Moved:
    """For one of several files: ``moved`` gets what was done before as well."""
    return lambda more: moved(done + more)
