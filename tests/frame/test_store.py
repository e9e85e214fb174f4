"""The local store: nothing outside its root, nothing by halves."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.adapters.store.interface import ConcurrentChange
from include.adapters.store.keys import MAX_KEY, key_of
from include.adapters.store.local import LocalStore
from include.adapters.store.opening import open_store
from include.base.errors import ConfigurationError, StorageError
from include.base.settings import Settings
from tests.requirements import missing


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "a store")


ESCAPES = [
    "", "/", "..", "../x", "a/../b", "a//b", "/etc/passwd", "a/", "./a", "~/x", "a\\b", "a b", "a\0b", "a\n", "é",
    ".hidden", "a/.lock", "-x", "%2e%2e/x", "a" * 221, "a/" * MAX_KEY + "a", "C:x", "a\u2028",
]  # fmt: skip


@pytest.mark.parametrize("key", ESCAPES, ids=lambda key: ascii(key)[:30])
@pytest.mark.parametrize(
    "act",
    [LocalStore.size, LocalStore.get_bytes, LocalStore.list, LocalStore.readable, LocalStore.delete,
     LocalStore.delete_tree, LocalStore.marker, lambda store, key: store.put_bytes(key, b"x"),
     lambda store, key: store.put_file(key, Path("x")), lambda store, key: store.compare_and_set(key, b"x", None),
     lambda store, key: store.local_copy(key, Path("x")), lambda store, key: store.copy_tree("good", key)],
    ids=["size", "get", "list", "readable", "delete", "delete_tree", "marker", "put", "file", "set", "copy", "tree"],
)  # fmt: skip
def test_a_key_that_is_not_plain_is_refused_by_every_method(act: object, key: str, store: LocalStore) -> None:
    store.put_bytes("good/x", b"1")

    with pytest.raises(StorageError, match="is not made of safe segments") as caught:
        act(store, f"{key}" if act is not None else "")  # type: ignore[operator]  # a method or a function of two
    assert caught.value.reason == "bad_key"
    assert "\n" not in caught.value.message


@given(st.text(st.characters(), max_size=30) | st.text("./\\~%a\n\0", max_size=12))
def test_whatever_key_is_taken_lies_beneath_the_root(key: str) -> None:
    store = LocalStore(Path("/srv/store"))
    try:
        path = Path(store.readable(key))
    except StorageError:
        return
    assert Path(os.path.normpath(path)) == path
    assert path.is_relative_to("/srv/store")
    assert path != Path("/srv/store")


def test_what_is_put_is_there_whole_and_what_is_deleted_is_gone(store: LocalStore) -> None:
    store.put_bytes("a/b.json", b"one")
    store.put_bytes("a/b.json", b"three")

    assert (store.get_bytes("a/b.json"), store.size("a/b.json")) == (b"three", 5)
    assert store.list("a") == {"b.json": 5}
    assert Path(store.readable("a/b.json")).stat().st_mode & 0o777 == 0o644
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert store.size("a/b.json") is None
    with pytest.raises(FileNotFoundError, match=r"nothing at file:.*a%20store/a/b\.json"):
        store.get_bytes("a/b.json")
    with pytest.raises(FileNotFoundError):
        store.local_copy("a/b.json", Path("unused"))


def test_a_file_is_moved_in(store: LocalStore, tmp_path: Path) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"media")

    store.put_file("v/made.mp4", source)

    assert not source.exists()
    assert store.local_copy("v/made.mp4", tmp_path).read_bytes() == b"media"


def test_a_file_of_another_file_system_is_copied_in(store: LocalStore) -> None:
    foreign = Path("/dev/shm") / f"callsheet-test-{os.getpid()}"
    if not foreign.parent.is_dir() or foreign.parent.stat().st_dev == store.root.parent.stat().st_dev:
        missing("a second file system", "mount a tmpfs at /dev/shm")
    foreign.write_bytes(b"media")

    store.put_file("v/made.mp4", foreign)

    assert not foreign.exists()
    assert store.get_bytes("v/made.mp4") == b"media"


def test_readers_and_lists_never_see_a_file_in_the_making(store: LocalStore) -> None:
    store.put_bytes("a/x", b"1")
    (store.root / "a" / ".x.half").write_bytes(b"hal")

    assert store.list("a") == {"x": 1}


def test_a_write_that_fails_leaves_neither_the_new_nor_a_piece_of_it(store: LocalStore) -> None:
    store.put_bytes("a/x", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"a/x: .*\(EFBIG\)"):
            store.put_bytes("a/x", b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert store.get_bytes("a/x") == b"old"
    assert [path.name for path in (store.root / "a").iterdir()] == ["x"]


def test_a_place_that_takes_no_files_is_a_storage_error_that_names_the_key(store: LocalStore) -> None:
    store.root.mkdir()
    (store.root / "a").write_bytes(b"a file where a folder is wanted")

    for act in (store.put_bytes, lambda key, data: store.compare_and_set(key, data, None)):
        with pytest.raises(StorageError, match=r"a/x: .*\(E(NOTDIR|EXIST)\)") as caught:
            act("a/x", b"1")
        assert isinstance(caught.value.__cause__, OSError)


def test_a_store_that_cannot_be_written_to_is_a_storage_error_that_names_the_key() -> None:
    """/proc takes no files even from root."""
    with pytest.raises(StorageError, match=r"a/x: .*\(E[A-Z]+\)"):
        LocalStore(Path("/proc/self/callsheet")).put_bytes("a/x", b"1")


def test_a_tree_appears_file_by_file_and_again_changes_nothing(store: LocalStore) -> None:
    for name in ("hls.m3u8", "video/1.mp4", "video/2.mp4"):
        store.put_bytes(f"work/{name}", name.encode())
    store.put_bytes("titles/v1/video/1.mp4", b"half")

    store.copy_tree("work", "titles/v1")
    inodes = {path: path.stat().st_ino for path in (store.root / "titles").rglob("*")}
    store.copy_tree("work", "titles/v1")

    assert store.list("titles/v1") == store.list("work")
    assert store.get_bytes("titles/v1/video/1.mp4") == b"video/1.mp4"
    assert inodes == {path: path.stat().st_ino for path in (store.root / "titles").rglob("*")}
    store.delete_tree("work")
    assert store.get_bytes("titles/v1/hls.m3u8") == b"hls.m3u8"


def test_a_file_system_without_hard_links_gets_copies(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    store.put_bytes("work/x", b"1")

    store.copy_tree("work", "titles/v1")

    assert store.get_bytes("titles/v1/x") == b"1"


def test_of_many_writers_at_once_none_is_lost(store: LocalStore) -> None:
    spawn = multiprocessing.get_context("fork")
    store.put_bytes("counter", b"0")
    writers = [spawn.Process(target=_count_up, args=(store.root, 50)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0] * 4
    assert store.get_bytes("counter") == b"200"


def _count_up(root: Path, times: int) -> None:
    store = LocalStore(root)
    for _ in range(times):
        while True:
            marker = store.marker("counter")
            value = int(store.get_bytes("counter"))
            try:
                store.compare_and_set("counter", str(value + 1).encode(), marker)
            except ConcurrentChange:
                continue
            break


def test_the_scheme_chooses_the_store(tmp_path: Path) -> None:
    opened = open_store(Settings(store_uri=(tmp_path / "a b").as_uri()))

    assert isinstance(opened, LocalStore)
    assert opened.root == tmp_path / "a b"
    assert opened.uri == (tmp_path / "a b").as_uri()


@pytest.mark.parametrize("uri", ["ftp://x/y", "file://host/share", "/plain/path", "gs://bucket"])
def test_a_scheme_that_is_not_served_is_a_configuration_error(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="CALLSHEET_STORE_URI"):
        open_store(Settings(store_uri=uri))


def test_the_key_of_an_address(store: LocalStore) -> None:
    assert key_of(store, f"{store.uri}/work/x.json") == "work/x.json"
    for foreign in ("file:///etc/passwd", store.uri, f"{store.uri}-other/x"):
        with pytest.raises(StorageError, match="not in the configured store"):
            key_of(store, foreign)
