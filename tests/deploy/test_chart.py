"""``deploy/values.yaml`` as Airflow's official Helm chart takes it.

The first tests need nothing; those with the chart itself run where it can be fetched (tests/deploy/chart.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy import chart
from tests.deploy.manifests import ROOT, values
from tests.deploy.test_cluster import VERSIONS

POD = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "base", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}
"""What the chart makes of a component's pod by the values, as far as pod security looks at it."""


def workload(kind: str = "Deployment", pod: dict[str, Any] = POD) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "it"}, "spec": {"template": {"spec": pod}}}


def test_every_value_is_one_that_the_chart_has() -> None:
    assert list(chart.unknown_by_record(values(), *chart.recorded())) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"createUserJob": {"defaultUser": {"enabled": False}}}, "createUserJob.defaultUser.enabled"),
        ({"scheduler": {"safetoEvict": False}}, "scheduler.safetoEvict"),
        ({"securityContexts": {"container": {}}}, "securityContexts.container"),
        ({"dagProcessor": {"persistence": {"enabled": True}}}, "dagProcessor.persistence"),
        ({"webserver": {"replicas": 2}}, "webserver.replicas"),
        ({"executors": "LocalExecutor"}, "executors"),
    ],
)
def test_a_value_that_the_chart_does_not_have_is_noticed(wrong: dict[str, Any], path: str) -> None:
    assert list(chart.unknown_by_record(wrong, *chart.recorded())) == [path]


def test_a_value_that_the_chart_s_own_values_do_not_have_is_noticed() -> None:
    defaults = {"a": {"b": None, "c": {}}, "d": [], "e": {"f": 1}}

    assert list(chart.unknown_by_chart({"a": {"b": 1, "c": {"x": 1}}, "d": [2], "e": {"f": 2}}, defaults)) == []
    assert list(chart.unknown_by_chart({"a": {"z": 1}, "e": {"f": 1, "g": 2}, "h": 3}, defaults)) == ["a.z", "e.g", "h"]


def test_the_values_give_every_pod_what_the_level_restricted_wants() -> None:
    """The chart's containers drop all capabilities by themselves; the pod's part is ours, and statsd has its own."""
    for context in (values()["securityContexts"]["pod"], values()["statsd"]["securityContexts"]["pod"]):
        assert chart.insecure([workload(pod={**POD, "securityContext": context})]) == []
        assert context["runAsUser"] != 0
    # A context of a component replaces the common one.
    own = [name for name, part in values().items() if isinstance(part, dict) and "securityContexts" in part]
    assert own == ["statsd"]


@pytest.mark.parametrize("missing", ["runAsNonRoot", "seccompProfile"])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job"])
def test_a_pod_that_is_not_restricted_is_noticed(kind: str, missing: str) -> None:
    context = {name: value for name, value in POD["securityContext"].items() if name != missing}  # type: ignore[attr-defined]

    (said,) = chart.insecure([workload(kind, {**POD, "securityContext": context})])

    assert said.startswith(f"{kind} it: {missing}")


def test_a_secret_that_a_pod_reads_is_found_wherever_it_stands() -> None:
    pod = {
        "containers": [
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}],
             "envFrom": [{"secretRef": {"name": "two"}}]},
        ],
        "volumes": [{"name": "v", "secret": {"secretName": "three"}}],
    }  # fmt: skip

    assert chart.secrets_wanted([workload(pod=pod)]) == {"one", "two", "three"}


@pytest.mark.parametrize(
    "text", ["postgresql://postgres:postgres@host/db", '    - "-p"\n    - "admin"\n', "auth: admin:admin"]
)
def test_a_password_that_everybody_knows_is_noticed(text: str) -> None:
    assert chart.WELL_KNOWN.search(text)


@pytest.fixture(scope="module")
def helm() -> Any:
    """Helm's own library."""
    return pytest.importorskip("helm_python", reason="there is no wheel of helm-python-sdk for Linux on ARM")


def test_helm_renders_a_chart_with_our_values(tmp_path: Path, helm: Any) -> None:
    """A chart of two files in place of Airflow's, which not every machine reaches: its hook comes out."""
    made = tmp_path / "airflow"
    (made / "templates").mkdir(parents=True)
    (made / "Chart.yaml").write_text("{apiVersion: v2, name: airflow, version: 1.0.0}")
    (made / "values.yaml").write_text("executor: CeleryExecutor\nstatsd: {enabled: false}\n")
    (made / "templates/NOTES.txt").write_text("kind: nothing")
    (made / "templates/a.yaml").write_text(
        "{{ if .Values.statsd.enabled }}\n"
        "kind: Job\nmetadata:\n  name: '{{ .Release.Name }}-{{ .Values.executor }}'\n"
        "  annotations: {helm.sh/hook: post-install}\n"
        "spec: {template: {spec: {securityContext: {{ .Values.securityContexts.pod | toJson }}, containers: []}}}\n"
        "{{ end }}\n---\n"
    )
    archived = helm.Chart.load(made).save(tmp_path)

    with helm.Chart.load_archive(Path(archived).read_bytes()) as found:
        items = chart.rendered(found.render(values(), name=chart.RELEASE, namespace=chart.NAMESPACE))

    assert list(chart.pods(items)) == ["Job callsheet-LocalExecutor"]
    assert chart.insecure(items) == []


@pytest.fixture(scope="module")
def official(helm: Any) -> Any:
    """Airflow's chart."""
    with helm.Chart.load_archive(chart.archive()) as found:
        yield found


@pytest.fixture(scope="module")
def manifests(official: Any) -> dict[str, str]:
    """What a first installation sends, by template."""
    found: dict[str, str] = official.render(values(), name=chart.RELEASE, namespace=chart.NAMESPACE, is_install=True)
    return found


@pytest.fixture(scope="module")
def items(manifests: dict[str, str]) -> list[dict[str, Any]]:
    return chart.rendered(manifests)


def test_the_chart_is_the_one_that_the_guide_installs_and_takes_every_value(official: Any) -> None:
    assert (official.name, official.version) == ("airflow", chart.version())
    assert list(chart.unknown_by_chart(values(), official.values)) == []
    official.validate_schema(values())


def test_the_chart_makes_airflow_s_components_and_no_user(items: list[dict[str, Any]]) -> None:
    assert sorted(chart.pods(items)) == [
        "Deployment callsheet-api-server",
        "Deployment callsheet-dag-processor",
        "Deployment callsheet-statsd",
        "Job callsheet-run-airflow-migrations",
        "StatefulSet callsheet-scheduler",
        "StatefulSet callsheet-triggerer",
    ]


def test_every_pod_of_the_chart_is_restricted_and_stays_off_the_nodes_for_encodes(items: list[dict[str, Any]]) -> None:
    assert chart.insecure(items) == []
    away = values()["affinity"]["nodeAffinity"]
    assert {name for name, spec in chart.pods(items).items() if spec["affinity"].get("nodeAffinity") != away} == set()


def test_the_chart_has_no_credentials_of_its_own(manifests: dict[str, str], items: list[dict[str, Any]]) -> None:
    guide = (ROOT / "docs/deploy.md").read_text()

    assert [path for path, text in manifests.items() if chart.WELL_KNOWN.search(text)] == []
    assert chart.secrets_wanted(items) <= set(re.findall(r"create secret generic ([\w-]+)", guide))


def test_the_chart_shadows_no_settings_and_has_the_names_that_the_values_count_on(items: list[dict[str, Any]]) -> None:
    data = [name for item in items if item["kind"] == "ConfigMap" for name in item.get("data") or {}]
    services = {item["metadata"]["name"]: item["spec"]["ports"] for item in items if item["kind"] == "Service"}
    accounts = {item["metadata"]["name"] for item in items if item["kind"] == "ServiceAccount"}

    assert "airflow_local_settings.py" not in data
    assert "airflow.cfg" in data
    assert [port["port"] for port in services["callsheet-api-server"]] == [8080]
    assert {values()[name]["serviceAccount"]["name"] for name in ("scheduler", "triggerer", "apiServer")} <= accounts


@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_what_the_chart_makes_is_valid(items: list[dict[str, Any]], kubernetes: str) -> None:
    for item in items:
        kubernetes_validate.validate(yaml.safe_load(yaml.safe_dump(item)), kubernetes, strict=True)
