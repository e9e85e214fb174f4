"""The stand-in's rules of the API, with the official clients and with raw HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import kubernetes_asyncio
import pytest
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

from tests.kube.conftest import core, raw, soon
from tests.kube.faults import ApiFault
from tests.kube.samples import SLEEPS, changed, is_status, make_pod, new_name
from tests.kube.server import Kube, kube_server

NS = "callsheet-workers"
PODS = f"/api/v1/namespaces/{NS}/pods"
POD = make_pod(name="sample")
NOWHERE = {"no-such": "node"}
"""A node selector that keeps a pod pending."""
CPU = "spec/containers/0/resources"


def phase(api: client.CoreV1Api, name: str) -> str:
    return str(api.read_namespaced_pod(name, NS).status.phase)


def ended(api: client.CoreV1Api, name: str) -> client.V1Pod:
    """The pod once it is through."""
    soon(lambda: phase(api, name) in ("Succeeded", "Failed"), f"the end of {name}", 20)
    return api.read_namespaced_pod(name, NS)


def running(api: client.CoreV1Api, pod: dict[str, Any]) -> str:
    """The name of a new pod, once its process has said something."""
    api.create_namespaced_pod(NS, pod)
    name = str(pod["metadata"]["name"])
    soon(lambda: phase(api, name) == "Running" and log(api, name) != "", f"{name} running", 20)
    return name


def log(api: client.CoreV1Api, name: str, **options: Any) -> str:
    answer = api.read_namespaced_pod_log(name, NS, _preload_content=False, **options)
    return str(answer.data.decode())


def refusal(call: Any, *args: Any, **kwargs: Any) -> ApiException:
    with pytest.raises(ApiException) as caught:
        call(*args, **kwargs)
    return caught.value


# Requests


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "code", "says"),
    [
        ("GET", PODS, {"Authorization": ""}, None, 401, "Unauthorized"),
        ("GET", PODS, {"Authorization": "Bearer wrong"}, None, 401, "Unauthorized"),
        ("POST", PODS, {"Authorization": "Bearer wrong"}, POD, 401, "Unauthorized"),
        ("GET", "/apis/batch/v1/jobs", {}, None, 404, "could not find the requested resource"),
        ("GET", f"{PODS}/absent", {}, None, 404, 'pods "absent" not found'),
        ("GET", f"{PODS}/absent/log", {}, None, 404, 'pods "absent" not found'),
        ("DELETE", f"{PODS}/absent", {}, None, 404, 'pods "absent" not found'),
        ("PATCH", f"{PODS}/absent", {"Content-Type": "application/merge-patch+json"}, {}, 404, "not found"),
        ("GET", "/api/v1/namespaces/absent", {}, None, 404, 'namespaces "absent" not found'),
        ("POST", "/api/v1/namespaces/absent/pods", {}, POD, 404, 'namespaces "absent" not found'),
        ("GET", "/apis/scheduling.k8s.io/v1/priorityclasses/absent", {}, None, 404, "absent"),
        ("PUT", PODS, {}, POD, 405, "does not allow this method"),
        ("POST", "/api/v1/nodes", {}, {}, 405, "does not allow this method"),
        ("GET", PODS, {"Accept": "text/html"}, None, 406, "media types are accepted"),
        ("POST", PODS, {"Content-Type": "text/plain"}, POD, 415, "unknown format"),
        ("PATCH", f"{PODS}/absent", {"Content-Type": "application/json"}, {}, 415, "unknown format"),
        ("POST", PODS, {}, b"{not json", 400, "json parse error"),
        ("POST", PODS, {}, b'{"metadata": {"name": NaN}}', 400, "json parse error"),
        ("POST", PODS, {}, {"apiVersion": "v1", "kind": "Job"}, 400, "must be of type Pod"),
        ("POST", PODS, {}, changed(POD, "metadata/namespace", "other"), 400, "does not match the namespace"),
        ("POST", PODS, {}, changed(POD, "metadata/resourceVersion", "7"), 400, "resourceVersion should not be set"),
        ("GET", f"{PODS}?labelSelector=a%3D%3D%3Db", {}, None, 400, "unable to parse requirement"),
        ("GET", f"{PODS}?labelSelector=-a%3Db", {}, None, 400, "name part must consist of"),
        ("GET", f"{PODS}?fieldSelector=spec.image%3Da", {}, None, 400, "field label not supported: spec.image"),
        ("GET", f"{PODS}?resourceVersion=abc", {}, None, 400, "invalid syntax"),
        ("GET", f"{PODS}?resourceVersionMatch=Exact", {}, None, 422, "unless resourceVersion is provided"),
        ("GET", f"{PODS}?resourceVersion=999999999", {}, None, 504, "Too large resource version"),
        ("GET", f"{PODS}?watch=1&resourceVersion=1&resourceVersionMatch=Exact", {}, None, 422, "forbidden for watch"),
        ("GET", f"{PODS}?watch=perhaps", {}, None, 400, "ParseBool"),
        ("GET", f"{PODS}?limit=many", {}, None, 400, "ParseInt"),
        ("GET", f"{PODS}?limit=1&continue=%21", {}, None, 400, "continue key is not valid"),
        ("DELETE", f"{PODS}/absent?gracePeriodSeconds=soon", {}, None, 400, "ParseInt"),
        ("DELETE", f"{PODS}/absent", {}, {"gracePeriodSecond": 1}, 400, "unknown field"),
        ("DELETE", f"{PODS}/absent", {}, {"gracePeriodSeconds": -1}, 422, "greater than or equal to 0"),
        ("POST", f"{PODS}/absent/exec", {}, None, 403, "is forbidden"),
    ],
)
def test_what_the_real_server_refuses_is_refused_with_a_status_object(
    http: httpx.Client, method: str, path: str, headers: dict[str, str], body: Any, code: int, says: str
) -> None:
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    typed = {"Content-Type": "application/json"} if content is not None else {}
    answer = http.request(method, path, headers={**typed, **headers}, content=content)
    assert (answer.status_code, is_status(answer.json(), code)) == (code, True)
    assert says in answer.json()["message"]


def test_a_role_without_a_verb_is_refused_by_name(kube: Kube, api: client.CoreV1Api) -> None:
    kube.denied.add(("list", "nodes"))
    try:
        error = refusal(api.list_node)
    finally:
        kube.denied.clear()
    assert error.status == 403
    assert 'cannot list resource "nodes" in API group "" at the cluster scope' in json.loads(error.body)["message"]
    assert api.list_node().items[0].status.allocatable["cpu"] == "8"


# Pods that are refused

FREE = {"name": "x", "image": "y"}
MOUNT = [{"name": "absent", "mountPath": "/a"}]
TWICE = [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]
BOTH = [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]


@pytest.mark.parametrize(
    ("path", "value", "code", "field"),
    [
        ("metadata/name", "Upper", 422, "metadata.name"),
        ("metadata/name", "under_score", 422, "metadata.name"),
        ("metadata/name", "a" * 254, 422, "metadata.name"),
        ("metadata/name", "ends-", 422, "metadata.name"),
        ("metadata/name", "", 422, "metadata.name"),
        ("metadata/labels/title", "has space", 422, "metadata.labels"),
        ("metadata/labels/title", "a" * 64, 422, "metadata.labels"),
        ("metadata/labels/title", "-dash", 422, "metadata.labels"),
        ("metadata/labels/title", 7, 400, "metadata.labels.title"),
        ("metadata/labels", {"bad key": "a"}, 422, "metadata.labels"),
        ("metadata/annotations", {"a": "b" * 262144}, 422, "metadata.annotations"),
        ("spec/containers", [], 422, "spec.containers"),
        ("spec/containers/0/name", "Base", 422, "spec.containers[0].name"),
        ("spec/containers", [FREE, FREE], 422, "spec.containers[1].name"),
        ("spec/initContainers", [{"name": "base", "image": "y"}], 422, "spec.containers[0].name"),
        ("spec/containers/0/image", "", 422, "spec.containers[0].image"),
        ("spec/containers/0/image", " a", 422, "spec.containers[0].image"),
        ("spec/containers/0/imagePullPolicy", "Sometimes", 422, "spec.containers[0].imagePullPolicy"),
        ("spec/containers/0/command", "python", 400, "spec.containers[0].command"),
        ("spec/containers/0/env", [{"name": "A", "value": 1}], 400, "spec.containers[0].env[0].value"),
        ("spec/containers/0/env", [{"name": "1A", "value": "b"}], 422, "spec.containers[0].env[0].name"),
        (
            "spec/containers/0/env",
            [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            422,
            "spec.containers[0].env[0].valueFrom",
        ),
        (
            "spec/containers/0/env",
            [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.image"}}}],
            422,
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
        ),
        ("spec/containers/0/volumeMounts", MOUNT, 422, "spec.containers[0].volumeMounts[0].name"),
        ("spec/volumes", TWICE, 422, "spec.volumes[1].name"),
        ("spec/volumes", BOTH, 422, "spec.volumes[0]"),
        (f"{CPU}/limits", {"memory": "1GB"}, 400, "spec.containers[0].resources.limits.memory"),
        (f"{CPU}/limits", {"memory": "-1Gi"}, 422, "spec.containers[0].resources.limits[memory]"),
        (f"{CPU}/limits", {"gpu": "1"}, 422, "spec.containers[0].resources.limits[gpu]"),
        (f"{CPU}/limits", {"nvidia.com/gpu": "500m"}, 422, "spec.containers[0].resources.limits[nvidia.com/gpu]"),
        (CPU, {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, 422, "spec.containers[0].resources.requests"),
        (CPU, {"requests": {"nvidia.com/gpu": "1"}}, 422, "spec.containers[0].resources.limits"),
        ("spec/restartPolicy", "never", 422, "spec.restartPolicy"),
        ("spec/activeDeadlineSeconds", 0, 422, "spec.activeDeadlineSeconds"),
        ("spec/activeDeadlineSeconds", 30.0, 400, "spec.activeDeadlineSeconds"),
        ("spec/activeDeadlineSeconds", "30", 400, "spec.activeDeadlineSeconds"),
        ("spec/nodeSelector", {"gpu": True}, 400, "spec.nodeSelector.gpu"),
        ("spec/tolerations", [{"key": "gpu", "operator": "Equals"}], 422, "spec.tolerations[0].operator"),
        ("spec/tolerations", [{"key": "gpu", "operator": "Exists", "value": "a"}], 422, "spec.tolerations[0].operator"),
        ("spec/tolerations", [{"key": "gpu", "effect": "NoRun"}], 422, "spec.tolerations[0].effect"),
        ("spec/tolerations", [{"value": "true"}], 422, "spec.tolerations[0].operator"),
        ("spec/priorityClassName", "absent", 403, "no PriorityClass with name absent was found"),
        ("spec/priority", 5, 403, "must not be provided in pod spec"),
        ("spec/serviceAccountName", "absent", 403, 'serviceaccount "absent" not found'),
    ],
)
def test_a_wrong_pod_is_refused_with_the_field_that_is_wrong(
    http: httpx.Client, path: str, value: object, code: int, field: str
) -> None:
    answer = http.post(PODS, json=changed(POD, path, value))
    document = answer.json()
    assert (answer.status_code, is_status(document, code)) == (code, True)
    if code == 422:
        assert field in [cause["field"] for cause in document["details"]["causes"]]
    assert field in document["message"]
    assert http.get(f"{PODS}/sample").status_code == 404


@pytest.mark.parametrize(
    ("mode", "code", "warned"), [("Strict", 400, 0), ("Warn", 201, 1), ("", 201, 1), ("Ignore", 201, 0)]
)
def test_an_unknown_field_is_refused_dropped_aloud_or_dropped_as_asked(
    http: httpx.Client, mode: str, code: int, warned: int
) -> None:
    pod = changed(make_pod(name=new_name()), "spec/tolerance", "gpu")
    answer = http.post(PODS, params={"fieldValidation": mode} if mode else None, json=pod)
    assert (answer.status_code, len(answer.headers.get_list("Warning"))) == (code, warned)
    assert "tolerance" not in answer.json().get("spec", {})
    said = answer.headers.get("Warning", "") + answer.json().get("message", "")
    assert ("unknown field" in said and "spec.tolerance" in said) == (mode != "Ignore")


def test_a_pod_gets_what_the_server_fills_in(api: client.CoreV1Api) -> None:
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    pod = make_pod(priorityClassName="premium", container={"resources": limits})
    made = api.create_namespaced_pod(NS, pod)
    assert (made.metadata.namespace, bool(made.metadata.uid), made.status.phase) == (NS, True, "Pending")
    assert int(made.metadata.resource_version) > 1000
    assert made.spec.containers[0].resources.requests == {"cpu": "1", "memory": "1Gi"}
    assert (made.spec.priority, made.status.qos_class) == (1000, "Guaranteed")
    assert (made.spec.service_account_name, made.spec.termination_grace_period_seconds) == ("default", 30)
    assert {each.key for each in made.spec.tolerations} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }


def test_a_dry_run_stores_nothing(api: client.CoreV1Api) -> None:
    name = new_name()
    assert api.create_namespaced_pod(NS, make_pod(name=name), dry_run="All").metadata.name == name
    assert refusal(api.read_namespaced_pod, name, NS).status == 404


def test_generated_names_differ_and_a_name_is_taken_once(api: client.CoreV1Api) -> None:
    pod = make_pod()
    pod["metadata"] = {"generateName": "encode-"}
    names = {api.create_namespaced_pod(NS, pod).metadata.name for _ in range(3)}
    assert len(names) == 3
    error = refusal(api.create_namespaced_pod, NS, make_pod(name=names.pop()))
    assert (error.status, json.loads(error.body)["reason"]) == (409, "AlreadyExists")


# Lists


@pytest.mark.parametrize(
    ("labels", "fields", "expected"),
    [
        ("group=g,tier=premium", "", {"a"}),
        ("group==g,tier!=premium", "", {"b", "c"}),
        ("group=g,tier in (premium, basic)", "", {"a", "b"}),
        ("group=g,tier notin (premium)", "", {"b", "c"}),
        ("group=g,tier", "", {"a", "b"}),
        ("group=g,!tier", "", {"c"}),
        ("group=g,rung>1", "", {"b"}),
        ("group=other", "", set()),
        ("group=g", "metadata.name=a", {"a"}),
        ("group=g", "metadata.name!=a", {"b", "c"}),
        ("group=g", "spec.nodeName=", {"a", "b", "c"}),
        ("group=g", "status.phase=Running", set()),
        ("group=g", "status.phase=Pending,metadata.namespace=callsheet-workers", {"a", "b", "c"}),
    ],
)
def test_selectors_select(api: client.CoreV1Api, labels: str, fields: str, expected: set[str]) -> None:
    if not api.list_namespaced_pod(NS, label_selector="group=g").items:
        for name, more in {"a": {"tier": "premium", "rung": "1"}, "b": {"tier": "basic", "rung": "2"}, "c": {}}.items():
            api.create_namespaced_pod(NS, make_pod(name=name, labels={"group": "g", **more}, nodeSelector=NOWHERE))
    found = api.list_namespaced_pod(NS, label_selector=labels, field_selector=fields).items
    assert {pod.metadata.name for pod in found} == expected
    assert api.list_namespaced_pod("default", label_selector=labels).items == []


def test_a_list_comes_in_pages_until_its_version_is_compacted(tmp_path: Path) -> None:
    with kube_server(tmp_path, nodes=[]) as kube:
        api = core(kube)
        made = sorted(api.create_namespaced_pod(NS, make_pod()).metadata.name for _ in range(5))
        first = api.list_namespaced_pod(NS, limit=2)
        assert first.metadata.remaining_item_count == 3
        second = api.list_namespaced_pod(NS, limit=3, _continue=first.metadata._continue)
        assert [pod.metadata.name for pod in first.items + second.items] == made
        assert second.metadata._continue is None
        kube.storage.forget()
        api.create_namespaced_pod(NS, make_pod())
        kube.storage.forget()
        error = refusal(api.list_namespaced_pod, NS, limit=2, _continue=first.metadata._continue)
        assert (error.status, json.loads(error.body)["reason"]) == (410, "Expired")


# Updates


@pytest.mark.parametrize(
    ("kind", "patch", "code", "says"),
    [
        ("merge", {"metadata": {"labels": {"checked": "true"}}}, 200, ""),
        ("strategic-merge", {"metadata": {"labels": {"checked": "true"}}}, 200, ""),
        ("json", [{"op": "add", "path": "/metadata/labels/checked", "value": "true"}], 200, ""),
        ("strategic-merge", {"spec": {"containers": [{"name": "base", "image": "other:2"}]}}, 200, ""),
        ("merge", {"spec": {"containers": [{"name": "base", "image": "other:2"}]}}, 422, "pod updates may not change"),
        ("merge", {"spec": {"activeDeadlineSeconds": 60}}, 200, ""),
        ("merge", {"spec": {"nodeSelector": {"a": "b"}}}, 422, "pod updates may not change"),
        ("merge", {"metadata": {"labels": {"a": "not valid"}}}, 422, "metadata.labels"),
        ("merge", {"metadata": {"resourceVersion": "1"}}, 409, "the object has been modified"),
        ("merge", {"metadata": {"uid": "other"}}, 409, "UID in precondition"),
        ("merge", {"metadata": {"name": "other"}}, 422, "field is immutable"),
        ("json", [{"op": "remove", "path": "/metadata/labels/absent"}], 422, "rejected our request"),
        ("json", [{"op": "test", "path": "/metadata/labels/a", "value": "z"}], 422, "rejected our request"),
        ("json", {"metadata": {}}, 400, "error decoding patch"),
        ("merge", [], 400, "error decoding patch"),
        ("apply", {}, 415, "unknown format"),
    ],
)
def test_a_patch_is_what_its_content_type_says(
    api: client.CoreV1Api, http: httpx.Client, kind: str, patch: object, code: int, says: str
) -> None:
    name = api.create_namespaced_pod(NS, make_pod(labels={"a": "b"}, nodeSelector=NOWHERE)).metadata.name
    headers = {"Content-Type": f"application/{kind}-patch+json"}
    answer = http.patch(f"{PODS}/{name}", headers=headers, content=json.dumps(patch))
    assert answer.status_code == code
    assert says in answer.json().get("message", "")
    after = http.get(f"{PODS}/{name}").json()["metadata"]["labels"]
    assert after == ({"a": "b", "checked": "true"} if "checked" in json.dumps(patch) else {"a": "b"})


def test_a_stale_replacement_is_a_conflict_and_a_status_cannot_be_written(api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, make_pod(name="replaced", labels={"a": "1"}))
    old = ended(api, "replaced")
    api.patch_namespaced_pod("replaced", NS, {"metadata": {"labels": {"a": "2"}}})
    error = refusal(api.replace_namespaced_pod, "replaced", NS, old)
    assert (error.status, json.loads(error.body)["reason"]) == (409, "Conflict")
    fresh = api.read_namespaced_pod("replaced", NS)
    fresh.status.phase, fresh.metadata.labels = "Running", {"a": "3"}
    after = api.replace_namespaced_pod("replaced", NS, fresh)
    assert (after.status.phase, after.metadata.labels) == ("Succeeded", {"a": "3"})


# Watches


def test_a_watch_from_a_version_replays_what_came_after_it_and_nothing_else(api: client.CoreV1Api) -> None:
    label = new_name("watched")
    first = new_name()
    api.create_namespaced_pod(NS, make_pod(name=first, labels={"w": label}))
    ended(api, first)
    version = api.list_namespaced_pod(NS).metadata.resource_version
    second = new_name()
    api.create_namespaced_pod(NS, make_pod(name=second, labels={"w": label}))
    ended(api, second)
    api.delete_namespaced_pod(second, NS)
    api.create_namespaced_pod(NS, make_pod(labels={"w": "other"}))
    events = list(
        watch.Watch().stream(
            api.list_namespaced_pod, NS, label_selector=f"w={label}", resource_version=version, timeout_seconds=1
        )
    )
    assert {event["object"].metadata.name for event in events} == {second}
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("ADDED", "DELETED", {"MODIFIED"})
    versions = [int(event["object"].metadata.resource_version) for event in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)
    phases = [event["object"].status.phase for event in events]
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]


def test_a_watch_without_a_version_begins_with_what_there_is_and_ends_when_asked(api: client.CoreV1Api) -> None:
    name = new_name()
    api.create_namespaced_pod(NS, make_pod(name=name))
    ended(api, name)
    began = time.monotonic()
    stream = watch.Watch().stream(
        api.list_namespaced_pod, NS, field_selector=f"metadata.name={name}", timeout_seconds=1
    )
    assert [(event["type"], event["object"].status.phase) for event in stream] == [("ADDED", "Succeeded")]
    assert time.monotonic() - began >= 1


def test_an_object_that_leaves_the_selection_is_deleted_for_its_watcher(api: client.CoreV1Api) -> None:
    name = new_name()
    api.create_namespaced_pod(NS, make_pod(name=name, labels={"s": "in"}))
    ended(api, name)
    version = api.list_namespaced_pod(NS).metadata.resource_version
    for value in ("out", "in"):
        api.patch_namespaced_pod(name, NS, {"metadata": {"labels": {"s": value}}})
    options = {"label_selector": "s=in", "resource_version": version, "timeout_seconds": 1}
    kinds = [event["type"] for event in watch.Watch().stream(api.list_namespaced_pod, NS, **options)]
    assert kinds == ["DELETED", "ADDED"]


def test_a_watch_from_a_forgotten_version_says_gone_in_its_stream(tmp_path: Path) -> None:
    with kube_server(tmp_path, nodes=[]) as kube, raw(kube) as http:
        api = core(kube)
        version = api.list_namespaced_pod(NS).metadata.resource_version
        api.create_namespaced_pod(NS, make_pod())
        kube.storage.forget()
        answer = http.get(f"{PODS}?watch=1&resourceVersion={version}&timeoutSeconds=5")
        (line,) = answer.text.splitlines()
        event = json.loads(line)
        assert (answer.status_code, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
        assert is_status(event["object"], 410)
        stream = watch.Watch().stream(api.list_namespaced_pod, NS, resource_version=version, timeout_seconds=5)
        assert refusal(list, stream).status == 410


def test_bookmarks_carry_the_version_to_go_on_from(http: httpx.Client, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, make_pod(name=new_name()))
    query = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&labelSelector=no%3Dsuch"
    events = [json.loads(line) for line in http.get(f"{PODS}?{query}").text.splitlines()]
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > 1000
    assert "status" not in events[-1]["object"]
    assert http.get(f"{PODS}?{query.replace('true', 'false')}").text == ""


def test_the_asynchronous_client_watches_reads_and_deletes(kube: Kube) -> None:
    name = new_name("async")

    async def go() -> tuple[list[str], str, int]:
        configuration = type.__call__(kubernetes_asyncio.client.Configuration)
        await kubernetes_asyncio.config.load_kube_config(str(kube.kubeconfig), client_configuration=configuration)
        async with kubernetes_asyncio.client.ApiClient(configuration) as connection:
            api = kubernetes_asyncio.client.CoreV1Api(connection)
            version = (await api.list_namespaced_event(NS)).metadata.resource_version
            await api.create_namespaced_pod(NS, make_pod(name=name))
            reasons = []
            async with kubernetes_asyncio.watch.Watch() as watcher:
                selected = {"field_selector": f"involvedObject.name={name}", "resource_version": version}
                stream = watcher.stream(api.list_namespaced_event, NS, timeout_seconds=10, **selected)
                async for event in stream:
                    reasons.append(event["object"].reason)
                    if event["object"].reason == "Started":
                        break
            while (await api.read_namespaced_pod(name, NS)).status.phase != "Succeeded":
                await asyncio.sleep(0.02)
            answer = await api.read_namespaced_pod_log(
                name=name, namespace=NS, container="base", timestamps=True, since_seconds=100, _preload_content=False
            )
            text = (await answer.read()).decode()
            await api.delete_namespaced_pod(name, NS, body=client.V1DeleteOptions(grace_period_seconds=5))
            try:
                await api.delete_namespaced_pod(name, NS)
            except kubernetes_asyncio.client.ApiException as error:
                return reasons, text, int(error.status)
            return reasons, text, 0

    reasons, text, code = asyncio.run(go())
    assert reasons == ["Scheduled", "Pulled", "Created", "Started"]
    assert text.endswith("Z done\n")
    assert code == 404


# Logs


LINES = "import sys; print('one'); print('two', file=sys.stderr); print('three', end='')"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "one\ntwo\nthree"),
        ({"tail_lines": 1}, "three"),
        ({"tail_lines": 0}, ""),
        ({"limit_bytes": 5}, "one\nt"),
        ({"since_seconds": 1000}, "one\ntwo\nthree"),
        ({"follow": True}, "one\ntwo\nthree"),
        ({"container": "base"}, "one\ntwo\nthree"),
    ],
)
def test_a_log_is_what_the_container_wrote(kube: Kube, options: dict[str, Any], expected: str) -> None:
    api = core(kube)
    name = "log-lines"
    if not any(pod["metadata"]["name"] == name for pod in kube.pods()):
        api.create_namespaced_pod(NS, make_pod("python", "-u", "-c", LINES, name=name))
    ended(api, name)
    assert log(api, name, **options) == expected


def test_each_log_line_has_its_time_and_later_ones_can_be_asked_for(kube: Kube, http: httpx.Client) -> None:
    api = core(kube)
    name = new_name()
    code = "import time; print('early', flush=True); time.sleep(1.1); print('late')"
    api.create_namespaced_pod(NS, make_pod("python", "-c", code, name=name))
    ended(api, name)
    early, late = log(api, name, timestamps=True).splitlines()
    assert (early.split(" ")[1], late.split(" ")[1]) == ("early", "late")
    later = http.get(f"{PODS}/{name}/log", params={"sinceTime": late.split(" ")[0]})
    assert later.text == "late\n"


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("sinceSeconds=0", 422, "sinceSeconds"),
        ("tailLines=-1", 422, "tailLines"),
        ("limitBytes=0", 422, "limitBytes"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of"),
        ("sinceTime=yesterday", 400, "parsing time"),
        ("container=absent", 400, "container absent is not valid for pod"),
        ("previous=true", 400, "previous terminated container"),
    ],
)
def test_a_log_request_that_makes_no_sense_is_refused(
    api: client.CoreV1Api, http: httpx.Client, query: str, code: int, says: str
) -> None:
    name = new_name()
    api.create_namespaced_pod(NS, make_pod(name=name))
    ended(api, name)
    answer = http.get(f"{PODS}/{name}/log?{query}")
    assert (answer.status_code, is_status(answer.json(), code)) == (code, True)
    assert says in answer.json()["message"]


def test_of_several_containers_one_must_be_named(api: client.CoreV1Api) -> None:
    name = new_name()
    pod = make_pod(name=name)
    pod["spec"]["containers"].append({**pod["spec"]["containers"][0], "name": "side"})
    api.create_namespaced_pod(NS, pod)
    ended(api, name)
    error = refusal(api.read_namespaced_pod_log, name, NS)
    assert (error.status, "choose one of: [base side]" in error.body) == (400, True)
    assert log(api, name, container="side") == "done\n"


def test_a_followed_log_comes_as_it_is_written_and_ends_with_the_container(kube: Kube, tmp_path: Path) -> None:
    api = core(kube)
    gate = tmp_path / "gate"
    wait = f"while not os.path.exists({str(gate)!r}): time.sleep(.02)"
    code = f"import os, time; print('one', flush=True)\n{wait}\nprint('two')"
    name = running(api, make_pod("python", "-c", code))
    lines: list[str] = []

    def follow() -> None:
        answer = api.read_namespaced_pod_log(name, NS, follow=True, _preload_content=False)
        lines.extend(line.decode() for line in answer)

    reader = threading.Thread(target=follow)
    reader.start()
    soon(lambda: lines == ["one\n"], "the first line", 10)
    assert phase(api, name) == "Running"
    gate.touch()
    reader.join(10)
    assert lines == ["one\n", "two\n"]


# Faults of the API


@pytest.mark.parametrize(
    ("kind", "code", "headers"),
    [
        ("500", 500, {}),
        ("503", 503, {}),
        ("429", 429, {"Retry-After": "1"}),
        ("reset", None, {}),
        ("timeout", None, {}),
    ],
)
def test_planted_api_faults_come_as_often_as_asked(
    kube: Kube, http: httpx.Client, kind: Any, code: int | None, headers: dict[str, str]
) -> None:
    kube.faults.add(ApiFault(kinds=(kind,), rate=1, times=1, methods="LIST", paths="*/pods", hang_s=0.2))
    if code is None:
        with pytest.raises(httpx.TransportError):
            http.get(PODS)
    else:
        answer = http.get(PODS)
        assert (answer.status_code, is_status(answer.json(), code)) == (code, True)
        assert headers.items() <= {**answer.headers, "Retry-After": answer.headers.get("Retry-After")}.items()
    assert http.get(PODS).status_code == 200
    kube.faults.clear()


def test_a_lost_answer_leaves_what_was_done(kube: Kube, http: httpx.Client) -> None:
    name = new_name("orphan")
    kube.faults.add(ApiFault(kinds=("lost_answer",), rate=1, times=1, methods="POST"))
    with pytest.raises(httpx.TransportError):
        http.post(PODS, json=make_pod(name=name))
    kube.faults.clear()
    assert http.get(f"{PODS}/{name}").status_code == 200


def test_a_cut_watch_ends_in_the_middle_of_a_line(kube: Kube, http: httpx.Client, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NS, make_pod(name=new_name()))
    kube.faults.add(ApiFault(kinds=("cut",), rate=1, times=1))
    received: list[bytes] = []
    with http.stream("GET", f"{PODS}?watch=1&timeoutSeconds=5") as answer, pytest.raises(httpx.TransportError):
        received.extend(answer.iter_raw())
    kube.faults.clear()
    begun = b"".join(received)
    assert begun.startswith(b'{"type": "ADDED"')
    assert not begun.endswith(b"\n")


def test_faults_at_a_rate_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def codes(seed: int) -> list[int]:
        planted = ApiFault(kinds=("500", "503", "429"), rate=0.3)
        with kube_server(tmp_path, nodes=[], faults=[planted], seed=seed) as kube, raw(kube) as http:
            return [http.get(PODS).status_code for _ in range(40)]

    first = codes(1)
    assert first == codes(1)
    assert first != codes(2)
    assert 3 <= sum(code != 200 for code in first) <= 25


def test_requests_are_counted_by_verb_and_resource(kube: Kube, api: client.CoreV1Api) -> None:
    before = kube.counts["list", "pods"]
    api.list_namespaced_pod(NS)
    assert kube.counts["list", "pods"] == before + 1


def test_a_pod_runs_on_while_nobody_asks(kube: Kube) -> None:
    api = core(kube)
    name = running(api, make_pod(*SLEEPS))
    assert len(kube.processes()) >= 1
    api.delete_namespaced_pod(name, NS, grace_period_seconds=0)
    soon(lambda: kube.processes() == [], "the end of the process", 10)
