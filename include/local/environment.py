"""What every process of the local stack finds in its environment: Airflow's configuration and Callsheet's settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

import include
from include.adapters.airflow_api import CONNECTION_ID
from include.base.pools import worker_slots
from include.base.settings import Settings
from include.local.secrets import USERS, write_private

ROOT = Path(next(iter(include.__path__))).parent
"""The project's folder."""
SPARE_PROCESSES = 4
"""LocalExecutor's processes beyond the encode slots, so that intake and dispatch never wait for an encode."""


def stack_environment(
    settings: Settings, port: int, keys: dict[str, str], *, database_url: str = "", project: Path = ROOT
) -> dict[str, str]:
    """What every process of the stack gets: Airflow's configuration and Callsheet's settings.

    Args:
        settings: Of the stack.
        port: Of the API server.
        keys: The stack's secrets.
        database_url: Of Airflow's metadata; empty means SQLite in the stack's home.
        project: The folder that has ``dags``, ``plugins`` and ``include``.
    """
    home = settings.home / "airflow"
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({user: keys[f"password_{user}"] for user in USERS}))
    account = f"callsheet:{quote(keys['password_callsheet'])}"
    airflow = {
        **_core(settings, keys, passwords, project),
        **_api_server(port, keys),
        **_dag_processor(home, project),
        **_patience(),
        **_database(database_url or f"sqlite:///{home / 'airflow.db'}"),
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
    }
    callsheet = {name: _as_text(getattr(settings, name)) for name in Settings.model_fields}
    callsheet["airflow_base_url"] = settings.airflow_base_url or f"http://127.0.0.1:{port}"
    # On one machine a person and the CMS post for the same tenant.
    callsheet["tenants"] = callsheet["tenants"] or "admin=cms"
    callsheet["webhook_secret"] = settings.webhook_secret.get_secret_value() or keys["webhook"]
    return {
        "AIRFLOW_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Airflow puts neither the project root nor dags/ on the path; without it the plugin vanishes in silence.
        "PYTHONPATH": str(project),
        f"AIRFLOW_CONN_{CONNECTION_ID.upper()}": f"http://{account}@127.0.0.1:{port}/http",
        **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
        **{f"CALLSHEET_{name.upper()}": value for name, value in callsheet.items()},
    }


def _core(settings: Settings, keys: dict[str, str], passwords: Path, project: Path) -> dict[str, object]:
    return {
        "CORE__DAGS_FOLDER": project / "dags",
        "CORE__PLUGINS_FOLDER": project / "plugins",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": worker_slots(settings) + SPARE_PROCESSES,
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
        "CORE__FERNET_KEY": keys["fernet"],
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": 200,
    }


def _api_server(port: int, keys: dict[str, str]) -> dict[str, object]:
    return {
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": keys["secret_key"],
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": keys["jwt"],
    }


def _dag_processor(home: Path, project: Path) -> dict[str, object]:
    bundles = [
        {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(project / "dags"), "refresh_interval": 300},
        },
        {
            "name": "batches",
            "classpath": "include.orchestration.bundle.CatalogDagBundle",
            "kwargs": {"refresh_interval": 2},
        },
    ]
    return {
        # Both are needed for a batch to show within seconds: one gates the other.
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": 1,
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": home / "bundles",
        # Stubs change their text when they have to be parsed again; nothing else is worth a parse.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 3600,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
    }


def _patience() -> dict[str, object]:
    """How long Airflow waits for what has fallen silent."""
    return {
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


def _database(url: str) -> dict[str, object]:
    if url.startswith("postgresql"):
        # Airflow would guess asyncpg, another driver to install; psycopg serves both ways.
        return {"DATABASE__SQL_ALCHEMY_CONN": url, "DATABASE__SQL_ALCHEMY_CONN_ASYNC": url}
    return {
        "DATABASE__SQL_ALCHEMY_CONN": url,
        "DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "include.local.sqlite.CONNECT_ARGS",
    }


def _as_text(value: object) -> str:
    """A setting as the environment holds it: lists comma-separated."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
