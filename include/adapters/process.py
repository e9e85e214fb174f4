"""Runs one child process: bounded in all that it may use, accounted, and never left behind.

What a media tool reads may be made to hurt it, so each runs under the kernel's limits: memory, CPU time, size of a file
that it writes, open files, and no core dumps (docs/decisions/0011). Where the machine has one, it runs in a sandbox
(:mod:`include.adapters.sandbox`).
"""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from include.adapters.sandbox import exit_code, find_sandbox, kill_closed_in
from include.adapters.transport import without_transport
from include.base.errors import EncoderCrashed, OutOfMemory, OutputTooLarge, StorageError, ToolFailed, ToolTimeout
from include.base.settings import Settings, available_cores, load_settings
from include.base.text import command_line, printable, redacted
from include.domain.outcome.results import Cost

log = logging.getLogger(__name__)

_STOPPED = {
    **{-each: each.name for each in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)},
    **{code: f"exit code {code}" for code in (123, 255)},
}
"""Exit codes of a tool that somebody has stopped, and how it is said.

ffmpeg answers a polite signal with 255, and more than three of them with 123.
"""

STDERR_TAIL = 4000
STDERR_LIMIT = 8 * 1024**2
STDOUT_LIMIT = 64 * 1024**2
LINE_LIMIT = 64 * 1024
"""A longer line of stdout is told in pieces."""
LEAST_MEMORY_MB = 4096
"""What the largest encode needs: 4K with two threads was measured at 2,300 MB."""
OPEN_FILES = 1024
SHORTEST_SECRET = 16
"""Characters from which a part of a presigned address is taken for a secret: what is shorter may be anybody's word."""
MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")
"""Where the kernel counts what happened for want of memory in this container (cgroup v2)."""
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
_NO_MEMORY = re.compile(r"Cannot allocate memory|std::bad_alloc|malloc of size \d+ failed")
_TIMEOUT = "FFmpeg timeout"
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_Kill = Callable[[subprocess.Popen[bytes]], None]
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


PARENT_VARIABLE = "CALLSHEET_PARENT_PID"
"""Set by whoever starts a worker on its own machine: the worker must not outlive that process."""


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
class Limits:
    """What one media tool may use, beside its time."""

    memory_mb: int
    """Of private writable memory: what a tool can fill. Address space would count what it only reserves, and GPU
    drivers reserve more than the machine has."""
    file_bytes: int
    """Of each file that it writes, where nothing better is known of that."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the settings give."""
        return cls(memory_mb=settings.tool_memory_mb or _own_memory_mb(settings), file_bytes=settings.max_file_size)


_limits: Limits | None = None


def limit_tools(limits: Limits) -> None:
    """Have every tool that this process starts from now on run under these limits: a worker does so once."""
    global _limits  # as the kernel's own limits, these belong to the process
    _limits = limits


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
        return command_line(self.argv)

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
    folder: Path | None = None,
    reads: Sequence[str] = (),
    closed_in: bool = True,
    file_bytes: int | None = None,
    secrets: Sequence[str] = (),
) -> Finished:
    """Run ``argv`` to its end and account for it. Call it from a thread that outlives the child.

    A tool that runs into a limit raises :class:`ToolTimeout`, :class:`OutOfMemory` or :class:`OutputTooLarge`, one that
    somebody has stopped ``failure``; otherwise as :func:`include.adapters.sandbox.exit_code` does.

    Args:
        argv: Program and arguments; never a shell.
        timeout_s: After this the child is killed and :class:`ToolTimeout` raised.
        failure: What a non-zero exit code raises.
        check: False returns the result whatever the exit code; what ran into a limit or was stopped has no result.
        on_line: Gets each line of stdout as it comes (ffmpeg's ``-progress pipe:1``); stdout is then not kept.
        cwd: Working directory; the tool may write there.
        folder: Where else it may write.
        reads: Paths and addresses that it reads beside those that are arguments by themselves.
        closed_in: False for what is no media tool and needs the machine: it runs outside the sandbox.
        file_bytes: Most that a file which it writes may have, where that is known: more than the settings' bound, too.
        secrets: Keys and the like that the tool is handed. No log, error or record shows them, whatever the tool says;
            nor the query of a presigned address in ``argv``, which needs no mention here. Stdout is returned as it is.
    """
    hidden = _Hidden([*secrets, *_queries(argv)])
    shown_argv = tuple(hidden.within(argument) for argument in argv)
    log.info("%s", command_line(shown_argv))
    limits = _limits_for(file_bytes)
    cpu_s = math.ceil(timeout_s * available_cores()) + 1
    sandbox = find_sandbox(load_settings()) if closed_in else None
    command = sandbox.argv(argv, limit_s=timeout_s, cwd=cwd, folder=folder, reads=reads) if sandbox else argv
    memory_kills, started = _memory_kills(), time.monotonic()
    ended = _carry_out(command, cwd, _kernel_limits(limits, cpu_s), timeout_s, on_line, closed_in=bool(sandbox))
    finished = Finished(
        argv=shown_argv,
        returncode=ended.returncode,
        stdout=ended.stdout,
        stderr=printable(redacted(hidden.within(ended.stderr.decode("utf-8", "replace"))), keep="\n\t"),
        cost=_cost(ended.usage, since=started),
    )
    finished = _read_whole(finished)
    if ended.timed_out:
        raise _ended(
            finished, ToolTimeout, f"{_TIMEOUT}: {_tool(finished)} ran longer than {timeout_s:.0f} s", "timeout"
        )
    if finished.returncode != 0:
        finished = _within(finished, limits, cpu_s, killed=_killed_for_memory(finished, memory_kills))
    # Half of what a tool would have said is no verdict on what it has read.
    if finished.returncode in _STOPPED or (check and finished.returncode != 0):
        raise failed(finished, failure)
    return finished


def _limits_for(file_bytes: int | None) -> Limits:
    limits = _limits or Limits.of(load_settings())
    if file_bytes is None:
        return limits
    return dataclasses.replace(limits, file_bytes=file_bytes)


def _carry_out(
    command: list[str],
    cwd: Path | None,
    kernel_limits: list[tuple[int, int, int]],
    timeout_s: float,
    on_line: Callable[[str], None] | None,
    *,
    closed_in: bool,
) -> _Ended:
    """Run a command to its end, which is that of the tool itself where it is closed in; raises as :func:`exit_code`."""
    kill = kill_closed_in if closed_in else subprocess.Popen.kill
    ended = _attend(_start(command, cwd, kernel_limits, kill), timeout_s, on_line, kill)
    if ended.timed_out or not closed_in:
        return ended
    said = ended.stderr[-STDERR_TAIL:].decode("utf-8", "replace")
    return dataclasses.replace(ended, returncode=exit_code(ended.returncode, said))


def _killed_for_memory(finished: Finished, kills_before: int) -> bool:
    """Whether the kernel did it: other tasks share the cgroup, so its count rose meanwhile, and the child is dead."""
    return finished.returncode == -signal.SIGKILL and _memory_kills() > kills_before


def _cost(usage: resource.struct_rusage, *, since: float) -> Cost:
    return Cost(
        wall_s=round(time.monotonic() - since, 3),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
        peak_memory_mb=_megabytes(usage),
    )


def _start(
    argv: list[str], cwd: Path | None, kernel_limits: list[tuple[int, int, int]], kill: _Kill
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def prepare() -> None:
        # Between fork and exec: system calls alone. Python's ignored SIGXFSZ is restored by Popen itself.
        die_with_parent(parent)
        for kind, soft, hard in kernel_limits:
            resource.setrlimit(kind, (soft, hard))

    with _signals_put_off() as came:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            preexec_fn=prepare,
        )
    try:
        for signum in came:
            signal.raise_signal(signum)
    except BaseException:
        kill(child)
        child.communicate()
        raise
    return child


@contextmanager
def _signals_put_off() -> Iterator[list[int]]:
    """Collects the signals that end a process and that Python handles.

    Python runs hooks of its own right after a fork, and drops what a handler raises while they run: a worker that is
    told to end in that moment would go on. Handlers run in the main thread, so that a fork in another one is safe.
    """
    came: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for signum in _ENDING:
                if callable(handler := signal.getsignal(signum)):
                    handlers[signum] = handler
                    signal.signal(signum, lambda number, frame: came.append(number))
        yield came
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What is left of a child."""

    returncode: int
    stdout: bytes
    stderr: bytes
    usage: resource.struct_rusage
    timed_out: bool


def _attend(
    child: subprocess.Popen[bytes], timeout_s: float, on_line: Callable[[str], None] | None, kill: _Kill
) -> _Ended:
    """Read a child to its end, and kill it at the limit or where reading it fails."""
    assert child.stdout is not None
    assert child.stderr is not None
    stdout, stderr = _Tail(STDOUT_LIMIT), _Tail(STDERR_LIMIT)
    reader = threading.Thread(target=stderr.drain, args=(child.stderr,), daemon=True)
    reader.start()
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        kill(child)

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        if on_line is None:
            stdout.drain(child.stdout)
        else:
            while line := child.stdout.readline(LINE_LIMIT):
                on_line(line.decode("utf-8", "replace").rstrip())
        # wait4 gives the accounting of this child alone, and of the children it waited for.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
        if child.returncode is None:
            kill(child)
            child.wait()
        reader.join(timeout=5)
        child.stdout.close()
        child.stderr.close()
    return _Ended(
        returncode=child.returncode,
        stdout=stdout.value(),
        stderr=stderr.value(),
        usage=usage,
        timed_out=timed_out.is_set(),
    )


class _Hidden:
    """Strings that are replaced wherever they stand."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # The longest first: a key may hold another.
        found = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def within(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub("…", text)


def _queries(argv: Sequence[str]) -> list[str]:
    """The queries of the addresses in ``argv``, and what stands in them: each may be quoted alone."""
    queries = [part.partition("?")[2] for part in argv if part.startswith(("http://", "https://"))]
    parts = [*queries, *(pair.partition("=")[2] for query in queries for pair in query.split("&"))]
    return [part for part in parts if len(part) >= SHORTEST_SECRET]


def _read_whole(finished: Finished) -> Finished:
    """A run without what its transport said; raises :class:`StorageError` where a break was not mended."""
    if not any(argument.startswith(("http://", "https://")) for argument in finished.argv):
        return finished
    rest, broken = without_transport(finished.stderr)
    if broken:
        raise StorageError(f"{_tool(finished)} could not read the store to the end: {broken}", reason="unreachable")
    return dataclasses.replace(finished, stderr=rest)


def _within(finished: Finished, limits: Limits, cpu_s: int, *, killed: bool) -> Finished:
    """A run that ended badly, where no limit was the reason; raises the limit's error otherwise."""
    tool = _tool(finished)
    # ffmpeg takes SIGXCPU for a wish to end, hence the time itself.
    if finished.returncode == -signal.SIGXCPU or finished.cost.cpu_s >= cpu_s:
        raise _ended(finished, ToolTimeout, f"{_TIMEOUT}: {tool} used more than {cpu_s} s of CPU time", "cpu_time")
    if finished.returncode == -signal.SIGXFSZ:
        text = f"{tool} wrote a file of more than {limits.file_bytes} bytes, which no sound output has"
        raise _ended(finished, OutputTooLarge, text, "output_too_large")
    refused = _NO_MEMORY.search(finished.stderr_tail) is not None
    finished = dataclasses.replace(finished, out_of_memory=killed or refused)
    # A header that lies about a size is refused its memory as well: only one that has filled much really lacks it.
    if killed or (refused and finished.cost.peak_memory_mb > limits.memory_mb / 2):
        raise failed(finished, OutOfMemory)
    return finished


def failed(finished: Finished, failure: type[ToolFailed], message: str | None = None) -> ToolFailed:
    """The error for a run that ended badly, or ended well and left a bad output."""
    tool = _tool(finished)
    lines = [line for line in finished.stderr_tail.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    stopped = _STOPPED.get(finished.returncode)
    text = message or (
        f"{tool} was killed ({stopped})" if stopped else f"{tool} ended with {finished.returncode}: {last}"
    )
    if finished.out_of_memory:
        failure, text = OutOfMemory, f"{tool} ran out of memory: {last}"
    return failure(text, command=finished.command, stderr_tail=finished.stderr_tail)


def _ended(finished: Finished, failure: type[ToolFailed], message: str, reason: str) -> ToolFailed:
    return failure(message, command=finished.command, stderr_tail=finished.stderr_tail, reason=reason)


def _tool(finished: Finished) -> str:
    return Path(finished.argv[0]).name


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
        text = MEMORY_EVENTS.read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def _kernel_limits(limits: Limits, cpu_s: int) -> list[tuple[int, int, int]]:
    """(limit, soft, hard) for ``setrlimit``; never above what this process has itself."""
    wanted = [
        (resource.RLIMIT_DATA, limits.memory_mb * 1024**2, limits.memory_mb * 1024**2),
        # The soft limit sends SIGXCPU, the hard one SIGKILL.
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),
        (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    found = []
    for kind, soft, hard in wanted:
        own = resource.getrlimit(kind)[1]
        most = hard if own == resource.RLIM_INFINITY else min(hard, own)
        found.append((kind, min(soft, most), most))
    return found


def used_so_far(wall_s: float) -> Cost:
    """What this process and the children that it waited for have used; the memory is that of the largest of them."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    peak_mb = max(_megabytes(own), _megabytes(children))
    return Cost(wall_s=round(wall_s, 3), cpu_s=round(cpu_s, 3), peak_memory_mb=peak_mb)


def _megabytes(usage: resource.struct_rusage) -> float:
    return round(usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2), 1)


def _own_memory_mb(settings: Settings) -> int:
    """The container's memory, which is what the plan asked for; else this machine's, by encode slots."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
    try:
        contained = int(Path("/sys/fs/cgroup/memory.max").read_text()) // 1024**2
    except (OSError, ValueError):  # none, or "max"
        contained = machine
    return contained if contained < machine else max(LEAST_MEMORY_MB, machine // settings.encode_slots)
