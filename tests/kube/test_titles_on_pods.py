"""Hunting for titles that hang, pods that are left behind and results that are lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from kubernetes.client.rest import RESTClientObject

from include.domain.title.work import result_key
from include.orchestration.runtimes.kubernetes import endings, waiting
from include.orchestration.runtimes.kubernetes import task as pods
from tests.kube.conftest import core, soon
from tests.kube.faults import ApiFault, PodFault
from tests.kube.server import Kube
from tests.orchestration.lab import Lab, context, released
from tests.pods.bench import NAMESPACE, Bench, Item, fired, trigger_of
from tests.pods.conftest import (  # noqa: F401
    bench,
    catalog,
    cluster,
    kube,
    lab,
    lab_project,
    migrated,
    settings,
    store,
    supervisor,
)


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: Kube) -> Iterator[None]:  # noqa: F811
    yield
    cluster.denied.clear()
    cluster.faults.clear()
    api = core(cluster)
    for pod in cluster.pods(NAMESPACE):
        api.delete_namespaced_pod(pod["metadata"]["name"], NAMESPACE, grace_period_seconds=0)
    soon(lambda: cluster.processes() == [], "the end of all processes")


def hanging(bench: Bench, tmp_path: Path) -> Bench:  # noqa: F811
    """The bench with a title whose worker works on until it is ended."""
    bench.title = released(
        bench.catalog, batch_id="batch-hang", metadata={"do": "hang", "pid_file": str(tmp_path / "pid")}
    )
    return bench


def names(bench: Bench) -> list[str]:  # noqa: F811
    return [pod["metadata"]["name"] for pod in bench.pods()]


def most_at_once(kube: Kube, since: int) -> int:  # noqa: F811
    """The most containers of one task that ever ran at the same time."""
    running: dict[str, set[str]] = {}
    most = 0
    for change in kube.storage.since("pods", since):
        pod = change.item
        labels = pod["metadata"]["labels"]
        task = "/".join(labels.get(each, "") for each in ("dag_id", "run_id", "task_id", "map_index"))
        states = [each["state"] for each in pod["status"].get("containerStatuses", [])]
        alive = change.type != "DELETED" and any("running" in state for state in states)
        here = running.setdefault(task, set())
        (here.add if alive else here.discard)(pod["metadata"]["uid"])
        most = max(most, len(here))
    return most


# Nodes that fall silent


def test_a_pod_on_a_node_that_falls_silent_is_given_up_in_time(
    bench: Bench,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "SILENCE_S", -pods.GRACE_S)
    monkeypatch.setattr(pods, "DYING_LIMIT_S", 1)
    hanging(bench, tmp_path)
    bench.kube.faults.add(PodFault(kind="node_silent", after_s=0.3))

    with pytest.raises(AirflowException, match="NodeLost"):
        bench.attempt()
    # Nobody else would ever end it there.
    assert names(bench) == []
    deferred = bench.start()

    assert len(names(bench)) == 1
    asyncio.run(trigger_of(deferred).on_kill())
    soon(lambda: names(bench) == [], "the end of the second")


def test_a_pod_that_its_node_has_not_ended_yet_is_left_behind_and_not_by_force(
    bench: Bench,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pods, "DYING_LIMIT_S", 1)
    hanging(bench, tmp_path)
    bench.kube.faults.add(PodFault(kind="node_silent", after_s=0.3))
    bench.start()
    soon(lambda: "deletionTimestamp" in bench.pods()[0]["metadata"], "the silence")
    left = names(bench)

    deferred = bench.start()

    assert len(names(bench)) == 2
    asyncio.run(trigger_of(deferred).on_kill())
    soon(lambda: names(bench) == left, "the end of the second")


def test_a_pending_pod_that_the_triggerer_cannot_see_holds_no_slot_for_ever(bench: Bench) -> None:  # noqa: F811
    bench.kube.faults.add(PodFault(kind="pending"))
    deferred = bench.start()
    errors = 0

    async def in_time() -> None:
        nonlocal deferred, errors
        while True:
            bench.kube.denied.add(("get", "pods"))
            event = await asyncio.to_thread(fired, deferred)
            bench.kube.denied.clear()
            errors += event["status"] == "error"
            task = bench.task()
            try:
                await asyncio.to_thread(
                    getattr(task, deferred.method_name), bench.context(), event=event, **(deferred.kwargs or {})
                )
            except TaskDeferred as again:
                deferred = again

    with pytest.raises(AirflowException, match="had no node yet"):
        asyncio.run(asyncio.wait_for(in_time(), timeout=60))
    assert errors > 1
    # Its place among the pods that wait is kept for the next attempt.
    (left,) = names(bench)
    bench.start()
    assert names(bench) == [left]


# Pods that are there twice, or are not to be had


def test_of_two_living_pods_of_one_task_one_goes_on_and_the_other_ends(
    bench: Bench,  # noqa: F811
    tmp_path: Path,
) -> None:
    hanging(bench, tmp_path)
    bench.start()
    (pod,) = bench.pods()
    spec = {name: value for name, value in pod["spec"].items() if name != "nodeName"}
    metadata = {"name": "twin", **{name: pod["metadata"][name] for name in ("labels", "annotations")}}
    core(bench.kube).create_namespaced_pod(
        NAMESPACE, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    )
    bench.state.clear()

    deferred = bench.start()

    assert names(bench) == [deferred.trigger.serialize()[1]["pod_name"]]
    asyncio.run(trigger_of(deferred).on_kill())


@pytest.mark.parametrize(
    ("variable", "value", "type_", "words"),
    [
        (
            "CALLSHEET_WORKER_SERVICE_ACCOUNT",
            "absent",
            "ConfigurationError",
            '.403.: .*serviceaccount "absent" not found',
        ),
        ("CALLSHEET_WORKER_IMAGE", " spaced", "ConfigurationError", ".422.: .*containers.0..image: Invalid value"),
        (
            "CALLSHEET_WORKER_NAMESPACE",
            "elsewhere",
            "ConfigurationError",
            '.403.: .*cannot list resource "pods" in API group "" in the namespace "elsewhere"',
        ),
    ],
)
def test_what_the_api_server_refuses_is_told_in_its_words(
    variable: str,
    value: str,
    type_: str,
    words: str,
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(AirflowException, match=f"{type_}: .*{words}"):
        bench.attempt()


def test_a_pod_that_waits_for_a_secret_says_which(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CALLSHEET_WORKER_SECRET", "not-there")
    monkeypatch.setattr(bench, "startup_s", 1, raising=False)
    impatient(bench, monkeypatch)

    with pytest.raises(AirflowException, match=r'CreateContainerConfigError.*secret "not-there" not found'):
        bench.attempt()
    soon(lambda: bench.pods() == [], "the end of the pod")


def test_a_container_that_is_never_made_fails_in_time(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(bench, monkeypatch)
    bench.kube.faults.add(PodFault(kind="creating"))

    with pytest.raises(AirflowException, match=r"did not start \(ContainerCreating\)"):
        bench.attempt()
    soon(lambda: bench.pods() == [], "the end of the pod")


def impatient(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Pods have a second to start."""
    shape = pods.PodTask._shape

    def quick(self: pods.PodTask, *arguments: Any) -> Any:
        shaped = shape(self, *arguments)
        self.startup_timeout_seconds = 1
        return shaped

    monkeypatch.setattr(pods.PodTask, "_shape", quick)


# What a pod died of


def memory(bench: Bench) -> list[str]:  # noqa: F811
    return [pod["spec"]["containers"][0]["resources"]["limits"]["memory"] for pod in bench.pods()]


def test_out_of_memory_is_heeded_though_the_attempt_did_not_live_to_see_it(bench: Bench) -> None:  # noqa: F811
    bench.kube.faults.add(PodFault(kind="oom"))
    bench.start()
    asked = memory(bench)
    soon(lambda: [pod["status"]["phase"] for pod in bench.pods()] == ["Failed"], "the end of the first pod")

    deferred = bench.start()

    assert (asked, memory(bench)) == (["4Gi"], ["6Gi"])
    assert bench.finish(deferred) is None


def test_a_connection_of_another_name_is_used_for_every_request(
    bench: Bench,  # noqa: F811
    lab: Lab,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FARM", os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"])
    monkeypatch.delenv("AIRFLOW_CONN_KUBERNETES_DEFAULT")
    monkeypatch.setenv("CALLSHEET_KUBERNETES_CONN_ID", "farm")
    bench.title = released(bench.catalog, batch_id="elsewhere", metadata={"pools": {"h264_1p": "gpu_encode"}})
    lab.task("look-around").execute(context(bench.title))
    lab.task("make-up-your-mind").execute(context(bench.title))

    assert bench.attempt("make-them", job="h264_1p") is None


# An API server that is away


@pytest.mark.parametrize("when", ["create", "resume", "delete"])
def test_an_outage_of_the_api_loses_neither_result_nor_pod(
    when: str,
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One that outlasts all patience.
    for module in (pods, waiting):
        monkeypatch.setattr(module, "OUTAGE_S", 0)
    down = ApiFault(kinds=("503", "reset"), rate=1, methods={"create": "POST", "delete": "DELETE"}.get(when, "*"))
    if when == "create":
        bench.kube.faults.add(down)
        with pytest.raises(
            AirflowException, match=r"PlatformUnavailable: the Kubernetes API failed .* unable to handle"
        ):
            bench.attempt()
    else:
        # The results are there, and decide.
        bench.finish(bench.start(), before_resuming=lambda: bench.kube.faults.add(down))
    bench.kube.faults.clear()

    assert bench.attempt() is None
    assert bench.store.size(result_key(bench.title.job(), "look"))
    assert bench.kube.processes() == []
    soon(lambda: all(not living(pod) for pod in bench.pods()), "the end of the pod")


def test_an_outage_while_the_pod_works_is_waited_for(
    bench: Bench,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.1)
    hanging(bench, tmp_path)
    deferred = bench.start()
    soon(lambda: (tmp_path / "pid").exists(), "the worker's work")
    bench.kube.faults.add(ApiFault(kinds=("503", "reset"), rate=1))

    async def through() -> None:
        waiting = asyncio.create_task(anext(trigger_of(deferred).run()))
        # More than all that the provider would try.
        while len(bench.kube.faults.hits) < 40:
            await asyncio.sleep(0.05)
        assert not waiting.done()
        bench.kube.faults.clear()
        (pid,) = bench.kube.processes()
        os.kill(pid, signal.SIGKILL)
        event = await asyncio.wait_for(waiting, 20)
        assert event.payload["status"] == "failed"

    bench.kube.faults.hits.clear()
    asyncio.run(through())


# The task's process dies at any request


class Died(BaseException):
    """SIGKILL, as far as one process can feign it: nothing of the task runs any more."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], None]:
    """Let the process die at its n-th request to the API, before it is sent or after it was carried out."""
    real = RESTClientObject.request
    count: Counter[str] = Counter()
    at: dict[str, Any] = {"request": -1, "after": False}

    def request(self: RESTClientObject, method: str, url: str, **options: Any) -> Any:
        # To die before one reads is to die after the request before it.
        count["all"] += at["after"] or method != "GET"
        mine = count["all"] == at["request"]
        if mine and not at["after"]:
            raise Died
        answer = real(self, method, url, **options)
        if mine:
            raise Died
        return answer

    def arm(request: int, after: bool) -> None:
        count.clear()
        at.update(request=request, after=after)

    monkeypatch.setattr(RESTClientObject, "request", request)
    return arm


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_task_that_dies_at_any_request_ends_well_with_one_pod_at_a_time(
    after: bool,
    bench: Bench,  # noqa: F811
    dying: Callable[[int, bool], None],
) -> None:
    request, died = 0, True
    while died:
        request += 1
        bench.title = released(bench.catalog, batch_id=f"dies-{after}-{request}".lower())
        bench.state.clear()
        since = bench.kube.storage.version
        dying(request, after)
        died = False
        try:
            bench.attempt()
        except Died:
            died = True
        dying(-1, after)
        if died:
            assert bench.attempt() is None, f"after dying at request {request}"
        assert bench.store.size(result_key(bench.title.job(), "look"))
        assert most_at_once(bench.kube, since) <= 1, f"two pods after dying at request {request}"
    assert request > 2


def living(pod: Item) -> bool:
    return pod["status"]["phase"] not in ("Succeeded", "Failed")


@pytest.mark.parametrize("seed", range(2))
def test_faults_of_every_kind_at_once_end_in_one_result(seed: int, bench: Bench) -> None:  # noqa: F811
    bench.kube.faults._dice.seed(seed)
    since = bench.kube.storage.version
    kinds: list[Any] = ["killed", "evicted", "vanishes", "killed_but_succeeded", "preempted", "node_lost", "oom"]
    bench.kube.faults._dice.shuffle(kinds)
    for index, kind in enumerate(kinds[:3]):
        bench.title = released(bench.catalog, batch_id=f"storm-{seed}-{index}")
        bench.state.clear()
        bench.kube.faults.clear()
        bench.kube.faults.add(PodFault(kind=kind), ApiFault(rate=0.1, hang_s=0.1))
        final = False
        for _ in range(6):
            try:
                bench.attempt()
                break
            except AirflowException as error:
                final |= type(error) is not AirflowException
        assert not final
        assert bench.store.size(result_key(bench.title.job(), "look")), kind
    bench.kube.faults.clear()
    assert most_at_once(bench.kube, since) <= 1
    soon(lambda: not [pod for pod in bench.pods() if living(pod)], "the end of the pods")
    assert json.dumps(bench.kube.warnings) == "[]"
