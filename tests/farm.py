"""A production-like Airflow on this machine: on PostgreSQL, each component a process that dies and comes back alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.local import stack as local_stack
from include.local.airflow_settings import load_airflow_settings
from include.local.environment import ROOT, stack_environment
from include.local.ports import free_port
from include.local.secrets import USERS, stack_secrets
from tests.postgres import PostgresServer, postgres
from tests.receivers import http_receiver
from tests.stack import LiveStack, faulty_ffmpeg, slack_connection

UNITS = ("api-server", "scheduler", "dag-processor", "triggerer")


@dataclass(frozen=True, kw_only=True)
class Farm(LiveStack):
    """The running farm."""

    database: PostgresServer
    """Airflow's metadata and the catalog, a database each."""
    folder: Path
    """Logs and process ids of the units."""

    def pid(self, unit: str) -> int:
        """Process id of a component."""
        return int((self.folder / f"{unit}.pid").read_text())

    def kill(self, unit: str) -> None:
        """SIGKILL a component. What it had started dies with it, and a new one comes a second later."""
        os.kill(self.pid(unit), signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """Every process of the farm but the database's."""
        return psutil.Process(self.stack.pid).children(recursive=True)

    def healthy(self) -> bool:
        """Whether every component answers, or beats, and every check of Callsheet's own is well."""
        try:
            return not local_stack.unhealthy_part(self.stack)
        except Exception:  # the API server may die in the middle of an answer
            return False


@contextmanager
def farm(home: Path, *, extra: dict[str, str] | None = None, **settings: object) -> Iterator[Farm]:
    """Start a farm in ``home``; every process of it is gone afterwards, also when this process is killed.

    Args:
        home: An empty folder.
        extra: Further environment variables for every component.
        settings: Of Callsheet, besides those of a small farm.
    """
    with http_receiver() as callbacks, http_receiver() as slack, postgres() as database:
        faults = home / "faults"
        faults.mkdir(parents=True)
        chosen = Settings(
            **{  # type: ignore[arg-type]
                "home": home,
                "catalog_url": database.create_database("callsheet"),
                "allowed_origins": (callbacks.origin,),
                "encode_slots": 2,
                "release_window": 4,
                "mezzanine_roots": (home / "mezzanines",),
                **settings,
            }
        )
        keys, port = stack_secrets(chosen), free_port()
        environment = {
            **os.environ,
            **stack_environment(chosen, port, keys, database_url=database.create_database("airflow")),
            "AIRFLOW_CONN_CALLSHEET_SLACK": slack_connection(slack),
            "CALLSHEET_FFMPEG": str(faulty_ffmpeg(home, faults)),
            # The script reads the faults, which no media tool could.
            "CALLSHEET_SANDBOX": "off",
            "NO_PROXY": "127.0.0.1",
            **(extra or {}),
        }
        chosen.scratch.mkdir(parents=True)
        Catalog(chosen.catalog_url).migrate()
        _airflow(environment, "db", "migrate")
        with _kept(home / "units", environment) as keeper:
            stack = local_stack.Stack(
                pid=keeper.pid,
                started=0,
                url=f"http://127.0.0.1:{port}",
                passwords={user: keys[f"password_{user}"] for user in USERS},
            )
            said: list[str] = []
            try:
                local_stack.wait_until_healthy(stack, keeper, chosen, said.append)
            except Exception as error:
                tails = [f"{path.name}:\n{path.read_text()[-2000:]}" for path in (home / "units").glob("*.log")]
                raise RuntimeError("\n\n".join([str(error), *tails])) from error
            with stack.api() as api:
                load_airflow_settings(api, chosen)
            running = Farm(
                settings=chosen, stack=stack, callbacks=callbacks, slack=slack, faults=faults,
                database=database, folder=home / "units",
            )  # fmt: skip
            yield running
            for api in running.apis.values():
                api.close()


@contextmanager
def _kept(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Airflow's components under a keeper, which ends them when its stdin closes."""
    folder.mkdir()
    commands = {unit: [sys.executable, "-m", "airflow", unit] for unit in UNITS}
    (folder / "units.json").write_text(json.dumps(commands))
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.keeper", str(folder / "units.json")],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield keeper
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(60)


def _airflow(environment: dict[str, str], *arguments: str) -> None:
    argv = [sys.executable, "-m", "airflow", *arguments]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"airflow {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
