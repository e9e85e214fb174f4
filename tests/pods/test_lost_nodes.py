"""Nodes that fall silent or are taken away: what a task waits for, and what it says of its pod."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from include.base.settings import load_settings
from include.orchestration.runtimes.kubernetes import endings, logs, task, waiting
from include.orchestration.runtimes.kubernetes.spec import GRACE_S
from include.orchestration.runtimes.kubernetes.sweep import sweep_pods
from tests.kube.conftest import core, soon
from tests.kube.faults import ApiFault, PodFault
from tests.orchestration.lab import released
from tests.pods.bench import NAMESPACE, Bench
from tests.pods.conftest import CPU_NODE


def hanging(bench: Bench, tmp_path: Path) -> Bench:
    """The bench with a title whose worker works on until it is ended."""
    metadata: dict[str, Any] = {"do": "hang", "pid_file": str(tmp_path / "pid")}
    bench.title = released(bench.catalog, batch_id="batch-hang", metadata=metadata)
    return bench


def read_logs(bench: Bench) -> list[str]:
    """The requests for a log that came to the API server since it is there."""
    return [path for _, path, _ in bench.kube.answers if "/log?" in path]


def test_a_node_that_leaves_a_request_for_a_log_open_holds_up_neither_trigger_nor_task(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOG_LIMIT_S", 0.5)
    bench.kube.faults.add(ApiFault(kinds=("timeout",), rate=1, methods="LOG", hang_s=6))
    hanging(bench, tmp_path).deadline_s = 4
    before = len(bench.kube.faults.hits)

    with pytest.raises(AirflowException, match="PodTimeout"):
        bench.attempt()

    # The provider asks up to five times in the trigger and up to twelve times in the task, each for a minute.
    readings = len(bench.kube.faults.hits) - before
    assert 2 <= readings < 10, "the trigger has read, and so has the task, once for each look at the log"


def test_no_log_is_read_of_a_pod_whose_node_is_lost(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endings, "SILENCE_S", -GRACE_S)
    hanging(bench, tmp_path)
    bench.kube.faults.add(PodFault(kind="node_silent", after_s=0.3))
    before = read_logs(bench)

    with pytest.raises(AirflowException, match="NodeLost"):
        bench.attempt()

    assert read_logs(bench) == before
    assert "is not read: its node does not answer" in caplog.text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("preempted", "PreemptionByScheduler.: default-scheduler: preempting to accommodate a higher priority pod"),
        ("drained", "EvictionByEvictionAPI.: Eviction API: evicting"),
        ("tainted", "DeletionByTaintManager.: Taint manager: deleting due to NoExecute taint"),
    ],
)
def test_a_pod_that_the_cluster_takes_away_is_evicted_and_not_lost(
    kind: Any, words: str, bench: Bench, tmp_path: Path
) -> None:
    hanging(bench, tmp_path)
    watched = bench.kube.counts["watch", "pods"]
    deferred = bench.start()

    def take_away() -> None:
        soon(lambda: bench.kube.counts["watch", "pods"] > watched, "the trigger's watch")
        bench.kube.faults.add(PodFault(kind=kind))

    threading.Thread(target=take_away).start()
    # The next look at the pod finds none: what was seen of its end was seen by the watch.
    deferred.trigger.poll_interval = 3
    with pytest.raises(AirflowException, match=f"^PodEvicted: the pod of look-around was evicted .{words}"):
        bench.finish(deferred)

    assert bench.pods() == []


@pytest.mark.parametrize(
    ("reason", "message", "silent"),
    [
        ("DeletionByPodGC", "PodGC: node no longer exists", False),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", True),
    ],
)
def test_a_pod_whose_node_was_removed_or_silent_is_lost(reason: str, message: str, silent: bool) -> None:
    error = endings.end_by({"reason": reason, "message": message, "silent": silent}, "encode")

    assert type(error).__name__ == "NodeLost"
    assert str(error) == f"the node of encode's pod is gone ({reason}): {message}"


def test_where_every_node_is_silent_a_pod_is_waited_for_until_it_should_have_ended_and_the_log_says_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endings, "SILENCE_S", -GRACE_S)
    hanging(bench, tmp_path).deadline_s = 3
    bench.kube.faults.add(PodFault(kind="node_not_ready", after_s=0.3))
    deferred = bench.start()
    (pod,) = bench.pods()
    soon(lambda: ("node_not_ready", pod["metadata"]["name"]) in bench.kube.faults.hits, "the silence")
    bench.kube.add_node(replace(CPU_NODE, taints=("node.kubernetes.io/unreachable:NoSchedule",)))

    with caplog.at_level(logging.WARNING):
        sweep_pods(None, load_settings(), now=datetime.now(UTC))  # type: ignore[arg-type]  # the pod is too young
        with pytest.raises(AirflowException, match=r"NodeLost: .*does not answer"):
            bench.finish(deferred)

    assert f"the node cpu-1 of pod {pod['metadata']['name']} does not answer" in caplog.text
    assert "the node cpu-1 does not answer, and 1 worker pods run there" in caplog.text
    assert bench.pods() == []
    # The next attempt's pod waits in the scheduler's queue, and the error has the scheduler's words.
    bench.patience_s = 1
    with pytest.raises(
        AirflowException, match=r"PodUnschedulable: .*0/1 nodes are available: 1 node.s. had untolerated taint.s."
    ):
        bench.attempt()


def test_a_pod_that_a_finalizer_holds_keeps_no_second_attempt_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "DYING_LIMIT_S", 3600)
    bench.kube.faults.add(PodFault(kind="killed", after_s=0.2))
    deferred = bench.start()
    (first,) = bench.pods()
    name = first["metadata"]["name"]
    api = core(bench.kube)
    api.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"finalizers": ["example.com/hold"]}})
    with pytest.raises(AirflowException):
        bench.finish(deferred)
    (held,) = bench.pods()
    api.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"labels": {"already_checked": None}}})

    assert held["metadata"]["deletionTimestamp"]
    # Its process is over, and its object stays: the next attempt has a pod of its own beside it.
    assert bench.attempt() is None
    soon(lambda: [pod["metadata"]["name"] for pod in bench.pods()] == [name], "the end of the second pod")
    api.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"finalizers": None}})
    soon(lambda: bench.pods() == [], "the end of the first pod")


@pytest.mark.parametrize("when", ["create", "wait", "resume"])
def test_a_server_whose_keys_change_is_waited_for(when: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(waiting, "POLL_S", 0.1)
    before = len(bench.kube.faults.hits)
    fault = ApiFault(
        kinds=("401",), rate=1, methods="POST" if when == "create" else "GET", times=8 if when == "wait" else 1
    )
    planted = iter([fault])

    def plant(now: str) -> None:
        if now == when:
            bench.kube.faults.add(*islice(planted, 1))

    plant("create")
    deferred = bench.start()
    plant("wait")
    assert bench.finish(deferred, before_resuming=lambda: plant("resume")) is None

    assert [kind for kind, _ in bench.kube.faults.hits[before:]] == ["401"] * (8 if when == "wait" else 1)
    assert bench.told() == ["task.started", "task.finished"]
