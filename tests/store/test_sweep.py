"""What killed writers leave on S3 is swept up, and nothing that anybody still needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.adapters.s3 import transfer
from include.adapters.s3.store import S3Store
from include.base.errors import StorageError
from tests.s3 import S3, Asked, Outcome
from tests.store.conftest import LEAST_PART
from tests.store.test_s3 import a_file, is_part, uploads

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, YOUNG = NOON - timedelta(days=2), NOON + timedelta(seconds=1)
LEFT = {"titles/t/v1/video/1.m4s": OLD, "work/t/b.1/renditions/a.mp4": NOON - timedelta(seconds=1), "models/m/1/w": OLD}
NEEDED = {"work/t/b.2/renditions/a.mp4": YOUNG, "work/t/exactly": NOON, "elsewhere/a": OLD, "worker/a": OLD}


def begin(s3: S3, key: str) -> str:
    """An upload with one part, as a killed writer leaves it; returns its id."""
    there = {"Bucket": s3.bucket, "Key": key}
    upload_id = str(s3.client().create_multipart_upload(**there)["UploadId"])
    s3.client().upload_part(**there, UploadId=upload_id, PartNumber=1, Body=b"part")
    return upload_id


def dated(s3: S3, times: dict[str, datetime]) -> Callable[[Asked], Outcome]:
    """Has the server's lists of uploads say when each began, which moto does not know."""

    def decide(asked: Asked) -> Outcome:
        if asked.method != "GET" or "uploads" not in asked.query:
            return None
        # A fault of the draw comes first, as this answer would keep it away.
        if s3.chance.random() < s3.faults:
            return (503, "SlowDown")
        listed = s3.client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
        items = "".join(
            f"<Upload><Key>{each['Key']}</Key><UploadId>{each['UploadId']}</UploadId>"
            f"<Initiated>{times[each['Key']]:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for each in listed
            if each["Key"].startswith(asked.query["prefix"])
        )
        return f"<ListMultipartUploadsResult>{items}</ListMultipartUploadsResult>".encode()

    return decide


def of_a_living_upload(s3: S3, asked: Asked) -> Outcome:
    """S3's answer to a part of an upload that has ended; moto fails instead."""
    if not is_part(asked):
        return None
    listed = s3.client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
    return None if asked.query["uploadId"] in {each["UploadId"] for each in listed} else (404, "NoSuchUpload")


@pytest.fixture
def littered(store: S3Store, s3: S3) -> S3Store:
    """A store with uploads that nobody finishes, some that somebody may, and objects."""
    times = {f"{store.prefix}/{key}": when for key, when in (LEFT | NEEDED).items()}
    times[f"{store.prefix}-of-others/work/a"] = OLD
    for key in times:
        begin(s3, key)
    for key in ("titles/t/v1/hls.m3u8", "titles/t/current.json", "work/t/b.1/plan.json", *LEFT):
        store.put_bytes(key, b"whole")
    s3.decide = dated(s3, times)
    return store


def remaining(s3: S3) -> set[str]:
    """Every unfinished upload of the bucket."""
    return {each["Key"] for each in s3.client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])}


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_uploads_of_dead_writers_end_and_nothing_else_does(seed: int | None, littered: S3Store, s3: S3) -> None:
    before = remaining(s3)
    if seed is not None:
        s3.chance.seed(seed)
        s3.faults = 0.2

    swept = littered.sweep(before=NOON)

    s3.faults = 0.0
    gone = {f"{littered.prefix}/{key}" for key in LEFT}
    assert set(swept) == gone
    assert before - remaining(s3) == gone
    # Objects of the same keys are what an earlier writer finished.
    for key in ("titles/t/v1/hls.m3u8", "titles/t/current.json", "work/t/b.1/plan.json", *LEFT):
        assert littered.get_bytes(key) == b"whole"
    assert littered.sweep(before=NOON) == []


def test_an_upload_that_ends_by_itself_meanwhile_keeps_none_of_the_others(littered: S3Store, s3: S3) -> None:
    lists = s3.decide

    def decide(asked: Asked) -> Outcome:
        gone = asked.method == "DELETE" and asked.path.endswith("models/m/1/w")
        return (404, "NoSuchUpload") if gone else lists(asked)

    s3.decide = decide
    littered.sweep(before=NOON)

    assert {key for key in LEFT if f"{littered.prefix}/{key}" in remaining(s3)} == {"models/m/1/w"}


def test_a_sweep_that_is_not_allowed_says_so_and_can_be_repeated(littered: S3Store, s3: S3) -> None:
    lists = s3.decide
    s3.decide = lambda asked: (403, "AccessDenied") if asked.method == "DELETE" else lists(asked)
    with pytest.raises(StorageError, match="Give this identity the rights") as caught:
        littered.sweep(before=NOON)
    assert caught.value.reason == "credentials"

    s3.decide = lists
    assert len(littered.sweep(before=NOON)) == len(LEFT)


def test_a_writer_whose_upload_is_swept_fails_and_the_next_attempt_is_whole(
    store: S3Store, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PARALLEL", 1)
    path, sweeping = a_file(tmp_path, 2 * LEAST_PART), S3Store(store.uri, store.settings)

    def sweep_at_the_first_part(asked: Asked) -> Outcome:
        if is_part(asked):
            s3.decide = lambda asked: of_a_living_upload(s3, asked)
            # To moto every upload began long ago.
            assert len(sweeping.sweep(before=NOON)) == 1
        return of_a_living_upload(s3, asked)

    s3.decide = sweep_at_the_first_part
    with pytest.raises(StorageError, match="NoSuchUpload"):
        store.put_file("work/a.mp4", path)
    assert store.size("work/a.mp4") is None

    store.put_file("work/a.mp4", path)
    assert store.get_bytes("work/a.mp4") == path.read_bytes()
    assert uploads(s3, store) == []


@pytest.mark.parametrize("part", [1, 2, 3])
def test_of_two_writers_of_one_key_one_is_there_whole(
    part: int, store: S3Store, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is cut off from the cluster may go on beside the one that was started in its place."""
    monkeypatch.setattr(transfer, "PARALLEL", 1)
    one, other = a_file(tmp_path, 3 * LEAST_PART, "one.mp4"), a_file(tmp_path, 3 * LEAST_PART, "other.mp4")
    second = S3Store(store.uri, store.settings)
    seen: list[Any] = []

    def overtake(asked: Asked) -> Outcome:
        if is_part(asked) and asked.query["partNumber"] == str(part):
            s3.decide = lambda asked: of_a_living_upload(s3, asked)
            second.put_file("work/a.mp4", other)
            seen.append(second.get_bytes("work/a.mp4"))
        return of_a_living_upload(s3, asked)

    s3.decide = overtake
    with pytest.raises(StorageError, match="NoSuchUpload"):
        store.put_file("work/a.mp4", one)

    assert seen == [other.read_bytes()]
    assert store.get_bytes("work/a.mp4") == other.read_bytes()
    store.put_file("work/a.mp4", one)
    assert store.get_bytes("work/a.mp4") == one.read_bytes()
    assert uploads(s3, store) == []
