"""The project's own manifests, laid down in the stand-in: what they allow, fill in and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.rest import ApiException

from tests.kube.cluster import PROJECT
from tests.kube.conftest import core
from tests.kube.samples import changed, make_pod, new_name
from tests.kube.server import Kube, kube_server

NS = "callsheet-workers"
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CPU = {"limits": {"cpu": "1"}}
CONTAINER = {"securityContext": SAFE, "resources": CPU}


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    manifests = [path for path in (PROJECT / "deploy").glob("*.yaml") if path.name != "values.yaml"]
    with kube_server(tmp_path_factory.mktemp("kube"), namespaces=["default"], nodes=[], manifests=manifests) as running:
        yield running


def refused(kube: Kube, pod: dict[str, Any]) -> str:
    with pytest.raises(ApiException) as caught:
        core(kube).create_namespaced_pod(NS, pod)
    assert caught.value.status == 403
    return str(caught.value.body).replace('\\"', '"')


def test_a_safe_pod_is_admitted_with_the_limit_range_s_defaults(kube: Kube) -> None:
    pod = make_pod(container=CONTAINER, priorityClassName="callsheet-premium", serviceAccountName="callsheet-worker")
    made = core(kube).create_namespaced_pod(NS, pod)
    assert (made.spec.priority, made.spec.preemption_policy) == (100000, "Never")
    resources = made.spec.containers[0].resources
    assert resources.limits == {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "10Gi"}
    assert resources.requests == {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "10Gi"}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("spec/containers/0/securityContext/allowPrivilegeEscalation", True, "allowPrivilegeEscalation != false"),
        ("spec/containers/0/securityContext/capabilities", {}, 'capabilities.drop=["ALL"]'),
        ("spec/containers/0/securityContext/runAsNonRoot", False, "runAsNonRoot != true"),
        ("spec/containers/0/securityContext/runAsUser", 0, "runAsUser=0"),
        ("spec/containers/0/securityContext/seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
        ("spec/containers/0/securityContext/privileged", True, "privileged=true"),
        ("spec/hostNetwork", True, "host namespaces"),
        ("spec/volumes", [{"name": "a", "hostPath": {"path": "/a"}}], "hostPath volumes"),
        ("spec/volumes", [{"name": "a", "nfs": {"server": "a", "path": "/a"}}], "restricted volume types"),
        ("spec/containers/0/resources/limits/memory", "65Gi", "maximum memory usage per Container is 64Gi"),
        ("spec/containers/0/resources", {}, "maximum cpu usage per Container is 64.  No limit is specified"),
        ("spec/priorityClassName", "premium", "no PriorityClass with name premium"),
    ],
)
def test_a_pod_against_the_rules_is_forbidden(kube: Kube, path: str, value: object, says: str) -> None:
    assert says in refused(kube, changed(make_pod(container=CONTAINER), path, value))


@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        ("create_namespaced_pod", True),
        ("list_namespaced_pod", True),
        ("list_namespaced_event", True),
        ("list_node", True),
        ("list_namespace", False),
        ("list_pod_for_all_namespaces", False),
        ("delete_collection_namespaced_pod", False),
    ],
)
def test_the_account_may_what_its_roles_allow_and_no_more(kube: Kube, verb: str, allowed: bool) -> None:
    method = getattr(core(kube), verb)
    pod = [make_pod(name=new_name(), container=CONTAINER)] if verb.startswith("create") else []
    arguments = [NS, *pod] if "namespaced" in verb else []
    if allowed:
        method(*arguments)
        return
    with pytest.raises(ApiException, match="cannot") as caught:
        method(*arguments)
    assert caught.value.status == 403


def test_the_roles_are_of_one_namespace(kube: Kube) -> None:
    with pytest.raises(ApiException) as caught:
        core(kube).list_namespaced_pod("default")
    assert caught.value.status == 403


def test_a_quota_refuses_what_it_has_no_room_for(tmp_path: Path) -> None:
    quota = {"pods": "2", "requests.cpu": "2"}
    item = {"kind": "ResourceQuota", "metadata": {"name": "workers", "namespace": NS}, "spec": {"hard": quota}}
    (tmp_path / "quota.yaml").write_text(yaml.safe_dump(item))
    with kube_server(tmp_path / "kube", namespaces=[NS], nodes=[], manifests=[tmp_path / "quota.yaml"]) as kube:
        api: client.CoreV1Api = core(kube)
        api.create_namespaced_pod(NS, make_pod(container={"resources": {"requests": {"cpu": "1500m"}}}))
        more = make_pod(container={"resources": {"requests": {"cpu": "1"}}})
        assert "exceeded quota: workers, requested: requests.cpu=1, used: requests.cpu=1.5" in refused(kube, more)
        assert "must specify requests.cpu for: base" in refused(kube, make_pod())
        less = {"resources": {"requests": {"cpu": "500m"}}}
        api.create_namespaced_pod(NS, make_pod(container=less))
        assert "requested: pods=1" in refused(kube, make_pod(container={"resources": {"requests": {"cpu": "0"}}}))
