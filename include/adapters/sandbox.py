"""Closes a media tool in: what it reads comes from strangers and may take it over (docs/decisions/0023).

In the sandbox a tool sees the system's programs, the files that its command names and one folder that it may write to:
no other process, no other file, no socket, and no network but for an address that its command names. It needs
bubblewrap and the right to make namespaces, which containers mostly have not: there the container is the sandbox.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings

log = logging.getLogger(__name__)

INSTALL = "install bubblewrap (`apt-get install bubblewrap`) on each machine that runs media tools"
TRIAL_LIMIT_S = 10
_LATER_S = 60.0
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc/ld.so.cache")
"""Programs and libraries. None of these holds secrets."""
_NAMES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf")
"""How a name is turned into an address."""
_DEVICES = ("/dev/nvidia", "/dev/dri")
"""Beginnings of the names of what a hardware encoder talks to."""
_PROCESSES = 3
"""Bubblewrap, the first process of its namespace, the tool."""
_SIGNALS = frozenset(signal.Signals)
_REMOTE = ("http://", "https://")
_FILE = "file:"


class Sandbox:
    """Bubblewrap on this machine."""

    def __init__(self, bwrap: str, init: str) -> None:
        """Args: paths of bubblewrap and of coreutils' ``timeout``."""
        self._bwrap, self._init = bwrap, init

    def argv(self, argv: Sequence[str], *, limit_s: float, cwd: Path | None = None, folder: Path | None = None,
             reads: Sequence[str] = ()) -> list[str]:  # fmt: skip
        """The command that runs ``argv`` closed in.

        Args:
            argv: Program and arguments. A file that an argument names, alone or behind ``file:``, can be read; where
                one is an address, the network is open.
            limit_s: After this and a little more it is killed in there, should nobody outside have done so.
            cwd: Where it runs; it may write there.
            folder: Where else it may write.
            reads: Paths and addresses that it reads and that are no arguments by themselves.
        """
        named = [*argv[1:], *reads]
        remote = any(each.startswith(_REMOTE) for each in named)
        files = [path for path in (each.removeprefix(_FILE) for each in named) if path[:1] == "/" and _is_file(path)]
        folders = [path for path in (cwd, folder) if path is not None]
        return [
            self._bwrap,
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            # Root reads what belongs to others, here as without: mezzanines are delivered under any owner.
            *(("--cap-add", "CAP_DAC_OVERRIDE") if os.geteuid() == 0 else ()),
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *(() if remote else ("--unshare-net",)),
            *_system(),
            *_program(argv[0]),
            *("--proc", "/proc", "--dev", "/dev", *_devices()),
            *(part for path in (_NAMES if remote else ()) for part in ("--ro-bind-try", path, path)),
            *(part for path in files for part in ("--ro-bind-try", path, path)),
            *(part for path in folders for part in ("--bind", os.path.abspath(path), os.path.abspath(path))),  # noqa: PTH100  # must not follow links
            # Both are kept in memory: a tool could fill them beyond its limit.
            *("--remount-ro", "/dev", "--remount-ro", "/"),
            *("--chdir", os.path.abspath(cwd) if cwd else "/"),  # noqa: PTH100  # the same
            # The first process of its namespace: bubblewrap's own would keep what the tool used to itself, and the tool
            # as the first would not be stopped by the signals of its limits. A supervisor that is killed while
            # bubblewrap is at work does not take the tool along: then the time does.
            *("--as-pid-1", "--", self._init, "--foreground", "--signal=KILL", f"{limit_s + _LATER_S:.0f}"),
            *argv,
        ]


def exit_code(code: int, stderr: str) -> int:
    """How the tool itself ended, as :mod:`subprocess` tells it; the sandbox tells a signal by 128 and its number.

    Raises :class:`PlatformUnavailable` where the sandbox did not come up.

    Args:
        code: Of the sandbox.
        stderr: Its end.
    """
    if code == 1 and stderr.startswith("bwrap: "):
        raise PlatformUnavailable(f"the sandbox of media tools does not come up: {stderr.splitlines()[0]}")
    # ffmpeg ends with 256 less the number of an error, which may be the same number; then it has said which error.
    own = os.strerror(256 - code) in stderr
    return 128 - code if code - 128 in _SIGNALS and not own else code


def kill_closed_in(child: subprocess.Popen[bytes]) -> None:
    """Kill the tool in a sandbox, which then ends by itself and accounts for it.

    Where there is no tool yet, what is to become it is killed, and else bubblewrap. It stands still meanwhile: killed
    in the wrong moment it would leave behind the process that it has just made.
    """
    with suppress(OSError):  # it has ended
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        found = [child.pid]
        while len(found) < _PROCESSES and (inner := _children(found[-1])):
            found.append(inner[0])
        try:
            os.kill(found[-1], signal.SIGKILL)
        finally:
            os.kill(child.pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)  # noqa: PTH113  # an argument is no path until this has said so
    except ValueError:
        return False


def find_sandbox(settings: Settings) -> Sandbox | None:
    """The sandbox of this machine, None where tools run without one; which of the two is logged once.

    Raises :class:`ConfigurationError` where one is required and cannot be had.
    """
    if settings.sandbox == "off":
        return None
    found = _found()
    if isinstance(found, Sandbox):
        return found
    if settings.sandbox == "required":
        raise ConfigurationError(f"CALLSHEET_SANDBOX=required, but {found}: {INSTALL}")
    return None


def missing(settings: Settings) -> str:
    """Why tools run without a sandbox here; empty where they run in one."""
    if settings.sandbox == "off":
        return "switched off (CALLSHEET_SANDBOX=off)"
    found = _found()
    return "" if isinstance(found, Sandbox) else found


@cache
def _found() -> Sandbox | str:
    """The sandbox, or in words why there is none."""
    found = _tried()
    if isinstance(found, str):
        pod = "KUBERNETES_SERVICE_HOST" in os.environ
        said = "in a pod the container is the sandbox" if pod else INSTALL
        log.log(logging.INFO if pod else logging.WARNING, "media tools run without a sandbox: %s; %s", found, said)
    return found


def _tried() -> Sandbox | str:
    bwrap, init = shutil.which("bwrap"), shutil.which("timeout")
    if bwrap is None or init is None:
        return f"{'timeout' if bwrap else 'bwrap'} is not installed"
    sandbox = Sandbox(bwrap, init)
    try:
        code, said = _trial(sandbox)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not run: {error}"
    return f"this machine lets bwrap make no namespaces ({said.strip()[:200]})" if code else sandbox


def _trial(sandbox: Sandbox) -> tuple[int, str]:
    """Exit code and words of a tool that does nothing; it is stopped as any other where this process is told to end."""
    argv = sandbox.argv(["/usr/bin/true"], limit_s=TRIAL_LIMIT_S)
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={}
    ) as child:
        try:
            _, said = child.communicate(timeout=TRIAL_LIMIT_S)
        except BaseException:
            kill_closed_in(child)
            raise
    return child.returncode, said.decode(errors="replace")


@cache
def _system() -> tuple[str, ...]:
    return tuple(part for path in _SYSTEM for part in _as_here(Path(path)))


def _as_here(path: Path) -> tuple[str, ...]:
    if path.is_symlink():
        return ("--symlink", str(path.readlink()), str(path))
    return ("--ro-bind", str(path), str(path)) if path.exists() else ()


@cache
def _program(program: str) -> tuple[str, ...]:
    """A program's own installation, where it is none of the system's."""
    found = shutil.which(program) or program
    homes = {path.parent.parent if path.parent.name == "bin" else path.parent
             for path in (Path(found), Path(os.path.realpath(found)))}  # fmt: skip
    libraries = {Path(path) for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path}
    places = sorted(path for path in homes | libraries if path.is_absolute() and path != Path("/"))
    system = [Path(path) for path in _SYSTEM]
    return tuple(
        part
        for path in places
        if not any(path.is_relative_to(each) for each in system)
        for part in ("--ro-bind-try", str(path), str(path))
    )


def _devices() -> Iterator[str]:
    found = sorted(str(path) for path in Path("/dev").iterdir() if str(path).startswith(_DEVICES))
    for path in found:
        yield from ("--dev-bind-try", path, path)
    if found:
        # Drivers look there for the device's place on the bus.
        yield from ("--ro-bind-try", "/sys", "/sys")
