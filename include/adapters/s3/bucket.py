"""Requests on one bucket. boto3 repeats requests that fail; what repeats answers that break off is here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from include.adapters.s3.failures import DENIED, NO_OBJECT, NO_UPLOAD, code_of, no_bucket
from include.adapters.s3.session import ATTEMPTS
from include.base.errors import StorageError

CHUNK_BYTES = 1024**2
DELETE_BATCH = 1000
"""Keys that S3 takes in one request to delete."""
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


class Bucket:
    """One bucket and the client that reaches it.

    Methods raise boto3's errors: :func:`~include.adapters.s3.failures.s3_errors` around them names the object.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name
        self._seen = False

    def head(self, key: str) -> dict[str, Any] | None:
        """What S3 keeps about an object; None where there is none.

        Raises :class:`ConfigurationError` where there is no bucket.
        """
        try:
            head: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if code_of(error) not in NO_OBJECT:
                raise
            self._check_exists()
            return None
        return head

    def read(self, key: str) -> bytes | None:
        """The object's content, its length and checksum verified; None where there is nothing.

        Raises :class:`ConfigurationError` where there is no bucket.
        """
        tries = Retrying(
            retry=retry_if_exception_type((HTTPClientError, IncompleteReadError, FlexibleChecksumError)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
            reraise=True,
        )
        try:
            return bytes(tries(lambda: self.client.get_object(Bucket=self.name, Key=key)["Body"].read()))
        except ClientError as error:
            if code_of(error) not in NO_OBJECT:
                raise
            self._check_exists()
            return None

    def stream(
        self,
        key: str,
        *,
        start: int = 0,
        end: int | None = None,
        etag: str | None = None,
        on_size: Callable[[int], None] = lambda size: None,
    ) -> Generator[bytes, None, None]:
        """The bytes of an object; where a body breaks off, the rest is asked for.

        All bytes are of the same object: where it is replaced meanwhile, botocore's ClientError says 412.

        Args:
            key: The object.
            start: The first byte.
            end: The byte after the last; None for all.
            etag: Of the object that is meant; None for the one that is there.
            on_size: Called once, before the first byte, with the number of bytes that will come.
        """
        position, failures = start, 0
        while end is None or position < end:
            wanted: dict[str, Any] = {} if etag is None else {"IfMatch": etag}
            if position or end is not None:
                wanted["Range"] = f"bytes={position}-{'' if end is None else end - 1}"
            answer = self.client.get_object(Bucket=self.name, Key=key, **wanted)
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
                pause(failures)
            finally:
                answer["Body"].close()

    def entries(self, folder: str) -> dict[str, tuple[int, str]]:
        """Size and ETag of every object beneath the folder, by its key relative to it."""
        prefix = folder + "/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {
            entry["Key"].removeprefix(prefix): (int(entry["Size"]), str(entry["ETag"]))
            for page in pages
            for entry in page.get("Contents", [])
            if not entry["Key"].endswith("/")  # a "folder" that some console made
        }

    def delete(self, keys: Sequence[str]) -> None:
        """Delete many objects; raises :class:`StorageError` where some are left."""
        for start in range(0, len(keys), DELETE_BATCH):
            self._delete_batch(keys[start : start + DELETE_BATCH])

    def uploads(self, prefix: str) -> Sequence[dict[str, Any]]:
        """Uploads in parts that nobody has finished, of all keys that begin with ``prefix``."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
        return [upload for page in pages for upload in page.get("Uploads", [])]

    def parts(self, key: str, upload_id: str) -> Sequence[dict[str, Any]] | None:
        """The parts of an unfinished upload that S3 has; None where the upload has ended meanwhile."""
        pages = self.client.get_paginator("list_parts").paginate(Bucket=self.name, Key=key, UploadId=upload_id)
        try:
            return [part for page in pages for part in page.get("Parts", [])]
        except ClientError as error:
            if code_of(error) in NO_UPLOAD:
                return None
            raise

    def abort(self, key: str, upload_id: str) -> None:
        """End an unfinished upload, with its parts; one that has ended already is no error."""
        try:
            self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) not in NO_UPLOAD:
                raise

    def _check_exists(self) -> None:
        """Raise where there is no bucket: without its body the answer is the one for a missing object."""
        if self._seen:
            return
        try:
            self.client.head_bucket(Bucket=self.name)
        except ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket"}:
                raise no_bucket(f"s3://{self.name}") from error
            if code_of(error) != "403":  # the right to ask for the bucket itself is not needed
                raise
        self._seen = True

    def _delete_batch(self, keys: Sequence[str]) -> None:
        """The answer is a 200 even where single keys were not deleted; those are tried again."""
        for attempt in range(1, ATTEMPTS + 1):
            answer = self.client.delete_objects(
                Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
            errors = answer.get("Errors", [])
            keys = [error["Key"] for error in errors]
            if not keys:
                return
            if any(error["Code"] in DENIED for error in errors) or attempt == ATTEMPTS:
                break
            pause(attempt)
        first = errors[0]
        denied = first["Code"] in DENIED
        raise StorageError(
            f"s3://{self.name}/{first['Key']}: {first['Code']}: {first.get('Message', '')} "
            f"({len(keys)} objects were not deleted)",
            reason="credentials" if denied else first["Code"],
        )


def pause(attempt: int) -> None:
    """Wait before the next try, in a loop that goes on from where it was (tenacity would repeat the same call)."""
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
    time.sleep(random.uniform(0, longest))  # noqa: S311  # spreads requests, keeps no secret
