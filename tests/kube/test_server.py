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
from tests.kube.samples import changed, is_status, make_pod, new_name
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


# Pods that are refused

FREE = {"name": "x", "image": "y"}
MOUNT = [{"name": "absent", "mountPath": "/a"}]
TWICE = [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]
BOTH = [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]


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


# Updates


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
    code = """
import os, time
print('one', flush=True)
while not os.path.exists('/gate/open'):
    time.sleep(.02)
print('two')
"""
    volume = {"name": "gate", "hostPath": {"path": str(tmp_path)}}
    mounts = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
    name = running(api, make_pod("python", "-c", code, container=mounts, volumes=[volume]))
    lines: list[str] = []

    def follow() -> None:
        answer = api.read_namespaced_pod_log(name, NS, follow=True, _preload_content=False)
        lines.extend(line.decode() for line in answer)

    reader = threading.Thread(target=follow)
    reader.start()
    soon(lambda: lines == ["one\n"], "the first line", 10)
    assert phase(api, name) == "Running"
    (tmp_path / "open").touch()
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
