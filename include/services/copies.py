"""Where ``callsheet encode`` has a file read from, and when a copy that it made goes again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from include.adapters.catalog.records import TitleRecord
from include.adapters.store.files import atomic_file, copy_file, file_errors
from include.base.settings import Settings
from include.domain.title.title import State

log = logging.getLogger(__name__)

COPIES = "callsheet-encode"
"""Folder of the copies, in the first mezzanine root."""
_TO_BE_TRIED_AGAIN = frozenset({State.FAILED, State.DEGRADED})
"""Such a title may be replayed or repaired, and then reads its mezzanine once more."""


def placed(file: Path, name: str, settings: Settings, on_progress: Callable[[int, int], None]) -> Path:
    """Where ``file`` lies as a mezzanine: where it is, if that is beneath a root; else a copy beneath the first root.

    The copy is a link where the file system allows. Raises :class:`StorageError` where there is no room for it.

    Args:
        file: An existing file.
        name: Of the copy, as nothing else has it.
        settings: For the roots.
        on_progress: Gets bytes copied and bytes in all.
    """
    source = file.resolve()
    if any(source.is_relative_to(root.resolve()) for root in settings.mezzanine_roots):
        return source
    target = settings.mezzanine_roots[0].resolve() / COPIES / f"{name}{file.suffix}"
    with file_errors(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            size = source.stat().st_size
            with atomic_file(target) as unfinished:
                copy_file(source, unfinished, lambda done: on_progress(done, size))
    return target


def forget(path: Path, settings: Settings) -> bool:
    """Remove ``path`` where it is such a copy; returns whether it was."""
    if path.parent != settings.mezzanine_roots[0].resolve() / COPIES:
        return False
    path.unlink(missing_ok=True)
    return True


def clean_copies(
    settings: Settings, live: Iterable[TitleRecord], settled: Iterable[TitleRecord], *, before: datetime
) -> list[str]:
    """Remove the copies whose title is settled for good; returns their names.

    A title that failed or is degraded may be tried again, for as long as it is told in ``settled``.

    Args:
        settings: For the roots.
        live: Titles that are not settled.
        settled: Titles that are, in order of arrival.
        before: What was copied, or has settled, later stays.
    """
    newest = {title.request.mezzanine: title for title in settled}
    needed = {title.request.mezzanine for title in live} | {
        uri
        for uri, title in newest.items()
        if title.state in _TO_BE_TRIED_AGAIN or (title.settled_at is not None and title.settled_at >= before)
    }
    folder = settings.mezzanine_roots[0].resolve() / COPIES
    removed = [
        path.name
        for path in sorted(folder.glob("*"))
        # Of a link the file's own times are those of the original; only this one is that of the linking.
        if path.as_uri() not in needed and path.stat().st_ctime < before.timestamp() and forget(path, settings)
    ]
    log.info("removed %d copies of mezzanines", len(removed))
    return removed
