"""The local stack: one Airflow on this machine, in a process group of its own.

SQLite, LocalExecutor, free ports, generated secrets. Everything it keeps is beneath one folder (``CALLSHEET_HOME``), so
that a second stack in another folder does not meet the first.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml

import include
from include.adapters.airflow_api import CONNECTION_ID, AirflowApi
from include.adapters.catalog import Catalog
from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings

ROOT = Path(next(iter(include.__path__))).parent
START_TIMEOUT_S = 180.0
SPARE_PROCESSES = 4
"""LocalExecutor's processes beyond the encode slots, so that intake and dispatch never wait for an encode."""
USERS = {"admin": "admin", "cms": "user", "callsheet": "op"}
"""Users of the local stack and their roles: a person, the CMS, Callsheet's own service account."""
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


def up(settings: Settings, *, say: Callable[[str], None], extra: dict[str, str] | None = None) -> Stack:
    """Start the stack, or find it running; returns when it is healthy.

    Args:
        settings: Of the stack; its processes get the same ones.
        say: Gets progress, a line at a time.
        extra: Environment variables for the stack besides.

    Raises :class:`PlatformUnavailable` with the end of the log where it does not become healthy.
    """
    running = find(settings)
    if running is not None:
        say(f"the stack is up already at {running.url}")
        return running
    home = settings.home / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    settings.scratch.mkdir(parents=True, exist_ok=True)
    Catalog(settings.catalog_url).migrate()
    keys = _secrets(settings)
    port = _port(settings)
    environment = {**os.environ, **stack_environment(settings, port, keys), **(extra or {})}
    say(f"starting Airflow at http://127.0.0.1:{port}; its log is {_shown(settings.home / 'airflow.log')}")
    with (settings.home / "airflow.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # SIGTERM to `standalone` alone would orphan its children
        )  # fmt: skip
    stack = Stack(
        pid=process.pid,
        started=_start_time(process.pid),
        url=f"http://127.0.0.1:{port}",
        passwords={user: keys[f"password_{user}"] for user in USERS},
    )
    _write_private(settings.home / "stack.json", json.dumps(asdict(stack)))
    try:
        _wait_until_healthy(stack, process, settings, say)
        _load_airflow_settings(stack, settings)
    except BaseException:
        down(settings)
        raise
    # It outlives this process on purpose: without this, Python warns of a child that nobody waits for.
    process.returncode = 0
    say(f"healthy: {stack.url}")
    return stack


def find(settings: Settings) -> Stack | None:
    """The running stack of this home, None where there is none."""
    try:
        stack = Stack(**json.loads((settings.home / "stack.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    started = _start_time(stack.pid)
    return stack if started and started == stack.started else None


def down(settings: Settings) -> bool:
    """Stop every process of the stack; False where none was running."""
    stack = find(settings)
    (settings.home / "stack.json").unlink(missing_ok=True)
    if stack is None:
        return False
    end = time.monotonic() + GROUP_STOP_S
    _signal_group(stack.pid, signal.SIGTERM)
    while _group_alive(stack.pid) and time.monotonic() < end:
        time.sleep(0.2)
    # Airflow's task supervisors put each task in a group of its own: ended by their session, which is the stack's.
    for pid in _session(stack.pid):
        os.kill(pid, signal.SIGKILL)
    return True


def stack_environment(settings: Settings, port: int, keys: dict[str, str], *, database_url: str = "") -> dict[str, str]:
    """What every process of the stack gets: Airflow's configuration and Callsheet's settings.

    Args:
        settings: Of the stack.
        port: Of the API server.
        keys: The stack's secrets.
        database_url: Of Airflow's metadata; empty means SQLite in the stack's home.
    """
    home = settings.home / "airflow"
    database_url = database_url or f"sqlite:///{home / 'airflow.db'}"
    passwords = home / "passwords.json"
    _write_private(passwords, json.dumps({user: keys[f"password_{user}"] for user in USERS}))
    account = f"callsheet:{quote(keys['password_callsheet'])}"
    bundles = [
        {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(ROOT / "dags"), "refresh_interval": 300},
        },
        {
            "name": "batches",
            "classpath": "include.orchestration.bundle.CatalogDagBundle",
            "kwargs": {"refresh_interval": 2},
        },
    ]
    airflow = {
        "CORE__DAGS_FOLDER": ROOT / "dags",
        "CORE__PLUGINS_FOLDER": ROOT / "plugins",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": settings.encode_slots + settings.gpu_slots + SPARE_PROCESSES,
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
        "CORE__FERNET_KEY": keys["fernet"],
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": 200,
        "DATABASE__SQL_ALCHEMY_CONN": database_url,
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": keys["secret_key"],
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": keys["jwt"],
        # Both are needed for a batch to show within seconds: one gates the other.
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": 1,
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": home / "bundles",
        # Stubs change their text when they have to be parsed again; nothing else is worth a parse.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 3600,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        # Fixed ports by default, which a second stack would find taken.
        "LOGGING__WORKER_LOG_SERVER_PORT": _free_port(),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": _free_port(),
        "SCHEDULER__MAX_TIS_PER_QUERY": 0,
        # Airflow's defaults leave work of a process that died alone for five to ten minutes. A task beats every 5 s.
        # All of them are silent while the API server or the database starts again, up to a minute on a busy machine:
        # a shorter limit would cost each of them an attempt.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 120,
        # A new scheduler finds the old one's tasks only at the second look: the old one counts as alive for 30 s.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 15,
        # Tasks that the executor took and never started. Pools and parallelism keep the wait in the queue to seconds.
        "SCHEDULER__TASK_QUEUED_TIMEOUT": 120,
        "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": 30,
        # An API server takes up to half a minute to start again on a busy machine; by default a task gives up after
        # some 10 s, and its attempt with it.
        "WORKERS__EXECUTION_API_RETRIES": 12,
        "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": 8,
        "WORKERS__EXECUTION_API_TIMEOUT": 15,
    }
    if database_url.startswith("postgresql"):
        # Airflow would guess asyncpg, another driver to install; psycopg serves both ways.
        airflow["DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = database_url
    else:
        airflow["DATABASE__SQL_ALCHEMY_CONNECT_ARGS"] = "include.local.sqlite.CONNECT_ARGS"
    callsheet = {name: _as_text(getattr(settings, name)) for name in Settings.model_fields}
    callsheet["airflow_base_url"] = settings.airflow_base_url or f"http://127.0.0.1:{port}"
    callsheet["webhook_secret"] = settings.webhook_secret.get_secret_value() or keys["webhook"]
    return {
        "AIRFLOW_HOME": str(home),
        # `standalone` finds its components by the name `airflow`.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Airflow puts neither the project root nor dags/ on the path; without it the plugin vanishes in silence.
        "PYTHONPATH": str(ROOT),
        f"AIRFLOW_CONN_{CONNECTION_ID.upper()}": f"http://{account}@127.0.0.1:{port}/http",
        **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
        **{f"CALLSHEET_{name.upper()}": value for name, value in callsheet.items()},
    }


def _as_text(value: object) -> str:
    """A setting as the environment holds it: lists comma-separated."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _wait_until_healthy(
    stack: Stack, process: subprocess.Popen[bytes], settings: Settings, say: Callable[[str], None]
) -> None:
    """Airflow's four components and Callsheet's own health; the control DAGs are parsed."""
    end = time.monotonic() + START_TIMEOUT_S
    waiting_for, said = "the API server", ""
    while time.monotonic() < end:
        if process.poll() is not None:
            said = _log_tail(settings, say)
            raise PlatformUnavailable(f"Airflow ended while starting ({process.returncode}): {said}")
        waiting_for = _unhealthy(stack)
        if not waiting_for:
            return
        if waiting_for != said:
            say(f"waiting for {waiting_for}")
            said = waiting_for
        time.sleep(0.5)
    raise PlatformUnavailable(f"Airflow is not healthy: {waiting_for}; {_log_tail(settings, say)}")


def _unhealthy(stack: Stack) -> str:
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


def _load_airflow_settings(stack: Stack, settings: Settings) -> None:
    with stack.api() as api:
        load_airflow_settings(api, settings)


def load_airflow_settings(api: AirflowApi, settings: Settings) -> None:
    """Pools, connections and variables of ``airflow_settings.yaml``, through Airflow's API; known ones are updated.

    The slots of both encode pools are those of the settings.
    """
    declared: dict[str, Any] = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    encodes = {"cpu_encode": settings.encode_slots, "gpu_encode": settings.gpu_slots}
    for pool in declared.get("pools") or []:
        slots = encodes.get(pool["pool_name"], pool["pool_slot"])
        body = {
            "name": pool["pool_name"],
            "slots": slots,
            "description": pool.get("pool_description", ""),
            "include_deferred": pool.get("include_deferred", False),
        }
        _create_or_update(api, "/api/v2/pools", "name", body)
    for connection in declared.get("connections") or []:
        body = {
            "connection_id": connection["conn_id"],
            "conn_type": connection["conn_type"],
            "host": connection.get("conn_host"),
            "schema": connection.get("conn_schema"),
            "login": connection.get("conn_login"),
            "password": connection.get("conn_password"),
            "port": connection.get("conn_port"),
            "extra": json.dumps(connection["conn_extra"]) if connection.get("conn_extra") else None,
        }
        _create_or_update(api, "/api/v2/connections", "connection_id", body)
    for variable in declared.get("variables") or []:
        body = {"key": variable["variable_name"], "value": str(variable["variable_value"])}
        _create_or_update(api, "/api/v2/variables", "key", body)


def _create_or_update(api: AirflowApi, path: str, key: str, body: dict[str, Any]) -> None:
    if api.request("POST", path, json=body) is None:
        api.request("PATCH", f"{path}/{quote(str(body[key]))}", json=body)


def _secrets(settings: Settings) -> dict[str, str]:
    """Generated once per home, readable by its owner alone."""
    path = settings.home / "secrets.json"
    if path.exists():
        known: dict[str, str] = json.loads(path.read_text())
        return known
    made = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt")}
    made |= {f"password_{user}": secrets.token_urlsafe(12) for user in USERS}
    # A Fernet key is 32 random bytes in URL-safe base64.
    made["webhook"] = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    _write_private(path, json.dumps(made))
    return made


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def _port(settings: Settings) -> int:
    """The port of last time, where it is free: published manifests are known by their address."""
    remembered = settings.home / "port"
    try:
        port = _free_port(int(remembered.read_text()))
    except (OSError, ValueError):
        port = _free_port()
    remembered.write_text(str(port))
    return port


def _free_port(wanted: int = 0) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", wanted))
        port: int = probe.getsockname()[1]
    return port


def _start_time(pid: int) -> float:
    """When the process was created, 0 where there is none (or only its remains)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return 0.0


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _group_alive(leader: int) -> bool:
    return bool(_session(leader))


def _session(leader: int) -> list[int]:
    """Living processes of the leader's session: the group, and the groups that Airflow makes for its tasks."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _log_tail(settings: Settings, say: Callable[[str], None]) -> str:
    """Say the end of Airflow's log; returns its last line."""
    path = settings.home / "airflow.log"
    lines = path.read_text(errors="replace")[-3000:].splitlines() if path.exists() else []
    for line in lines:
        say(line)
    return lines[-1] if lines else "it has no log"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
