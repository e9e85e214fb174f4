"""The local store on disks that are full, closed or gone."""

from __future__ import annotations

import ctypes
import inspect
import os
import subprocess
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import pytest

from include.adapters.store.files import file_errors
from include.adapters.store.local import LocalStore
from include.base.errors import Retry, StorageError
from tests.requirements import missing

Body = Callable[[Path, Path], None]


def on_a_disk_of_its_own(body: Body) -> Callable[[Path], None]:
    """A test that gets a small file system: mounted by root, or by anybody in a name space of a child process."""

    @wraps(body)
    def test(tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        if mount(disk):
            try:
                body(disk, tmp_path)
            finally:
                subprocess.run(["umount", str(disk)], check=True)
            return
        said = _in_a_child(lambda: _as_root_of_its_own(body, disk, tmp_path))
        if said == NOT_ALLOWED:
            missing("the right to mount a tmpfs", "run the tests as root, or allow user name spaces")
        assert said == "well", said

    # pytest asks for what the signature names.
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return test


NOT_ALLOWED = "not allowed"
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
"""As unshare(2) has them."""


def mount(disk: Path) -> bool:
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    return subprocess.run(argv, capture_output=True).returncode == 0


def _as_root_of_its_own(body: Body, disk: Path, tmp_path: Path) -> str:
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None).unshare(NEW_USER | NEW_MOUNTS) != 0:
        return NOT_ALLOWED
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if not mount(disk):
        return NOT_ALLOWED
    body(disk, tmp_path)
    return "well"


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@on_a_disk_of_its_own
def test_a_full_disk_is_said_and_what_was_there_stays_whole(disk: Path, tmp_path: Path) -> None:
    store = LocalStore(disk / "store")
    store.put_bytes("a/x", b"old")
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * 1024**2))

    for act in (
        lambda: store.put_bytes("a/x", bytes(2 * 1024**2)),
        lambda: store.put_file("a/x", large),
        lambda: store.compare_and_set("a/x", bytes(2 * 1024**2), store.marker("a/x")),
    ):
        with pytest.raises(StorageError, match=r"a/x: No space left on device \(ENOSPC\); free space there") as caught:
            act()
        assert caught.value.reason == "disk_full"
        assert caught.value.retry is Retry.TRANSIENT
    assert large.exists()
    assert store.get_bytes("a/x") == b"old"
    assert store.list("a") == {"x": 3}
    assert [path.name for path in (disk / "store" / "a").iterdir() if not path.name.endswith(".lock")] == ["x"]


@on_a_disk_of_its_own
def test_a_store_that_is_mounted_read_only_is_read_and_says_so_on_writes(disk: Path, tmp_path: Path) -> None:
    store = LocalStore(disk / "store")
    store.put_bytes("a/x", b"1")
    remount(disk, "ro")
    try:
        assert store.get_bytes("a/x") == b"1"
        for act in (
            lambda: store.put_bytes("a/x", b"2"), lambda: store.put_bytes("new/x", b"2"), lambda: store.delete("a/x"),
            lambda: store.delete_tree("a"), lambda: store.compare_and_set("a/x", b"2", None),
            lambda: store.copy_tree("a", "b"),
        ):  # fmt: skip
            with pytest.raises(StorageError, match=r"\(EROFS\); mount it writable") as caught:
                act()
            assert caught.value.reason == "read_only"
    finally:
        remount(disk, "rw")


def test_a_folder_that_this_user_may_not_enter_is_said_by_reads_and_writes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    LocalStore(root).put_bytes("a/x", b"1")
    (root / "a").chmod(0)
    for parent in root.parents:
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    acts = ["get_bytes('a/x')", "put_bytes('a/x', b'')", "size('a/x')", "marker('a/x')", "delete('a/x')",
            "local_copy('a/x', '')", "list('a')", "copy_tree('a', 'b')"]  # fmt: skip

    said = [_as_nobody(root, act) for act in acts]

    (root / "a").chmod(0o755)
    assert said == ["read_only"] * len(acts)


def _as_nobody(root: Path, act: str) -> str:
    """The reason with which a method fails in a process that has no rights of its own."""

    def fail() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            eval(f"store.{act}", {"store": LocalStore(root)})
        except StorageError as error:
            return str(error.reason)
        return "nothing was raised"

    return _in_a_child(fail)


def _in_a_child(act: Callable[[], str]) -> str:
    """What ``act`` returns, or raises, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = act()
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_a_store_whose_file_system_is_gone_is_no_empty_store(tmp_path: Path) -> None:
    """A share that is not mounted leaves its folder's name; what was to lie there is missing, and is said to be."""
    (tmp_path / "share").write_bytes(b"not a folder")
    store = LocalStore(tmp_path / "share" / "store")

    with pytest.raises(StorageError, match=r"share/store/a/x: .*\(E(NOTDIR|EXIST)\)"):
        store.put_bytes("a/x", b"1")
    with pytest.raises(FileNotFoundError, match=r"nothing at file:.*share/store/a/x"):
        store.get_bytes("a/x")


@pytest.mark.parametrize("code", [5, 116])  # EIO, ESTALE
def test_an_error_of_the_disk_without_a_way_out_keeps_its_name(code: int) -> None:
    with pytest.raises(StorageError, match=r"^where: .* \(E[A-Z]+\)$"), file_errors("where"):
        raise OSError(code, os.strerror(code))
