"""Files on this machine's disks: written so that no reader sees half of one, with errors that name the way out."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.adapters.store.interface import Moved, unheard
from include.base.errors import StorageError

CHUNK_BYTES = 8 * 1024**2
TEMPORARY = re.compile(r"\A\..+\.[a-z0-9_]{8}\Z")
"""Names that :func:`atomic_file` gives to a file that is being written; the lock file beside a pointer has no such."""
_WAYS_OUT = {
    errno.ENOSPC: ("disk_full", "free space there; the next attempt goes on from what is done"),
    errno.EDQUOT: ("disk_full", "free space there, or raise the quota; the next attempt goes on from what is done"),
    errno.EROFS: ("read_only", "mount it writable, then clear the task"),
    errno.EACCES: ("read_only", "give this user the right to write there, then clear the task"),
    errno.EPERM: ("read_only", "give this user the right to write there, then clear the task"),
}
"""Reason and way out by what the operating system says."""


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A temporary file beside ``target``, which it replaces when the block ends well; else it is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path, moved: Moved = unheard) -> None:
    """Write the bytes of ``source`` to ``target``."""
    done = 0
    with source.open("rb") as given, target.open("wb") as made:
        while chunk := given.read(CHUNK_BYTES):
            made.write(chunk)
            done += len(chunk)
            moved(done)


@contextmanager
def file_errors(where: str) -> Iterator[None]:
    """Turns an error of the file system inside into a :class:`StorageError` that names ``where`` and the way out."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        reason, way_out = _WAYS_OUT.get(error.errno or 0, (None, None))
        text = f"{where}: {error.strerror or error} ({name})"
        raise StorageError(f"{text}; {way_out}" if way_out else text, reason=reason) from error


def unless_gone(error: OSError) -> None:
    """For :func:`os.walk`: a folder that is not there is empty; one that cannot be read is an error."""
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        raise error
