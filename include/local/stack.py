"""The local stack: one Airflow on this machine, in a process group of its own.

SQLite, LocalExecutor, free ports, generated secrets. Everything it keeps is beneath one folder (``CALLSHEET_HOME``), so
that a second stack in another folder does not meet the first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings
from include.local import components
from include.local.airflow_settings import load_airflow_settings
from include.local.environment import ROOT, stack_environment
from include.local.ports import kept_port
from include.local.processes import session_of, signal_group, start_time
from include.local.secrets import USERS, stack_secrets, write_private
from include.services.upgrade import Upgraded, upgrade_catalog

START_TIMEOUT_S = 180.0
GROUP_STOP_S = 25.0


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running local stack, as ``stack.json`` in its home remembers it."""

    pid: int
    """Leader of the process group."""
    started: float
    """Start time of that process since boot: tells it from a later one with the same id."""
    url: str
    passwords: dict[str, str]

    def api(self, user: str = "callsheet") -> AirflowApi:
        """A client of this stack's Airflow."""
        return AirflowApi(self.url, user, self.passwords[user])


def up(
    settings: Settings, *, say: Callable[[str], None], extra: dict[str, str] | None = None, project: Path = ROOT
) -> Stack:
    """Start the stack, or find it running; returns when it is healthy.

    Args:
        settings: Of the stack; its processes get the same ones.
        say: Gets progress, a line at a time.
        extra: Environment variables for the stack besides.
        project: The folder that has ``dags``, ``plugins`` and ``include``; another one than this runs a copy.

    Raises :class:`PlatformUnavailable` with the end of the log where it does not become healthy.
    """
    running = find(settings)
    if running is not None:
        say(f"the stack is up already at {running.url}")
        return running
    home = settings.home / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    # Databases and logs are in it: requests with their addresses, and what Airflow knows of its users.
    settings.home.chmod(0o700)
    settings.scratch.mkdir(parents=True, exist_ok=True)
    told(upgrade_catalog(Catalog(settings.catalog_url), now=datetime.now(UTC)), say)
    keys = stack_secrets(settings)
    port = kept_port(settings)
    environment = {**os.environ, **stack_environment(settings, port, keys, project=project), **(extra or {})}
    say(f"starting Airflow at http://127.0.0.1:{port}; its log is {shown(settings.home / 'airflow.log')}")
    with (settings.home / "airflow.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", components.__file__],  # -P: its folder has a module called secrets
            cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # a group of its own, which SIGTERM ends as a whole
        )  # fmt: skip
    stack = Stack(
        pid=process.pid,
        started=start_time(process.pid),
        url=f"http://127.0.0.1:{port}",
        passwords={user: keys[f"password_{user}"] for user in USERS},
    )
    write_private(settings.home / "stack.json", json.dumps(asdict(stack)))
    try:
        wait_until_healthy(stack, process, settings, say)
        with stack.api() as api:
            load_airflow_settings(api, settings, project=project)
    except BaseException:
        down(settings)
        raise
    # It outlives this process on purpose: without this, Python warns of a child that nobody waits for.
    process.returncode = 0
    say(f"healthy: {stack.url}")
    return stack


def told(upgraded: Upgraded, say: Callable[[str], None]) -> None:
    """Say what an upgrade has changed in the catalog, a line at a time; nothing where it had nothing to do."""
    for migration in upgraded.applied:
        say(f"migration {migration.revision} applied: {migration.what}")
    if upgraded.moved:
        say(f"under the newest version of their pipeline now: {', '.join(upgraded.moved)}")


def find(settings: Settings) -> Stack | None:
    """The running stack of this home, None where there is none."""
    try:
        stack = Stack(**json.loads((settings.home / "stack.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    started = start_time(stack.pid)
    return stack if started and started == stack.started else None


def down(settings: Settings) -> bool:
    """Stop every process of the stack; False where none was running."""
    stack = find(settings)
    (settings.home / "stack.json").unlink(missing_ok=True)
    if stack is None:
        return False
    end = time.monotonic() + GROUP_STOP_S
    signal_group(stack.pid, signal.SIGTERM)
    while session_of(stack.pid) and time.monotonic() < end:
        time.sleep(0.2)
    # Airflow's task supervisors put each task in a group of its own: ended by their session, which is the stack's.
    for pid in session_of(stack.pid):
        os.kill(pid, signal.SIGKILL)
    return True


def wait_until_healthy(
    stack: Stack, process: subprocess.Popen[bytes], settings: Settings, say: Callable[[str], None]
) -> None:
    """Airflow's four components and Callsheet's own health; the control DAGs are parsed."""
    end = time.monotonic() + START_TIMEOUT_S
    waiting_for, said = "the API server", ""
    while time.monotonic() < end:
        if process.poll() is not None:
            said = _log_tail(settings, say)
            raise PlatformUnavailable(f"Airflow ended while starting ({process.returncode}): {said}")
        waiting_for = unhealthy_part(stack)
        if not waiting_for:
            return
        if waiting_for != said:
            say(f"waiting for {waiting_for}")
            said = waiting_for
        time.sleep(0.5)
    raise PlatformUnavailable(f"Airflow is not healthy: {waiting_for}; {_log_tail(settings, say)}")


def unhealthy_part(stack: Stack) -> str:
    """What is not healthy yet, empty when all is."""
    try:
        components = httpx.get(f"{stack.url}/api/v2/monitor/health", timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return "the API server"
    for name in ("metadatabase", "scheduler", "dag_processor", "triggerer"):
        if (components.get(name) or {}).get("status") != "healthy":
            return f"the {name.replace('_', ' ')}"
    account = {"username": "callsheet", "password": stack.passwords["callsheet"]}
    try:
        answer = httpx.post(f"{stack.url}/auth/token", json=account, timeout=10).raise_for_status()
        token = answer.json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{stack.url}/callsheet/api/v1/health", headers=headers, timeout=10)
    except httpx.HTTPError:
        # A busy machine may take longer than that over its first answers.
        return "the API server"
    if "application/json" not in answer.headers.get("content-type", ""):
        raise ConfigurationError("Callsheet's plugin did not load: see `airflow plugins` and the API server's log")
    report = answer.json()
    if not report.get("healthy"):
        wrong = [f"{name}: {said}" for name, said in report.get("checks", {}).items() if said != "ok"]
        raise ConfigurationError("; ".join(wrong))
    with stack.api() as api:
        for dag_id in ("intake", "dispatch"):
            if not api.knows_dag(dag_id):
                return f"the DAG {dag_id}"
    return ""


def _log_tail(settings: Settings, say: Callable[[str], None]) -> str:
    """Say the end of Airflow's log; returns its last line."""
    path = settings.home / "airflow.log"
    lines = path.read_text(errors="replace")[-3000:].splitlines() if path.exists() else []
    for line in lines:
        say(line)
    return lines[-1] if lines else "it has no log"


def shown(path: Path) -> str:
    """A path as people would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
