"""The parts of the local stack that need no Airflow; tests/live meets the whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings
from include.local import stack as local_stack
from include.local.airflow_settings import load_airflow_settings
from include.local.environment import ROOT, stack_environment
from include.local.ports import free_port
from include.local.secrets import USERS, stack_secrets, write_private
from include.local.stack import Stack, down, find, up
from tests.orchestration.airflow_server import AirflowServer, airflow_server

PASSWORDS = {"admin": "a", "cms": "b", "callsheet": "open-sesame"}
HEALTHY = {name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", encode_slots=3, gpu_slots=2, mezzanine_roots=(tmp_path / "in",))


def remember(settings: Settings, **changes: Any) -> Stack:
    """Write stack.json as a stack that this process leads."""
    known = {"pid": os.getpid(), "started": psutil.Process().create_time(), "url": "http://127.0.0.1:1"}
    stack = Stack(**{**known, "passwords": PASSWORDS, **changes})
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "stack.json").write_text(json.dumps(asdict(stack)))
    return stack


def test_a_running_stack_is_found(settings: Settings) -> None:
    assert find(settings) is None
    stack = remember(settings)
    assert find(settings) == stack


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"started": 1.0}, {"pid": 2**22 + 1, "started": 0.0}], ids=str)
def test_a_stack_that_is_no_more_is_not_found(changes: dict[str, Any], settings: Settings) -> None:
    """Another process may have its id by now, or none."""
    remember(settings, **changes)

    assert find(settings) is None
    assert down(settings) is False
    assert not (settings.home / "stack.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', "\0"])
def test_a_broken_note_of_a_stack_is_no_stack(text: str, settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    (settings.home / "stack.json").write_text(text)

    assert find(settings) is None
    assert down(settings) is False


def test_nothing_runs_and_down_says_so(settings: Settings) -> None:
    assert down(settings) is False


@pytest.fixture
def stubborn(settings: Settings) -> Iterator[list[psutil.Process]]:
    """A process group whose leader goes when it is told, and a child in a group of its own that does not."""
    child = (
        "import os, signal, time; os.setpgid(0, 0); signal.signal(15, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(600)"
    )
    leader = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    process = subprocess.Popen([sys.executable, "-c", leader], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = psutil.Process(process.pid)
    remember(settings, pid=process.pid, started=found.create_time())
    everyone = [found, *found.children(recursive=True)]
    yield everyone
    for each in everyone:
        if each.is_running():
            each.kill()
    process.wait()
    process.stdout.close()


def test_down_ends_every_process_of_the_session(
    stubborn: list[psutil.Process], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_stack, "GROUP_STOP_S", 0.5)
    assert len(stubborn) == 2

    assert down(settings) is True

    _, alive = psutil.wait_procs(stubborn[1:], timeout=10)
    assert alive == []
    assert stubborn[0].status() == psutil.STATUS_ZOMBIE
    assert find(settings) is None


def test_a_stack_that_is_up_is_not_started_again(settings: Settings) -> None:
    stack = remember(settings)
    said: list[str] = []

    assert up(settings, say=said.append) == stack
    assert said == ["the stack is up already at http://127.0.0.1:1"]


def test_secrets_are_made_once_and_are_their_owners_alone(settings: Settings) -> None:
    keys = stack_secrets(settings)

    assert stack_secrets(settings) == keys
    assert len(set(keys.values())) == len(keys)
    assert all(len(value) >= 12 for value in keys.values())
    assert (settings.home / "secrets.json").stat().st_mode & 0o777 == 0o600
    stack_environment(settings, 8080, keys)
    passwords = settings.home / "airflow" / "passwords.json"
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert json.loads(passwords.read_text()).keys() == USERS.keys()


def test_a_private_file_was_never_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "new" / "x", "secret")
    finally:
        os.umask(before)

    assert (tmp_path / "new" / "x").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_ports_are_free_and_differ_from_stack_to_stack(settings: Settings) -> None:
    ports = {free_port() for _ in range(5)}

    assert len(ports) > 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports.pop()))


def test_every_process_of_the_stack_gets_the_same_settings(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = stack_secrets(settings)
    environment = stack_environment(settings, 8123, keys)
    for name, value in environment.items():
        if name.startswith("CALLSHEET_"):
            monkeypatch.setenv(name, value)

    told = Settings()

    for name in ("home", "catalog_url", "store_uri", "mezzanine_roots", "encode_slots", "release_window", "runtime"):
        assert getattr(told, name) == getattr(settings, name), name
    assert told.webhook_secret.get_secret_value() == keys["webhook"]
    assert told.airflow_base_url == "http://127.0.0.1:8123"
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1", "nobody on the network reaches a local stack"
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "9"
    assert environment["CALLSHEET_GPU_SLOTS"] == "2"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8123/execution/"
    assert environment["PYTHONPATH"]
    bundles = {each["name"]: each for each in json.loads(environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])}
    assert bundles["batches"]["kwargs"]["refresh_interval"] <= 2
    assert int(environment["AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL"]) <= 2
    assert all(isinstance(value, str) for value in environment.values())


BUSY_TIMEOUT = """
from sqlalchemy import text
from airflow import settings
with settings.engine.connect() as connection:
    print("waits", connection.execute(text("PRAGMA busy_timeout")).scalar_one())
"""


@pytest.mark.parametrize(("component", "wait_ms"), [("api-server", 2_000), ("scheduler", 30_000)])
def test_only_the_api_server_gives_up_sqlites_lock_early(component: str, wait_ms: int, settings: Settings) -> None:
    environment = stack_environment(settings, 8123, stack_secrets(settings))

    argv = [sys.executable, "-c", BUSY_TIMEOUT, component]
    said = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[-1] == f"waits {wait_ms}"


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with airflow_server() as running:
        running.dags |= {"intake", "dispatch"}
        running.fail("GET", "/monitor/health$", 200, body=json.dumps(HEALTHY).encode())
        running.fail("GET", "/callsheet/api/v1/health$", 200, body=b'{"healthy": true}')
        yield running


def stack_at(url: str) -> Stack:
    return Stack(pid=0, started=0, url=url, passwords=PASSWORDS)


def answer(server: AirflowServer, path: str, body: bytes, status: int = 200) -> None:
    server.faults.insert(0, type(server.faults[0])("GET", path, status, body))


def test_a_healthy_stack_has_nothing_to_wait_for(server: AirflowServer) -> None:
    assert local_stack.unhealthy_part(stack_at(server.origin)) == ""


@pytest.mark.parametrize("component", list(HEALTHY))
def test_a_component_that_is_not_healthy_is_waited_for(component: str, server: AirflowServer) -> None:
    answer(server, "/monitor/health$", json.dumps({**HEALTHY, component: {"status": None}}).encode())

    assert local_stack.unhealthy_part(stack_at(server.origin)) == f"the {component.replace('_', ' ')}"


@pytest.mark.parametrize("status", [500, 0])
def test_an_api_server_that_does_not_answer_yet_is_waited_for(status: int, server: AirflowServer) -> None:
    server.fail("POST", "/auth/token", status)

    assert local_stack.unhealthy_part(stack_at(server.origin)) == "the API server"
    assert local_stack.unhealthy_part(stack_at("http://127.0.0.1:9")) == "the API server"


def test_a_dag_that_is_not_parsed_yet_is_waited_for(server: AirflowServer) -> None:
    server.dags.remove("dispatch")

    assert local_stack.unhealthy_part(stack_at(server.origin)) == "the DAG dispatch"


def test_a_plugin_that_did_not_load_is_said(server: AirflowServer) -> None:
    """Airflow answers unknown paths with the page of its UI, and 200."""
    server.html.add("/callsheet/api/v1/health")

    with pytest.raises(ConfigurationError, match="plugin did not load"):
        local_stack.unhealthy_part(stack_at(server.origin))


def test_a_check_that_fails_is_said_with_its_way_out(server: AirflowServer) -> None:
    report = {"healthy": False, "checks": {"mutation_hook": "it is shadowed: do this", "plugin": "ok"}}
    answer(server, "/callsheet/api/v1/health$", json.dumps(report).encode(), 503)

    with pytest.raises(ConfigurationError, match=r"^mutation_hook: it is shadowed: do this$"):
        local_stack.unhealthy_part(stack_at(server.origin))


def test_an_airflow_that_ends_while_it_starts_is_told_with_its_last_words(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    (settings.home / "airflow.log").write_text("x" * 5000 + "the last words")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()

    with pytest.raises(PlatformUnavailable, match=r"(?s)ended while starting \(3\).*the last words"):
        local_stack.wait_until_healthy(stack_at("http://127.0.0.1:9"), process, settings, lambda line: None)


def test_what_the_stack_keeps_is_for_nobody_else_on_the_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.home.mkdir(parents=True, mode=0o755, exist_ok=True)
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(PlatformUnavailable):
        local_stack.up(settings, say=lambda line: None)

    assert settings.home.stat().st_mode & 0o777 == 0o700


def test_an_airflow_that_does_not_become_healthy_in_time_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_stack, "START_TIMEOUT_S", 0.6)
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        with pytest.raises(PlatformUnavailable, match="Airflow is not healthy: the API server"):
            local_stack.wait_until_healthy(stack_at("http://127.0.0.1:9"), process, settings, said.append)
        process.send_signal(signal.SIGKILL)

    assert said == ["waiting for the API server"]


def test_the_declared_pools_are_those_that_the_tasks_use() -> None:
    declared = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]

    assert {"control", "cpu_encode", "gpu_encode"} == {pool["pool_name"] for pool in declared["pools"]}
    assert "password" not in json.dumps(declared["connections"])


def test_pools_connections_and_variables_are_loaded_and_known_ones_updated(
    server: AirflowServer, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "airflow_settings.yaml").write_text(
        yaml.safe_dump(
            {
                "airflow": {
                    "pools": [
                        {"pool_name": "cpu_encode", "pool_slot": 99},
                        {"pool_name": "gpu_encode", "pool_slot": 99},
                        {"pool_name": "control", "pool_slot": 4},
                    ],
                    "connections": [{"conn_id": "c", "conn_type": "http", "conn_extra": {"a": 1}}],
                    "variables": [{"variable_name": "v", "variable_value": 7}],
                }
            }
        )
    )
    server.fail("POST", "/api/v2/pools$", 409, times=1)
    for method, path in (("POST", "/api/v2/(pools|connections|variables)$"), ("PATCH", "/api/v2/pools/cpu_encode$")):
        server.fail(method, path, 200, body=b"{}")

    with stack_at(server.origin).api() as api:
        load_airflow_settings(api, settings, project=tmp_path)

    sent = [(method, path, body) for method, path, body in server.bodies if path.startswith("/api/v2")]
    assert [(method, path) for method, path, _ in sent] == [
        ("POST", "/api/v2/pools"),
        ("PATCH", "/api/v2/pools/cpu_encode"),
        ("POST", "/api/v2/pools"),
        ("POST", "/api/v2/pools"),
        ("POST", "/api/v2/connections"),
        ("POST", "/api/v2/variables"),
    ]
    assert [body["slots"] for _, _, body in sent[1:4]] == [3, 2, 4]
    assert sent[4][2]["extra"] == '{"a": 1}'
    assert sent[5][2] == {"key": "v", "value": "7"}


def test_a_pool_that_the_file_does_not_name_is_made_all_the_same(
    server: AirflowServer, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "airflow_settings.yaml").write_text("airflow: {pools: [{pool_name: cpu_encode, pool_slot: 9}]}")
    server.fail("POST", "/api/v2/pools$", 200, body=b"{}")

    with stack_at(server.origin).api() as api:
        load_airflow_settings(api, settings, project=tmp_path)

    made = [body for method, path, body in server.bodies if (method, path) == ("POST", "/api/v2/pools")]
    assert [(body["name"], body["slots"]) for body in made] == [("cpu_encode", 3), ("gpu_encode", 2)]
    assert made[1]["include_deferred"] is True


def test_paths_are_shown_as_people_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert local_stack.shown(tmp_path / "a" / "b") == "a/b"
    assert local_stack.shown(Path("/elsewhere/b")) == "/elsewhere/b"
