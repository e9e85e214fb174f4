"""Where a mezzanine comes from, and whether it is still the one that was inspected.

``file://`` is read where it lies, beneath ``CALLSHEET_MEZZANINE_ROOTS`` alone. ``s3://`` and ``https://`` are copied
into the work folder once, under a size and a time limit: every task then reads the same bytes, and media tools never
follow an address that came with a request.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

import httpx

from include.adapters.addresses import AddressRefused, cut_off, pinned_client
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import ObjectStore
from include.adapters.store.keys import key_of
from include.base.errors import (
    CallsheetError,
    ConfigurationError,
    MezzanineRejected,
    MezzanineUnreachable,
    StorageError,
)
from include.base.settings import Settings
from include.domain.media.media import Inspection, MezzanineIdentity
from include.domain.media.rejection import Reason
from include.domain.title.title import TitleJob

log = logging.getLogger(__name__)

CHUNK_BYTES = 1024**2
READ_LIMIT_S = 60.0
"""Longest wait for the next bytes of a download."""
_LATER = frozenset({408, 423, 425, 429})
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
    def time_left_s(self) -> float:
        """Until the task's limit."""

    def kept_key(self, name: str) -> str:
        """Store key of ``name`` in the work folder."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which bytes of an object are wanted."""

    start: int
    end: int
    """The byte after the last."""
    on_size: Callable[[int], None]
    """Called with the size of the whole object before its first byte, where the answer says it."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of a mezzanine that is no file."""

    data: bytes
    size_bytes: int
    """Of the whole."""


def identify(ctx: Workplace) -> MezzanineIdentity:
    """Find the title's mezzanine, copying it where it is not a file; raises what is wrong with it."""
    uri, settings = ctx.title.mezzanine, ctx.settings
    if uri.startswith("file://"):
        path = local_file(uri, settings)
        identity = _file_identity(uri, path)
        sized(identity.size_bytes, settings.max_file_size)
        return identity
    return _copied(ctx) or _copy(ctx)


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
            raise _changed(f"the copy of {shown_address(ctx.title.mezzanine)} in the store is gone or has another size")
        if ctx.store.lasts(ctx.time_left_s):
            return ctx.store.readable(key)
        # The task may outlive the session of the credentials that would sign the address.
        return str(ctx.store.local_copy(key, ctx.scratch))
    try:
        path = local_file(known.uri, ctx.settings)
        now = _file_identity(known.uri, path)
    except MezzanineRejected as error:
        raise _changed(error.message) from error
    if now != known:
        raise _changed(
            f"{known.uri} had {known.size_bytes} bytes, last written {_written(known)}, when it was inspected; "
            f"it has {now.size_bytes} bytes, last written {_written(now)}, now"
        )
    return str(path)


def local_path(ctx: Workplace, known: MezzanineIdentity) -> Path:
    """The mezzanine as a file, downloaded into the scratch folder where it is none; checked as it is opened."""
    address = open_identified(ctx, known)
    return ctx.store.local_copy(key_of(ctx.store, known.uri), ctx.scratch) if "://" in address else Path(address)


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


def local_file(uri: str, settings: Settings) -> Path:
    """The path of a ``file://`` address: a plain file beneath a configured root, links resolved."""
    parts = urlsplit(uri)
    text = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or "\0" in text:
        raise MezzanineRejected(f"{uri} is not the address of a local file", reason=Reason.FORBIDDEN_ADDRESS)
    path = Path(os.path.realpath(text))
    roots = [Path(os.path.realpath(root)) for root in settings.mezzanine_roots]
    if not any(path.is_relative_to(root) for root in roots):
        raise MezzanineRejected(
            f"{uri} does not lie beneath a folder of CALLSHEET_MEZZANINE_ROOTS", reason=Reason.FORBIDDEN_ADDRESS
        )
    return path


def fetch(uri: str, target: Path, settings: Settings, *, limit_bytes: int, limit_s: float) -> str:
    """Copy what lies at ``uri`` to ``target``, under the policy of mezzanines; returns its SHA-256 (hex).

    Raises :class:`MezzanineRejected` or :class:`MezzanineUnreachable`; nothing is left at ``target`` then.

    Args:
        uri: ``file://``, ``s3://``, ``https://``, or ``http://`` to an allowed origin.
        target: New file; one that exists is never touched.
        settings: For roots and allowed origins.
        limit_bytes: Enforced while the data comes, whatever its sender promises.
        limit_s: For all of it.
    """
    deadline = time.monotonic() + limit_s
    digest, size = hashlib.sha256(), 0
    # Opened outside of the block that cleans up: what was there before is not ours to remove.
    output = target.open("xb")
    try:
        with output:
            for chunk in pieces(uri, settings, limit_bytes, limit_s):
                size += len(chunk)
                sized(size, limit_bytes)
                _in_time(uri, deadline, limit_s)
                digest.update(chunk)
                _write(output, chunk)
            # An answer without a length that was cut off looks complete.
            _in_time(uri, deadline, limit_s)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def pieces(uri: str, settings: Settings, limit_bytes: int, limit_s: float) -> Generator[bytes, None, None]:
    """The bytes of a mezzanine as they come, under its policy; arguments and errors as of :func:`fetch`."""
    scheme = uri.partition("://")[0]
    sources = {"file": _file_chunks, "s3": _s3_chunks, "https": _http_chunks, "http": _http_chunks}
    if scheme not in sources:
        raise MezzanineRejected(f"{scheme}:// is not served", reason=Reason.FORBIDDEN_ADDRESS)
    return sources[scheme](uri, settings, limit_bytes, limit_s)


def excerpt(uri: str, settings: Settings, *, start: int, length: int, limit_s: float) -> Excerpt | None:
    """Part of what lies at an ``s3://``, ``https://`` or allowed ``http://`` address; errors as of :func:`fetch`.

    None where the server does not say how large the whole is.

    Args:
        uri: The address.
        settings: For buckets and allowed origins.
        start: The first byte.
        length: So many bytes at most.
        limit_s: For all of it.
    """
    whole: list[int] = []
    span = Span(start=start, end=start + length, on_size=whole.append)
    source = _s3_chunks if uri.startswith("s3://") else _http_chunks
    chunks, data = source(uri, settings, settings.max_file_size, limit_s, span), bytearray()
    deadline = time.monotonic() + limit_s
    try:
        for chunk in chunks:
            _in_time(uri, deadline, limit_s)
            data += chunk
            # A server may send all of it, whatever was asked for.
            if not whole or len(data) >= length:
                break
    finally:
        chunks.close()
    return Excerpt(data=bytes(data[:length]), size_bytes=whole[0]) if whole else None


def _in_time(uri: str, deadline: float, limit_s: float) -> None:
    if time.monotonic() > deadline:
        raise MezzanineUnreachable(f"{shown_address(uri)} did not arrive within {limit_s:.0f} s", reason="timeout")


def _write(output: IO[bytes], chunk: bytes) -> None:
    try:
        output.write(chunk)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        raise StorageError(f"the scratch folder takes no more: {error.strerror} ({name})") from error


def _file_identity(uri: str, path: Path) -> MezzanineIdentity:
    try:
        found = path.stat()
    except OSError as error:
        raise MezzanineRejected(f"{uri} is missing: {error.strerror}", reason=Reason.MISSING) from error
    if not stat.S_ISREG(found.st_mode):
        raise MezzanineRejected(f"Invalid file type: {uri} is not a plain file", reason=Reason.INVALID_TYPE)
    if not os.access(path, os.R_OK):
        raise MezzanineRejected(f"{uri} may not be read by this worker", reason=Reason.MISSING)
    return MezzanineIdentity(uri=uri, size_bytes=found.st_size, marker=str(found.st_mtime_ns))


def _copied(ctx: Workplace) -> MezzanineIdentity | None:
    """The copy that an earlier attempt finished."""
    known = load_if_valid(ctx.store, ctx.kept_key(_RECORD), MezzanineIdentity)
    return known if known is not None and ctx.store.size(ctx.kept_key(_COPY)) == known.size_bytes else None


def _copy(ctx: Workplace) -> MezzanineIdentity:
    target = ctx.scratch / _DOWNLOAD
    limit_s = min(ctx.settings.fetch_timeout_s, ctx.time_left_s)
    checksum = fetch(ctx.title.mezzanine, target, ctx.settings, limit_bytes=ctx.settings.max_file_size, limit_s=limit_s)
    identity = MezzanineIdentity(
        uri=f"{ctx.store.uri}/{ctx.kept_key(_COPY)}", size_bytes=target.stat().st_size, marker=f"sha256:{checksum}"
    )
    ctx.store.put_file(ctx.kept_key(_COPY), target)
    ctx.store.put_bytes(ctx.kept_key(_RECORD), identity.to_json().encode())
    return identity


def _file_chunks(uri: str, settings: Settings, limit_bytes: int, limit_s: float) -> Generator[bytes, None, None]:
    path = local_file(uri, settings)
    sized(_file_identity(uri, path).size_bytes, limit_bytes)
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _http_chunks(
    uri: str, settings: Settings, limit_bytes: int, limit_s: float, span: Span | None = None
) -> Generator[bytes, None, None]:
    shown, end = shown_address(uri), time.monotonic() + limit_s
    # A compressed answer could unfold into far more than was sent.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={span.start}-{span.end - 1}"} if span else {})}
    try:
        with (
            pinned_client(settings, timeout_s=min(READ_LIMIT_S, limit_s)) as client,
            cut_off(limit_s) as extensions,
            client.stream("GET", uri, headers=headers, extensions=extensions) as response,
        ):
            _answered(response, shown, span)
            size = _whole_size(response)
            sized(size, limit_bytes)
            if span and size:
                span.on_size(size)
            # In pieces as they come: to collect a whole MiB of a slow one would take longer than the limit.
            yield from response.iter_raw()
    except AddressRefused as error:
        raise MezzanineRejected(error.message, reason=Reason.FORBIDDEN_ADDRESS) from error
    except (httpx.TransportError, httpx.TooManyRedirects, ValueError) as error:
        _in_time(uri, end, limit_s)
        raise MezzanineUnreachable(f"{shown}: {error or type(error).__name__}") from error


def _whole_size(response: httpx.Response) -> int:
    """How large the whole is of which an answer sends all or a part; 0 where it does not say."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        size = response.headers.get("content-range", "").rpartition("/")[2]
        return int(size) if size.isdecimal() else 0
    return int(response.headers.get("content-length", 0))


def _answered(response: httpx.Response, shown: str, span: Span | None) -> None:
    code = response.status_code
    good = {httpx.codes.OK} if span is None else {httpx.codes.PARTIAL_CONTENT}
    if span and span.start == 0:
        good.add(httpx.codes.OK)  # the whole begins alike
    if code in good:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise MezzanineUnreachable(f"{shown} sends compressed data, which was not asked for")
        return
    if 400 <= code < 500 and code not in _LATER:
        raise MezzanineRejected(f"{shown} is missing: the server answers {code}", reason=Reason.MISSING)
    raise MezzanineUnreachable(f"{shown}: the server answers {code}")


def _s3_chunks(
    uri: str, settings: Settings, limit_bytes: int, limit_s: float, span: Span | None = None
) -> Generator[bytes, None, None]:
    # boto3 costs half a second, which every parse of a DAG file would pay.
    from botocore.exceptions import BotoCoreError, ClientError

    from include.adapters.s3.bucket import Bucket
    from include.adapters.s3.failures import s3_errors
    from include.adapters.s3.session import s3_client

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if bucket not in settings.mezzanine_buckets:
        served = ", ".join(settings.mezzanine_buckets) or "none"
        raise MezzanineRejected(
            f"{uri} does not lie in a bucket of CALLSHEET_MEZZANINE_BUCKETS ({served})", reason=Reason.FORBIDDEN_ADDRESS
        )
    with s3_errors(uri):
        try:
            place = Bucket(s3_client(settings), bucket)
            if span is None:
                yield from place.stream(key, on_size=lambda size: sized(size, limit_bytes))
                return
            if head := place.head(key):
                span.on_size(int(head["ContentLength"]))
            yield from place.stream(key, start=span.start, end=span.end)
        except (ClientError, BotoCoreError) as error:
            raise _s3_failure(uri, error) from error


def _s3_failure(uri: str, error: Exception) -> CallsheetError:
    """Whose fault it is: the mezzanine's, the way's or our own."""
    # As above: boto3 is not for the parse of a DAG file.
    from include.adapters.s3.failures import CHANGED, code_of, failure

    typed = failure(error, uri)
    code, status = code_of(error), getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == CHANGED:
        return _changed(f"{uri} was replaced while it was copied")
    if code == "AccessDenied":
        return MezzanineRejected(
            f"{uri} is missing, or may not be read by the workers (which need s3:GetObject, and s3:ListBucket to tell "
            f"the one from the other): {error}",
            reason=Reason.MISSING,
        )
    if typed.reason in {"credentials", "clock_skew"}:
        return typed
    if isinstance(typed, ConfigurationError) and code != "NoSuchBucket":
        return typed
    if 400 <= status < 500 and status not in _LATER:
        return MezzanineRejected(f"{uri} is missing: {error}", reason=Reason.MISSING)
    return MezzanineUnreachable(f"{uri}: {error}")


def sized(size: int, limit: int) -> None:
    """Refuse a mezzanine of more than ``limit`` bytes."""
    if size > limit:
        raise MezzanineRejected(
            f"File too large: {size / 1024**2:.1f} MB or more, the limit is {limit / 1024**2:.1f} MB "
            "(CALLSHEET_MAX_FILE_SIZE)",
            reason=Reason.TOO_LARGE,
        )


def _written(file: MezzanineIdentity) -> str:
    """When a file was written last, for people; a clock far beside itself is shown as it is."""
    seconds, nanoseconds = divmod(int(file.marker), 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{nanoseconds // 1000:06} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s after 1970"


def shown_address(uri: str) -> str:
    """The address without its query, which may hold a signature."""
    return uri.partition("?")[0]


def _changed(message: str) -> MezzanineRejected:
    return MezzanineRejected(f"the mezzanine changed: {message}", reason=Reason.CHANGED)
