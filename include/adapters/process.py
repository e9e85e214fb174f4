"""Runs one child process: bounded in time, accounted, and never left behind."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from include.domain.results import Cost
from include.errors import EncoderCrashed, OutOfMemory, ToolFailed, ToolTimeout

log = logging.getLogger(__name__)

STDERR_TAIL = 4000
STDERR_LIMIT = 8 * 1024**2
STDOUT_LIMIT = 64 * 1024**2
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "NVIDIA_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES",
)
"""What a media tool may see of the environment: no credentials."""
_SECRETS = re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s'\"]+")
"""The parts of a presigned address that let others in."""
_NO_MEMORY = re.compile(r"Cannot allocate memory|std::bad_alloc|malloc of size \d+ failed")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int | None) -> None:
    """Have the kernel SIGKILL this process when its parent's thread ends, however that happens (Linux only).

    Args:
        parent: Process id that the parent is expected to have; where it is gone already this process ends now.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        # The parent was gone before the call: nobody will send the signal any more.
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a child process ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: str
    """Whole stderr, bounded by the runner."""
    cost: Cost
    out_of_memory: bool = False
    """Whether it was killed, or gave up, for want of memory."""

    @property
    def command(self) -> str:
        """The command as a person can paste it, without the secrets of a presigned address."""
        return redacted(shlex.join(self.argv))

    @property
    def stderr_tail(self) -> str:
        """The end of stderr."""
        return self.stderr[-STDERR_TAIL:]


def run(
    argv: list[str],
    *,
    timeout_s: float,
    failure: type[ToolFailed] = EncoderCrashed,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run ``argv`` to its end and account for it. Call it from a thread that outlives the child.

    Args:
        argv: Program and arguments; never a shell.
        timeout_s: After this the child is killed and :class:`ToolTimeout` raised.
        failure: What a non-zero exit code raises.
        check: False returns the result whatever the exit code.
        on_line: Gets each line of stdout as it comes (ffmpeg's ``-progress pipe:1``); stdout is then not kept.
        cwd: Working directory.
    """
    log.info("%s", redacted(shlex.join(argv)))
    memory_kills = _memory_kills()
    started = time.monotonic()
    parent = os.getpid()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        preexec_fn=lambda: die_with_parent(parent),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    stdout, stderr = _Tail(STDOUT_LIMIT), _Tail(STDERR_LIMIT)
    reader = threading.Thread(target=stderr.drain, args=(child.stderr,), daemon=True)
    reader.start()
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        if on_line is None:
            stdout.drain(child.stdout)
        else:
            for line in child.stdout:
                on_line(line.decode("utf-8", "replace").rstrip())
        # wait4 gives the accounting of this child alone, and of the children it waited for.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
        if child.returncode is None:
            child.kill()
            child.wait()
        reader.join(timeout=5)
        child.stdout.close()
        child.stderr.close()
    finished = Finished(
        argv=tuple(argv),
        returncode=child.returncode,
        stdout=stdout.value(),
        stderr=redacted(stderr.value().decode("utf-8", "replace")),
        cost=Cost(
            wall_s=round(time.monotonic() - started, 3),
            cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
            peak_memory_mb=round(usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2), 1),
        ),
    )
    if finished.returncode != 0:
        # Other tasks share the cgroup, so the kernel's count must have risen while this child ran, and it must be dead.
        killed = finished.returncode == -signal.SIGKILL and not timed_out.is_set() and _memory_kills() > memory_kills
        refused = _NO_MEMORY.search(finished.stderr_tail) is not None
        finished = dataclasses.replace(finished, out_of_memory=killed or refused)
    if timed_out.is_set():
        raise ToolTimeout(
            f"FFmpeg timeout: {Path(argv[0]).name} ran longer than {timeout_s:.0f} s",
            command=finished.command,
            stderr_tail=finished.stderr_tail,
            reason="timeout",
        )
    if check and finished.returncode != 0:
        raise failed(finished, failure)
    return finished


def failed(finished: Finished, failure: type[ToolFailed], message: str | None = None) -> ToolFailed:
    """The error for a run that ended badly, or ended well and left a bad output."""
    tool = Path(finished.argv[0]).name
    lines = [line for line in finished.stderr_tail.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    killed = finished.returncode == -signal.SIGKILL
    text = message or (f"{tool} was killed (SIGKILL)" if killed else f"{tool} ended with {finished.returncode}: {last}")
    if finished.out_of_memory:
        failure, text = OutOfMemory, f"{tool} ran out of memory: {last}"
    return failure(text, command=finished.command, stderr_tail=finished.stderr_tail)


def redacted(text: str) -> str:
    """``text`` without the secret parts of presigned addresses: what logs and records may show."""
    return _SECRETS.sub(r"\1…", text)


class _Tail:
    """Keeps the last ``limit`` bytes of a stream, so that a chatty child cannot fill the memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.chunks: deque[bytes] = deque()
        self.size = 0

    def drain(self, stream: IO[bytes]) -> None:
        while chunk := stream.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader, which has read1
            self.chunks.append(chunk)
            self.size += len(chunk)
            while self.size - len(self.chunks[0]) >= self.limit:
                self.size -= len(self.chunks.popleft())

    def value(self) -> bytes:
        return b"".join(self.chunks)[-self.limit :]


def _memory_kills() -> int:
    """How often the kernel killed for memory in this cgroup (v2); 0 where that cannot be read."""
    try:
        text = Path("/sys/fs/cgroup/memory.events").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)
