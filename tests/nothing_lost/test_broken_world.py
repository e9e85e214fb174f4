"""What a title stands on breaks: disks, documents, the mezzanine. An error, a retry, a dead letter; never garbage."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog.schema import events
from include.base.settings import Settings
from include.domain.title.title import State
from include.domain.title.work import error_key
from include.services.lost_runs import settle_lost_runs
from tests.clips import make_clip
from tests.nothing_lost.conftest import Life
from tests.nothing_lost.farm import Farm, reading
from tests.nothing_lost.points import ENCODE, PAUSE_VARIABLE, at
from tests.orchestration.airflow_server import AirflowServer
from tests.stack import wait_for

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small or a read-only file system")


@contextmanager
def mounted(path: Path, *arguments: str) -> Iterator[None]:
    """Something else in the place of a folder."""
    path.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", *arguments, str(path)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"file systems cannot be mounted here: {made.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    with mounted(path, "--bind", str(path)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        yield


def failure(farm: Farm, task: str) -> dict[str, Any]:
    """What the catalog was told of the last attempt of a task."""
    told = [row for row in farm.rows(events) if row["kind"] == "task.failed" and row["task"] == task]
    assert told, farm.said()
    detail: dict[str, Any] = told[-1]["detail"]
    return detail


@ROOT
@pytest.mark.parametrize(
    ("step", "folder", "error"),
    [
        (ENCODE, "scratch", "EncoderCrashed"),
        ("finish", "scratch", "PackagerFailed|StorageError|OSError|ToolFailed"),
        ("publish", "store/titles", "StorageError"),
    ],
)
def test_a_full_disk_is_said_and_the_retry_goes_on_when_there_is_room(
    step: str, folder: str, error: str, life: Life, tmp_path: Path
) -> None:
    farm = life.before[step].copied(tmp_path / "farm")
    with mounted(farm.home / folder, "-t", "tmpfs", "-o", "size=16k", "tmpfs"):
        assert farm.run(step) == 1
    told = failure(farm, step.partition(".")[0])
    assert told["type"] in error.split("|")
    assert "space" in f"{told['message']} {farm.said()}"

    assert farm.store.size("titles/alpha/current.json") is None
    farm.live_from(step)
    farm.check_end()


@ROOT
@pytest.mark.parametrize("step", ["prepare", "plan", "publish", "settle"])
def test_a_read_only_store_is_said_and_the_retry_goes_on_when_it_can_be_written(
    step: str, life: Life, tmp_path: Path
) -> None:
    farm = life.before[step].copied(tmp_path / "farm")
    with read_only(farm.store.root):
        assert farm.run(step) == 1
    told = failure(farm, step)
    assert told["type"] == "StorageError"
    assert "store/" in told["message"]
    assert "EROFS" in told["message"] or "Read-only" in told["message"]

    farm.finish(step)
    if step == "settle":
        farm.check_end()


def test_without_its_store_a_title_ends_with_a_dead_letter_and_what_was_published_stays(
    life: Life, airflow: AirflowServer, mezzanine: Path, tmp_path: Path
) -> None:
    first = life.end.copied(tmp_path / "farm")
    farm = first.of("summer")
    farm.submit(mezzanine.as_uri())
    farm.live(until="publish")
    before = first.store.get_bytes("titles/alpha/current.json")
    away = farm.home / "unmounted"
    farm.store.root.rename(away)

    assert farm.run("publish") == 1
    assert farm.run("settle") == 1

    shutil.rmtree(farm.store.root)
    away.rename(farm.store.root)
    assert farm.record.state is State.FAILED
    assert [letter.request_id for letter in farm.catalog.history.dead_letters()] == [farm.request_id]
    assert farm.store.get_bytes("titles/alpha/current.json") == before
    first.check()


def halves(data: bytes) -> bytes:
    return data[: len(data) // 2]


def nothing(data: bytes) -> bytes:
    return b""


def another(data: bytes) -> bytes:
    return b'{"made": "by another tool"}'


@pytest.mark.parametrize(
    ("key", "maker", "reader", "broken"),
    [
        ("inspect.json", "prepare", "plan", halves),
        ("plan.json", "plan", ENCODE, nothing),
        ("encode.h264_144p.json", "encode.h264_144p", "finish", another),
        ("package.json", "finish", "publish", halves),
    ],
)
def test_a_broken_result_is_named_and_made_again_by_its_task(
    key: str, maker: str, reader: str, broken: Callable[[bytes], bytes], life: Life, tmp_path: Path
) -> None:
    farm = life.before[reader].copied(tmp_path / "farm")
    whole = f"{farm.title.work}/{key}"
    before = farm.store.get_bytes(whole)
    farm.store.put_bytes(whole, broken(before))

    assert farm.run(reader) == 1
    told = failure(farm, reader.partition(".")[0])
    assert told["type"] == "CorruptDocument"
    assert f"{farm.store.uri}/{whole}" in told["message"]
    assert "clear the task that makes it" in told["message"]

    farm.finish(maker)
    farm.finish(reader)
    assert farm.store.size(whole) == len(before) or maker != "encode.h264_144p"
    farm.check()


def test_a_broken_word_of_a_failure_does_not_keep_a_title_from_its_end(life: Life, tmp_path: Path) -> None:
    farm = life.before["publish"].copied(tmp_path / "farm")
    farm.store.put_bytes(error_key(farm.title, "publish"), b'{"type": "Stor')

    assert farm.run("settle") == 1

    assert (farm.record.state, farm.record.reason) == (State.FAILED, "no_result")
    assert len(farm.catalog.history.dead_letters()) == 1


def test_a_publication_that_died_for_good_after_its_flip_is_completed_by_the_end(life: Life, tmp_path: Path) -> None:
    farm = life.before["publish"].copied(tmp_path / "farm")
    (point,) = at("publish", "after compare_and_set pointer")
    assert farm.run("publish", point=point) != 0

    with reading(farm):
        farm.finish("settle")
    farm.check_end()


def test_a_publication_whose_run_is_lost_after_its_flip_is_completed_by_the_sweep(
    life: Life, airflow: AirflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = life.before["publish"].copied(tmp_path / "farm")
    (point,) = at("publish", "after compare_and_set pointer")
    assert farm.run("publish", point=point) != 0
    for name, value in farm.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(home=farm.home)
    airflow.end("batch__spring", "alpha__1", "failed", "2026-01-01T00:00:00+00:00")
    try:
        with airflow.api() as api:
            now = datetime.now(UTC).replace(year=2030)
            assert settle_lost_runs(farm.catalog, api, settings, now=now) == [farm.request_id]
    finally:
        airflow.end("batch__spring", "alpha__1", "running", None)
    farm.check_end()
    assert farm.catalog.history.dead_letters() == []


def test_a_rendition_that_rots_in_the_store_fails_its_check_and_the_title_goes_out_without_it(
    life: Life, tmp_path: Path
) -> None:
    farm = life.before["finish"].copied(tmp_path / "farm")
    (media,) = (farm.store.root / farm.title.work / "renditions").glob("h264_240p.*.mp4")
    data = bytearray(media.read_bytes())
    for position in range(len(data) // 3, len(data) // 2, 7):
        data[position] ^= 0xFF
    media.write_bytes(data)

    farm.live_from("finish", checks=False)

    record = farm.record
    assert record.state is State.DEGRADED, farm.said()
    assert [rung.rendition for rung in record.rungs] == ["h264_144p"]
    assert [repair.missing for repair in farm.catalog.repairs.pending()] == [("h264_240p",)]


class Source:
    """A mezzanine of a test's own, that can be changed under a title."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "source.mp4"
        self.other = folder / "other.mp4"
        make_clip(self.path, seconds=1.0, size="426x240")
        make_clip(self.other, seconds=1.0, size="426x240", picture="mandelbrot")
        longest = max(self.path.stat().st_size, self.other.stat().st_size) + 64
        for each in (self.path, self.other):
            free = longest - each.stat().st_size
            # A box that every reader skips: both files are of one size.
            with each.open("ab") as file:
                file.write(free.to_bytes(4, "big") + b"free" + bytes(free - 8))
        # Files that are written within one tick of the kernel's clock have the same time.
        os.utime(self.other, (1_700_000_000, 1_700_000_000))

    def replace(self) -> None:
        self.other.replace(self.path)

    def replace_alike(self) -> None:
        """Another content under the same name, of the same size and of the same time."""
        before = self.path.stat()
        shutil.copyfile(self.other, self.path)
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (before.st_size, before.st_mtime_ns) == (self.path.stat().st_size, self.path.stat().st_mtime_ns)

    def shrink(self) -> None:
        os.truncate(self.path, self.path.stat().st_size // 2)

    def vanish(self) -> None:
        self.path.unlink()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "mezzanines")


@pytest.fixture
def title(source: Source, empty: Farm, tmp_path: Path) -> Callable[..., Farm]:
    """Makes a farm with a title of that mezzanine, its lowest rendition made, the other to come."""

    def make(**request: Any) -> Farm:
        farm = empty.copied(tmp_path / "farm").of("summer")
        farm.environment = {
            **farm.environment,
            "CALLSHEET_MEZZANINE_ROOTS": f"{farm.environment['CALLSHEET_MEZZANINE_ROOTS']},{source.path.parent}",
        }
        farm.submit(source.path.as_uri(), **request)
        farm.live(until=ENCODE)
        return farm

    return make


@pytest.mark.parametrize(
    ("change", "when"),
    [
        ("replace", "before the encode"),
        ("replace", "while it is encoded"),
        ("shrink", "while it is encoded"),
        ("vanish", "while it is encoded"),
    ],
)
def test_a_mezzanine_that_changes_under_a_title_is_noticed_and_the_title_rejected(
    change: str, when: str, source: Source, title: Callable[..., Farm]
) -> None:
    farm = title()
    if when == "before the encode":
        getattr(source, change)()
    else:
        gate = farm.home / "gate"
        # The encoder has its address and has not opened it yet.
        (point,) = at(ENCODE, "before tool *h264_240p.mp4")
        process = farm.start(ENCODE, point=point, **{PAUSE_VARIABLE: str(gate)})
        wait_for(lambda: gate.exists(), "the encoder's start", limit_s=60)
        getattr(source, change)()
        gate.unlink()
        process.join(60)
        assert process.exitcode == 1
    assert farm.run(ENCODE) == 1
    assert failure(farm, "encode")["type"] == "MezzanineRejected"
    for step in ("extras", "finish", "publish", "settle"):
        farm.run(step)

    assert (farm.record.state, farm.record.reason) == (State.REJECTED, "changed"), farm.record.message
    assert farm.store.size("titles/alpha/current.json") is None


def test_a_change_that_hides_behind_size_and_time_fails_the_checksum_of_the_request(
    source: Source, title: Callable[..., Farm]
) -> None:
    farm = title(checksum=f"sha256:{hashlib.sha256(source.path.read_bytes()).hexdigest()}")
    source.replace_alike()
    farm.finish(ENCODE)
    for step in ("extras", "finish", "publish", "settle"):
        farm.run(step)

    assert (farm.record.state, farm.record.reason) == (State.REJECTED, "checksum_mismatch")


def test_without_a_checksum_such_a_change_is_noticed_by_the_renditions_that_do_not_look_like_it(
    source: Source, title: Callable[..., Farm]
) -> None:
    farm = title()
    source.replace_alike()
    farm.finish(ENCODE)
    for step in ("extras", "finish", "publish", "settle"):
        farm.run(step)

    assert (farm.record.state, farm.record.version) == (State.FAILED, None), farm.said()
    assert "h264_144p" in (farm.record.message or "")
