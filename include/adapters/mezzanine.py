"""Where a mezzanine comes from, and whether it is still the one that was inspected.

``file://`` is read where it lies, beneath ``CALLSHEET_MEZZANINE_ROOTS`` alone. ``s3://`` and ``https://`` are copied
into the work folder once, under a size and a time limit: every task then reads the same bytes, and media tools never
follow an address that came with a request.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from include.adapters.fetching import changed, fetch, file_identity, local_file, shown_address, sized
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import Moved, ObjectStore
from include.adapters.store.keys import key_of
from include.base.counting import seldom
from include.base.errors import MezzanineRejected
from include.base.settings import Settings
from include.domain.media.media import Inspection, MezzanineIdentity
from include.domain.title.title import TitleJob

log = logging.getLogger(__name__)

_COPY = "mezzanine/source.bin"
_DOWNLOAD = "mezzanine.bin"
_RECORD = "mezzanine/identity.json"


class Workplace(Protocol):
    """What this file needs of a stage's context."""

    @property
    def settings(self) -> Settings:
        """For roots, allowed origins and limits."""

    @property
    def store(self) -> ObjectStore:
        """Where copies go."""

    @property
    def title(self) -> TitleJob:
        """Whose mezzanine it is."""

    @property
    def scratch(self) -> Path:
        """For a download under way."""

    @property
    def report(self) -> Callable[[float, str], None]:
        """Gets how far the stage is: share done (0–1) and a short line for people."""

    @property
    def time_left_s(self) -> float:
        """Until the task's limit."""

    def kept_key(self, name: str) -> str:
        """Store key of ``name`` in the work folder."""


def identify(ctx: Workplace, report: Callable[[float, str], None] = lambda share, message: None) -> MezzanineIdentity:
    """Find the title's mezzanine, copying it where it is not a file; raises what is wrong with it.

    ``report`` gets how far the copying is: the share that is done, and a line for people.
    """
    uri, settings = ctx.title.mezzanine, ctx.settings
    if uri.startswith("file://"):
        path = local_file(uri, settings)
        identity = file_identity(uri, path)
        sized(identity.size_bytes, settings.max_file_size)
        return identity
    return _copied(ctx) or _copy(ctx, report)


def open_mezzanine(ctx: Workplace, inspection: Inspection) -> OpenedMezzanine:
    """The mezzanine as a media tool opens it, on the title's clock.

    Raises :class:`MezzanineRejected` with the reason ``changed`` where it is no longer what was inspected.
    """
    address = open_identified(ctx, inspection.mezzanine)
    return OpenedMezzanine(address=address, origin_s=inspection.origin_s, seeks=inspection.seeks)


def open_identified(ctx: Workplace, known: MezzanineIdentity) -> str:
    """A path of the mezzanine, or a presigned address of the store, after a look that it is still the same."""
    if known.uri.startswith(ctx.store.uri + "/"):
        key = key_of(ctx.store, known.uri)
        if ctx.store.size(key) != known.size_bytes:
            raise changed(f"the copy of {shown_address(ctx.title.mezzanine)} in the store is gone or has another size")
        if ctx.store.lasts(ctx.time_left_s):
            return ctx.store.readable(key)
        # The task may outlive the session of the credentials that would sign the address.
        # A stage opens its mezzanine first of all.
        moved = seldom(lambda done: ctx.report(0.0, _moved("fetching", done, known.size_bytes)), whole=known.size_bytes)
        return str(ctx.store.local_copy(key, ctx.scratch, moved))
    try:
        path = local_file(known.uri, ctx.settings)
        now = file_identity(known.uri, path)
    except MezzanineRejected as error:
        raise changed(error.message) from error
    if now != known:
        raise changed(
            f"{known.uri} had {known.size_bytes} bytes, last written {_written(known)}, when it was inspected; "
            f"it has {now.size_bytes} bytes, last written {_written(now)}, now"
        )
    return str(path)


def local_path(ctx: Workplace, known: MezzanineIdentity, moved: Moved) -> Path:
    """The mezzanine as a file, downloaded into the scratch folder where it is none; checked as it is opened."""
    address = open_identified(ctx, known)
    return ctx.store.local_copy(key_of(ctx.store, known.uri), ctx.scratch, moved) if "://" in address else Path(address)


def reader(ctx: Workplace, known: MezzanineIdentity) -> Callable[[int, int], bytes]:
    """Reads so many bytes of the mezzanine from an offset on, fewer at its end, without a copy of the whole."""
    address = open_identified(ctx, known)

    def from_file(offset: int, length: int) -> bytes:
        with Path(address).open("rb") as source:
            source.seek(offset)
            return source.read(length)

    def from_store(offset: int, length: int) -> bytes:
        end = min(offset + length, known.size_bytes)
        if offset >= end:
            return b""
        served = ctx.store.serve(key_of(ctx.store, known.uri), f"bytes={offset}-{end - 1}")
        return b"".join(served.body) if served else b""

    return from_store if "://" in address else from_file


@contextmanager
def called_as_requested(ctx: Workplace) -> Iterator[None]:
    """Rewords a rejection from inside so that it calls the mezzanine by the address that the request gave.

    A media tool calls it by what it opened: a path of this machine, or an address within the platform.
    """
    try:
        yield
    except MezzanineRejected as error:
        raise MezzanineRejected(_as_requested(ctx, error.message), reason=error.reason) from error


def _as_requested(ctx: Workplace, text: str) -> str:
    uri, key = ctx.title.mezzanine, ctx.kept_key(_COPY)
    copy = ctx.store.readable(key).partition("?")[0]
    target = [os.path.realpath(unquote(urlsplit(uri).path))] if uri.startswith("file://") else []
    opened = [copy, str(ctx.scratch / key), str(ctx.scratch / _DOWNLOAD), *target]
    # The address itself comes first: it may end with one of them.
    places = [re.escape(place) for place in (shown_address(uri), *(f"file:{path}" for path in opened), *opened)]
    text = re.sub(rf"(?:{'|'.join(places)})(?:\?[^\s'\")]*)?", lambda found: shown_address(uri), text)
    host = urlsplit(copy).netloc
    return text.replace(host, "the store") if host and host not in uri else text


def forget_copy(ctx: Workplace) -> None:
    """Drop the copy of a mezzanine that was incomplete, so that the next attempt fetches it again."""
    ctx.store.delete_tree(ctx.kept_key("mezzanine"))


def _copied(ctx: Workplace) -> MezzanineIdentity | None:
    """The copy that an earlier attempt finished."""
    known = load_if_valid(ctx.store, ctx.kept_key(_RECORD), MezzanineIdentity)
    return known if known is not None and ctx.store.size(ctx.kept_key(_COPY)) == known.size_bytes else None


def _copy(ctx: Workplace, report: Callable[[float, str], None]) -> MezzanineIdentity:
    target, limit_bytes = ctx.scratch / _DOWNLOAD, ctx.settings.max_file_size
    limit_s = min(ctx.settings.fetch_timeout_s, ctx.time_left_s)
    sizes: list[int] = []

    def fetching(done: float) -> None:
        size = sizes[-1]
        report(0.5 * done / size if size else 0.0, _moved("fetching", done, size))

    def storing(done: float) -> None:
        report(0.5 + 0.5 * done / size, _moved("storing", done, size))

    checksum = fetch(
        ctx.title.mezzanine,
        target,
        ctx.settings,
        limit_bytes=limit_bytes,
        limit_s=limit_s,
        moved=seldom(fetching, whole=limit_bytes),
        on_size=sizes.append,
    )
    size = target.stat().st_size
    identity = MezzanineIdentity(
        uri=f"{ctx.store.uri}/{ctx.kept_key(_COPY)}", size_bytes=size, marker=f"sha256:{checksum}"
    )
    ctx.store.put_file(ctx.kept_key(_COPY), target, seldom(storing, whole=size))
    ctx.store.put_bytes(ctx.kept_key(_RECORD), identity.to_json().encode())
    return identity


def _moved(verb: str, done: float, size: int) -> str:
    """How much of a mezzanine is moved, for people; its size is 0 where nobody has said it."""
    of_all = f" of {size >> 20}" if size else ""
    return f"{verb} the mezzanine: {int(done) >> 20}{of_all} MiB"


def _written(file: MezzanineIdentity) -> str:
    """When a file was written last, for people; a clock far beside itself is shown as it is."""
    seconds, nanoseconds = divmod(int(file.marker), 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{nanoseconds // 1000:06} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s after 1970"
