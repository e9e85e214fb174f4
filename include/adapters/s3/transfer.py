"""Objects in and out of a bucket, and copied within it: in parts where they are large.

What S3 does in one request goes by boto3's own methods, with their retries and checksums. Large objects do not go by
boto3's managed transfers (``s3transfer``), because those

- send an upload that a killed process began once more from its first byte, where :func:`upload` goes on;
- cannot ask for a checksum over a whole object that is copied in parts, without which a publication that is repeated
  could not tell that its copies are there (:func:`full_checksum`);
- fetch a part of a download that breaks off again from its beginning, and compare no checksum of the whole object.

Whatever is sent carries a CRC-32 that S3 checks and keeps, over the whole object also where it goes in parts; unlike
the ETag it means the same with every encryption.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from include.adapters.s3.bucket import CHUNK_BYTES, Bucket
from include.adapters.s3.failures import NO_UPLOAD, code_of
from include.adapters.s3.session import CONNECTIONS
from include.base.counting import Count
from include.base.errors import StorageError

T = TypeVar("T")
R = TypeVar("R")

PART_BYTES = 16 * 1024**2
"""Files from this size on go in parts of it: large enough to fill a connection, small enough to be sent again."""
MAX_PARTS = 10_000
"""Parts that S3 takes for one object."""
COPY_PART_BYTES = 512 * 1024**2
"""Objects from this size on are copied in parts: one answer for more than that can take longer than ``READ_LIMIT_S``
(and S3 copies no more than 5 GB at once)."""
PARALLEL = 4
"""Parts at once of one transfer, and so the most that are in memory."""
CHECKED = {"ChecksumAlgorithm": "CRC32"}

Part = dict[str, Any]
"""Number, ETag and checksum of a part, as S3 wants them at the end of an upload."""


def upload(bucket: Bucket, key: str, path: Path, headers: Mapping[str, str], count: Count) -> None:
    """Send a file; what an attempt that was cut off has sent already is not sent again.

    Args:
        bucket: Where to.
        key: The object.
        path: The file.
        headers: What S3 keeps of the object besides its content, by boto3's names.
        count: Of bytes that S3 has; those of a large file come part by part.
    """
    size = path.stat().st_size
    if not goes_in_parts(size):
        with path.open("rb") as body:
            bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, **CHECKED, **headers)
        count.add(size)
        return
    length = _part_length(size, PART_BYTES)
    upload_id, parts = _resumable(bucket, key, path, size, length)
    if upload_id is None:
        upload_id = _begin(bucket, key, headers)

    def send(number: int) -> Part:
        body = _part(path, number, length)
        answer = bucket.client.upload_part(
            Bucket=bucket.name, Key=key, UploadId=upload_id, PartNumber=number, Body=body, **CHECKED
        )
        count.add(len(body))
        return _sent(number, answer, _crc32_of(body))

    missing = [number for number in _numbers(size, length) if number not in parts]
    count.add(size - sum(_length_of(number, size, length) for number in missing))
    parts |= {part["PartNumber"]: part for part in in_parallel(send, missing, at_once=PARALLEL)}
    _complete(bucket, key, upload_id, parts, size=size, checksum=_crc32(path))


def goes_in_parts(size: int) -> bool:
    """Whether a file of so many bytes is sent in parts."""
    return size >= PART_BYTES


def download(bucket: Bucket, key: str, head: dict[str, Any], path: Path, count: Count) -> None:
    """Fetch an object in ranges at the same time; raises :class:`StorageError` where it comes with other bytes.

    Args:
        bucket: Where from.
        key: The object.
        head: What S3 keeps about it: this very object is fetched, or botocore's ClientError says 412.
        path: An empty file, which is filled.
        count: Of bytes that are there.
    """
    etag, size = head["ETag"], int(head["ContentLength"])
    os.truncate(path, size)

    def fetch(start: int) -> None:
        with path.open("r+b") as output:
            output.seek(start)
            for chunk in bucket.stream(key, start=start, end=min(start + PART_BYTES, size), etag=etag):
                output.write(chunk)
                count.add(len(chunk))

    in_parallel(fetch, range(0, size, PART_BYTES), at_once=PARALLEL)
    known = full_checksum(head)
    if path.stat().st_size != size or (known is not None and known != _crc32(path)):
        raise StorageError(f"s3://{bucket.name}/{key} came with other bytes than it has", reason="checksum")


def copy(
    bucket: Bucket, source: str, key: str, headers: Mapping[str, str], count: Count, *, size: int, etag: str
) -> None:
    """Have S3 copy an object, with new headers; botocore's ClientError says 412 where ``etag`` is no longer there.

    Args:
        bucket: Of both.
        source: The object to copy.
        key: Its copy.
        headers: What S3 keeps of the copy besides its content, by boto3's names.
        count: Of bytes that are copied; those of a large object come part by part.
        size: Bytes of the source.
        etag: Of the source.
    """
    origin = {"CopySource": {"Bucket": bucket.name, "Key": source}, "CopySourceIfMatch": etag}
    if size < COPY_PART_BYTES:
        bucket.client.copy_object(
            Bucket=bucket.name, Key=key, MetadataDirective="REPLACE", **origin, **CHECKED, **headers
        )
        count.add(size)
        return
    length = _part_length(size, COPY_PART_BYTES)
    upload_id = _begin(bucket, key, headers)

    def send(number: int) -> Part:
        start = (number - 1) * length
        byte_range = f"bytes={start}-{min(start + length, size) - 1}"
        answer = bucket.client.upload_part_copy(
            Bucket=bucket.name, Key=key, UploadId=upload_id, PartNumber=number, CopySourceRange=byte_range, **origin
        )["CopyPartResult"]
        count.add(_length_of(number, size, length))
        return _sent(number, answer, answer.get("ChecksumCRC32"))

    try:
        sent = in_parallel(send, _numbers(size, length), at_once=PARALLEL)
        parts = {part["PartNumber"]: part for part in sent}
        _complete(bucket, key, upload_id, parts, size=size, checksum=None)
    except BaseException:
        bucket.abort(key, upload_id)
        raise


def full_checksum(head: dict[str, Any]) -> str | None:
    """The CRC-32 over the whole object, from what S3 keeps about it; None where S3 has none."""
    known = head.get("ChecksumCRC32")
    return None if head.get("ChecksumType") == "COMPOSITE" or known is None or "-" in known else str(known)


def in_parallel(work: Callable[[T], R], items: Iterable[T], *, at_once: int = CONNECTIONS) -> list[R]:
    """Results in order. At the first failure no further item is begun, and those under way are waited for.

    Args:
        work: Called with one item.
        items: All of them.
        at_once: Items at the same time; the default suits work that holds little memory, as small files and copies
            within S3 do.
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="s3")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(bucket: Bucket, key: str, headers: Mapping[str, str]) -> str:
    answer = bucket.client.create_multipart_upload(
        Bucket=bucket.name, Key=key, ChecksumType="FULL_OBJECT", **CHECKED, **headers
    )
    return str(answer["UploadId"])


def _complete(
    bucket: Bucket, key: str, upload_id: str, parts: dict[int, Part], *, size: int, checksum: str | None
) -> None:
    """S3 compares parts and checksum with what it has: an upload that two writers share never becomes a mixture."""
    known = {} if checksum is None else {"ChecksumCRC32": checksum}
    try:
        bucket.client.complete_multipart_upload(
            Bucket=bucket.name, Key=key, UploadId=upload_id, ChecksumType="FULL_OBJECT",
            MultipartUpload={"Parts": [parts[number] for number in sorted(parts)]}, **known,
        )  # fmt: skip
    except ClientError as error:
        if code_of(error) not in NO_UPLOAD:
            raise
        # The answer to an earlier try was lost, or another attempt at the same file was quicker.
        head = bucket.head(key)
        if head is None or head["ContentLength"] != size or (checksum and full_checksum(head) != checksum):
            raise


def _resumable(bucket: Bucket, key: str, path: Path, size: int, length: int) -> tuple[str | None, dict[int, Part]]:
    """The unfinished upload of this very file that has come furthest, with its parts; all others of its key are ended.

    None without parts where there is no such upload.
    """
    found: list[tuple[str, dict[int, Part]]] = []
    for unfinished in bucket.uploads(key):
        if unfinished["Key"] != key:
            continue
        upload_id = unfinished["UploadId"]
        parts = bucket.parts(key, upload_id)
        if parts is None:
            continue
        if all(_is_part(part, path, size, length) for part in parts):
            kept = {part["PartNumber"]: _sent(part["PartNumber"], part, part.get("ChecksumCRC32")) for part in parts}
            found.append((upload_id, kept))
        else:
            bucket.abort(key, upload_id)
    found.sort(key=lambda candidate: len(candidate[1]))
    for upload_id, _ in found[:-1]:
        bucket.abort(key, upload_id)
    return found[-1] if found else (None, {})


def _part_length(size: int, least: int) -> int:
    return max(least, -(-size // MAX_PARTS))


def _numbers(size: int, length: int) -> range:
    """S3 counts parts from 1."""
    return range(1, -(-size // length) + 1)


def _length_of(number: int, size: int, length: int) -> int:
    return min(length, size - (number - 1) * length)


def _part(path: Path, number: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * length)
        return file.read(length)


def _sent(number: int, answer: dict[str, Any], checksum: str | None) -> Part:
    part = {"PartNumber": number, "ETag": answer["ETag"]}
    return part if checksum is None else {**part, "ChecksumCRC32": checksum}


def _is_part(part: dict[str, Any], path: Path, size: int, length: int) -> bool:
    """Whether a part that S3 has is that part of the file; without a checksum its ETag may be the MD5."""
    number = part["PartNumber"]
    if part["Size"] != _length_of(number, size, length):
        return False
    body = _part(path, number, length)
    if "ChecksumCRC32" in part:
        return bool(part["ChecksumCRC32"] == _crc32_of(body))
    return bool(part["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest())


def _crc32(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return _as_s3_writes(value)


def _crc32_of(data: bytes) -> str:
    return _as_s3_writes(zlib.crc32(data))


def _as_s3_writes(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()
