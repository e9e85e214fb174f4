"""S3, and what speaks like it: the client that everything shares, and the object store on it.

Inside Airflow the client comes from the connection ``CALLSHEET_AWS_CONN_ID``, where that is set; else, and in every
worker, from the environment or the workload identity, as with all of AWS's tools. The rights that are needed:
``s3:GetObject``, ``s3:PutObject``, ``s3:DeleteObject``, ``s3:AbortMultipartUpload`` and
``s3:ListMultipartUploadParts`` on the keys, ``s3:ListBucket`` and ``s3:ListBucketMultipartUploads`` on the bucket.

Whatever is sent carries a CRC-32 that S3 checks and keeps, over the whole object also where it goes in parts; unlike
the ETag it means the same with every encryption.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import os
import random
import re
import time
import uuid
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from include.adapters.store.store import (
    MAX_KEY,
    SWEPT,
    ConcurrentChange,
    by_need,
    cache_control,
    checked_key,
    content_type,
    explained,
    written_whole,
)
from include.base.errors import CallsheetError, ConfigurationError, StorageError
from include.base.settings import Settings

T = TypeVar("T")
R = TypeVar("R")

PART_BYTES = 16 * 1024**2
"""Files from this size on go in parts of it: large enough to fill a connection, small enough to be sent again."""
MAX_PARTS = 10_000
COPY_PART_BYTES = 512 * 1024**2
"""Objects from this size on are copied in parts: one answer for more than that can take longer than ``READ_LIMIT_S``
(and S3 copies no more than 5 GB at once)."""
PARALLEL = 4
"""Transfers at once of one call: four parts of memory at most."""
PARALLEL_SMALL = 16
"""Requests at once that move few bytes through this process: small files, copies within S3."""
ATTEMPTS = 8
"""Of one request (``AWS_MAX_ATTEMPTS`` overrides it), and of one body that breaks off: with 5 % faults one in 10¹⁰
fails."""
CONNECT_LIMIT_S = 10
READ_LIMIT_S = 60
"""Longest wait for the next bytes."""
MAX_PRESIGNED_S = 7 * 24 * 3600
"""Signature version 4 allows no more."""
CHUNK_BYTES = 1024**2
DELETE_BATCH = 1000

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}
)
_WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"})
_DENIED = frozenset(
    {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden", "KMS.AccessDeniedException"}
)
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_NOTHING = frozenset({"NoSuchKey", "404"})
_GONE = frozenset({"NoSuchUpload", "404"})
"""Where the body of an error breaks off, its status is all there is."""
_WRITER = "callsheet-writer"
"""Name of the metadata that tells whose write a pointer is."""


def s3_client(settings: Settings) -> Any:
    """A client for every request to S3, with retries, time limits and checksums; safe to share between threads.

    Raises :class:`ConfigurationError` for a connection that does not exist.
    """
    return _client(_session(settings))


def worker_credentials(settings: Settings) -> dict[str, str]:
    """Environment with which a worker on this machine reaches S3 as the connection ``aws_conn_id`` does.

    Empty without a connection: the worker then finds its way as this process does. Keys of an assumed role end with
    the role's session; a worker that outlives it fails for want of credentials, and its next attempt gets new ones.
    """
    if not settings.aws_conn_id:
        return {}
    session = _session(settings)
    credentials = session["session"].get_credentials()
    if credentials is None:
        return {}
    frozen = credentials.get_frozen_credentials()
    environment = {
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        # Also where it is empty: the token of other keys must not come along.
        "AWS_SESSION_TOKEN": frozen.token or "",
    }
    # Without it the worker could not know that its keys end. botocore has no public name for it.
    expiry = getattr(credentials, "_expiry_time", None)
    optional = {
        "AWS_CREDENTIAL_EXPIRATION": expiry.isoformat() if expiry else None,
        "AWS_DEFAULT_REGION": session["session"].region_name,
        "AWS_ENDPOINT_URL_S3": session["endpoint"],
        "AWS_CA_BUNDLE": session["verify"] if isinstance(session["verify"], str) else None,
    }
    return environment | {name: value for name, value in optional.items() if value}


def stream(
    client: Any,
    bucket: str,
    key: str,
    *,
    start: int = 0,
    end: int | None = None,
    etag: str | None = None,
    on_size: Callable[[int], None] = lambda size: None,
) -> Generator[bytes, None, None]:
    """The bytes of an object, asked for again from where a body breaks off.

    All of them are of one and the same object: where it is replaced meanwhile, botocore's ClientError says 412.

    Args:
        client: Of :func:`s3_client`.
        bucket: Its bucket.
        key: Its key.
        start: The first byte.
        end: The byte after the last; None for all.
        etag: Of the object that is meant; None for the one that is there.
        on_size: Gets the number of bytes that will come before the first of them does.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    position, failures = start, 0
    while end is None or position < end:
        wanted: dict[str, Any] = {} if etag is None else {"IfMatch": etag}
        if position or end is not None:
            wanted["Range"] = f"bytes={position}-{'' if end is None else end - 1}"
        answer = client.get_object(Bucket=bucket, Key=key, **wanted)
        etag, end = answer["ETag"], position + answer["ContentLength"]
        if position == start:
            on_size(end - start)
        try:
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                position += len(chunk)
                yield chunk
        except (HTTPClientError, IncompleteReadError):
            failures += 1
            if failures == ATTEMPTS:
                raise
            _pause(failures)
        finally:
            answer["Body"].close()


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turns what boto3 raises inside into a typed error that names ``where`` and the way out."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise failure(error, where) from error
    except RuntimeError as error:
        # botocore's way to say that credentials that it was given have ended.
        if "credentials" not in str(error):
            raise
        raise _no_credentials(where, str(error)) from error


def failure(error: Exception, where: str) -> CallsheetError:
    """The typed error for one of boto3's.

    Args:
        error: A ClientError or BotoCoreError.
        where: The object's address.
    """
    from botocore import exceptions as boto

    text = str(error)
    code = code_of(error)
    head = getattr(error, "operation_name", "").startswith("Head")
    lost = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.TokenRetrievalError,
    )
    if isinstance(error, lost) or code in _EXPIRED | _WRONG_KEYS or (head and code == "400"):
        return _no_credentials(where, text)
    if code in _DENIED:
        return StorageError(
            f"{where}: {text}. Give this identity the rights that docs/deploy.md lists, then clear the task (without "
            "s3:ListBucket S3 answers so for what is not there, too"
            + ("; to this request also to wrong keys and to a wrong clock)" if head else ")"),
            reason="credentials",
        )
    if code == "NoSuchBucket":
        return ConfigurationError(f"{where}: there is no such bucket; create it, or correct CALLSHEET_STORE_URI")
    if code in _ELSEWHERE or isinstance(error, boto.InvalidRegionError):
        return ConfigurationError(
            f"{where}: {text}. The bucket is in another region: set AWS_DEFAULT_REGION, or the connection's region_name"
        )
    if isinstance(error, (boto.ProfileNotFound, boto.ParamValidationError, boto.InvalidConfigError)):
        return ConfigurationError(f"{where}: {text}")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{where}: {text} Set this machine's clock (NTP).", reason="clock_skew")
    if code == "412":
        return StorageError(f"{where} was replaced while it was read", reason="changed")
    if isinstance(error, boto.FlexibleChecksumError):
        return StorageError(f"{where} came with other bytes than were stored: {text}", reason="checksum")
    if code is None:
        return StorageError(f"{where}: S3 does not answer: {text}", reason="unreachable")
    return StorageError(f"{where}: {text}", reason=code)


def code_of(error: Exception) -> str | None:
    """S3's word for a failure, e.g. ``NoSuchKey``; the status where it says none (``404``), None without an answer.

    A failed precondition is always ``412``, as only its status is the same for all operations.
    """
    answer = getattr(error, "response", None)
    if not isinstance(answer, dict) or "Error" not in answer:
        return None
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
        return "412"
    return str(answer["Error"].get("Code") or answer.get("ResponseMetadata", {}).get("HTTPStatusCode"))


class S3Store:
    """Objects beneath ``s3://bucket[/prefix]``. A write is whole or not at all because S3's are."""

    def __init__(self, uri: str, settings: Settings) -> None:
        parts = urlsplit(uri)
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        if not _BUCKET.fullmatch(self.bucket) or parts.query or parts.fragment:
            raise ConfigurationError(f"CALLSHEET_STORE_URI: s3://bucket/prefix is served (got {uri!r})")
        if self.prefix:
            checked_key(self.prefix)
        self.uri = uri.rstrip("/")
        self.settings = settings
        self._copies: dict[Path, str] = {}
        self._bucket_seen = False

    @cached_property
    def _session(self) -> dict[str, Any]:
        with told(self.uri):
            return _session(self.settings)

    @cached_property
    def client(self) -> Any:
        """Made at first use: many who open the store never ask it anything."""
        with told(self.uri):
            return _client(self._session)

    def put_file(self, key: str, path: Path) -> None:
        """Upload; what an attempt that was cut off has sent already is not sent again."""
        full = self._full(key)
        with told(self._where(key)), explained(str(path)):
            size = path.stat().st_size
            if size >= PART_BYTES:
                self._put_parts(key, path, size)
                return
            with path.open("rb") as body:
                self.client.put_object(Bucket=self.bucket, Key=full, Body=body, **_CHECKED, **self._headers(key))

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Small ones at the same time; large ones one by one, as each goes in parts at the same time."""
        large = {key: path for key, path in files.items() if path.stat().st_size >= PART_BYTES}
        _in_parallel(lambda each: self.put_file(*each), files.items() - large.items(), PARALLEL_SMALL)
        for key, path in large.items():
            self.put_file(key, path)

    def put_bytes(self, key: str, data: bytes) -> None:
        """One request."""
        full = self._full(key)
        with told(self._where(key)):
            self.client.put_object(Bucket=self.bucket, Key=full, Body=data, **_CHECKED, **self._headers(key))

    def get_bytes(self, key: str) -> bytes:
        """The object's content, its length and checksum verified."""
        full = self._full(key)
        with told(self._where(key)):
            return _again(lambda: self._read(full, key))

    def size(self, key: str) -> int | None:
        """The object's size."""
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def list(self, prefix: str) -> dict[str, int]:
        """All objects beneath the folder."""
        return {name: size for name, (size, _) in self._entries(prefix).items()}

    def readable(self, key: str) -> str:
        """A presigned address: for the longest worker task and ten minutes, or as long as the credentials last.

        See :meth:`lasts`.
        """
        full = self._full(key)
        seconds = min(int(self.settings.ffmpeg_timeout_s) + 600, MAX_PRESIGNED_S)
        with told(self._where(key)):
            given = {"Bucket": self.bucket, "Key": full}
            return str(self.client.generate_presigned_url("get_object", Params=given, ExpiresIn=seconds))

    def lasts(self, seconds: float) -> bool:
        """Whether an address of :meth:`readable` can be asked that long: not beyond the session of its credentials."""
        with told(self.uri):
            credentials = self._session["session"].get_credentials()
        refresh_needed = getattr(credentials, "refresh_needed", None)
        return seconds < MAX_PRESIGNED_S and (refresh_needed is None or not refresh_needed(seconds))

    def local_copy(self, key: str, folder: Path) -> Path:
        """A download, beneath ``folder`` at its own key; one that is still the object is taken again."""
        head = self._head(key)
        if head is None:
            raise FileNotFoundError(f"nothing at {self._where(key)}")
        target, etag, size = folder / key, head["ETag"], int(head["ContentLength"])
        if self._copies.get(target) == etag and target.is_file():
            return target
        with told(self._where(key)), explained(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(target) as path:
                os.truncate(path, size)

                def fetch(start: int) -> None:
                    end = min(start + PART_BYTES, size)
                    with path.open("r+b") as output:
                        output.seek(start)
                        for chunk in stream(self.client, self.bucket, self._full(key), start=start, end=end, etag=etag):
                            output.write(chunk)

                _in_parallel(fetch, range(0, size, PART_BYTES), PARALLEL)
                known = _checksum(head)
                if path.stat().st_size != size or (known is not None and known != _crc32(path)):
                    raise StorageError(f"{self._where(key)} came with other bytes than it has", reason="checksum")
        self._copies[target] = etag
        return target

    def copy_tree(self, source: str, target: str) -> None:
        """Copied by S3 itself, with the headers of the new place; equal ones are left alone."""
        here, there = self._entries(source), self._entries(target)

        def copy(name: str) -> None:
            origin, key = f"{source}/{name}", f"{target}/{name}"
            size, etag = here[name]
            if name in there and there[name][0] == size and self._equal(origin, etag, key, there[name][1]):
                return
            with told(self._where(key)):
                self._copy(self._full(origin), key, size, etag)

        for names in by_need(here):
            _in_parallel(copy, names, PARALLEL_SMALL)

    def delete(self, key: str) -> None:
        """Remove the object."""
        full = self._full(key)
        with told(self._where(key)):
            self.client.delete_object(Bucket=self.bucket, Key=full)

    def delete_tree(self, prefix: str) -> None:
        """Remove all objects beneath the folder, and what unfinished uploads have left there."""
        full = self._full(prefix) + "/"
        with told(self._where(prefix)):
            for upload in self._uploads(full):
                self._abort(upload["Key"], upload["UploadId"])
            keys = [f"{full}{name}" for name in self.list(prefix)]
            for start in range(0, len(keys), DELETE_BATCH):
                self._delete_batch(keys[start : start + DELETE_BATCH])

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Uploads whose writer died before their end: S3 keeps, and charges for, their parts."""
        swept = []
        for folder in SWEPT:
            with told(self._where(folder)):
                for upload in self._uploads(self._full(folder) + "/"):
                    if upload["Initiated"] < before:
                        self._abort(upload["Key"], upload["UploadId"])
                        swept.append(str(upload["Key"]))
        return swept

    def marker(self, key: str) -> str | None:
        """The ETag."""
        head = self._head(key)
        return None if head is None else str(head["ETag"])

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """By a conditional put.

        An answer can be lost after the write took place; the repeated request then fails on our own write, which is
        known by its mark. Where another writer has replaced it meanwhile, that is a concurrent change like any other.
        """
        full, mark = self._full(key), uuid.uuid4().hex
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with told(self._where(key)):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=full, Body=data, Metadata={_WRITER: mark},
                    **condition, **_CHECKED, **self._headers(key),
                )  # fmt: skip
            except self.client.exceptions.ClientError as error:
                if code_of(error) not in {"412", "ConditionalRequestConflict", "409", "NoSuchKey", "404"}:
                    raise
                head = self._head(key)
                if head is None or head["Metadata"].get(_WRITER) != mark:
                    raise ConcurrentChange(f"{self._where(key)} was changed by another writer") from error

    def served(self, key: str, byte_range: str | None) -> tuple[dict[str, str], Iterator[bytes]] | None:
        """Headers and body for a player that reads through Callsheet's own endpoint; None where there is nothing.

        Args:
            key: The object.
            byte_range: The player's ``Range`` header, passed on.
        """
        full = self._full(key)
        wanted = {} if byte_range is None else {"Range": byte_range}
        with told(self._where(key)):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=full, **wanted)
            except self.client.exceptions.ClientError as error:
                if code_of(error) in _NOTHING:
                    return None
                if code_of(error) in {"InvalidRange", "416"}:
                    return self.served(key, None)
                raise
        headers = {"Content-Length": str(answer["ContentLength"]), "ETag": answer["ETag"], "Accept-Ranges": "bytes"}
        if "ContentRange" in answer:
            headers["Content-Range"] = answer["ContentRange"]
        return headers, answer["Body"].iter_chunks(CHUNK_BYTES)

    def _full(self, key: str) -> str:
        checked_key(key)
        full = f"{self.prefix}/{key}" if self.prefix else key
        if len(full) > MAX_KEY:
            raise StorageError(f"object key {full[:80]!a}… is longer than {MAX_KEY}", reason="bad_key")
        return full

    def _where(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"ContentType": content_type(key), "CacheControl": cache_control(key)}
        if self.settings.s3_sse:
            headers["ServerSideEncryption"] = self.settings.s3_sse
        if self.settings.s3_sse == "aws:kms" and self.settings.s3_kms_key_id:
            headers["SSEKMSKeyId"] = self.settings.s3_kms_key_id
        return headers

    def _read(self, full: str, key: str) -> bytes:
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=full)["Body"].read())
        except self.client.exceptions.ClientError as error:
            if code_of(error) not in _NOTHING:
                raise
            self._see_bucket()
            raise FileNotFoundError(f"nothing at {self._where(key)}") from error

    def _head(self, key: str) -> dict[str, Any] | None:
        full = self._full(key)
        with told(self._where(key)):
            try:
                head: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=full, ChecksumMode="ENABLED")
            except self.client.exceptions.ClientError as error:
                if code_of(error) not in _NOTHING:
                    raise
                self._see_bucket()
                return None
            return head

    def _see_bucket(self) -> None:
        """Raise where there is no bucket: without its body the answer is the one for a missing object."""
        if self._bucket_seen:
            return
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except self.client.exceptions.ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket"}:
                raise ConfigurationError(
                    f"{self.uri}: there is no such bucket; create it, or correct CALLSHEET_STORE_URI"
                ) from error
            if code_of(error) != "403":  # the right to ask for the bucket itself is not needed
                raise
        self._bucket_seen = True

    def _entries(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Size and ETag by name beneath the folder."""
        full = self._full(prefix) + "/"
        with told(self._where(prefix)):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full)
            return {
                each["Key"].removeprefix(full): (int(each["Size"]), str(each["ETag"]))
                for page in pages
                for each in page.get("Contents", [])
                if not each["Key"].endswith("/")  # a "folder" that some console made
            }

    def _put_parts(self, key: str, path: Path, size: int) -> None:
        full = self._full(key)
        length = _part_length(size, PART_BYTES)
        upload_id, parts = self._resumable(full, path, size, length)
        if upload_id is None:
            upload_id = self._create(key)

        def send(number: int) -> dict[str, Any]:
            body = _part(path, number, length)
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=full, UploadId=upload_id, PartNumber=number, Body=body, **_CHECKED
            )
            return _sent(number, answer, _crc32_of(body))

        missing = [number for number in range(1, -(-size // length) + 1) if number not in parts]
        parts |= {part["PartNumber"]: part for part in _in_parallel(send, missing, PARALLEL)}
        self._complete(key, upload_id, parts, size=size, checksum=_crc32(path))

    def _create(self, key: str) -> str:
        answer = self.client.create_multipart_upload(
            Bucket=self.bucket, Key=self._full(key), ChecksumType="FULL_OBJECT", **_CHECKED, **self._headers(key)
        )
        return str(answer["UploadId"])

    def _complete(
        self, key: str, upload_id: str, parts: dict[int, dict[str, Any]], *, size: int, checksum: str | None
    ) -> None:
        """S3 compares parts and checksum with what it has: an upload that two writers share never becomes a mixture."""
        known = {} if checksum is None else {"ChecksumCRC32": checksum}
        try:
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=self._full(key), UploadId=upload_id, ChecksumType="FULL_OBJECT",
                MultipartUpload={"Parts": [parts[number] for number in sorted(parts)]}, **known,
            )  # fmt: skip
        except self.client.exceptions.ClientError as error:
            if code_of(error) not in _GONE:
                raise
            # The answer to an earlier try was lost, or another attempt at the same file was quicker.
            head = self._head(key)
            if head is None or head["ContentLength"] != size or (checksum and _checksum(head) != checksum):
                raise

    def _resumable(self, full: str, path: Path, size: int, length: int) -> tuple[str | None, dict[int, dict[str, Any]]]:
        """The upload of this very file that has come furthest, with its parts; all others of its key are ended."""
        found: _Found = []
        for upload in self._uploads(full):
            if upload["Key"] != full:
                continue
            parts = self._parts(full, upload["UploadId"])
            if parts is None:
                continue
            if all(_is_part(part, path, size, length) for part in parts):
                kept = {
                    part["PartNumber"]: _sent(part["PartNumber"], part, part.get("ChecksumCRC32")) for part in parts
                }
                found.append((upload["UploadId"], kept))
            else:
                self._abort(full, upload["UploadId"])
        found.sort(key=lambda each: len(each[1]))
        for upload_id, _ in found[:-1]:
            self._abort(full, upload_id)
        return found[-1] if found else (None, {})

    def _uploads(self, prefix: str) -> Sequence[dict[str, Any]]:
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
        return [upload for page in pages for upload in page.get("Uploads", [])]

    def _parts(self, full: str, upload_id: str) -> Sequence[dict[str, Any]] | None:
        """None where the upload has ended meanwhile."""
        pages = self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=full, UploadId=upload_id)
        try:
            return [part for page in pages for part in page.get("Parts", [])]
        except self.client.exceptions.ClientError as error:
            if code_of(error) in _GONE:
                return None
            raise

    def _abort(self, full: str, upload_id: str) -> None:
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=full, UploadId=upload_id)
        except self.client.exceptions.ClientError as error:
            if code_of(error) not in _GONE:
                raise

    def _equal(self, source: str, source_etag: str, target: str, target_etag: str) -> bool:
        """Whether two objects of one size are the same; where that cannot be told they count as different."""
        if source_etag == target_etag:
            return True
        # Equal content has different ETags where it is encrypted with KMS, or where one of them went in parts.
        first, second = self._head(source), self._head(target)
        return bool(first and second and _checksum(first) and _checksum(first) == _checksum(second))

    def _copy(self, origin: str, key: str, size: int, etag: str) -> None:
        full = self._full(key)
        source = {"CopySource": {"Bucket": self.bucket, "Key": origin}, "CopySourceIfMatch": etag}
        if size < COPY_PART_BYTES:
            self.client.copy_object(
                Bucket=self.bucket, Key=full, MetadataDirective="REPLACE", **source, **_CHECKED, **self._headers(key)
            )
            return
        length = _part_length(size, COPY_PART_BYTES)
        upload_id = self._create(key)

        def send(number: int) -> dict[str, Any]:
            start = (number - 1) * length
            byte_range = f"bytes={start}-{min(start + length, size) - 1}"
            answer = self.client.upload_part_copy(
                Bucket=self.bucket,
                Key=full,
                UploadId=upload_id,
                PartNumber=number,
                CopySourceRange=byte_range,
                **source,
            )["CopyPartResult"]
            return _sent(number, answer, answer.get("ChecksumCRC32"))

        try:
            parts = {
                part["PartNumber"]: part for part in _in_parallel(send, range(1, -(-size // length) + 1), PARALLEL)
            }
            self._complete(key, upload_id, parts, size=size, checksum=None)
        except BaseException:
            self._abort(full, upload_id)
            raise

    def _delete_batch(self, keys: Sequence[str]) -> None:
        """The answer is a 200 whatever became of the single keys."""
        for attempt in range(1, ATTEMPTS + 1):
            answer = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
            errors = answer.get("Errors", [])
            keys = [each["Key"] for each in errors]
            if not keys:
                return
            if any(each["Code"] in _DENIED for each in errors) or attempt == ATTEMPTS:
                break
            _pause(attempt)
        first = errors[0]
        denied = first["Code"] in _DENIED
        raise StorageError(
            f"s3://{self.bucket}/{first['Key']}: {first['Code']}: {first.get('Message', '')} "
            f"({len(keys)} objects were not deleted)",
            reason="credentials" if denied else first["Code"],
        )


_CHECKED = {"ChecksumAlgorithm": "CRC32"}
_Parts = dict[int, dict[str, Any]]
_Found = list[tuple[str, _Parts]]


@cache
def _loader() -> Any:
    """AWS's services as botocore describes them: reading them is nearly all that making a client costs."""
    import botocore.loaders

    return botocore.loaders.create_loader()


def _session(settings: Settings) -> dict[str, Any]:
    """boto3's session with endpoint, verification and further options of the client."""
    import boto3
    import botocore.session
    from botocore.config import Config

    if not settings.aws_conn_id:
        plain = botocore.session.get_session()
        plain.register_component("data_loader", _loader())
        session = boto3.Session(botocore_session=plain)
        return {"session": session, "endpoint": None, "verify": None, "config": Config()}
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    hook = AwsBaseHook(aws_conn_id=settings.aws_conn_id, client_type="s3")
    try:
        # The hook itself would go on without a word, with whatever credentials this process has.
        hook.get_connection(settings.aws_conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"CALLSHEET_AWS_CONN_ID: Airflow has no connection {settings.aws_conn_id!r}; add it (type aws), or leave "
            "the variable empty for the environment or the workload identity"
        ) from error
    return {
        # Of an assumed role it renews the keys by itself.
        "session": hook.get_session(),
        "endpoint": hook.conn_config.get_service_endpoint_url("s3"),
        "verify": hook.verify,
        "config": hook.config,
    }


def _client(made: dict[str, Any]) -> Any:
    from botocore.config import Config

    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    ours = Config(
        # Older signatures know nothing of KMS, and their presigned addresses would be accepted in few regions.
        signature_version="s3v4",
        retries=retries,
        connect_timeout=CONNECT_LIMIT_S,
        read_timeout=READ_LIMIT_S,
        max_pool_connections=PARALLEL_SMALL,
        tcp_keepalive=True,
    )

    def client(config: Config) -> Any:
        return made["session"].client(
            "s3", endpoint_url=made["endpoint"], verify=made["verify"], config=config.merge(made["config"])
        )

    try:
        first = client(ours)
        host = urlsplit(first.meta.endpoint_url).hostname or ""
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return first
        # Few who run their own S3 have a name in the DNS for each bucket.
        return client(ours.merge(Config(s3={"addressing_style": "path"})))
    except ValueError as error:
        raise ConfigurationError(f"S3's endpoint (AWS_ENDPOINT_URL_S3, or of the connection): {error}") from error


def _no_credentials(where: str, text: str) -> StorageError:
    return StorageError(
        f"{where}: {text}. This process has no valid credentials for S3: renew AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (the workers' Secret), the connection CALLSHEET_AWS_CONN_ID or the role of the workload "
        "identity; the task's next attempt, or clearing it, goes on from there",
        reason="credentials",
    )


def _again(read: Callable[[], T]) -> T:
    """The result of ``read``, repeated while bodies break off or arrive with another checksum."""
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    for attempt in range(1, ATTEMPTS):
        try:
            return read()
        except (HTTPClientError, IncompleteReadError, FlexibleChecksumError):
            _pause(attempt)
    return read()


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(5.0, 0.1 * 2**attempt)))  # noqa: S311  # spreads requests, keeps no secret


def _in_parallel(work: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """Results in order; the first failure ends it, and nothing of it runs on."""
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="s3")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _part_length(size: int, least: int) -> int:
    return max(least, -(-size // MAX_PARTS))


def _part(path: Path, number: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * length)
        return file.read(length)


def _sent(number: int, answer: dict[str, Any], checksum: str | None) -> dict[str, Any]:
    part = {"PartNumber": number, "ETag": answer["ETag"]}
    return part if checksum is None else {**part, "ChecksumCRC32": checksum}


def _is_part(part: dict[str, Any], path: Path, size: int, length: int) -> bool:
    """Whether a part that S3 has is that part of the file; without a checksum its ETag may be the MD5."""
    number = part["PartNumber"]
    if part["Size"] != min(length, size - (number - 1) * length):
        return False
    body = _part(path, number, length)
    if "ChecksumCRC32" in part:
        return bool(part["ChecksumCRC32"] == _crc32_of(body))
    return bool(part["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest())


def _checksum(head: dict[str, Any]) -> str | None:
    """The CRC-32 over the whole object; None where S3 has none."""
    known = head.get("ChecksumCRC32")
    return None if head.get("ChecksumType") == "COMPOSITE" or known is None or "-" in known else str(known)


def _crc32(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def _crc32_of(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
