"""Airflow's official Helm chart: its keys, what it makes of ``deploy/values.yaml``, and what is wrong with that.

The chart is in no package registry and not in this repository: it is fetched from Apache's archive where the machine
reaches it. ``CALLSHEET_TEST_CHART`` names a file of it for those who have one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.manifests import ROOT, VALUES
from tests.kube.policies import violations

Item = dict[str, Any]

RELEASE, NAMESPACE = "callsheet", "airflow"
RECORD = Path(__file__).with_name("chart.yaml")
LIMIT_S = 30.0
POD_PATHS = {
    "Pod": (),
    "Deployment": ("template",),
    "StatefulSet": ("template",),
    "DaemonSet": ("template",),
    "Job": ("template",),
    "CronJob": ("jobTemplate", "spec", "template"),
}
"""Where a kind of workload has its pod, beneath ``spec``."""
WELL_KNOWN = re.compile(r"postgres:postgres@|\badmin:admin\b|^\s*- \"?-p\"?\s*\n\s*- \"?admin\b", re.MULTILINE)
"""Passwords that the chart's own values have."""


def version() -> str:
    """The chart's version that ``docs/deploy.md`` installs."""
    found = set(re.findall(r"--version (\d+\.\d+\.\d+)", (ROOT / "docs/deploy.md").read_text() + VALUES.read_text()))
    (only,) = found
    return only


def archive() -> bytes:
    """The chart as an archive; the test is skipped where it cannot be had."""
    named = os.environ.get("CALLSHEET_TEST_CHART")
    if named:
        return Path(named).read_bytes()
    url = f"https://archive.apache.org/dist/airflow/helm-chart/{version()}/airflow-{version()}.tgz"
    try:
        return httpx.get(url, timeout=LIMIT_S, follow_redirects=True).raise_for_status().content
    except httpx.HTTPError as error:
        pytest.skip(f"the chart cannot be fetched ({error!r}): CALLSHEET_TEST_CHART=/path/to/airflow-{version()}.tgz")


def recorded() -> tuple[dict[str, set[str]], set[str]]:
    """Names of keys by the path of their section, and names beneath which Kubernetes' own objects stand."""
    record = yaml.safe_load(RECORD.read_text())
    return {path: set(_flat(names)) for path, names in record["keys"].items()}, set(record["objects"])


def unknown_by_record(values: Item, keys: Mapping[str, set[str]], objects: set[str], path: str = "") -> Iterator[str]:
    """Paths of the leaves of ``values`` that the recorded chart does not have."""
    for name, value in values.items():
        below = f"{path}.{name}".lstrip(".")
        if name not in keys.get(path, ()):
            yield below
        elif isinstance(value, dict) and name not in objects - keys.keys():
            yield from unknown_by_record(value, keys, objects, below)


def unknown_by_chart(values: Item, defaults: Item, path: str = "") -> Iterator[str]:
    """Paths of the leaves of ``values`` that the chart's own values do not have; an empty mapping there takes any."""
    for name, value in values.items():
        below = f"{path}.{name}".lstrip(".")
        if name not in defaults:
            yield below
        elif isinstance(value, dict) and isinstance(defaults[name], dict) and defaults[name]:
            yield from unknown_by_chart(value, defaults[name], below)


def rendered(manifests: Mapping[str, str]) -> list[Item]:
    """The objects of rendered templates."""
    texts = [text for path, text in sorted(manifests.items()) if path.endswith((".yaml", ".yml"))]
    return [item for text in texts for item in yaml.safe_load_all(text) if item]


def pods(items: list[Item]) -> dict[str, Item]:
    """The spec of every workload's pod, by the workload's kind and name."""
    found = {}
    for item in items:
        if item["kind"] in POD_PATHS:
            pod = item["spec"] if item["kind"] != "Pod" else {"spec": item["spec"]}
            for step in POD_PATHS[item["kind"]]:
                pod = pod[step]
            found[f"{item['kind']} {item['metadata']['name']}"] = pod["spec"]
    return found


def insecure(items: list[Item]) -> list[str]:
    """What the level *restricted* refuses, with the workload."""
    return [f"{name}: {what}" for name, spec in pods(items).items() for what in violations(spec, "restricted")]


def secrets_wanted(items: list[Item]) -> set[str]:
    """Names of the Secrets that pods read."""
    found = set()
    for spec in pods(items).values():
        for each in _walk(spec):
            for word, key in (("secretKeyRef", "name"), ("secretRef", "name"), ("secret", "secretName")):
                if isinstance(each.get(word), dict) and key in each[word]:
                    found.add(str(each[word][key]))
    return found


def _walk(value: Any) -> Iterator[Item]:
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(each)


def _flat(names: Any) -> Iterator[str]:
    for name in names:
        if isinstance(name, list):
            yield from _flat(name)
        else:
            yield name
