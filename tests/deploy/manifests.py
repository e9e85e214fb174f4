"""The files of docker/ and deploy/, as the tests read them."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker/compose.yaml"
VALUES = ROOT / "deploy/values.yaml"
MANIFESTS = sorted(path for path in (ROOT / "deploy").glob("*.yaml") if path != VALUES)
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+):\?\}")


def objects() -> list[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object of deploy/, with ``<file> <kind> <name>``."""
    return [
        (f"{path.name} {each['kind']} {each['metadata']['name']}", each)
        for path in MANIFESTS
        for each in yaml.safe_load_all(path.read_text())
    ]


def named(kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = [each for _, each in objects() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def values() -> dict[str, Any]:
    """The values for the Helm chart."""
    found: dict[str, Any] = yaml.safe_load(VALUES.read_text())
    return found


def values_environment() -> dict[str, str]:
    """Variables of every Airflow container by the chart's values; those from a Secret have its name and key."""
    found = {each["name"]: each["value"] for each in values()["env"]}
    secrets = {each["envName"]: f"{each['secretName']}/{each['secretKey']}" for each in values()["secret"]}
    assert len(found) == len(values()["env"])
    assert not set(found) & set(secrets)
    return found | secrets


def node_pools() -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
    """Labels and taints of the guide's example nodes, by the name that it gives them."""
    guide = (ROOT / "deploy/gpu-node-pool.md").read_text()
    labels = re.findall(r"^kubectl label node (\S+) (\S+)=(\S+)$", guide, re.MULTILINE)
    taints = re.findall(r"^kubectl taint node (\S+) (\S+)$", guide, re.MULTILINE)
    return {
        name: ({key: value}, tuple(taint for tainted, taint in taints if tainted == name))
        for name, key, value in labels
    }


def guide_pod() -> dict[str, Any]:
    """The spec of the pod by which the guide has a node measured."""
    guide = (ROOT / "docs/deploy.md").read_text()
    found = re.search(r"run calibrate .*--overrides='(\{.*?\})'$", guide, re.DOTALL | re.MULTILINE)
    assert found
    spec: dict[str, Any] = json.loads(found[1])["spec"]
    return {"restartPolicy": "Never", **spec}


def example_environment() -> dict[str, str]:
    """``docker/.env`` as ``docker/make_env.py`` makes it."""
    filled = runpy.run_path(str(ROOT / "docker/make_env.py"))["filled"]
    lines = filled((ROOT / "docker/.env.example").read_text()).splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose(environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The compose file with its variables replaced and its anchors resolved, as Compose sees it."""
    known = example_environment() if environment is None else environment
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda match: known[match[1]], COMPOSE.read_text()))
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # a copy without shared anchors


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    found = []
    for line in lines:
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            found.append((word.upper(), " ".join(rest.split())))
    return found


def image_environment(path: Path) -> dict[str, str]:
    """What the last stage of a Dockerfile sets by ENV."""
    found: dict[str, str] = {}
    for word, rest in instructions(path):
        if word == "FROM":
            found = {}
        elif word == "ENV":
            found |= dict(pair.split("=", 1) for pair in rest.split())
    return found
