"""The bytes of a mezzanine, or of a file that comes with a title, from where its address says: under one policy.

``file://`` is read beneath ``CALLSHEET_MEZZANINE_ROOTS`` alone, ``s3://`` in the buckets of
``CALLSHEET_MEZZANINE_BUCKETS``, ``https://`` and allowed ``http://`` by a client that knows which addresses are refused
(:mod:`include.adapters.addresses`); all under a size and a time limit.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import httpx

from include.adapters.addresses import AddressRefused, cut_off, pinned_client
from include.adapters.store.interface import Moved, unheard
from include.base.errors import (
    CallsheetError,
    ConfigurationError,
    MezzanineRejected,
    MezzanineUnreachable,
    StorageError,
)
from include.base.settings import Settings
from include.domain.media.media import MezzanineIdentity
from include.domain.media.rejection import Reason

CHUNK_BYTES = 1024**2
READ_LIMIT_S = 60.0
"""Longest wait for the next bytes of a download."""
_LATER = frozenset({408, 423, 425, 429})


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which bytes of an object are wanted."""

    start: int
    end: int
    """The byte after the last."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of a mezzanine that is no file."""

    data: bytes
    size_bytes: int
    """Of the whole."""


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


def fetch(
    uri: str,
    target: Path,
    settings: Settings,
    *,
    limit_bytes: int,
    limit_s: float,
    moved: Moved = unheard,
    on_size: Callable[[int], None] = unheard,
) -> str:
    """Copy what lies at ``uri`` to ``target``, under the policy of mezzanines; returns its SHA-256 (hex).

    Raises :class:`MezzanineRejected` or :class:`MezzanineUnreachable`; nothing is left at ``target`` then.

    Args:
        uri: ``file://``, ``s3://``, ``https://``, or ``http://`` to an allowed origin.
        target: New file; one that exists is never touched.
        settings: For roots and allowed origins.
        limit_bytes: Enforced while the data comes, whatever its sender promises.
        limit_s: For all of it.
        moved: Gets how many bytes are there, after each piece.
        on_size: As of :func:`pieces`.
    """
    deadline = time.monotonic() + limit_s
    digest, size = hashlib.sha256(), 0
    # Opened outside of the block that cleans up: what was there before is not ours to remove.
    output = target.open("xb")
    try:
        with output:
            for chunk in pieces(uri, settings, limit_bytes, limit_s, on_size):
                size += len(chunk)
                sized(size, limit_bytes)
                _in_time(uri, deadline, limit_s)
                digest.update(chunk)
                _write(output, chunk)
                moved(size)
            # An answer without a length that was cut off looks complete.
            _in_time(uri, deadline, limit_s)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def pieces(
    uri: str, settings: Settings, limit_bytes: int, limit_s: float, on_size: Callable[[int], None] = unheard
) -> Generator[bytes, None, None]:
    """The bytes of a mezzanine as they come, under its policy; arguments and errors as of :func:`fetch`.

    ``on_size`` is called once before the first byte: with the size of the whole, 0 where the sender does not say it.
    """
    scheme = uri.partition("://")[0]
    sources = {"file": _file_chunks, "s3": _s3_chunks, "https": _http_chunks, "http": _http_chunks}
    if scheme not in sources:
        raise MezzanineRejected(f"{scheme}:// is not served", reason=Reason.FORBIDDEN_ADDRESS)
    return sources[scheme](uri, settings, limit_bytes, limit_s, on_size)


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
    span = Span(start=start, end=start + length)
    source = _s3_chunks if uri.startswith("s3://") else _http_chunks
    chunks, data = source(uri, settings, settings.max_file_size, limit_s, whole.append, span), bytearray()
    deadline = time.monotonic() + limit_s
    try:
        for chunk in chunks:
            _in_time(uri, deadline, limit_s)
            data += chunk
            # A server may send all of it, whatever was asked for.
            if not any(whole) or len(data) >= length:
                break
    finally:
        chunks.close()
    return Excerpt(data=bytes(data[:length]), size_bytes=whole[0]) if any(whole) else None


def sized(size: int, limit: int) -> None:
    """Refuse a mezzanine of more than ``limit`` bytes."""
    if size > limit:
        raise MezzanineRejected(
            f"File too large: {size / 1024**2:.1f} MB or more, the limit is {limit / 1024**2:.1f} MB "
            "(CALLSHEET_MAX_FILE_SIZE)",
            reason=Reason.TOO_LARGE,
        )


def shown_address(uri: str) -> str:
    """The address without its query, which may hold a signature."""
    return uri.partition("?")[0]


def file_identity(uri: str, path: Path) -> MezzanineIdentity:
    """What tells a file from another one; raises :class:`MezzanineRejected` where it is none that may be read."""
    try:
        found = path.stat()
    except OSError as error:
        raise MezzanineRejected(f"{uri} is missing: {error.strerror}", reason=Reason.MISSING) from error
    if not stat.S_ISREG(found.st_mode):
        raise MezzanineRejected(f"Invalid file type: {uri} is not a plain file", reason=Reason.INVALID_TYPE)
    if not os.access(path, os.R_OK):
        raise MezzanineRejected(f"{uri} may not be read by this worker", reason=Reason.MISSING)
    return MezzanineIdentity(uri=uri, size_bytes=found.st_size, marker=str(found.st_mtime_ns))


def changed(message: str) -> MezzanineRejected:
    """The error for a mezzanine that is another than it was."""
    return MezzanineRejected(f"the mezzanine changed: {message}", reason=Reason.CHANGED)


def _in_time(uri: str, deadline: float, limit_s: float) -> None:
    if time.monotonic() > deadline:
        raise MezzanineUnreachable(f"{shown_address(uri)} did not arrive within {limit_s:.0f} s", reason="timeout")


def _write(output: IO[bytes], chunk: bytes) -> None:
    try:
        output.write(chunk)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        raise StorageError(f"the scratch folder takes no more: {error.strerror} ({name})") from error


def _file_chunks(
    uri: str, settings: Settings, limit_bytes: int, limit_s: float, on_size: Callable[[int], None]
) -> Generator[bytes, None, None]:
    path = local_file(uri, settings)
    size = file_identity(uri, path).size_bytes
    sized(size, limit_bytes)
    on_size(size)
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _http_chunks(
    uri: str,
    settings: Settings,
    limit_bytes: int,
    limit_s: float,
    on_size: Callable[[int], None],
    span: Span | None = None,
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
            on_size(size)
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
    uri: str,
    settings: Settings,
    limit_bytes: int,
    limit_s: float,
    on_size: Callable[[int], None],
    span: Span | None = None,
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

                def told(size: int) -> None:
                    sized(size, limit_bytes)
                    on_size(size)

                yield from place.stream(key, on_size=told)
                return
            if head := place.head(key):
                on_size(int(head["ContentLength"]))
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
        return changed(f"{uri} was replaced while it was copied")
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
