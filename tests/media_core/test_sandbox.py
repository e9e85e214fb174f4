"""What a media tool that a mezzanine has taken over can reach."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.adapters import sandbox
from include.adapters.process import run, used_so_far
from include.adapters.sandbox import find_sandbox, missing
from include.base.errors import ConfigurationError, OutputTooLarge, PlatformUnavailable, ToolTimeout
from include.base.settings import Settings

PYTHON = sys.executable
SECRET = "whsec-that-no-tool-may-read"  # a made one

HOSTILE = """
import json, os, pathlib, socket, sys
found = {}

def attempt(name, act):
    try:
        found[name] = act()
    except Exception as error:
        found[name] = f"{type(error).__name__}"

def environments():
    return [place.name for place in pathlib.Path("/proc").glob("[0-9]*")
            if sys.argv[1].encode() in (place / "environ").read_bytes()]

def connect(family, address):
    with socket.socket(family) as line:
        line.settimeout(3)
        line.connect(address)
    return "connected"

attempt("environments", environments)
attempt("processes", lambda: sum(1 for place in pathlib.Path("/proc").glob("[0-9]*")))
attempt("parent", lambda: os.kill(int(sys.argv[2]), 0))
attempt("neighbour", lambda: pathlib.Path(sys.argv[3]).read_text())
attempt("shadow", lambda: pathlib.Path("/etc/passwd").read_text())
attempt("written", lambda: pathlib.Path(sys.argv[4]).write_text("x"))
attempt("memory", lambda: pathlib.Path("/dev/shm/x").write_text("x"))
attempt("root", lambda: pathlib.Path("/x").write_text("x"))
attempt("network", lambda: connect(socket.AF_INET, ("127.0.0.1", int(sys.argv[5]))))
attempt("socket", lambda: connect(socket.AF_UNIX, sys.argv[6]))
attempt("named", lambda: pathlib.Path(sys.argv[7]).read_text())
attempt("overwritten", lambda: pathlib.Path(sys.argv[7]).write_text("x"))
attempt("output", lambda: pathlib.Path("output").write_text("x"))
print(json.dumps(found))
"""


@pytest.fixture
def closed() -> None:
    """Skips where this machine has no sandbox."""
    said = missing(Settings())
    if said:
        pytest.skip(f"{said}; to run this: {sandbox.INSTALL}")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The machine is looked at anew, now and by whoever comes next."""
    sandbox._found.cache_clear()
    yield monkeypatch
    sandbox._found.cache_clear()


def _attack(folder: Path, *more: str) -> dict[str, Any]:
    """What the hostile tool reaches from a supervisor that holds a secret."""
    work, mezzanine, other = folder / "work", folder / "mezzanine.mp4", folder / "another.mp4"
    work.mkdir()
    mezzanine.write_text("named")
    other.write_text("another title's")
    supervisor = (
        "import sys, os, pathlib; from include.adapters.process import run; "
        "done = run(sys.argv[1:], timeout_s=60, cwd=pathlib.Path(os.environ['WORK'])); print(done.stdout.decode())"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(folder / "socket"))
        local.listen()
        port = server.getsockname()[1]
        argv = [PYTHON, "-c", HOSTILE, SECRET, str(os.getpid()), f"./{os.path.relpath(other, work)}",
                f"{folder}/./outside/../x", str(port), f"{folder}/./socket", str(mezzanine), *more]  # fmt: skip
        finished = subprocess.run(
            [PYTHON, "-c", supervisor, *argv],
            env={**os.environ, "CALLSHEET_WEBHOOK_SECRET": SECRET, "WORK": str(work)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    return {**found, "left": sorted(path.name for path in folder.iterdir()), "made": (work / "output").exists()}


@pytest.mark.usefixtures("closed")
def test_a_tool_that_was_taken_over_reaches_neither_secrets_nor_processes_nor_files_nor_the_network(
    tmp_path: Path,
) -> None:
    found = _attack(tmp_path)

    assert found == {
        "environments": [],
        # The tool and the first process of its namespace.
        "processes": 2,
        "parent": "ProcessLookupError",
        "neighbour": "FileNotFoundError",
        "shadow": "FileNotFoundError",
        "written": "FileNotFoundError",
        "memory": "OSError",
        "root": "OSError",
        "network": "ConnectionRefusedError",
        "socket": "FileNotFoundError",
        "named": "named",
        "overwritten": "OSError",
        "output": 1,
        "left": ["another.mp4", "mezzanine.mp4", "socket", "work"],
        "made": True,
    }


@pytest.mark.usefixtures("closed")
def test_a_tool_that_reads_an_address_has_the_network_and_nothing_else_besides(tmp_path: Path) -> None:
    found = _attack(tmp_path, "http://127.0.0.1:9/mezzanine.mp4")

    assert found["network"] == "connected"
    assert (found["environments"], found["processes"], found["neighbour"]) == ([], 2, "FileNotFoundError")
    assert found["socket"] == "FileNotFoundError"


@pytest.mark.usefixtures("closed")
def test_what_a_closed_in_tool_used_is_counted_and_so_is_one_that_was_killed() -> None:
    busy = "x = bytearray(150 * 2**20)\nimport time\nwhile time.process_time() < 0.5: pass"

    finished = run([PYTHON, "-c", busy], timeout_s=60)
    before = used_so_far(0).cpu_s
    with pytest.raises(ToolTimeout):
        run([PYTHON, "-c", f"{busy}\ntime.sleep(600)"], timeout_s=10)

    assert finished.cost.cpu_s >= 0.5
    assert finished.cost.peak_memory_mb >= 150
    assert used_so_far(0).cpu_s - before >= 0.5


@pytest.mark.usefixtures("closed")
def test_nothing_of_a_tool_is_left_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    supervisor = (
        "import sys, pathlib; from include.adapters.process import run; "
        "run([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(987)'], timeout_s=600, "
        "on_line=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([PYTHON, "-c", supervisor], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"1\n"
        line = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()

    assert len(line) == 3
    assert psutil.wait_procs(line, timeout=10)[1] == []


@pytest.mark.usefixtures("closed")
@pytest.mark.usefixtures("closed")
def test_a_process_that_is_told_to_end_while_it_tries_its_sandbox_leaves_nothing_behind(
    fresh: pytest.MonkeyPatch,
) -> None:
    moments = iter(range(20))

    def interrupted(child: subprocess.Popen[bytes], *given: Any, **named: Any) -> None:
        # Bubblewrap makes its namespaces within about two milliseconds: the moments go through them.
        time.sleep(next(moments) / 10_000)
        raise SystemExit(143)

    fresh.setattr(subprocess.Popen, "communicate", interrupted)
    for _ in range(20):
        with pytest.raises(SystemExit):
            sandbox.find_sandbox(Settings())

    _, alive = psutil.wait_procs([each for each in psutil.process_iter() if _tries(each)], timeout=5)
    assert alive == []


def _tries(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-1:] == ["/usr/bin/true"] and "bwrap" in process.name()
    except psutil.Error:
        return False


def test_a_tool_may_end_with_the_number_of_a_signal_where_it_says_the_error_of_that_number() -> None:
    # 256 less ECONNABORTED is 128 and SIGXFSZ.
    said = "import sys; print('Error opening input: Software caused connection abort', file=sys.stderr); sys.exit(153)"

    assert run([PYTHON, "-c", said], timeout_s=30, check=False).returncode == 153
    killed = "import os, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXFSZ)"
    with pytest.raises(OutputTooLarge):
        run([PYTHON, "-c", killed], timeout_s=30, check=False)


@pytest.mark.usefixtures("closed")
def test_a_sandbox_that_does_not_come_up_is_no_fault_of_what_the_tool_would_have_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_SYSTEM", ())
    gone = tmp_path / "gone"

    with pytest.raises(PlatformUnavailable, match=r"does not come up: bwrap: .*gone"):
        run([PYTHON, "-c", ""], timeout_s=30, check=False, folder=gone)


def test_a_machine_without_bubblewrap_says_so_once_and_runs_tools_all_the_same(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    fresh.setenv("PATH", str(tmp_path))
    fresh.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    fresh.delenv("CALLSHEET_SANDBOX", raising=False)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert run([PYTHON, "-c", "print(1)"], timeout_s=30).stdout == b"1\n"

    assert [record.message for record in caplog.records] == [
        "media tools run without a sandbox: bwrap is not installed; install bubblewrap (`apt-get install bubblewrap`) "
        "on each machine that runs media tools"
    ]
    assert missing(Settings()) == "bwrap is not installed"


def test_a_machine_that_refuses_namespaces_runs_tools_without(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("bwrap", "timeout"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    fresh.setenv("PATH", str(tmp_path))

    assert find_sandbox(Settings(sandbox="auto")) is None
    assert missing(Settings(sandbox="auto")) == (
        "this machine lets bwrap make no namespaces (bwrap: No permissions to create a new namespace)"
    )


def test_a_sandbox_that_is_required_and_missing_is_a_wrong_configuration(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh.setenv("PATH", str(tmp_path))
    fresh.setenv("CALLSHEET_SANDBOX", "required")

    with pytest.raises(ConfigurationError, match="CALLSHEET_SANDBOX=required, but bwrap is not installed"):
        run([PYTHON, "-c", ""], timeout_s=30)


def test_a_sandbox_that_is_switched_off_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")

    finished = run([PYTHON, "-c", "import os; print(os.getppid())"], timeout_s=30)

    assert int(finished.stdout) == os.getpid()
    assert missing(Settings()) == "switched off (CALLSHEET_SANDBOX=off)"
