"""A process is killed at every interesting place of a title's life; the task is repeated; nothing is lost."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.adapters.catalog.schema import events, versions
from include.domain.plan.plan import Plan
from include.domain.title.work import FORMAT
from include.services.housekeeping import clean_scratch
from tests.nothing_lost.conftest import Life
from tests.nothing_lost.farm import Farm, named_files, reading
from tests.nothing_lost.points import FIRST_POINTS, POINTS, Point, at, fired, random_points

CLAIM_EXPIRES_S = 61
"""After a claimant's death its titles are free again: the clock of the next release is that much later."""


def killed_and_repeated(farm: Farm, point: Point) -> None:
    code = farm.run(point.task, point=point)
    assert fired(farm.home), f"the point was not reached\n{farm.said()}"
    assert code != 0
    farm.check()
    farm.finish(point.task, later_s=CLAIM_EXPIRES_S)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.id)
def test_a_process_that_is_killed_loses_nothing(point: Point, life: Life, tmp_path: Path) -> None:
    farm = life.before[point.task].copied(tmp_path / "farm")
    with reading(farm):
        killed_and_repeated(farm, point)
        if point.task in {"publish", "settle"}:
            farm.live(since=point.task)
            farm.check_end()
        else:
            # What an undisturbed life has at this moment: the tasks that follow read nothing else.
            after = life.before[life.order[life.order.index(point.task) + 1]]
            assert farm.documents() == after.documents()
            assert farm.record.state == after.record.state
            assert farm.children() == []


@pytest.mark.parametrize("point", FIRST_POINTS, ids=lambda point: point.id)
def test_a_kill_around_a_first_version_loses_neither_it_nor_the_next(
    point: Point, life_in_two_versions: Life, tmp_path: Path
) -> None:
    life = life_in_two_versions
    farm = life.before[point.task].copied(tmp_path / "farm")
    with reading(farm):
        killed_and_repeated(farm, point)
        if point.task in {"first_publish", "publish", "settle"}:
            farm.live(since=point.task)
            in_two_versions(farm)
        else:
            after = life.before[life.order[life.order.index(point.task) + 1]]
            assert farm.documents() == after.documents()
            assert farm.record.state == after.record.state
            assert farm.children() == []


def test_the_life_in_two_versions_is_one(life_in_two_versions: Life) -> None:
    in_two_versions(life_in_two_versions.end)
    order = life_in_two_versions.order
    assert order.index("first_publish") < order.index("encode.h264_240p") < order.index("finish")


def in_two_versions(farm: Farm) -> None:
    """The title has ended with the second of two whole versions, and was playable since the first."""
    farm.check_end()
    first, whole = (
        row for row in sorted(farm.rows(versions), key=lambda row: row["version"]) if row["published_at"] is not None
    )
    assert [(row["version"], row["whole"]) for row in (first, whole)] == [(1, False), (2, True)]
    assert farm.record.playable_at == first["published_at"] < whole["published_at"]
    assert first["missing"] == ["h264_240p"]
    media = [
        {path.parent.name for path in named_files(farm.store.root / f"titles/alpha/v{number}") if path.suffix == ".m4s"}
        for number in (1, 2)
    ]
    assert media[0] < media[1]
    kinds = [row["kind"] for row in farm.rows(events) if row["request_id"] == farm.request_id]
    told = [kind for kind in kinds if kind in {"title.playable", "title.completed", "title.published"}]
    assert told == ["title.playable", "title.completed", "title.published"]


@pytest.mark.parametrize("task", ["finish", "publish"])
def test_a_title_whose_whole_set_comes_to_nothing_ends_with_its_first_version_and_a_repair(
    task: str, life_in_two_versions: Life, tmp_path: Path
) -> None:
    farm = life_in_two_versions.before[task].copied(tmp_path / "farm")
    with reading(farm):
        # What nothing can be made of, however often it is tried.
        lost = "audio.json" if task == "finish" else f"format{FORMAT}/package/hls.m3u8"
        farm.store.delete(f"{farm.title.work}/{lost}")
        assert [farm.run(task) for _ in range(2)] == [1, 1]
        farm.finish("settle")

    record = farm.record
    assert (record.state, record.reason, record.version) == ("degraded", "rendition_missing", 1)
    assert "published as v1 without h264_240p, which should have followed" in str(record.message)
    farm.check_end("degraded")
    assert [repair.missing for repair in farm.catalog.repairs.pending(9)] == [("h264_240p",)]
    assert farm.catalog.history.dead_letters() == []
    types = [row.type for row in farm.catalog.outbox.of_request(farm.request_id) if row.type != "title.progress"]
    assert types == ["title.accepted", "title.started", "title.playable", "title.degraded"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_title_whose_tasks_are_killed_at_random_comes_to_its_one_end(seed: int, life: Life, tmp_path: Path) -> None:
    farm = life.before["release"].copied(tmp_path / "farm")
    points = random_points(seed, 12, life.steps)
    with reading(farm):
        for step in life.order:
            for point in points:
                if point.task == step:
                    # A step that an earlier attempt has done is not reached again.
                    farm.run(step, point=point, later_s=CLAIM_EXPIRES_S)
                    farm.check()
            farm.finish(step, later_s=2 * CLAIM_EXPIRES_S)
    assert fired(farm.home)
    farm.check_end()


@pytest.mark.parametrize(
    "point",
    [
        *at("prepare", "during 4 tool -"),
        *at("plan", "before rename work/plan.json"),
        *at("finish", "before rename work/package.json"),
        *at("publish", "before 4 rename version/*", "before rename pointer"),
    ],
    ids=lambda point: point.id,
)
def test_what_killed_processes_leave_lying_is_swept_up_and_nothing_else(
    point: Point, life: Life, tmp_path: Path
) -> None:
    farm = life.before[point.task].copied(tmp_path / "farm")
    for _ in range(2):
        farm.run(point.task, point=point)
        assert fired(farm.home)
    left = farm.litter()
    assert left, "this point was to leave something"
    farm.finish(point.task)
    listed = sorted(path for path in farm.store.root.rglob("*") if path.is_file() and not path.name.startswith("."))

    assert sweep(farm, before=datetime.now(UTC) - timedelta(hours=1)) == []
    assert farm.litter() == left, "it may belong to somebody who is still at work"
    old = time.time() - 3 * 3600
    for name in left:
        path = farm.home / name
        os.utime(path, (old, old))
    swept = sweep(farm, before=datetime.now(UTC) - timedelta(hours=1))

    assert farm.litter() == []
    assert len(swept) == len(left)
    assert listed == sorted(
        path for path in farm.store.root.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def sweep(farm: Farm, *, before: datetime) -> list[str]:
    """What housekeeping does."""
    return clean_scratch(farm.home / "scratch", before=before) + list(farm.store.sweep(before=before))


@pytest.fixture(scope="module")
def without_mezzanine(empty: Farm, mezzanine: Path, tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """A title that comes to nothing, about to be settled."""
    farm = empty.copied(tmp_path_factory.mktemp("nothing") / "farm").of("summer")
    farm.submit((mezzanine.parent / "never.mp4").as_uri())
    farm.finish("release")
    assert farm.run("prepare") == 1
    return farm


@pytest.mark.parametrize(
    "point",
    at(
        "settle",
        "before catalog.history.record_dead_letter",
        "after catalog.history.record_dead_letter",
        "after catalog.alerts.enter",
        "before catalog.titles.settle",
        "after catalog.titles.settle",
        "after catalog.outbox.delivered",
        "before catalog.titles.note_task failed",
        "after catalog.titles.note_task failed",
    ),
    ids=lambda point: point.id,
)
def test_the_end_of_a_failed_title_that_is_killed_is_said_once(
    point: Point, without_mezzanine: Farm, tmp_path: Path
) -> None:
    farm = without_mezzanine.copied(tmp_path / "farm")
    farm.run("settle", point=point)
    assert fired(farm.home), f"the point was not reached\n{farm.said()}"
    farm.check()

    assert farm.run("settle") == 1

    farm.check_end("rejected")
    kinds = [row["kind"] for row in farm.rows(events) if row["request_id"] == farm.request_id]
    assert {kind: kinds.count(kind) for kind in ("dead_letter", "alert.rejected", "title.rejected")} == {
        "dead_letter": 1,
        "alert.rejected": 1,
        "title.rejected": 1,
    }
    assert [letter.request_id for letter in farm.catalog.history.dead_letters()] == [farm.request_id]
    assert [row.type for row in farm.catalog.outbox.of_request(farm.request_id)].count("title.rejected") == 1


@pytest.fixture(scope="module")
def remote(empty: Farm, mezzanine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A title whose mezzanine is fetched over HTTP, about to be prepared."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    serve = functools.partial(Handler, directory=str(mezzanine.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        farm = empty.copied(tmp_path_factory.mktemp("remote") / "farm").of("summer")
        origins = f"{farm.environment['CALLSHEET_ALLOWED_ORIGINS']},{origin}"
        farm.environment = {**farm.environment, "CALLSHEET_ALLOWED_ORIGINS": origins}
        farm.submit(f"{origin}/{mezzanine.name}")
        farm.finish("release")
        yield farm
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "point",
    at(
        "prepare",
        "before received",
        "after received",
        "before put_file work/mezzanine/source.bin",
        "before put_bytes work/mezzanine/identity.json",
        "before rename work/mezzanine/identity.json",
        "after put_bytes work/mezzanine/identity.json",
    ),
    ids=lambda point: point.id,
)
def test_a_download_that_is_killed_is_repeated_and_whole(
    point: Point, remote: Farm, mezzanine: Path, tmp_path: Path
) -> None:
    farm = remote.copied(tmp_path / "farm")
    killed_and_repeated(farm, point)

    assert farm.store.get_bytes(f"{farm.title.work}/mezzanine/source.bin") == mezzanine.read_bytes()
    assert Plan.from_json(planned(farm)).jobs


def planned(farm: Farm) -> bytes:
    farm.finish("plan")
    return farm.store.get_bytes(f"{farm.title.work}/plan.json")
