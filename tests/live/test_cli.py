"""The installed command against the real stack, as a person and as a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from include.local.processes import session_of
from tests.clips import make_clip
from tests.stack import LiveStack


@pytest.fixture(scope="module")
def clip(live: LiveStack) -> Path:
    return make_clip(live.mezzanines / "cli.mp4", seconds=2)


def callsheet(live: LiveStack, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    return subprocess.run(
        [sys.executable, "-m", "include.cli.app", *arguments],
        env={**environment, "CALLSHEET_HOME": str(live.settings.home), "COLUMNS": "80", **settings},
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


def test_no_other_machine_reaches_any_process_of_the_stack(live: LiveStack) -> None:
    ours = set(session_of(live.stack.pid))
    listening = {
        f"{each.laddr.ip}:{each.laddr.port}"
        for each in psutil.net_connections()
        if each.pid in ours and each.status == psutil.CONN_LISTEN
    }

    # The API server alone: it reads the logs of running tasks itself.
    assert listening == {live.stack.url.removeprefix("http://")}


def test_a_second_start_finds_the_running_stack(live: LiveStack) -> None:
    done = callsheet(live, "up")

    assert done.returncode == 0
    assert f"the stack is up already at {live.stack.url}" in done.stderr


def test_pools_get_the_slots_of_the_settings_also_where_somebody_changed_them(live: LiveStack) -> None:
    def slots() -> dict[str, int]:
        found = live.api("admin").request("GET", "/api/v2/pools")["pools"]
        return {pool["name"]: pool["slots"] for pool in found if pool["name"].endswith("_encode")}

    before = slots()
    live.api("admin").request(
        "PATCH",
        "/api/v2/pools/cpu_encode",
        json={"pool": "cpu_encode", "slots": 9, "include_deferred": True},
        params={"update_mask": "slots"},
    )
    try:
        cpu = str(before["cpu_encode"])
        done = callsheet(live, "configure", CALLSHEET_ENCODE_SLOTS=cpu, CALLSHEET_GPU_SLOTS="3")

        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert slots() == {**before, "gpu_encode": 3}
    finally:
        callsheet(live, "configure", CALLSHEET_ENCODE_SLOTS=cpu, CALLSHEET_GPU_SLOTS=str(before["gpu_encode"]))
    assert slots() == before
