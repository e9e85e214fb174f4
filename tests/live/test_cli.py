"""The installed command against the real stack, as a person and as a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.stack import LiveStack


@pytest.fixture(scope="module")
def clip(live: LiveStack) -> Path:
    return make_clip(live.mezzanines / "cli.mp4", seconds=2)


def callsheet(live: LiveStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    return subprocess.run(
        [sys.executable, "-m", "include.cli", *arguments],
        env={**environment, "CALLSHEET_HOME": str(live.settings.home), "COLUMNS": "80"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_one_file_is_encoded_and_then_found_again(live: LiveStack, clip: Path) -> None:
    done = callsheet(live, "encode", str(clip), "--tier", "ugc", "--json")

    assert done.returncode == 0, done.stderr
    (title,) = json.loads(done.stdout)
    assert (title["title_id"], title["state"]) == ("cli", "published")
    assert "published 100 %" in done.stderr
    status = callsheet(live, "status", "cli", "--json")
    assert json.loads(status.stdout)["hls"] == title["hls"]
    shown = callsheet(live, "status", "cli").stdout
    assert "256×144" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if "http://" not in line)


def test_a_refused_request_is_one_line_with_intakes_own_reason(live: LiveStack, clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"batch_id": "cli-bad", "titles": [{"title_id": "a", "mezzanine": "ftp://x/y"}]}))

    done = callsheet(live, "submit", str(file))

    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("callsheet: a: mezzanine: must start with file://")


def test_a_second_start_finds_the_running_stack(live: LiveStack) -> None:
    done = callsheet(live, "up")

    assert done.returncode == 0
    assert f"the stack is up already at {live.stack.url}" in done.stderr
