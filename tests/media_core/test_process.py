from __future__ import annotations

import sys

import pytest

from include.adapters.process import redacted, run
from include.errors import EncoderCrashed, OutOfMemory, PackagerFailed, ToolTimeout

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


def test_a_child_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")

    finished = run([PYTHON, "-c", "import os; print(dict(os.environ))"], timeout_s=30)

    assert b"topsecret" not in finished.stdout


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
