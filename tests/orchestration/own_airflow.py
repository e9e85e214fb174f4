"""Programs that a test runs in a process of their own, on an Airflow database of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.measured import ROOT, python

LIMIT_S = 300


def told_by(program: str, folder: Path) -> Any:
    """What the program beside this file says in JSON on its last line.

    Its argument is an empty folder for DAGs; Airflow's database is not made yet.
    """
    home, dags = folder / "airflow", folder / "dags"
    dags.mkdir()
    environment = {
        **{n: value for n, value in os.environ.items() if not n.startswith(("AIRFLOW", "_AIRFLOW", "CALLSHEET"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "CALLSHEET_HOME": str(folder / "callsheet"),
        "PYTHONPATH": str(ROOT),
    }
    finished = subprocess.run(
        [*python(), str(Path(__file__).with_name(program)), str(dags)],
        capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])
