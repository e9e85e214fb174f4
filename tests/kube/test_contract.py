"""The stand-in answers as the real server does: contract.yaml, line by line."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.client.rest import ApiException

from tests.deploy.manifests import MANIFESTS
from tests.kube.admission import PriorityClass
from tests.kube.cluster import Node
from tests.kube.conftest import core, raw, soon
from tests.kube.policies import RBAC, Policies
from tests.kube.samples import Item, changed, is_status, make_pod, new_name
from tests.kube.selectors import canonical
from tests.kube.server import kube_server

NS = "callsheet-workers"
PODS = f"/api/v1/namespaces/{NS}/pods"
CONTRACT = yaml.safe_load(Path(__file__).with_name("contract.yaml").read_text())
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A cluster without rules, for an account that may do everything."""
    with kube_server(tmp_path_factory.mktemp("kube"), nodes=[]) as kube, raw(kube) as http:
        yield http


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A cluster with the files of deploy/, for the account of the scheduler."""
    folder = tmp_path_factory.mktemp("kube")
    with kube_server(folder, namespaces=["default"], nodes=[], manifests=MANIFESTS) as kube, raw(kube) as http:
        yield http


def sample(line: Item, **container: Any) -> Item:
    """The pod of a line: a sample with one field changed."""
    pod = make_pod(name=new_name("sample"), container=container)
    value = line.get("value")
    times = line.get("times", 1)
    if times > 1:
        value = {name: text * times for name, text in value.items()} if isinstance(value, dict) else value * times
    return changed(pod, line["field"], value) if "field" in line else pod


def ask(http: httpx.Client, line: Item, pod: Item) -> Item:
    """Send a line's request, and hold the answer against the line; returns the object or status that came."""
    method, _, path = line.get("send", "POST PODS").partition(" ")
    body = line.get("body", None if method in ("GET", "DELETE") else pod)
    headers = {**({} if body is None else {"Content-Type": "application/json"}), **line.get("headers", {})}
    given = {"content": body} if isinstance(body, str) or body is None else {"json": body}
    answer = http.request(method, path.replace("PODS", PODS), headers=headers, **given)
    found: Item = answer.json()
    assert answer.status_code == line["code"], found
    if answer.status_code >= 400:
        assert is_status(found, line["code"])
    if answer.status_code == 422:
        assert line["says"] in [each["field"] for each in found["details"]["causes"]] or "DELETE" in line["send"]
    assert line.get("says", "") in found.get("message", "")
    return found


@pytest.mark.parametrize("line", CONTRACT["pods"], ids=lambda line: f"{line['field']} {line['code']}")
def test_a_wrong_pod_is_refused_with_the_field_that_is_wrong(everything: httpx.Client, line: Item) -> None:
    pod = sample(line)
    ask(everything, line, pod)
    if line["field"] != "metadata/name":
        assert everything.get(f"{PODS}/{pod['metadata']['name']}").status_code == 404


@pytest.mark.parametrize("line", CONTRACT["requests"], ids=lambda line: line["send"])
def test_what_the_real_server_refuses_is_refused(everything: httpx.Client, line: Item) -> None:
    ask(everything, line, sample(line))


@pytest.mark.parametrize("line", CONTRACT["deployed"], ids=lambda line: line.get("send") or line["field"])
def test_with_our_own_files_laid_down_a_pod_and_a_right_are_what_they_allow(deployed: httpx.Client, line: Item) -> None:
    found = ask(deployed, line, sample(line, securityContext=SAFE, resources={"limits": {"cpu": "1"}}))
    for path, value in line.get("has", {}).items():
        assert at(found, path) == value


@pytest.mark.parametrize("line", CONTRACT["quantities"], ids=lambda line: line["given"])
def test_a_quantity_comes_back_in_its_canonical_form(line: Item) -> None:
    assert canonical(line["given"]) == line["back"]
    assert canonical(line["back"]) == line["back"]


def test_a_pod_comes_back_with_canonical_quantities(everything: httpx.Client) -> None:
    asked = {"cpu": "2000m", "memory": "4096Mi", "ephemeral-storage": "1084Mi"}
    made = ask(everything, {"code": 201}, make_pod(container={"resources": {"limits": asked}}))

    given = {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "1084Mi"}
    assert made["spec"]["containers"][0]["resources"] == {"limits": given, "requests": given}


@pytest.mark.parametrize("line", CONTRACT["scheduler"], ids=lambda line: line["says"][:60])
def test_the_scheduler_says_why_a_pod_fits_nowhere(tmp_path: Path, line: Item) -> None:
    nodes = [
        Node(**{name: tuple(v) if name == "taints" else v for name, v in given.items()}) for given in line["nodes"]
    ]
    polite = {"polite": PriorityClass(value=10, preemption="Never")}
    with kube_server(tmp_path, nodes=nodes, priority_classes=polite) as kube:
        api = core(kube)
        one = {"resources": {"limits": {"cpu": "1"}}}
        if line.get("beside"):
            api.create_namespaced_pod(NS, make_pod("sleep", "60", name="beside", container=one))
            soon(lambda: bool(kube.pods()[0]["spec"].get("nodeName")), "a node for the first pod")
        pod = make_pod(name="waits")
        for path, value in line.get("pod", {}).items():
            pod = changed(pod, f"spec/{path}", value)
        api.create_namespaced_pod(NS, pod)

        def said() -> list[str]:
            status = api.read_namespaced_pod("waits", NS).status
            return [each.message for each in status.conditions or [] if each.type == "PodScheduled"]

        soon(lambda: said() == [line["says"]], "the scheduler's words")


def test_an_expired_watch_is_answered_with_200_and_an_error_in_the_stream(tmp_path: Path) -> None:
    with kube_server(tmp_path, nodes=[]) as kube, raw(kube) as http:
        version = http.get(PODS).json()["metadata"]["resourceVersion"]
        core(kube).create_namespaced_pod(NS, make_pod())
        kube.storage.forget()
        answer = http.get(f"{PODS}?watch=1&resourceVersion={version}&timeoutSeconds=5")

        (event,) = [yaml.safe_load(line) for line in answer.text.splitlines()]
        assert (answer.status_code, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
        assert is_status(event["object"], 410)


def test_a_quota_refuses_what_it_has_no_room_for(tmp_path: Path) -> None:
    quota = {"pods": "2", "requests.cpu": "2"}
    item = {"kind": "ResourceQuota", "metadata": {"name": "workers", "namespace": NS}, "spec": {"hard": quota}}
    (tmp_path / "quota.yaml").write_text(yaml.safe_dump(item))
    with kube_server(tmp_path / "kube", namespaces=[NS], nodes=[], manifests=[tmp_path / "quota.yaml"]) as kube:
        api = core(kube)
        api.create_namespaced_pod(NS, make_pod(container={"resources": {"requests": {"cpu": "1500m"}}}))
        more = make_pod(container={"resources": {"requests": {"cpu": "1"}}})
        assert "exceeded quota: workers, requested: requests.cpu=1, used: requests.cpu=1500m" in refused(api, more)
        assert "must specify requests.cpu for: base" in refused(api, make_pod())
        less = {"resources": {"requests": {"cpu": "500m"}}}
        api.create_namespaced_pod(NS, make_pod(container=less))
        assert "requested: pods=1" in refused(api, make_pod(container={"resources": {"requests": {"cpu": "0"}}}))


def refused(api: Any, pod: Item) -> str:
    """Why a pod is forbidden."""
    with pytest.raises(ApiException) as caught:
        api.create_namespaced_pod(NS, pod)
    assert caught.value.status == 403
    return str(caught.value.body)


ACCOUNT = {"kind": "ServiceAccount", "name": "callsheet-scheduler", "namespace": "airflow"}


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        (ACCOUNT, True),
        ({**ACCOUNT, "namespace": "callsheet-workers"}, False),
        ({**ACCOUNT, "kind": "User", "apiGroup": RBAC}, False),
        ({**ACCOUNT, "kind": "Group", "apiGroup": RBAC}, False),
        ({"kind": "User", "name": "system:serviceaccount:airflow:callsheet-scheduler", "apiGroup": RBAC}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:airflow", "apiGroup": RBAC}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:callsheet-workers", "apiGroup": RBAC}, False),
    ],
)
def test_a_role_is_the_account_s_by_kind_name_and_namespace(subject: Item, allowed: bool) -> None:
    assert may(subject=subject) is allowed


@pytest.mark.parametrize(
    ("rule", "name", "allowed"),
    [
        ({}, "", True),
        ({"apiGroups": ["batch"]}, "", False),
        ({"apiGroups": ["*"]}, "", True),
        ({"resources": ["pods/log"]}, "", False),
        ({"resources": ["*"]}, "", True),
        ({"verbs": ["get"]}, "", False),
        ({"resourceNames": ["one"]}, "", False),
        ({"resourceNames": ["one"]}, "other", False),
        ({"resourceNames": ["one"]}, "one", True),
    ],
)
def test_a_rule_holds_for_its_group_resource_verb_and_names(rule: Item, name: str, allowed: bool) -> None:
    assert may(rule=rule, name=name) is allowed


@pytest.mark.parametrize("namespace", ["default", None])
def test_a_role_is_of_one_namespace(namespace: str | None) -> None:
    assert not may(namespace=namespace)


def may(*, subject: Item = ACCOUNT, rule: Item | None = None, namespace: str | None = NS, name: str = "") -> bool:
    """Whether the account may list pods by one role that is bound to a subject."""
    policies = Policies()
    whole = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], **(rule or {})}
    metadata = {"name": "pods", "namespace": NS}
    policies.items["Role"] = [{"metadata": metadata, "rules": [whole]}]
    reference = {"apiGroup": RBAC, "kind": "Role", "name": "pods"}
    policies.items["RoleBinding"] = [{"metadata": metadata, "roleRef": reference, "subjects": [copy.copy(subject)]}]
    policies.bind()
    return policies.allows("list", "pods", namespace, name)


def at(item: Any, path: str) -> Any:
    """The field of an object by its path: ``spec/containers/0/image``."""
    for part in path.split("/"):
        item = item[int(part)] if isinstance(item, list) else item[part]
    return item
