"""A container: its command as processes of this machine, closed in by bubblewrap as the pod's spec has it.

What the kernel enforces:

- the root file system is made of this machine's programs, the project and the folders that the test calls the image,
  all read-only, and of the pod's volumes; nothing else is there. ``readOnlyRootFilesystem`` leaves the volumes and
  ``/dev/shm`` to write to, without it ``/`` and ``/tmp`` can be written to as well;
- ``runAsUser`` and ``runAsGroup``; without them the container is root, as the image names no user;
- ``capabilities.drop``; a user who is not root has none anyway;
- no rights are gained by starting a program, whatever ``allowPrivilegeEscalation`` says;
- ``seccompProfile: RuntimeDefault`` makes no namespaces: media tools run without a sandbox of their own;
- when the command ends, so does every process that it started.

What it does not: the user's files and the image's belong to one user of this machine, so file modes say little; the
network is the machine's; memory and disk are watched by the kubelet.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tests.kube.selectors import nanos_text, utc_now
from tests.requirements import missing, require

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/sys", sys.base_prefix, sys.prefix, str(PROJECT))
"""What every image has: programs, Python with its packages, the project."""
LOG_LINE_LIMIT = 16 * 1024
"""Bytes after which the runtime splits a line."""
_START_LIMIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume of a container."""

    inside: str
    outside: Path
    read_only: bool = False


@functools.cache
def require_bubblewrap() -> None:
    """End the test, and say why, on a machine whose bubblewrap cannot do all this."""
    require("bubblewrap", "apt-get install bubblewrap", shutil.which("bwrap"))
    strict = {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    argv = [*closed_in(strict, [], "/", []), "/usr/bin/true"]
    tried = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if tried.returncode:
        missing("the right to make namespaces", f"pods of the tests run in bubblewrap, which says: {tried.stderr}")


def closed_in(security: Mapping[str, Any], mounts: Iterable[Mount], cwd: str, image: Iterable[Path]) -> list[str]:
    """The argv before a container's own.

    Args:
        security: The container's security context over the pod's.
        mounts: Its volumes.
        cwd: Where its command starts.
        image: Folders that the image has besides :data:`IMAGE`.
    """
    user = security.get("runAsUser", 0)
    dropped = (security.get("capabilities") or {}).get("drop") or []
    sealed = (security.get("seccompProfile") or {}).get("type") == "RuntimeDefault"
    binds = [Mount(inside=str(path), outside=Path(path), read_only=True) for path in (*IMAGE, *image)]
    return [
        shutil.which("bwrap") or "bwrap",
        # All of it ends with the kubelet, even if that is killed.
        *("--die-with-parent", "--unshare-user", "--unshare-pid"),
        *("--uid", str(user), "--gid", str(security.get("runAsGroup", 0))),
        *(part for each in dropped for part in ("--cap-drop", each if each == "ALL" else f"CAP_{each}")),
        *(("--disable-userns",) if sealed else ()),
        *("--dir", "/tmp", "--proc", "/proc", "--dev", "/dev"),
        *(
            part
            for each in (*binds, *sorted(mounts, key=lambda mount: len(mount.inside)))
            for part in ("--ro-bind-try" if each.read_only else "--bind", str(each.outside), each.inside)
        ),
        *(("--remount-ro", "/") if security.get("readOnlyRootFilesystem") else ()),
        *("--chdir", cwd, "--"),
    ]


class Process:
    """A container's processes and its log."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], log: Path, watched: str) -> None:
        """``argv`` begins with what :func:`closed_in` gives."""
        self.name = name
        self.id = f"containerd://{secrets.token_hex(32)}"
        self.log = log
        self.started_at = utc_now()
        self.started = time.monotonic()
        self.finished_at: datetime | None = None
        self.exit_code = 0
        self.reason = ""
        """Set by who kills it, or at its end."""
        self.message = ""
        self.seen = threading.Event()
        """The awaited line is in the log."""
        self.ended = threading.Event()
        """All output is in the log."""
        self._watched = watched
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._child = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._child.stdout is not None
        self._pump = threading.Thread(target=self._keep_log, args=(self._child.stdout,), daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Of bubblewrap, around which everything else ends."""
        return self._child.pid

    def poll(self) -> bool:
        """Whether it has ended; then nothing of it is left."""
        if self.finished_at is not None:
            return True
        code = self._child.poll()
        if code is None:
            return False
        self.signal_group(signal.SIGKILL)
        self._pump.join(timeout=5)
        self.ended.set()
        self.exit_code = code if code >= 0 else 128 - code
        said = self.tail()
        if code == 1 and said.startswith("bwrap: "):
            self.exit_code, self.reason = 128, "StartError"
            self.message = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
                f"failed: unable to start container process: {said}: unknown"
            )
        self.reason = self.reason or ("Completed" if code == 0 else "Error")
        self.finished_at = utc_now()
        return True

    def terminate(self) -> None:
        """As the kubelet does: the command alone is asked, once there is one."""
        end = time.monotonic() + _START_LIMIT_S
        while self._child.poll() is None and time.monotonic() < end:
            # Bubblewrap, the first process of its namespace, the command.
            if found := [pid for init in _children(self.pid) for pid in _children(init)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGTERM)
                return
            time.sleep(0.002)

    def kill(self, reason: str = "") -> None:
        if self.finished_at is None:
            self.reason = reason or self.reason
            self.signal_group(signal.SIGKILL)

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def memory(self) -> int:
        """Resident bytes of its whole tree."""
        total, found = 0, [self.pid]
        while found:
            pid = found.pop()
            found += _children(pid)
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE")

    def tail(self) -> str:
        """The end of the log, as the termination message falls back on it."""
        lines = [line.split(b" ", 3)[3] for line in self.log.read_bytes().splitlines()[-80:]]
        return b"\n".join(lines)[-2048:].decode("utf-8", "replace")

    def _keep_log(self, stream: IO[bytes]) -> None:
        with stream, self.log.open("ab", buffering=0) as log:
            while line := stream.readline(LOG_LINE_LIMIT):
                tag = b"F" if line.endswith(b"\n") else b"P"
                stamp = nanos_text(utc_now()).encode()
                log.write(b"%s stdout %s %s\n" % (stamp, tag, line.removesuffix(b"\n")))
                if self._watched and self._watched in line.decode("utf-8", "replace"):
                    self.seen.set()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(each) for each in path.read_text().split()]
    return found
