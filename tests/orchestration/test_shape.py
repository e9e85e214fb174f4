"""Which tasks of a title run when others fail or have nothing to do: Airflow's scheduler decides, on its own tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import include

ROOT = Path(next(iter(include.__path__))).parent
DONE = {"prepare": "success", "plan": "success", "extras": "success", "encode_gpu_jobs": "success",
        "encode_done": "success", "finish": "success", "publish": "success", "settle": "success"}  # fmt: skip
"""The whole of a title but its mapped tasks."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """States of all tasks of each title."""
    folder = tmp_path_factory.mktemp("shape")
    home, dags = folder / "airflow", folder / "dags"
    dags.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "PYTHONPATH": str(ROOT),
    }
    program = Path(__file__).with_name("shape.py")
    finished = subprocess.run(
        [sys.executable, str(program), str(dags)],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, dict[str, str]] = json.loads(finished.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("title", "differs"),
    [
        ("cpu_only", {"encode_cpu.0": "success", "encode_cpu.1": "success", "encode_gpu": "skipped"}),
        ("gpu_only", {"encode_cpu": "skipped", "encode_gpu.0": "success", "encode_gpu.1": "success"}),
        ("both", {"encode_cpu.0": "success", "encode_gpu.0": "success", "encode_gpu.1": "success"}),
        ("one_rendition_failed",
         {"encode_cpu.0": "success", "encode_cpu.1": "failed", "encode_gpu.0": "success"}),
        ("every_rendition_failed", {"encode_cpu.0": "failed", "encode_gpu.0": "failed"}),
        ("no_sound", {"encode_cpu.0": "success", "encode_gpu.0": "success", "extras": "failed",
                      "finish": "upstream_failed", "publish": "upstream_failed"}),
        ("no_plan", {"plan": "failed", "encode_gpu_jobs": "upstream_failed", "encode_cpu": "upstream_failed",
                     "encode_gpu": "upstream_failed", "finish": "upstream_failed", "publish": "upstream_failed"}),
        ("rejected", {"prepare": "failed", "plan": "upstream_failed", "extras": "upstream_failed",
                      "encode_gpu_jobs": "upstream_failed", "encode_cpu": "upstream_failed",
                      "encode_gpu": "upstream_failed", "finish": "upstream_failed", "publish": "upstream_failed"}),
    ],
)  # fmt: skip
def test_empty_encodes_sink_nothing_failed_ones_leave_it_to_the_checks_and_every_title_is_settled(
    title: str, differs: dict[str, str], states: dict[str, dict[str, str]]
) -> None:
    assert states[title] == {**DONE, **differs}
