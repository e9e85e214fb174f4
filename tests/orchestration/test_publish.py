"""Publishing: versions that never change, and a pointer that never goes back."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, update

from include.adapters.catalog import Catalog
from include.adapters.catalog.schema import titles
from include.adapters.catalog.versions import Versions
from include.adapters.store import files as store_files
from include.adapters.store.interface import ConcurrentChange, Moved
from include.adapters.store.local import LocalStore
from include.base.errors import NotReleased, PlatformUnavailable, StaleRequest, SteeringRefused, StorageError
from include.base.settings import Settings
from include.domain.outcome.results import PackageResult, PublishResult
from include.domain.title.steering import Steering
from include.domain.title.title import State
from include.stages.core import ControlContext
from include.stages.publish import FLIP_ATTEMPTS, flip, public_base, publish
from tests.catalog.samples import NOW, accept, after, find, packaged, start

POINTER = "titles/alpha/current.json"


def prepared(catalog: Catalog, store: LocalStore, batch_id: str = "spring", **title: Any) -> PackageResult:
    """A title with a packaged set that is ready to be published."""
    accept(catalog, batch_id, "alpha", **title)
    start(catalog, f"{batch_id}/alpha")
    prefix = f"{find(catalog, f'{batch_id}/alpha').job().work}/package"
    files = {"hls.m3u8": b"#EXTM3U", "dash.mpd": b"<MPD/>", "video/144p.mp4": batch_id.encode() * 100}
    for name, data in files.items():
        store.put_bytes(f"{prefix}/{name}", data)
    return packaged().model_copy(update={"prefix": prefix, "files": {name: len(data) for name, data in files.items()}})


def published(
    catalog: Catalog, store: LocalStore, settings: Settings, package: PackageResult, *,
    batch_id: str = "spring", now: datetime = NOW, report: Callable[[float, str], None] = lambda share, message: None,
) -> PublishResult:  # fmt: skip
    title = find(catalog, f"{batch_id}/alpha").job()
    context = ControlContext(
        settings=settings, store=store, title=title, scratch=Path("unused"), catalog=catalog, clock=lambda: now,
        report=report,
    )  # fmt: skip
    result = publish.function(context, title, package)
    assert isinstance(result, PublishResult)
    return result


def pointer(store: LocalStore) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.get_bytes(POINTER))
    return found


def test_a_set_goes_into_a_version_of_its_own_and_the_pointer_names_it(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store, territories=["FR", "DE"], publish_at=after(60).isoformat())

    result = published(catalog, store, settings, package)

    assert (result.version, result.prefix, result.deadline_met) == (1, "titles/alpha/v1", True)
    assert store.list("titles/alpha/v1") == package.files
    assert result.hls == "https://airflow.example/callsheet/media/titles/alpha/v1/hls.m3u8"
    assert pointer(store) == {
        "title_id": "alpha",
        "request_id": "spring/alpha",
        "seq": find(catalog, "spring/alpha").seq,
        "version": 1,
        "whole": True,
        "published_at": NOW.isoformat(),
        "playable_at": NOW.isoformat(),
        "degraded": False,
        "manifests": {"hls": result.hls, "dash": result.dash},
        "preview": result.preview,
        "territories": ["FR", "DE"],
    }
    title = find(catalog, "spring/alpha")
    assert (title.state, title.version, title.playable_at) == ("playable", 1, NOW)


@pytest.mark.parametrize(("due", "met"), [(None, None), (after(0), True), (after(-1), False)])
def test_the_deadline_is_judged_at_the_moment_of_publication(
    due: datetime | None, met: bool | None, catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store, **({"publish_at": due.isoformat()} if due else {}))

    assert published(catalog, store, settings, package).deadline_met is met


def test_publishing_again_changes_nothing(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    package = prepared(catalog, store)
    published(catalog, store, settings, package)
    before = {path: path.stat().st_ino for path in (store.root / "titles").rglob("*") if path.is_file()}

    assert published(catalog, store, settings, package, now=after(5)).version == 1
    assert before == {path: path.stat().st_ino for path in (store.root / "titles").rglob("*") if path.is_file()}


def test_copying_into_the_version_tells_how_far_it_is(
    catalog: Catalog, store: LocalStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links every byte is copied."""

    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(store_files, "CHUNK_BYTES", 100)
    package, told = prepared(catalog, store), list[tuple[float, str]]()

    published(catalog, store, settings, package, report=lambda *each: told.append(each))

    assert len(told) > 6
    assert {message for _, message in told} == {"copying into version 1: 0 of 0 MiB"}
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[-1][0] == pytest.approx(0.99)


def test_a_copy_that_was_interrupted_is_resumed(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    package = prepared(catalog, store)
    catalog.versions.allocate("spring/alpha", now=NOW)
    store.put_bytes("titles/alpha/v1/hls.m3u8", b"#EXTM3U")
    store.put_bytes("titles/alpha/v1/dash.mpd", b"<MP")

    published(catalog, store, settings, package)

    assert store.list("titles/alpha/v1") == package.files
    assert store.get_bytes("titles/alpha/v1/dash.mpd") == b"<MPD/>"


def test_a_crash_between_pointer_and_catalog_is_mended_by_the_retry(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store)
    published(catalog, store, settings, package)
    (store.root.parent / "catalog.db").unlink()
    catalog.migrate()
    prepared(catalog, store)

    published(catalog, store, settings, package, now=after(5))

    assert find(catalog, "spring/alpha").state == "playable"
    current = catalog.versions.current("alpha")
    assert current is not None
    assert (current.published_at, pointer(store)["published_at"]) == (NOW, NOW.isoformat())


@pytest.mark.parametrize("change", ["missing", "longer", "foreign"])
def test_a_set_that_is_not_as_it_was_packaged_does_not_go_out(
    change: str, catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store)
    if change == "missing":
        store.delete(f"{package.prefix}/dash.mpd")
    elif change == "longer":
        store.put_bytes(f"{package.prefix}/dash.mpd", b"<MPD></MPD>")
    else:
        store.put_bytes("titles/alpha/v1/evil.js", b"alert(1)")

    with pytest.raises(StorageError, match="titles/alpha/v1: 1 files are not as they were packaged"):
        published(catalog, store, settings, package)
    assert store.size(POINTER) is None
    assert catalog.versions.current("alpha") is None


def test_a_slow_old_request_does_not_overwrite_a_newer_one(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    old = prepared(catalog, store, "spring")
    new = prepared(catalog, store, "summer")
    published(catalog, store, settings, new, batch_id="summer")
    before = store.get_bytes(POINTER)

    with pytest.raises(StaleRequest, match="a newer request of alpha is already published"):
        published(catalog, store, settings, old)

    assert store.get_bytes(POINTER) == before
    current = catalog.versions.current("alpha")
    assert current is not None
    assert current.request_id == "summer/alpha"


def test_a_newer_request_takes_over_and_the_older_version_stays(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    published(catalog, store, settings, prepared(catalog, store, "spring"))
    published(catalog, store, settings, prepared(catalog, store, "summer"), batch_id="summer")

    assert pointer(store)["version"] == 2
    assert len(store.list("titles/alpha/v1")) == 3


def test_without_its_pointer_a_title_does_not_go_back_either(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    old = prepared(catalog, store, "spring")
    published(catalog, store, settings, prepared(catalog, store, "summer"), batch_id="summer")
    store.delete(POINTER)

    with pytest.raises(StaleRequest):
        published(catalog, store, settings, old)
    assert store.size(POINTER) is None


@pytest.mark.parametrize("state", [State.CANCELLED, State.FAILED, State.REJECTED])
def test_a_title_that_has_come_to_another_end_is_not_published(
    state: State, catalog: Catalog, store: LocalStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = prepared(catalog, store)
    copy = LocalStore.copy_tree

    def copy_slowly(self: LocalStore, source: str, target: str, moved: Moved) -> None:
        copy(self, source, target, moved)
        catalog.titles.settle("spring/alpha", state, now=NOW)

    monkeypatch.setattr(LocalStore, "copy_tree", copy_slowly)
    for _ in range(2):
        with pytest.raises(NotReleased, match=f"settled as {state}.*callsheet replay spring/alpha"):
            published(catalog, store, settings, package)
    assert store.size(POINTER) is None
    assert catalog.versions.current("alpha") is None


@pytest.mark.parametrize("content", [b"", b'{"seq": 1, "vers', b"[]", b'{"seq": 1}'])
def test_a_pointer_that_something_else_has_written_is_named(
    content: bytes, catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store)
    store.put_bytes(POINTER, content)

    with pytest.raises(StorageError, match=r"titles/alpha/current\.json is no pointer of ours.*remove it and clear"):
        published(catalog, store, settings, package)


def test_two_publishers_at_once_leave_the_newer_one(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    packages = {name: prepared(catalog, store, name) for name in ("spring", "summer")}
    start_line = threading.Barrier(2)
    raised: list[BaseException] = []

    def run(name: str) -> None:
        start_line.wait()
        try:
            published(catalog, store, settings, packages[name], batch_id=name)
        except StaleRequest as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in packages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert pointer(store)["request_id"] == "summer/alpha"
    current = catalog.versions.current("alpha")
    assert current is not None
    assert current.request_id == "summer/alpha"
    assert len(raised) <= 1


def test_a_title_that_the_catalog_does_not_know_is_not_published(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    package = prepared(catalog, store)
    title = find(catalog, "spring/alpha").job().model_copy(update={"request_id": "no/body"})
    context = ControlContext(settings=settings, store=store, title=title, scratch=Path("unused"), catalog=catalog)

    with pytest.raises(PlatformUnavailable, match="no/body is not in the catalog"):
        publish.function(context, title, package)


def a_pointer(seq: int) -> dict[str, Any]:
    fields = dict.fromkeys(("published_at", "manifests", "preview"), "")
    return {"seq": seq, "request_id": f"r{seq}/x", "version": seq, **fields}


class RestlessStore(LocalStore):
    """A store whose pointer somebody else changes just before each of ours."""

    def __init__(self, root: Path, theirs: list[dict[str, Any]]) -> None:
        super().__init__(root)
        self.theirs = theirs

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> None:
        if self.theirs:
            self.put_bytes(key, json.dumps(self.theirs.pop(0)).encode())
        super().compare_and_set(key, data, expected)


def test_a_pointer_that_changes_under_us_is_looked_at_again(tmp_path: Path) -> None:
    store = RestlessStore(tmp_path, [a_pointer(1)])

    assert flip(store, POINTER, a_pointer(2)) == a_pointer(2)

    assert pointer(store) == a_pointer(2)


def test_a_newer_pointer_that_comes_in_between_wins(tmp_path: Path) -> None:
    store = RestlessStore(tmp_path, [a_pointer(9)])

    with pytest.raises(StaleRequest, match="r9/x is newer and already published as v9"):
        flip(store, POINTER, a_pointer(2))
    assert pointer(store)["seq"] == 9


def test_a_pointer_that_never_rests_is_given_up(tmp_path: Path) -> None:
    theirs = [a_pointer(0) | {"n": n} for n in range(FLIP_ATTEMPTS)]

    with pytest.raises(StorageError, match="kept changing"):
        flip(RestlessStore(tmp_path, theirs), POINTER, a_pointer(2))


def test_a_compare_and_set_says_whose_change_it_was(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes(POINTER, b"1")

    with pytest.raises(ConcurrentChange, match=r"current\.json was changed by another writer"):
        store.compare_and_set(POINTER, b"2", None)


def test_players_go_to_the_public_address_where_there_is_one(settings: Settings) -> None:
    assert public_base(settings.model_copy(update={"public_base_url": "https://cdn.example/"})) == "https://cdn.example"
    assert public_base(settings) == "https://airflow.example/callsheet/media"


PUBLISHERS = ("old", "first", "whole")
STEPS = sorted(set(itertools.permutations([*PUBLISHERS, *PUBLISHERS])))
"""Every order in which three publications may flip the pointer, die, and be repeated."""


class Sets:
    """An older request's set, and both sets of a newer one, ready to be published."""

    def __init__(self, catalog: Catalog, store: LocalStore, settings: Settings) -> None:
        self.catalog, self.store, self.settings = catalog, store, settings
        whole = prepared(catalog, store, "spring"), prepared(catalog, store, "summer")
        prefix = whole[1].prefix.replace("/package", "/first_package")
        store.put_bytes(f"{prefix}/hls.m3u8", b"#EXTM3U first")
        update = {"prefix": prefix, "files": {"hls.m3u8": 13}, "whole": False, "missing": ("h264_720p",)}
        self.sets = dict(zip(PUBLISHERS, (whole[0], whole[1].model_copy(update=update), whole[1]), strict=True))

    def publish(self, who: str, *, now: datetime) -> PublishResult:
        batch_id = "spring" if who == "old" else "summer"
        return published(self.catalog, self.store, self.settings, self.sets[who], batch_id=batch_id, now=now)

    @property
    def place(self) -> tuple[int, bool]:
        now = pointer(self.store)
        return now["seq"], now["whole"]


@pytest.mark.parametrize("order", STEPS, ids="-".join)
def test_in_whatever_order_publications_flip_die_and_are_repeated_the_title_only_goes_forward(
    order: tuple[str, ...], catalog: Catalog, store: LocalStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = Sets(catalog, store, settings)
    place, seen, flipped_at = (-1, False), set(), {}
    for second, who in enumerate(order):
        dies = who not in seen
        seen.add(who)
        with monkeypatch.context() as patched:
            if dies:
                patched.setattr(Versions, "publish", _power_cut)
            with contextlib.suppress(StaleRequest, PowerCut):
                sets.publish(who, now=after(second))
        assert sets.place >= place
        if sets.place != place:
            flipped_at[sets.place] = after(second)
        place = sets.place

    newer = find(catalog, "summer/alpha")
    assert place == (newer.seq, True)
    current = catalog.versions.current("alpha")
    assert current is not None
    assert (current.request_id, current.whole, current.version) == ("summer/alpha", True, pointer(store)["version"])
    # Since when it plays is what players have seen, whatever the catalog heard in which order.
    playable = min(moment for (seq, _), moment in flipped_at.items() if seq == newer.seq)
    assert newer.playable_at == playable == datetime.fromisoformat(pointer(store)["playable_at"])
    assert store.list(f"titles/alpha/v{current.version}") == sets.sets["whole"].files
    kinds = [event.kind for event in catalog.history.events(request_id="summer/alpha")]
    assert kinds.count("title.playable") == 1
    types = [row.type for row in catalog.outbox.of_request("summer/alpha")]
    assert (types.count("title.playable"), types.count("title.published")) == (1, 1)
    assert types.index("title.playable") < types.index("title.published")


class PowerCut(Exception):
    """Between pointer and catalog."""


def _power_cut(*_: object, **__: object) -> None:
    raise PowerCut


def test_a_first_version_stays_whole_beside_the_next_and_the_deadline_is_kept_by_it(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    sets = Sets(catalog, store, settings)
    with create_engine(settings.catalog_url).begin() as connection:
        request = find(catalog, "summer/alpha").request.model_copy(update={"publish_at": after(10)})
        connection.execute(
            update(titles).where(titles.c.request_id == "summer/alpha").values(request=request.model_dump(mode="json"))
        )

    first, whole = sets.publish("first", now=after(9)), sets.publish("whole", now=after(99))

    assert (first.version, first.whole, whole.version, whole.whole) == (1, False, 2, True)
    assert (first.deadline_met, whole.deadline_met) == (True, True)
    assert (whole.published_at, whole.playable_at) == (after(99), after(9))
    assert store.list("titles/alpha/v1") == {"hls.m3u8": 13}
    assert sets.publish("first", now=after(100)) == whole
    title = find(catalog, "summer/alpha")
    assert (title.state, title.version, title.playable_at) == (State.PLAYABLE, 2, after(9))


def test_a_cancelled_title_keeps_its_first_version_and_gets_no_other(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    sets = Sets(catalog, store, settings)
    sets.publish("first", now=NOW)
    cancel = Steering(cancel=True, why="the rights are gone")
    record = catalog.queue.steer("summer/alpha", cancel, by="ops", now=after(1))

    assert (record.state, record.message) == (
        State.CANCELLED, "by ops: the rights are gone (v1 stays published)",
    )  # fmt: skip
    with pytest.raises(NotReleased, match="settled as cancelled"):
        sets.publish("whole", now=after(2))
    assert sets.publish("first", now=after(3)).version == 1
    assert (pointer(store)["version"], pointer(store)["whole"]) == (1, False)
    with pytest.raises(SteeringRefused, match="settled"):
        catalog.queue.steer("summer/alpha", cancel, by="ops", now=after(4))


def test_a_whole_version_cannot_be_cancelled_any_more(catalog: Catalog, store: LocalStore, settings: Settings) -> None:
    sets = Sets(catalog, store, settings)
    sets.publish("first", now=NOW)
    sets.publish("whole", now=after(1))

    with pytest.raises(SteeringRefused, match="published already as v2"):
        catalog.queue.steer("summer/alpha", Steering(cancel=True, why="late"), by="ops", now=after(2))
