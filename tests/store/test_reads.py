"""Media tools on presigned addresses: they read to the end, or it is said; never half in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.adapters.ffmpeg import opening as builder
from include.adapters.ffmpeg.decode import Decoded, decode
from include.adapters.ffmpeg.ffprobe import packets, probe
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.mezzanine import open_mezzanine
from include.adapters.s3.store import S3Store
from include.adapters.tools import ffmpeg, ffprobe
from include.base.errors import MezzanineRejected, StorageError
from include.base.settings import Settings
from include.domain.media.media import Inspection
from include.stages.core import StageContext
from include.stages.inspect import inspect
from tests.clips import Clips, stage_context
from tests.s3 import S3, Asked, Fault, Outcome, s3_server

LIMIT_S = 60


@pytest.fixture
def clip(clips: Clips) -> Path:
    """Its index comes last: a reader has to jump."""
    return clips("store-reads.mp4", seconds=4.0, size="640x360", extra=("-b:v", "2M"))


@pytest.fixture
def matroska(clips: Clips) -> Path:
    """It is read in one go, from front to end."""
    return clips("store-reads.mkv", seconds=4.0, size="640x360", extra=("-b:v", "2M"))


def decoded(address: str) -> Decoded:
    source = OpenedMezzanine(address=address)
    return decode(ffmpeg(Settings()), source, video_index=0, audio_indexes=[1], threads=1, timeout_s=LIMIT_S)


def put(store: S3Store, clip: Path) -> str:
    store.put_bytes(f"work/{clip.name}", clip.read_bytes())
    return store.readable(f"work/{clip.name}")


def one_after_the_other(*faults: Fault) -> Callable[[Asked], Outcome]:
    """One request meets each of them; those after them are spared."""
    left = iter(faults)
    return lambda asked: next(left, None)


@pytest.mark.parametrize("kind", ["clip", "matroska"])
def test_breaks_that_are_mended_change_nothing(
    kind: str, store: S3Store, s3: S3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(s3, "silence_s", 0.1)
    path: Path = request.getfixturevalue(kind)
    address, at_home = put(store, path), decoded(str(path))
    faults = (Fault.SILENCE, Fault.TRUNCATED, Fault.RESET, Fault.TRUNCATED, Fault.ERROR)

    s3.decide = one_after_the_other(*faults)
    over_the_network = decoded(address)
    assert [fault for _, fault in s3.hurt] == list(faults)
    s3.decide = one_after_the_other(Fault.TRUNCATED, Fault.SLOW_DOWN)
    found = probe(ffprobe(Settings()), address, timeout_s=LIMIT_S)
    s3.decide = one_after_the_other(Fault.TRUNCATED, Fault.RESET)
    count = packets(ffprobe(Settings()), address, index=0, timeout_s=LIMIT_S).count

    assert (over_the_network.frames, over_the_network.errors, over_the_network.cut_short) == (100, 0, False)
    assert over_the_network.message == at_home.message
    assert len(found.streams) == 2
    assert count == 100


BREAKS: dict[str, Outcome] = {
    "500": Fault.ERROR, "403": (403, "AccessDenied"), "reset": Fault.RESET, "short": Fault.TRUNCATED
}  # fmt: skip


@pytest.mark.parametrize("then", BREAKS)
def test_data_that_stays_away_is_no_end_of_file(
    then: str, matroska: Path, store: S3Store, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of itself ffmpeg ends well on it, with half of the frames."""
    monkeypatch.setitem(builder._REMOTE, "reconnect_max_retries", 1)
    address = put(store, matroska)
    first: list[Asked] = []

    def decide(asked: Asked) -> Outcome:
        if not first:
            first.append(asked)
            return Fault.TRUNCATED
        return BREAKS[then]

    s3.decide = decide
    with pytest.raises(StorageError, match="could not read the store to the end") as caught:
        decoded(address)
    assert caught.value.reason == "unreachable"
    assert "X-Amz-Signature=" not in caught.value.message
    first.clear()
    with pytest.raises(StorageError, match="could not read the store to the end"):
        packets(ffprobe(Settings()), address, index=0, timeout_s=LIMIT_S)


def test_a_store_that_refuses_is_not_the_mezzanines_fault(store: S3Store, s3: S3, matroska: Path) -> None:
    address = put(store, matroska)
    s3.decide = lambda asked: (403, "AccessDenied")

    with pytest.raises(StorageError, match="403"):
        probe(ffprobe(Settings()), address, timeout_s=LIMIT_S)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    (tmp_path / "authority").mkdir()
    with s3_server(tls=tmp_path / "authority") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_https_is_read_where_the_certificate_is_vouched_for_and_nowhere_else(
    secure: S3, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = put(S3Store(secure.uri, Settings()), clip)
    assert address.startswith("https://")

    assert decoded(address).frames == 100
    assert len(probe(ffprobe(Settings()), address, timeout_s=LIMIT_S).streams) == 2

    monkeypatch.setitem(builder._REMOTE, "reconnect_max_retries", 0)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    for read in (decoded, lambda address: probe(ffprobe(Settings()), address, timeout_s=LIMIT_S)):
        with pytest.raises(StorageError):
            read(address)


def inspected(ctx: StageContext) -> Inspection:
    made = inspect.function(ctx, ctx.title)
    assert isinstance(made, Inspection)
    return made


def test_where_credentials_end_before_the_task_the_mezzanine_is_read_from_a_copy(
    s3: S3, store: S3Store, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().upload_file(str(clip), s3.bucket, "in/reads.mp4")
    ctx = stage_context(
        tmp_path,
        f"s3://{s3.bucket}/in/reads.mp4",
        settings={"store_uri": store.uri, "mezzanine_buckets": (s3.bucket,)},
    )
    source = inspected(ctx)
    assert open_mezzanine(ctx, source).address.startswith("http://")

    monkeypatch.setattr(S3Store, "lasts", lambda self, seconds: seconds < 60)
    copy = open_mezzanine(ctx, source).address

    assert Path(copy).read_bytes() == clip.read_bytes()
    assert Path(copy).is_relative_to(ctx.scratch)
    assert source == inspected(ctx)


def test_a_mezzanine_is_refused_for_its_own_bytes(s3: S3, store: S3Store, clip: Path, tmp_path: Path) -> None:
    s3.client().put_object(Bucket=s3.bucket, Key="in/cut.mp4", Body=clip.read_bytes()[:100_000])
    ctx = stage_context(
        tmp_path,
        f"s3://{s3.bucket}/in/cut.mp4",
        settings={"store_uri": store.uri, "mezzanine_buckets": (s3.bucket,)},
    )

    with pytest.raises(MezzanineRejected) as caught:
        inspected(ctx)
    assert caught.value.reason == "truncated"
    assert not [*ctx.scratch.rglob("source.bin")], "it was copied for its first bytes"
