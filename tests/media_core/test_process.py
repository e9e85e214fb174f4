from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from include.adapters.process import redacted, run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed, OutOfMemory, PackagerFailed, ToolTimeout
from include.base.settings import load_settings

PYTHON = sys.executable


def test_output_is_kept_and_the_cost_is_counted() -> None:
    finished = run([PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], timeout_s=30)

    assert (finished.stdout, finished.stderr, finished.returncode) == (b"out\n", "err\n", 0)
    assert finished.cost.cpu_s > 0
    assert finished.cost.peak_memory_mb > 1


def test_lines_arrive_one_by_one_and_broken_text_does_no_harm() -> None:
    lines: list[str] = []

    run([PYTHON, "-c", "import os; os.write(1, b'a\\nb\\xff\\nc')"], timeout_s=30, on_line=lines.append)

    assert lines == ["a", "b\ufffd", "c"]


def test_a_failure_carries_command_stderr_and_the_asked_class() -> None:
    with pytest.raises(PackagerFailed) as caught:
        run([PYTHON, "-c", "raise SystemExit('no good')"], timeout_s=30, failure=PackagerFailed)

    assert "no good" in caught.value.stderr_tail
    assert PYTHON in caught.value.command
    assert "ended with 1: no good" in caught.value.message


def test_a_child_past_its_limit_is_killed_with_the_text_that_users_know() -> None:
    with pytest.raises(ToolTimeout, match=r"^FFmpeg timeout: ") as caught:
        run([PYTHON, "-c", "import time; time.sleep(600)"], timeout_s=0.5)

    assert caught.value.reason == "timeout"


def test_a_tool_that_gets_no_memory_is_out_of_memory_and_another_kill_is_not() -> None:
    with pytest.raises(OutOfMemory, match="Cannot allocate memory"):
        run([PYTHON, "-c", "raise SystemExit('x264: Cannot allocate memory')"], timeout_s=30)
    with pytest.raises(EncoderCrashed, match="SIGKILL"):
        run([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], timeout_s=30)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name
)
def test_what_a_stopped_tool_has_left_is_no_result(number: signal.Signals) -> None:
    program = f"import os, signal; signal.signal({number}, 0) if {number} != 9 else 0; os.kill(os.getpid(), {number})"

    with pytest.raises(EncoderCrashed, match=f"was killed .{number.name}"):
        run([PYTHON, "-c", program], timeout_s=30, check=False)


@pytest.mark.parametrize(("times", "code"), [(1, 255), (9, 123)])
def test_an_ffmpeg_that_was_asked_to_end_has_no_result(times: int, code: int) -> None:
    endless = [ffmpeg(load_settings()), "-nostdin", "-f", "lavfi", "-re", "-i", "testsrc=rate=5", "-progress", "pipe:1"]

    left = [signal.SIGTERM] * times
    others = psutil.Process().children(recursive=True)  # of other tests, or Python's own

    def stop(line: str) -> None:
        started = [each for each in psutil.Process().children(recursive=True) if each not in others]
        # Around the tool there may be a sandbox, which waits for it: the tool is the last.
        with suppress(psutil.NoSuchProcess):
            while left:
                started[-1].send_signal(left.pop())
                time.sleep(0.01)  # signals that wait are merged

    with pytest.raises(EncoderCrashed, match=f"was killed .exit code {code}"):
        run([*endless, "-f", "null", "-"], timeout_s=30, check=False, on_line=stop)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE], ids=lambda each: each.name)
def test_a_tool_that_crashes_on_what_it_reads_has_one(number: signal.Signals) -> None:
    finished = run([PYTHON, "-c", f"import os; os.kill(os.getpid(), {number})"], timeout_s=30, check=False)

    assert finished.returncode == -number


def test_a_child_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")

    finished = run([PYTHON, "-c", "import os; print(dict(os.environ))"], timeout_s=30)

    assert b"topsecret" not in finished.stdout


def test_a_secret_that_a_tool_is_handed_stands_in_no_log_error_or_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    key, address = "00112233445566778899aabbccddeeff", "https://s3.test/b/k?token=a-token-of-32-characters-and-more"
    script = "import sys; key, url = sys.argv[1:]; sys.exit(f'bad key {key[4:]}; no {url[26:]}')"

    with pytest.raises(EncoderCrashed) as caught:
        run([PYTHON, "-c", script, f"key={key}", address], timeout_s=30, secrets=[key])

    shown = f"{caught.value} {caught.value.command} {caught.value.stderr_tail} {caplog.text}"
    assert "bad key …; no …" in shown
    assert "key=…" in shown
    assert key not in shown
    assert "a-token" not in shown


def test_the_secrets_of_a_presigned_address_reach_neither_log_nor_record(caplog: pytest.LogCaptureFixture) -> None:
    address = "https://s3.test/b/k?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=0123abcd&x-id=GetObject"

    with caplog.at_level("INFO"):
        finished = run([PYTHON, "-c", "import sys; sys.exit(sys.argv[1])", address], timeout_s=30, check=False)

    assert "s3.test/b/k" in finished.command
    for text in (finished.command, finished.stderr, caplog.text, redacted(address)):
        assert "0123abcd" not in text
        assert "AKIA" not in text


def test_a_chatty_child_keeps_its_end_only() -> None:
    program = "import sys; sys.stderr.write('x' * 20_000_000 + 'end')"

    assert run([PYTHON, "-c", program], timeout_s=60).stderr_tail.endswith("xend")


def test_a_process_that_is_told_to_end_while_it_starts_a_tool_ends_and_the_tool_with_it() -> None:
    worker = """
import os, signal, sys
from include.adapters.process import run

def stop(signum, frame):
    raise SystemExit(128 + signum)

signal.signal(signal.SIGTERM, stop)
# As logging's and random's hooks are: what is raised while they run is dropped.
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
run([sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=600)
"""
    before = psutil.Process().children()

    ended = subprocess.run([PYTHON, "-c", worker], timeout=60, check=False, capture_output=True)

    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, b"")
    assert [child for child in psutil.Process().children(recursive=True) if child not in before] == []


def test_handlers_are_as_before_once_a_tool_has_been_started() -> None:
    def stop(signum: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        run([PYTHON, "-c", ""], timeout_s=30)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
