"""The object store on S3, and on whatever speaks like it.

boto3, which costs half a second to import, stands at the top of this folder's files: whoever may be imported by a
parse of a DAG file imports this folder inside a function.
"""

from __future__ import annotations

import builtins
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from include.adapters.s3 import transfer
from include.adapters.s3.bucket import CHUNK_BYTES, Bucket
from include.adapters.s3.failures import CHANGED, NO_OBJECT, code_of, s3_errors
from include.adapters.s3.session import Session, client_of, open_session
from include.adapters.store.files import atomic_file, file_errors
from include.adapters.store.interface import ConcurrentChange, Moved, Served, unheard
from include.adapters.store.keys import (
    MAX_KEY,
    WRITTEN_FOLDERS,
    cache_control,
    checked_key,
    content_type,
    manifests_last,
)
from include.base.counting import Count
from include.base.errors import ConfigurationError, StorageError
from include.base.settings import Settings
from include.domain.plan.limits import LONGEST_S, task_limit_s

MAX_PRESIGNED_S = 7 * 24 * 3600
"""Signature version 4 allows no more."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_WRITER = "callsheet-writer"
"""Name of the metadata that tells whose write a pointer is."""
_CONDITION_FAILED = frozenset({CHANGED, "ConditionalRequestConflict", "409"}) | NO_OBJECT


class S3Store:
    """Objects beneath ``s3://bucket[/prefix]``. A write takes place completely or not at all because S3's do."""

    def __init__(self, uri: str, settings: Settings) -> None:
        parts = urlsplit(uri)
        self.prefix = parts.path.strip("/")
        self._bucket_name = parts.netloc
        if not _BUCKET.fullmatch(self._bucket_name) or parts.query or parts.fragment:
            raise ConfigurationError(f"CALLSHEET_STORE_URI: s3://bucket/prefix is served (got {uri!r})")
        if self.prefix:
            checked_key(self.prefix)
        self.uri = uri.rstrip("/")
        self.settings = settings
        self._copies: dict[Path, str] = {}

    @cached_property
    def _session(self) -> Session:
        with s3_errors(self.uri):
            return open_session(self.settings)

    @cached_property
    def _bucket(self) -> Bucket:
        """Made at first use: many who open the store never ask it anything."""
        with s3_errors(self.uri):
            return Bucket(client_of(self._session), self._bucket_name)

    def put_file(self, key: str, path: Path, moved: Moved = unheard) -> None:
        """Upload; what an attempt that was cut off has sent already is not sent again."""
        self._upload(key, path, Count(moved))

    def put_files(self, files: Mapping[str, Path], moved: Moved = unheard) -> None:
        """Small ones at the same time; large ones one by one, as the parts of each go at the same time."""
        count = Count(moved)
        large = {key: path for key, path in files.items() if transfer.goes_in_parts(path.stat().st_size)}
        transfer.in_parallel(lambda item: self._upload(*item, count), files.items() - large.items())
        for key, path in large.items():
            self._upload(key, path, count)

    def _upload(self, key: str, path: Path, count: Count) -> None:
        full = self._full(key)
        with s3_errors(self._where(key)), file_errors(str(path)):
            transfer.upload(self._bucket, full, path, self._headers(key), count)

    def put_bytes(self, key: str, data: bytes) -> None:
        """One request."""
        with s3_errors(self._where(key)):
            self._put(key, data)

    def get_bytes(self, key: str) -> bytes:
        """The object's content, its length and checksum verified."""
        full = self._full(key)
        with s3_errors(self._where(key)):
            data = self._bucket.read(full)
        if data is None:
            raise self._nothing_at(key)
        return data

    def size(self, key: str) -> int | None:
        """The object's size."""
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def list(self, prefix: str) -> dict[str, int]:
        """All objects beneath the folder."""
        return {name: size for name, (size, _) in self._entries(prefix).items()}

    def readable(self, key: str) -> str:
        """A presigned address: for the longest task of the longest title, or as long as the credentials last.

        See :meth:`lasts`.
        """
        full = self._full(key)
        seconds = min(int(task_limit_s(self.settings.ffmpeg_timeout_s, LONGEST_S)) + 600, MAX_PRESIGNED_S)
        with s3_errors(self._where(key)):
            given = {"Bucket": self._bucket.name, "Key": full}
            return str(self._bucket.client.generate_presigned_url("get_object", Params=given, ExpiresIn=seconds))

    def lasts(self, seconds: float) -> bool:
        """Whether an address of :meth:`readable` can be asked that long: not beyond the session of its credentials."""
        with s3_errors(self.uri):
            return seconds < MAX_PRESIGNED_S and self._session.lasts(seconds)

    def local_copy(self, key: str, folder: Path, moved: Moved = unheard) -> Path:
        """A download, beneath ``folder`` at its own key; an earlier one is used again while the object is the same."""
        full, head = self._full(key), self._head(key)
        if head is None:
            raise self._nothing_at(key)
        target = folder / key
        if self._copies.get(target) == head["ETag"] and target.is_file():
            return target
        with s3_errors(self._where(key)), file_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as path:
                transfer.download(self._bucket, full, head, path, Count(moved))
        self._copies[target] = head["ETag"]
        return target

    def serve(self, key: str, byte_range: str | None) -> Served | None:
        """The object's body, passed on by this process.

        Not a redirection to a presigned address: players follow the manifests' relative addresses, and would need such
        a one for each file.
        """
        full = self._full(key)
        wanted = {} if byte_range is None else {"Range": byte_range}
        with s3_errors(self._where(key)):
            try:
                answer = self._bucket.client.get_object(Bucket=self._bucket.name, Key=full, **wanted)
            except ClientError as error:
                if code_of(error) in NO_OBJECT:
                    return None
                if code_of(error) in {"InvalidRange", "416"}:
                    return self.serve(key, None)
                raise
        headers = {"Content-Length": str(answer["ContentLength"]), "ETag": answer["ETag"], "Accept-Ranges": "bytes"}
        if "ContentRange" in answer:
            headers["Content-Range"] = answer["ContentRange"]
        return Served(body=answer["Body"].iter_chunks(CHUNK_BYTES), headers=headers)

    def copy_tree(self, source: str, target: str, moved: Moved = unheard) -> None:
        """Copied by S3 itself, with the headers of the new place; equal objects are left alone."""
        here, there, count = self._entries(source), self._entries(target), Count(moved)

        def copy(name: str) -> None:
            origin, key = f"{source}/{name}", f"{target}/{name}"
            size, etag = here[name]
            if name in there and there[name][0] == size and self._equal(origin, etag, key, there[name][1]):
                count.add(size)
                return
            full, headers = self._full(key), self._headers(key)
            with s3_errors(self._where(key)):
                transfer.copy(self._bucket, self._full(origin), full, headers, count, size=size, etag=etag)

        for names in manifests_last(here):
            transfer.in_parallel(copy, names)

    def delete(self, key: str) -> None:
        """Remove the object."""
        full = self._full(key)
        with s3_errors(self._where(key)):
            self._bucket.client.delete_object(Bucket=self._bucket.name, Key=full)

    def delete_tree(self, prefix: str) -> None:
        """Remove all objects beneath the folder, and what unfinished uploads have left there."""
        full = self._full(prefix)
        with s3_errors(self._where(prefix)):
            for upload in self._bucket.uploads(full + "/"):
                self._bucket.abort(upload["Key"], upload["UploadId"])
            self._bucket.delete([f"{full}/{name}" for name in self.list(prefix)])

    def sweep(self, *, before: datetime) -> builtins.list[str]:
        """Uploads in parts whose writer died before their end: S3 keeps, and charges for, the parts."""
        swept = []
        for folder in WRITTEN_FOLDERS:
            with s3_errors(self._where(folder)):
                for upload in self._bucket.uploads(self._full(folder) + "/"):
                    if upload["Initiated"] < before:
                        self._bucket.abort(upload["Key"], upload["UploadId"])
                        swept.append(str(upload["Key"]))
        return swept

    def marker(self, key: str) -> str | None:
        """The ETag."""
        head = self._head(key)
        return None if head is None else str(head["ETag"])

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        """By a conditional put.

        An answer can be lost after the write took place. boto3's repeated request then fails on our own write, which
        is known by its mark. Where another writer has replaced it meanwhile, that is a concurrent change like any
        other.
        """
        mark = uuid.uuid4().hex
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with s3_errors(self._where(key)):
            try:
                self._put(key, data, Metadata={_WRITER: mark}, **condition)
            except ClientError as error:
                if code_of(error) not in _CONDITION_FAILED:
                    raise
                head = self._head(key)
                if head is None or head["Metadata"].get(_WRITER) != mark:
                    raise ConcurrentChange(f"{self._where(key)} was changed by another writer") from error

    def _put(self, key: str, data: bytes, **more: Any) -> None:
        """Raises boto3's errors."""
        self._bucket.client.put_object(
            Bucket=self._bucket.name, Key=self._full(key), Body=data,
            **transfer.CHECKED, **self._headers(key), **more,
        )  # fmt: skip

    def _full(self, key: str) -> str:
        """The key in the bucket."""
        checked_key(key)
        full = f"{self.prefix}/{key}" if self.prefix else key
        if len(full) > MAX_KEY:
            raise StorageError(f"object key {full[:80]!a}… is longer than {MAX_KEY}", reason="bad_key")
        return full

    def _where(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _nothing_at(self, key: str) -> FileNotFoundError:
        return FileNotFoundError(f"nothing at {self._where(key)}")

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"ContentType": content_type(key), "CacheControl": cache_control(key)}
        if self.settings.s3_sse:
            headers["ServerSideEncryption"] = self.settings.s3_sse
        if self.settings.s3_sse == "aws:kms" and self.settings.s3_kms_key_id:
            headers["SSEKMSKeyId"] = self.settings.s3_kms_key_id
        return headers

    def _head(self, key: str) -> dict[str, Any] | None:
        full = self._full(key)
        with s3_errors(self._where(key)):
            return self._bucket.head(full)

    def _entries(self, prefix: str) -> dict[str, tuple[int, str]]:
        full = self._full(prefix)
        with s3_errors(self._where(prefix)):
            return self._bucket.entries(full)

    def _equal(self, source: str, source_etag: str, target: str, target_etag: str) -> bool:
        """Whether two objects of one size are the same; where that cannot be told they count as different."""
        if source_etag == target_etag:
            return True
        # Equal content has different ETags where it is encrypted with KMS, or where one of them went in parts.
        first, second = self._head(source), self._head(target)
        known = transfer.full_checksum(first) if first and second else None
        return bool(second and known and known == transfer.full_checksum(second))
