"""The store on S3: nothing half-visible, nothing sent twice, and every refusal with its way out."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.adapters.s3 import bucket, session, transfer
from include.adapters.s3.failures import failure
from include.adapters.s3.session import worker_credentials
from include.adapters.s3.store import S3Store
from include.adapters.store.interface import ConcurrentChange
from include.adapters.store.opening import open_store
from include.base.errors import ConfigurationError, StorageError
from include.base.settings import Settings
from include.base.text import redacted
from tests.s3 import CREDENTIALS, S3, Asked, Fault, Outcome
from tests.store.conftest import LEAST_PART

Opened = Callable[..., S3Store]


def head(s3: S3, store: S3Store, key: str) -> dict[str, Any]:
    """What S3 keeps about an object."""
    found: dict[str, Any] = s3.client().head_object(
        Bucket=s3.bucket, Key=f"{store.prefix}/{key}", ChecksumMode="ENABLED"
    )
    return found


def a_file(tmp_path: Path, size: int, name: str = "made.mp4") -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


def is_part(asked: Asked) -> bool:
    return asked.method == "PUT" and "partNumber" in asked.query and not asked.copies


def uploads(s3: S3, store: S3Store) -> list[str]:
    """Keys of the uploads that are not finished."""
    found = s3.client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
    return [each["Key"] for each in found if each["Key"].startswith(store.prefix)]


def once(fault: Outcome, when: Callable[[Asked], bool]) -> Callable[[Asked], Outcome]:
    """Hurts the first request of a kind."""
    lock, done = threading.Lock(), []

    def decide(asked: Asked) -> Outcome:
        with lock:
            if done or not when(asked):
                return None
            done.append(asked)
            return fault

    return decide


@pytest.mark.parametrize(
    "settings", [{}, {"s3_sse": "AES256"}, {"s3_sse": "aws:kms", "s3_kms_key_id": "alias/callsheet"}], ids=str
)
def test_every_way_of_writing_stores_type_caching_and_encryption(
    settings: dict[str, str], opened: Opened, s3: S3, tmp_path: Path
) -> None:
    store = opened(**settings)
    store.put_bytes("work/a/hls.m3u8", b"#EXTM3U")
    store.put_file("work/a/1.m4s", a_file(tmp_path, 10))
    store.put_file("work/a/2.mp4", a_file(tmp_path, LEAST_PART + 1))
    store.copy_tree("work/a", "titles/a/v1")
    store.compare_and_set("titles/a/current.json", b"{}", None)

    work, published = "no-store", "max-age=31536000, immutable"
    for key, kind, caching in (
        ("work/a/hls.m3u8", "application/vnd.apple.mpegurl", work),
        ("work/a/1.m4s", "video/iso.segment", work),
        ("work/a/2.mp4", "video/mp4", work),
        ("titles/a/v1/hls.m3u8", "application/vnd.apple.mpegurl", published),
        ("titles/a/v1/2.mp4", "video/mp4", published),
        ("titles/a/current.json", "application/json", "no-cache"),
    ):
        kept = head(s3, store, key)
        assert (kept["ContentType"], kept["CacheControl"]) == (kind, caching), key
        assert kept.get("ServerSideEncryption") == settings.get("s3_sse"), key
        assert kept.get("SSEKMSKeyId") == settings.get("s3_kms_key_id"), key
        assert kept["ChecksumCRC32"], key


def test_the_checksum_of_a_file_in_parts_is_that_of_the_whole(store: S3Store, s3: S3, tmp_path: Path) -> None:
    path = a_file(tmp_path, 2 * LEAST_PART + 7)

    store.put_file("v/a.mp4", path)

    crc = zlib.crc32(path.read_bytes()).to_bytes(4, "big")
    assert head(s3, store, "v/a.mp4")["ChecksumCRC32"] == base64.b64encode(crc).decode()
    assert s3.count("PUT", partNumber=None) == 3


def test_an_upload_that_is_killed_shows_nothing_and_goes_on_where_it_was(
    store: S3Store, s3: S3, tmp_path: Path
) -> None:
    path = a_file(tmp_path, 5 * LEAST_PART + 3)
    store.put_bytes("v/a.mp4", b"what was there before")
    argv = [sys.executable, "-m", "tests.store.upload", "v/a.mp4", str(path)]
    arrived, died, lock = [], threading.Event(), threading.Lock()

    def kill_at_the_third_part(asked: Asked) -> Outcome:
        if not is_part(asked):
            return None
        with lock:
            arrived.append(asked.query["partNumber"])
            if len(arrived) <= 2:
                return None
            if len(arrived) == 3:
                while s3.answered < 2:  # the first two are stored before the process dies
                    died.wait(0.01)
                os.kill(child.pid, signal.SIGKILL)
                died.set()
        died.wait(30)
        return Fault.RESET

    s3.decide, s3.answered = kill_at_the_third_part, 0
    child = subprocess.Popen(argv, env={**os.environ, "CALLSHEET_STORE_URI": store.uri})
    assert child.wait(60) == -signal.SIGKILL
    s3.decide = lambda asked: None

    assert store.get_bytes("v/a.mp4") == b"what was there before"
    assert uploads(s3, store) == [f"{store.prefix}/v/a.mp4"]
    s3.asked.clear()
    store.put_file("v/a.mp4", path)
    sent = {asked.query["partNumber"] for asked in s3.asked if is_part(asked)}
    assert len(sent) == 4
    assert not sent & set(arrived[:2])
    assert store.get_bytes("v/a.mp4") == path.read_bytes()
    assert uploads(s3, store) == []


def test_parts_of_another_file_are_never_taken(store: S3Store, s3: S3, tmp_path: Path) -> None:
    mine, other = a_file(tmp_path, 2 * LEAST_PART), a_file(tmp_path, 2 * LEAST_PART, "other.mp4")
    s3.decide = lambda asked: (403, "AccessDenied") if is_part(asked) and asked.query["partNumber"] == "2" else None
    with pytest.raises(StorageError):
        store.put_file("v/a.mp4", other)
    assert len(uploads(s3, store)) == 1
    s3.decide = lambda asked: None
    s3.asked.clear()

    store.put_file("v/a.mp4", mine)

    assert s3.count("PUT", partNumber=None) == 2
    assert store.get_bytes("v/a.mp4") == mine.read_bytes()
    assert uploads(s3, store) == []


@pytest.mark.parametrize("fault", [Fault.LATE_ERROR, Fault.LATE_RESET, Fault.ERROR_IN_200])
def test_an_upload_whose_end_got_no_answer_is_done(fault: Fault, store: S3Store, s3: S3, tmp_path: Path) -> None:
    path = a_file(tmp_path, LEAST_PART)
    s3.decide = once(fault, lambda asked: asked.method == "POST" and "uploadId" in asked.query)

    store.put_file("v/a.mp4", path)

    assert len(s3.hurt) == 1
    assert store.get_bytes("v/a.mp4") == path.read_bytes()


def test_an_upload_that_another_attempt_has_finished_is_done(store: S3Store, s3: S3, tmp_path: Path) -> None:
    path = a_file(tmp_path, LEAST_PART)

    def finish_first(asked: Asked) -> Outcome:
        if asked.method != "POST" or "uploadId" not in asked.query:
            return None
        key = f"{store.prefix}/v/a.mp4"
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes(), ChecksumAlgorithm="CRC32")
        return (404, "NoSuchUpload")

    s3.decide = finish_first
    store.put_file("v/a.mp4", path)

    s3.decide = lambda asked: (404, "NoSuchUpload") if asked.method == "POST" and "uploadId" in asked.query else None
    with pytest.raises(StorageError, match="NoSuchUpload"):
        store.put_file("v/a.mp4", a_file(tmp_path, LEAST_PART, "other.mp4"))


def test_nothing_is_visible_while_parts_arrive(store: S3Store, s3: S3, tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []

    def look(asked: Asked) -> Outcome:
        if is_part(asked):
            page = s3.client().list_objects_v2(Bucket=s3.bucket, Prefix=f"{store.prefix}/")
            seen.append({each["Key"]: each["Size"] for each in page.get("Contents", [])})
        return None

    s3.decide = look
    store.put_file("v/a.mp4", a_file(tmp_path, 3 * LEAST_PART))

    assert seen == [{}, {}, {}]
    assert store.list("v") == {"a.mp4": 3 * LEAST_PART}


def test_a_download_that_breaks_off_goes_on_from_there(store: S3Store, s3: S3, tmp_path: Path) -> None:
    path = a_file(tmp_path, 2 * LEAST_PART + 9)
    store.put_file("v/a.mp4", path)
    s3.asked.clear()
    s3.decide = once(Fault.TRUNCATED, lambda asked: asked.headers.get("range") == f"bytes=0-{LEAST_PART - 1}")

    copy = store.local_copy("v/a.mp4", tmp_path / "copies")

    assert copy.read_bytes() == path.read_bytes()
    assert [each.name for each in copy.parent.iterdir()] == ["a.mp4"]
    ranges = {asked.headers["range"] for asked in s3.asked if asked.method == "GET"}
    assert f"bytes={LEAST_PART // 2}-{LEAST_PART - 1}" in ranges
    assert len(ranges) == 4
    assert store.local_copy("v/a.mp4", tmp_path / "copies") == copy
    assert sum(asked.method == "GET" for asked in s3.asked) == 4


def test_a_copy_is_fetched_again_when_the_object_is_another(store: S3Store, tmp_path: Path) -> None:
    store.put_bytes("a", b"one")
    assert store.local_copy("a", tmp_path).read_bytes() == b"one"

    store.put_bytes("a", b"two")

    assert store.local_copy("a", tmp_path).read_bytes() == b"two"


def test_an_object_that_is_replaced_while_it_is_read_leaves_no_copy(store: S3Store, s3: S3, tmp_path: Path) -> None:
    store.put_file("a", a_file(tmp_path, 2 * LEAST_PART))
    new = os.urandom(2 * LEAST_PART)

    def replace(asked: Asked) -> Outcome:
        if asked.headers.get("range", "").startswith(f"bytes={LEAST_PART}-"):
            s3.client().put_object(Bucket=s3.bucket, Key=f"{store.prefix}/a", Body=new)
        return None

    s3.decide = replace
    with pytest.raises(StorageError, match="was replaced while it was read") as caught:
        store.local_copy("a", tmp_path / "copies")
    assert caught.value.reason == "changed"
    assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.parametrize("size", [3, 2 * LEAST_PART], ids=["in one piece", "in ranges"])
def test_bytes_that_are_not_those_that_were_stored_are_never_taken(
    size: int, store: S3Store, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "ATTEMPTS", 2)
    wrong = base64.b64encode(bytes(4)).decode()
    s3.client().put_object(
        Bucket=s3.bucket, Key=f"{store.prefix}/a", Body=b"x" * size, ChecksumAlgorithm="CRC32", ChecksumCRC32=wrong
    )

    for read in (store.get_bytes, lambda key: store.local_copy(key, tmp_path)):
        with pytest.raises(StorageError, match="came with other bytes") as caught:
            read("a")
        assert caught.value.reason == "checksum"
    assert list(tmp_path.iterdir()) == []


def test_short_reads_are_repeated_until_they_are_whole(store: S3Store, s3: S3) -> None:
    store.put_bytes("a", b"x" * 1000)
    s3.decide = lambda asked: Fault.TRUNCATED if s3.count("GET") < 4 else None

    assert store.get_bytes("a") == b"x" * 1000
    assert s3.count("GET") == 4


def test_a_server_that_falls_silent_is_asked_again(opened: Opened, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "READ_LIMIT_S", 0.3)
    monkeypatch.setattr(s3, "silence_s", 5.0)
    store = opened()
    s3.decide = once(Fault.SILENCE, lambda asked: asked.method == "PUT")

    store.put_bytes("a", b"1")

    assert store.get_bytes("a") == b"1"
    assert s3.count("PUT") == 2


@pytest.mark.parametrize("fault", [Fault.LATE_ERROR, Fault.LATE_RESET])
def test_a_pointer_whose_answer_was_lost_is_known_by_its_mark(fault: Fault, store: S3Store, s3: S3) -> None:
    store.compare_and_set("p", b"one", None)
    s3.decide = once(fault, lambda asked: asked.method == "PUT")

    store.compare_and_set("p", b"two", store.marker("p"))

    assert len(s3.hurt) == 1
    assert store.get_bytes("p") == b"two"


def test_the_same_pointer_of_another_writer_is_a_change_all_the_same(store: S3Store, s3: S3) -> None:
    other = S3Store(store.uri, store.settings)

    def overtake(asked: Asked) -> Outcome:
        s3.decide = lambda asked: None
        other.compare_and_set("p", b"two", None)
        return None

    s3.decide = overtake
    with pytest.raises(ConcurrentChange):
        store.compare_and_set("p", b"two", None)


@pytest.mark.parametrize("refusal", [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")])
def test_a_condition_that_s3_refuses_is_a_concurrent_change(refusal: tuple[int, str], store: S3Store, s3: S3) -> None:
    s3.decide = lambda asked: refusal if asked.method == "PUT" else None

    with pytest.raises(ConcurrentChange):
        store.compare_and_set("p", b"1", None)
    assert "if-none-match" in next(asked.headers for asked in s3.asked if asked.method == "PUT")


def test_long_lists_come_in_pages(store: S3Store, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    monkeypatch.setattr(bucket, "DELETE_BATCH", 5)
    names = [f"{number:02}" for number in range(11)]
    for name in names:
        store.put_bytes(f"a/{name}", b"1")
    s3.client().put_object(Bucket=s3.bucket, Key=f"{store.prefix}/a/folder/", Body=b"")

    assert list(store.list("a")) == names
    s3.asked.clear()
    store.delete_tree("a")
    assert store.list("a") == {}
    assert s3.count("POST", delete=None) == 3


def test_objects_that_a_batch_did_not_delete_are_not_forgotten(
    store: S3Store, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "pause", lambda attempt: None)
    store.put_bytes("a/x", b"1")
    store.put_bytes("a/y", b"1")

    def answer(code: str) -> bytes:
        error = f"<Error><Key>{store.prefix}/a/x</Key><Code>{code}</Code><Message>no</Message></Error>"
        return f"<DeleteResult>{error}</DeleteResult>".encode()

    s3.decide = once(answer("InternalError"), lambda asked: "delete" in asked.query)
    store.delete_tree("a")
    assert store.list("a") == {"y": 1}  # the answer spoke of x alone
    for code, reason in (("AccessDenied", "credentials"), ("InternalError", "InternalError")):
        s3.decide = lambda asked, code=code: answer(code) if "delete" in asked.query else None  # type: ignore[misc]
        with pytest.raises(StorageError, match=f"a/x: {code}: no .1 objects were not deleted") as caught:
            store.delete_tree("a")
        assert caught.value.reason == reason


def test_a_folder_takes_its_unfinished_uploads_along(store: S3Store, s3: S3, tmp_path: Path) -> None:
    s3.decide = lambda asked: (403, "AccessDenied") if is_part(asked) else None
    for key in ("a/x.mp4", "ab/x.mp4"):
        with pytest.raises(StorageError):
            store.put_file(key, a_file(tmp_path, LEAST_PART))

    store.delete_tree("a")

    assert uploads(s3, store) == [f"{store.prefix}/ab/x.mp4"]


def test_a_tree_is_copied_by_s3_itself_and_manifests_come_last(store: S3Store, s3: S3) -> None:
    names = ("hls.m3u8", "v/media.m3u8", "v/1.m4s", "v/2.m4s")
    for name in names:
        store.put_bytes(f"work/{name}", name.encode())
    s3.asked.clear()

    store.copy_tree("work", "titles/a/v1")

    copies = [asked.path.partition("/v1/")[2] for asked in s3.asked if asked.copies]
    assert sorted(copies[:2]) == ["v/1.m4s", "v/2.m4s"]
    assert copies[2:] == ["v/media.m3u8", "hls.m3u8"]
    assert all(asked.length == 0 for asked in s3.asked)
    assert all("list-type" in asked.query for asked in s3.asked if asked.method == "GET")


def test_a_copy_of_the_same_size_and_other_bytes_is_made_again(store: S3Store, s3: S3, tmp_path: Path) -> None:
    parts = a_file(tmp_path, 2 * LEAST_PART)
    store.put_bytes("work/a", b"right")
    store.put_file("work/b.mp4", parts)
    store.copy_tree("work", "titles/v1")
    store.put_bytes("titles/v1/a", b"wrong")
    s3.asked.clear()

    store.copy_tree("work", "titles/v1")

    assert [asked.path.rpartition("/")[2] for asked in s3.asked if asked.copies] == ["a"]
    assert store.get_bytes("titles/v1/a") == b"right"
    assert store.marker("titles/v1/b.mp4") != store.marker("work/b.mp4")  # equal by checksum alone


def test_what_is_too_large_for_one_copy_is_copied_in_parts(
    store: S3Store, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "COPY_PART_BYTES", LEAST_PART)
    path = a_file(tmp_path, 2 * LEAST_PART + 1)
    store.put_file("work/a.mp4", path)
    s3.decide = lambda asked: (403, "AccessDenied") if asked.copies else None
    with pytest.raises(StorageError):
        store.copy_tree("work", "titles/t/v1")
    assert (store.list("titles/t"), uploads(s3, store)) == ({}, [])
    s3.decide = once(Fault.ERROR_IN_200, lambda asked: asked.copies)
    s3.asked.clear()

    store.copy_tree("work", "titles/t/v1")

    assert store.get_bytes("titles/t/v1/a.mp4") == path.read_bytes()
    ranges = sorted(asked.headers["x-amz-copy-source-range"] for asked in s3.asked if asked.copies)
    assert len(set(ranges)) == 3
    assert len(ranges) == 4
    assert head(s3, store, "titles/t/v1/a.mp4")["CacheControl"] == "max-age=31536000, immutable"


WAYS_OUT = [
    ((403, "AccessDenied"), StorageError, "credentials", "Give this identity the rights"),
    ((400, "ExpiredToken"), StorageError, "credentials", "renew AWS_ACCESS_KEY_ID"),
    ((403, "InvalidAccessKeyId"), StorageError, "credentials", "renew AWS_ACCESS_KEY_ID"),
    ((403, "SignatureDoesNotMatch"), StorageError, "credentials", "renew AWS_ACCESS_KEY_ID"),
    ((403, "RequestTimeTooSkewed"), StorageError, "clock_skew", "clock"),
    ((404, "NoSuchBucket"), ConfigurationError, None, "CALLSHEET_STORE_URI"),
    ((400, "AuthorizationHeaderMalformed"), ConfigurationError, None, "AWS_DEFAULT_REGION"),
    ((503, "SlowDown"), StorageError, "SlowDown", "SlowDown"),
    ((507, "XMinioStorageFull"), StorageError, "XMinioStorageFull", "XMinioStorageFull"),
]


@pytest.mark.parametrize(("refusal", "kind", "reason", "words"), WAYS_OUT, ids=[refusal[1] for refusal, *_ in WAYS_OUT])
def test_a_refusal_names_bucket_key_what_s3_says_and_the_way_out(
    refusal: tuple[int, str], kind: type[StorageError], reason: str | None, words: str,
    opened: Opened, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = opened()
    s3.decide = lambda asked: refusal

    for act in (
        lambda: store.put_bytes("a/x", b"1"), lambda: store.put_file("a/x", a_file(tmp_path, 1)),
        lambda: store.put_file("a/x", a_file(tmp_path, LEAST_PART)), lambda: store.get_bytes("a/x"),
        lambda: store.delete("a/x"), lambda: store.compare_and_set("a/x", b"1", None),
    ):  # fmt: skip
        with pytest.raises(kind, match=words) as caught:
            act()
        assert caught.value.reason == reason
        assert f"{store.uri}/a/x" in caught.value.message
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in caught.value.message
    for listing in (lambda: store.list("a"), lambda: store.delete_tree("a"), lambda: store.copy_tree("a", "b")):
        with pytest.raises(kind, match=words):
            listing()


def test_expired_credentials_are_known_from_an_answer_without_words(store: S3Store, s3: S3) -> None:
    """To HEAD S3 says nothing but a status."""
    for refusal in ((400, "ExpiredToken"), (403, "AccessDenied")):
        s3.decide = lambda asked, refusal=refusal: refusal  # type: ignore[misc]
        with pytest.raises(StorageError) as caught:
            store.size("a")
        assert caught.value.reason == "credentials"


def test_no_credentials_at_all_are_said(opened: Opened, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")

    with pytest.raises(StorageError, match="no valid credentials for S3") as caught:
        opened().put_bytes("a", b"1")
    assert caught.value.reason == "credentials"


def test_a_bucket_that_is_not_there_is_said_by_every_method(s3: S3, tmp_path: Path) -> None:
    for act in (
        lambda store: store.size("a"), lambda store: store.get_bytes("a"), lambda store: store.list("a"),
        lambda store: store.put_bytes("a", b"1"), lambda store: store.local_copy("a", tmp_path),
        lambda store: store.marker("a"), lambda store: store.delete_tree("a"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=r"there is no such bucket.*CALLSHEET_STORE_URI"):
            act(S3Store("s3://nowhere-at-all/x", Settings()))


@pytest.mark.parametrize("uri", ["s3://", "s3://B/x", "s3://bucket/a b", "s3://bucket/../x", "s3://bucket/x?y=1"])
def test_an_address_that_is_none_of_s3_is_refused(uri: str) -> None:
    with pytest.raises((ConfigurationError, StorageError), match=r"CALLSHEET_STORE_URI|safe segments"):
        open_store(Settings(store_uri=uri))


def test_a_root_without_a_prefix_is_the_bucket_itself(s3: S3) -> None:
    store = S3Store(f"s3://{s3.bucket}", Settings())
    store.put_bytes("root-of-bucket/a", b"1")

    assert store.list("root-of-bucket") == {"a": 1}
    assert s3.asked[0].path == f"/{s3.bucket}/root-of-bucket/a"
    with pytest.raises(StorageError, match="is longer than 1024"):
        S3Store(f"s3://{s3.bucket}/{'p' * 200}", Settings()).size("/".join(["a" * 200] * 5))


def test_a_presigned_address_is_read_without_credentials_and_shown_without_its_signature(
    opened: Opened, s3: S3
) -> None:
    store = opened(ffmpeg_timeout_s=600.0)
    store.put_bytes("v/a b.mp4".replace(" ", "_"), b"media")

    address = store.readable("v/a_b.mp4")

    assert httpx.get(address).content == b"media"
    assert "X-Amz-Expires=7800&" in address, "a title of 24 hours has twelve times as long"
    shown = redacted(f"ffmpeg -i '{address}' -f null")
    for secret in ("X-Amz-Signature", "X-Amz-Credential", CREDENTIALS["AWS_ACCESS_KEY_ID"]):
        assert secret in address
        assert secret not in shown
    assert store.lasts(6 * 3600.0)
    assert not store.lasts(8 * 24 * 3600.0)


@pytest.fixture
def connection(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Settings]]:
    """Sets the connection ``aws_farm``; nothing else in the environment leads to the server then."""
    for name in s3.environment:
        if name.startswith("AWS_") and name != "AWS_EC2_METADATA_DISABLED":
            monkeypatch.delenv(name)

    def connect(**extra: object) -> Settings:
        content = {
            "conn_type": "aws",
            "login": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "password": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": s3.endpoint, "region_name": "us-east-1", **extra},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_FARM", json.dumps(content))
        return Settings(aws_conn_id="aws_farm", store_uri=s3.uri)

    return connect


def in_a_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a worker on this machine has: no connection, but its credentials."""
    for name, value in worker_credentials(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AIRFLOW_CONN_AWS_FARM")
    return settings.model_copy(update={"aws_conn_id": ""})


def test_airflows_connection_leads_to_the_store_and_its_workers_too(
    connection: Callable[..., Settings], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = connection()
    open_store(settings).put_bytes("from-airflow", b"1")

    worker = in_a_worker(settings, monkeypatch)

    assert open_store(worker).get_bytes("from-airflow") == b"1"
    assert worker_credentials(worker) == {}
    assert open_store(worker).lasts(6 * 3600.0)


def test_a_role_is_assumed_and_what_is_signed_ends_with_its_session(
    connection: Callable[..., Settings], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = connection(
        role_arn="arn:aws:iam::123456789012:role/callsheet",
        service_config={"sts": {"endpoint_url": s3.upstream}},
    )
    in_airflow = S3Store(s3.uri, settings)
    in_airflow.put_bytes("from-role", b"1")
    assert "x-amz-security-token" in s3.asked[0].headers

    worker = S3Store(s3.uri, in_a_worker(settings, monkeypatch))

    assert worker.get_bytes("from-role") == b"1"
    for store in (in_airflow, worker):
        assert store.lasts(600.0)
        assert not store.lasts(6 * 3600.0)


def test_a_connection_that_airflow_does_not_have_is_said(s3: S3) -> None:
    """The hook would go on with whatever credentials the process has."""
    with pytest.raises(ConfigurationError, match="CALLSHEET_AWS_CONN_ID: Airflow has no connection 'nobody'"):
        S3Store(s3.uri, Settings(aws_conn_id="nobody")).size("a")


def test_an_endpoint_that_is_none_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not an address")

    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL_S3"):
        opened().size("a")


def test_a_failure_that_nobody_foresaw_keeps_its_words() -> None:
    typed = failure(ValueError("odd"), "s3://b/k")

    assert isinstance(typed, StorageError)
    assert "s3://b/k" in typed.message
    assert "odd" in typed.message


@pytest.mark.parametrize("seed", range(3))
def test_with_a_fault_in_every_fifth_request_everything_ends_well(
    seed: int, store: S3Store, s3: S3, tmp_path: Path
) -> None:
    s3.chance.seed(seed)
    s3.faults = 0.2
    path = a_file(tmp_path, 2 * LEAST_PART)

    store.put_file("work/big.mp4", path)
    for number in range(5):
        store.put_bytes(f"work/{number}", str(number).encode())
        assert store.get_bytes(f"work/{number}") == str(number).encode()
    store.copy_tree("work", "titles/v1")
    assert store.list("titles/v1") == store.list("work")
    assert store.local_copy("titles/v1/big.mp4", tmp_path / "copies").read_bytes() == path.read_bytes()
    for number in range(5):
        store.compare_and_set("p", str(number).encode(), store.marker("p"))
    assert store.get_bytes("p") == b"4"
    store.delete_tree("work")
    assert store.list("work") == {}
    assert s3.hurt
