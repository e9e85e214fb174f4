"""The compose file, and the environments of compose file and Helm values: they agree with the local stack's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose

from include.base.settings import Settings
from include.local.environment import ROOT as PROJECT
from include.local.environment import stack_environment
from include.local.secrets import USERS
from tests.deploy.manifests import (
    COMPOSE,
    ROOT,
    compose,
    example_environment,
    image_environment,
    instructions,
    values_environment,
)

OWN = ("migrate", "api-server", "scheduler", "dag-processor", "triggerer", "configure")
PLACES = {
    "compose": lambda: dict(compose()["services"]["scheduler"]["environment"]),
    "values": values_environment,
}
PER_PLACE = {
    "CORE__DAGS_FOLDER": "the image has it",
    "CORE__PLUGINS_FOLDER": "the image has it",
    "CORE__PARALLELISM": "by size",
    "CORE__EXECUTION_API_SERVER_URL": "by address",
    "CORE__FERNET_KEY": "a secret",
    "DATABASE__SQL_ALCHEMY_CONN": "a secret",
    "DATABASE__SQL_ALCHEMY_CONN_ASYNC": "a secret",
    "API__HOST": "the default, every address of the container",
    "API__PORT": "the default",
    "API__BASE_URL": "by address",
    "API__SECRET_KEY": "a secret",
    "API__WORKERS": "by size",
    "API_AUTH__JWT_SECRET": "a secret",
    "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": "the image has it",
    "CORE__SIMPLE_AUTH_MANAGER_USERS": "production has users of its own",
    "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "production has users of its own",
    "LOGGING__BASE_LOG_FOLDER": "the image's",
}
"""Options of the local stack that another place has other values of, and why. Every other one has to be the same."""
BY_THE_CHART = {"CORE__EXECUTOR"}
"""The chart sets them from its own values."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The local stack's environment on PostgreSQL."""
    keys = {f"password_{user}": "p" for user in USERS} | dict.fromkeys(("fernet", "secret_key", "jwt", "webhook"), "s")
    home = tmp_path_factory.mktemp("home")
    return stack_environment(Settings(home=home), 8080, keys, database_url="postgresql+psycopg://x@y/z")


@pytest.mark.parametrize("place", PLACES)
def test_airflow_is_configured_as_in_the_local_stack(place: str, local: dict[str, str]) -> None:
    """What was tuned and tested there holds everywhere; a new option goes to all three, or says here why not."""
    there = PLACES[place]()
    options = {name: value for name, value in local.items() if name.startswith("AIRFLOW__")}
    assert len(options) > 30

    for name, value in options.items():
        short = name.removeprefix("AIRFLOW__")
        if short in PER_PLACE or (place == "values" and short in BY_THE_CHART):
            continue
        assert name in there, f"{name} is in include/local/stack.py and not in the {place}"
        assert same(there[name], value), f"{name}: {there[name]!r} in the {place}, {value!r} in include/local/stack.py"


def test_every_exception_still_exists(local: dict[str, str]) -> None:
    assert [name for name in PER_PLACE if f"AIRFLOW__{name}" not in local] == []


@pytest.mark.parametrize("place", [*PLACES, "docker/airflow.Dockerfile"])
def test_every_variable_means_something(place: str) -> None:
    """A misspelt option is silent in Airflow and in Callsheet: it is said here."""
    from airflow.configuration import conf

    environment = PLACES[place]() if place in PLACES else image_environment(ROOT / place)
    settings = {f"CALLSHEET_{name.upper()}" for name in Settings.model_fields}
    checked = 0
    for name in environment:
        if name.startswith("AIRFLOW__"):
            section, _, option = name.removeprefix("AIRFLOW__").lower().partition("__")
            assert option in conf.configuration_description[section]["options"], name
            checked += 1
        elif name.startswith("CALLSHEET_"):
            assert name in settings, name
            checked += 1
    assert checked >= 4


def test_the_compose_file_is_a_valid_one() -> None:
    PyCompose.from_json(json.dumps(compose())).validate()


@pytest.mark.parametrize(("good", "bad"), [("restart", "restrat"), ("service_healthy", "healthy"), ("10s", "soon")])
def test_a_wrong_compose_file_is_noticed(good: str, bad: str) -> None:
    with pytest.raises(ValueError, match=bad):
        PyCompose.from_json(json.dumps(compose()).replace(f'"{good}"', f'"{bad}"')).validate()


def test_every_service_is_pinned_watched_and_started_in_order() -> None:
    found = compose()
    services = found["services"]
    once = {"migrate", "configure"}

    assert set(services) == {*OWN, "postgres", "store", "workers"}
    for name, service in services.items():
        assert re.search(r":(?=.*\d)(?!latest)[\w.-]+$", service["image"]), name
        assert service["healthcheck"] == {"disable": True} if name in once else service["healthcheck"]["test"], name
        assert (service["restart"] == "no") == (name in once), name
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            assert how["condition"] == ("service_completed_successfully" if other in once else "service_healthy")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in found["volumes"] or source.startswith((".", "/")), f"{name}: {source}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network"
    # Our images name their user; PostgreSQL's is told to; the store's entry point drops root by itself.
    assert services["postgres"]["user"] == "postgres"
    assert {services[name]["image"] for name in OWN} == {services["scheduler"]["image"]}


ROOT_AT_FIRST = {"store": {"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"}}
"""Services whose entry point begins as root, and what it needs to own its volume and to drop root."""


def test_no_service_can_gain_rights_or_write_outside_its_own_folders() -> None:
    for name, service in compose()["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add", [])) == ROOT_AT_FIRST.get(name, set()), name
        assert service["read_only"] is True, name
        assert not {"privileged", "pid", "ipc", "network_mode", "devices", "userns_mode"} & set(service), name
        assert not any("docker.sock" in each for each in service.get("volumes", [])), name


def test_a_service_of_ours_may_write_where_its_image_does() -> None:
    """Airflow's home, the folder of its bundles within, Callsheet's home, temporary files; logs are a volume."""
    written = {"/tmp", "/opt/airflow", image_environment(ROOT / "docker/airflow.Dockerfile")["CALLSHEET_HOME"]}
    bundles = image_environment(ROOT / "docker/airflow.Dockerfile")["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"]
    assert bundles.startswith("/opt/airflow/")
    user = re.findall(r"^USER (\d+)$", (ROOT / "docker/airflow.Dockerfile").read_text(), re.MULTILINE)[-1]
    for name in OWN:
        service = compose()["services"][name]
        mounts = [each.split(":") for each in service["tmpfs"]]
        volumes = {
            target for _, target, *flags in (each.split(":") for each in service["volumes"]) if "ro" not in flags
        }
        assert {path for path, *_ in mounts} | volumes - {"/run/callsheet"} == written | {"/opt/airflow/logs"}, name
        for path, *options in mounts:
            assert path == "/tmp" or f"uid={user}" in options[0].split(","), f"{name}: {path} is root's"


def test_the_workers_have_a_container_of_their_own_with_no_secret_but_the_store_s() -> None:
    services = compose()["services"]
    workers, scheduler = services["workers"], services["scheduler"]
    variables = workers["environment"]

    assert variables.items() <= scheduler["environment"].items(), "what both are told is the same"
    told = Settings.model_fields
    assert all(name.startswith("AWS_") or name.removeprefix("CALLSHEET_").lower() in told for name in variables)
    assert {name for name in variables if re.search("SECRET|PASSWORD|KEY|CONN|CATALOG|JWT", name)} == {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    }  # fmt: skip
    # It shares a network with the store alone; everything else has the default one.
    assert [name for name, each in services.items() if set(each.get("networks", ["default"])) & {"media"}] == [
        "store", "workers",
    ]  # fmt: skip
    assert workers["networks"] == ["media"]
    # And a volume with the scheduler alone: the socket's.
    here, there = ({each.split(":")[0] for each in service["volumes"]} for service in (workers, scheduler))
    assert here & there - {"../mezzanines"} == {"workers"}
    assert not {name for name, each in services.items() if "workers:/run/callsheet" in each.get("volumes", [])} - {
        "workers", "scheduler",
    }  # fmt: skip
    path = scheduler["environment"]["CALLSHEET_WORKER_SOCKET"]
    assert workers["command"][-2:] == ["serve", path]
    assert repr(path) in workers["healthcheck"]["test"][-1]
    assert workers["init"] is True


def test_what_the_workers_write_to_belongs_to_their_user() -> None:
    """A new volume takes the owner of the folder that the image has there."""
    made = " ".join(rest for word, rest in instructions(ROOT / "docker/worker.Dockerfile") if word == "RUN")
    volumes = [each.split(":") for each in compose()["services"]["workers"]["volumes"]]

    for _, target, *flags in volumes:
        assert "ro" in flags or re.search(rf"install -d -o 10001 -g 10001 -m 0\d+ {target}( |$)", made), target
    home = image_environment(ROOT / "docker/worker.Dockerfile")["CALLSHEET_HOME"]
    assert home in {target for _, target, *_ in volumes}, "an encode fills more than memory holds"


def test_nothing_starts_before_its_tables_or_without_its_database() -> None:
    services = compose()["services"]

    def before(name: str) -> set[str]:
        direct = set(services[name].get("depends_on", {}))
        return direct.union(*(before(each) for each in direct))

    assert before("migrate") == {"postgres"}
    for name in OWN[1:]:
        assert {"postgres", "migrate", "store"} <= before(name), name
    assert "api-server" in before("configure")


def test_no_secret_stands_in_the_compose_file_and_every_variable_is_in_the_example() -> None:
    text = COMPOSE.read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+):\?\}", text))

    assert used == set(example_environment())
    assert set(re.findall(r"(?<!\$)\$\{?(\w+)", text)) == used, "each with :?, so that a missing one is an error"
    secret = re.compile(r"^\s+\w*(?:PASSWORD|SECRET|_KEY|_CONN|CONN_\w+|CATALOG_URL)\w*: (.+)$", re.MULTILINE)
    found = secret.findall(text)
    assert len(found) > 12
    assert [value for value in found if "${" not in value] == []


def test_both_databases_are_made() -> None:
    services = compose()["services"]
    scheduler, postgres = services["scheduler"]["environment"], services["postgres"]["environment"]
    made = {postgres["POSTGRES_DB"], *re.findall(r"CREATE DATABASE (\w+);", sql())}

    names = {
        scheduler[name].rpartition("/")[2] for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "CALLSHEET_CATALOG_URL")
    }
    assert names == made
    assert any("create-catalog.sql:/docker-entrypoint-initdb.d/" in each for each in services["postgres"]["volumes"])


def test_settings_load_from_the_compose_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose()["services"]["scheduler"]["environment"].items():
        if name.startswith("CALLSHEET_"):
            monkeypatch.setenv(name, str(value))

    loaded = Settings()

    assert (loaded.runtime, loaded.mezzanine_roots) == ("local", (Path("/mezzanines"),))
    bucket = loaded.store_uri.removeprefix("s3://").split("/")[0]
    assert f"-bucket={bucket}" in compose()["services"]["store"]["command"]


def sql() -> str:
    return (ROOT / "docker/create-catalog.sql").read_text()


def same(there: str, here: str) -> bool:
    """Equal as Airflow reads them; the folder of the DAGs is where the project lies."""
    return normal(there) == normal(here.replace(str(PROJECT), "/opt/callsheet/app"))


def normal(value: str) -> Any:
    return json.loads(value) if value.lstrip().startswith("[") else value
