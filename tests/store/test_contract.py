"""What every store does alike, be it a folder or S3."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from include.adapters.s3 import transfer
from include.adapters.store import files
from include.adapters.store.interface import ConcurrentChange, ObjectStore
from include.adapters.store.keys import cache_control, content_type, key_of, manifests_last
from include.base.errors import StorageError
from tests.store.conftest import LEAST_PART


@pytest.mark.parametrize("key", ["", "..", "a/../b", "/a", "a//b", "a/", "a\\b", "a b", ".hidden", "%2e%2e/x", "é"])
def test_a_key_that_is_not_plain_is_refused(key: str, either: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x")
    for act in (
        either.size, either.get_bytes, either.list, either.readable, either.delete, either.delete_tree, either.marker,
        lambda key: either.put_bytes(key, b"x"), lambda key: either.put_file(key, file),
        lambda key: either.compare_and_set(key, b"x", None), lambda key: either.local_copy(key, tmp_path),
        lambda key: either.copy_tree(key, "good"), lambda key: either.serve(key, None),
    ):  # fmt: skip
        with pytest.raises(StorageError, match="is not made of safe segments"):
            act(key)


def test_what_is_put_is_there_whole_and_what_is_deleted_is_gone(either: ObjectStore, tmp_path: Path) -> None:
    either.put_bytes("a/b.json", b"one")
    either.put_bytes("a/b.json", b"three")

    assert (either.get_bytes("a/b.json"), either.size("a/b.json")) == (b"three", 5)
    assert either.list("a") == {"b.json": 5}
    assert key_of(either, f"{either.uri}/a/b.json") == "a/b.json"
    either.delete("a/b.json")
    either.delete("a/b.json")
    assert either.size("a/b.json") is None
    assert either.marker("a/b.json") is None
    for read in (either.get_bytes, lambda key: either.local_copy(key, tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"nothing at .*/a/b\.json"):
            read("a/b.json")


def test_a_folder_is_neither_content_nor_missing_harm(either: ObjectStore) -> None:
    either.put_bytes("a/b/c", b"1")
    either.put_bytes("ab/c", b"1")

    assert either.size("a/b") is None
    assert either.marker("a/b") is None
    assert either.list("nowhere") == {}
    assert either.list("a") == {"b/c": 1}
    either.delete_tree("a/b")
    either.delete_tree("a/b")
    assert either.list("a") == {}
    assert either.list("ab") == {"c": 1}


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_a_file_goes_in_and_comes_back(size: int, either: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    source = tmp_path / "made.mp4"
    source.write_bytes(data[:size])

    either.put_file("v/made.mp4", source)

    assert either.size("v/made.mp4") == size
    copy = either.local_copy("v/made.mp4", tmp_path / "copies")
    assert copy.read_bytes() == data[:size]
    assert copy == either.local_copy("v/made.mp4", tmp_path / "copies")


def test_a_reader_gets_a_file_or_a_body_and_nothing_where_there_is_nothing(either: ObjectStore) -> None:
    either.put_bytes("v/a.mp4", b"0123456789")

    served = either.serve("v/a.mp4", None)

    assert served is not None
    assert (served.file.read_bytes() if served.file else b"".join(served.body)) == b"0123456789"
    assert [either.serve(key, None) for key in ("v/nothing.mp4", "v", "nowhere/a.mp4")] == [None] * 3


def test_many_files_go_in_at_once(either: ObjectStore, tmp_path: Path) -> None:
    paths = {f"v/{number}.m4s": tmp_path / f"{number}.m4s" for number in range(40)}
    for path in paths.values():
        path.write_bytes(path.name.encode())

    either.put_files(paths)

    assert either.list("v") == {f"{number}.m4s": len(f"{number}.m4s") for number in range(40)}
    assert either.get_bytes("v/39.m4s") == b"39.m4s"


def test_a_tree_appears_whole_and_again_changes_nothing(either: ObjectStore) -> None:
    for name in ("hls.m3u8", "video/1.mp4", "video/2.mp4"):
        either.put_bytes(f"work/{name}", name.encode())
    either.put_bytes("titles/v1/video/1.mp4", b"half")

    either.copy_tree("work", "titles/v1")
    either.copy_tree("work", "titles/v1")

    assert either.list("titles/v1") == either.list("work")
    assert either.get_bytes("titles/v1/video/1.mp4") == b"video/1.mp4"
    either.delete_tree("work")
    assert either.get_bytes("titles/v1/hls.m3u8") == b"hls.m3u8"


def test_a_transfer_tells_how_many_bytes_are_done(
    either: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts where they are large: a folder copies where it cannot link or move, to another file system say."""
    monkeypatch.setattr(files, "CHUNK_BYTES", LEAST_PART)
    monkeypatch.setattr(transfer, "COPY_PART_BYTES", LEAST_PART)
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(Path, "replace", refused_across(Path.replace))
    sizes = {"v/large.mp4": 2 * LEAST_PART + 7, "v/1.m4s": 10, "v/2.m4s": 0, "v/hls.m3u8": 5}
    paths = {key: tmp_path / key.rpartition("/")[2] for key in sizes}
    for key, path in paths.items():
        path.write_bytes(bytes(sizes[key]))
    large, whole = sizes["v/large.mp4"], sum(sizes.values())
    told: list[int] = []

    either.put_file("w/large.mp4", shutil.copyfile(paths["v/large.mp4"], tmp_path / "again"), told.append)
    assert (told[-1], len({*told} - {0})) == (large, 3)
    told.clear()
    either.put_files(paths, told.append)
    assert (told[-1], len({*told} - {0}) >= 5) == (whole, True)
    told.clear()
    either.copy_tree("v", "titles/v1", told.append)
    assert (told[-1], len({*told} - {0}) >= 5) == (whole, True)
    assert told == sorted(told)
    told.clear()
    either.copy_tree("v", "titles/v1", told.append)
    assert told[-1] == whole, "what is there already is done"
    told.clear()
    either.local_copy("v/large.mp4", tmp_path / "copies", told.append)
    assert told == sorted(told)
    assert not told or (told[-1], len(told) > 3) == (large, True)


def refused(*_: object) -> None:
    raise OSError(errno.EXDEV, "another file system")


def refused_across(replace: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """Moves within a folder alone."""
    return lambda path, target: replace(path, target) if path.parent == Path(target).parent else refused()  # type: ignore[return-value]


def test_compare_and_set_takes_the_expected_value_only(either: ObjectStore) -> None:
    either.compare_and_set("p", b"one", None)
    marker = either.marker("p")
    either.compare_and_set("p", b"two", marker)

    for wrong in (marker, None, '"x"'):
        with pytest.raises(ConcurrentChange):
            either.compare_and_set("p", b"three", wrong)
    assert either.get_bytes("p") == b"two"
    either.delete("p")
    with pytest.raises(ConcurrentChange):
        either.compare_and_set("p", b"three", marker)


def test_of_many_writers_at_once_none_is_lost(either: ObjectStore) -> None:
    """Two that write the same value from the same state are two all the same."""
    either.put_bytes("counter", b"0")

    def count_up() -> None:
        done = 0
        while done < 10:
            marker = either.marker("counter")
            value = int(either.get_bytes("counter"))
            try:
                either.compare_and_set("counter", str(value + 1).encode(), marker)
            except ConcurrentChange:
                continue
            done += 1

    writers = [threading.Thread(target=count_up) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert either.get_bytes("counter") == b"40"


@pytest.mark.parametrize(
    ("key", "kind", "caching"),
    [
        ("titles/a/v1/hls.m3u8", "application/vnd.apple.mpegurl", "max-age=31536000, immutable"),
        ("titles/a/v12/dash.mpd", "application/dash+xml", "max-age=31536000, immutable"),
        ("titles/a/v1/video/1.m4s", "video/iso.segment", "max-age=31536000, immutable"),
        ("titles/a/v1/text/en.vtt", "text/vtt; charset=utf-8", "max-age=31536000, immutable"),
        ("titles/a/v1/images/poster.jpg", "image/jpeg", "max-age=31536000, immutable"),
        ("titles/a/current.json", "application/json", "no-cache"),
        ("titles/v1/current.json", "application/json", "no-cache"),
        ("work/a/b.1/package/hls.m3u8", "application/vnd.apple.mpegurl", "no-store"),
        ("models/predictor/3/model.ubj", "application/octet-stream", "no-cache"),
    ],
)
def test_players_and_caches_are_told_what_a_file_is(key: str, kind: str, caching: str) -> None:
    assert (content_type(key), cache_control(key)) == (kind, caching)


def test_what_is_referred_to_comes_before_what_refers_to_it() -> None:
    names = ["dash.mpd", "hls.m3u8", "audio/media.m3u8", "audio/1.m4s", "preview.html", "report.json"]

    assert list(manifests_last(names)) == [
        ["audio/1.m4s", "report.json"],
        ["audio/media.m3u8"],
        ["dash.mpd", "hls.m3u8", "preview.html"],
    ]
