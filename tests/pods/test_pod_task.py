"""A worker's pod from the task that starts it to its end, with the provider's own operator, trigger and hooks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from kubernetes.client.exceptions import ApiException

from include.adapters.airflow_api import DagUnknown
from include.base.errors import ConfigurationError, PodUnschedulable, Retry
from include.base.settings import load_settings
from include.domain.outcome.results import Cost
from include.domain.title.work import result_key
from include.orchestration.runtimes.kubernetes import endings
from include.orchestration.runtimes.kubernetes import task as pods
from include.orchestration.runtimes.kubernetes.endings import SILENCE_S, never_fits, refusal
from include.orchestration.runtimes.kubernetes.spec import GRACE_S
from include.orchestration.runtimes.kubernetes.sweep import SWEEP_AFTER, sweep_pods
from include.orchestration.runtimes.kubernetes.waiting import POLL_S
from tests.kube.conftest import core, soon
from tests.kube.faults import API_FAULTS, ApiFault, PodFault
from tests.kube.selectors import quantity
from tests.kube.server import Kube
from tests.orchestration.lab import Lab, context, released
from tests.pods.bench import NAMESPACE, Bench, Item, trigger_of
from tests.pods.conftest import GPU_NODE

GPU_JOB = "h264_1p"


def said(bench: Bench, **metadata: Any) -> Bench:
    """The bench with another title, whose first stage does what its metadata says."""
    bench.title = released(bench.catalog, batch_id=f"batch-{metadata.get('do', 'plain')}", metadata=metadata)
    return bench


def planned(bench: Bench, lab: Lab) -> Bench:
    """The bench with a title whose plan has one job for GPUs, and one for CPUs."""
    said(bench, pools={GPU_JOB: "gpu_encode"})
    lab.task("look-around").execute(context(bench.title))
    lab.task("make-up-your-mind").execute(context(bench.title))
    return bench


def memory_mb(pod: Item) -> int:
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    return int(quantity(resources["limits"]["memory"]) / 1024**2)


def gone(bench: Bench) -> None:
    soon(lambda: bench.pods() == [] and bench.kube.processes() == [], "the end of the last pod")


def test_a_task_runs_in_a_pod_and_its_results_are_in_the_store(bench: Bench) -> None:
    assert bench.attempt() is None

    assert bench.store.size(result_key(bench.title.job(), "look"))
    assert bench.told() == ["task.started", "task.finished"]
    gone(bench)


def test_what_the_worker_used_is_in_the_event_as_it_is_without_a_pod(bench: Bench) -> None:
    said(bench, do="burn")
    bench.attempt()

    detail = last_detail(bench)
    assert detail["pod"].startswith("callsheet-alpha")
    # The stage burns half a second in a process of its own.
    assert 0.5 <= detail["cpu_s"] < 30
    assert 10 < detail["peak_memory_mb"] < 2000


def test_what_another_attempt_used_is_not_told(bench: Bench) -> None:
    """The worker is killed once its results are there, before it says what it used."""
    key = bench.document().usage_key
    bench.store.put_bytes(key, Cost(wall_s=1, cpu_s=99, peak_memory_mb=9).to_json().encode())

    deferred = bench.start()

    assert bench.store.size(key) is None or Cost.from_json(bench.store.get_bytes(key)).cpu_s < 99
    assert bench.finish(deferred) is None
    assert last_detail(bench)["cpu_s"] < 99


def test_a_worker_in_a_pod_sees_no_secret_of_airflows(bench: Bench) -> None:
    bench.attempt()

    seen = bench.store.get_bytes(result_key(bench.title.job(), "look"))
    assert b"planted-secret" not in seen
    assert b"CALLSHEET_CATALOG_URL" not in seen
    assert b"CALLSHEET_STORE_URI" in seen


def test_what_is_done_already_needs_no_pod(bench: Bench) -> None:
    bench.attempt()
    before = bench.kube.counts["create", "pods"]

    assert bench.attempt() is None
    assert bench.kube.counts["create", "pods"] == before
    assert bench.told() == ["task.started", "task.finished"] * 2


def test_the_workers_lines_are_in_the_tasks_log(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.attempt()

    assert "stage look took" in capsys.readouterr().out


def test_media_tools_run_without_a_sandbox_of_their_own_in_a_pod_and_the_log_says_why(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    said(bench, do="burn")
    bench.attempt()

    log = capsys.readouterr().out
    assert "media tools run without a sandbox: this machine lets bwrap make no namespaces" in log
    assert "in a pod the container is the sandbox" in log


@pytest.mark.parametrize(
    ("do", "raised", "type_", "words"),
    [
        ("reject", AirflowFailException, "MezzanineRejected", "the file is empty"),
        ("crash", AirflowException, "EncoderCrashed", "x264 fell over"),
        ("starve", AirflowException, "OutOfMemory", "no more"),
        ("quit", AirflowFailException, "ConfigurationError", "exit code 64 and left no word"),
        ("die", AirflowException, "PlatformUnavailable", "exit code 137 and left no word"),
        ("forget", AirflowException, "PlatformUnavailable", "ended as Succeeded but left no result of look"),
    ],
)
def test_the_workers_exit_decides_about_another_attempt(
    do: str, raised: type[Exception], type_: str, words: str, bench: Bench
) -> None:
    said(bench, do=do)

    with pytest.raises(AirflowException, match=f"^{type_}: .*{words}") as caught:
        bench.attempt()

    assert type(caught.value) is raised
    assert bench.error().type == type_
    assert bench.told() == ["task.started", "task.failed"]
    gone(bench)


@pytest.mark.parametrize(
    ("kind", "type_", "words"),
    [
        ("killed", "PlatformUnavailable", "exit code 137"),
        ("killed_but_succeeded", "PlatformUnavailable", "ended as Succeeded but left no result of look"),
        ("oom", "OutOfMemory", "was killed for memory"),
        ("evicted", "PodEvicted", "was evicted .Evicted.: The node was low on resource"),
        ("evicted_bare", "PodEvicted", "was evicted .Evicted."),
        ("preempted", "", "pod of look-around (is gone|was evicted)"),
        ("node_lost", "NodeLost", "gone"),
        ("vanishes", "NodeLost", "is gone and has left no result of look"),
        ("image", "ImageUnavailable", "did not start .*pull"),
    ],
)
def test_a_pod_that_the_cluster_ends_is_named_and_tried_again(kind: Any, type_: str, words: str, bench: Bench) -> None:
    bench.kube.faults.add(PodFault(kind=kind))

    with pytest.raises(AirflowException, match=f"^{type_}.*{words}") as caught:
        bench.attempt()

    assert type(caught.value) is AirflowException
    assert bench.error().retry in {Retry.TRANSIENT, Retry.MORE_MEMORY}
    assert bench.attempt() is None
    gone(bench)


def test_a_pod_that_no_node_takes_fails_in_time_with_the_schedulers_reason(bench: Bench) -> None:
    bench.kube.faults.add(PodFault(kind="pending", message="0/3 nodes are available: 3 Insufficient memory."))
    bench.patience_s = 1

    with pytest.raises(AirflowException, match=r"PodUnschedulable: no node took .* within 1 s: 0/3 .* memory"):
        bench.attempt()

    gone(bench)


def test_what_the_scheduler_says_of_a_waiting_pod_is_in_the_tasks_log(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.kube.faults.add(PodFault(kind="pending", message="0/3 nodes are available: 3 Insufficient memory."))
    bench.patience_s, bench.watch_s = 2, POLL_S

    with pytest.raises(AirflowException, match="PodUnschedulable"):
        bench.attempt()

    said = capsys.readouterr().out
    assert "0/3 nodes are available" in said.partition("PodUnschedulable")[0]
    assert "Stopped watching events" not in said
    gone(bench)


def test_a_pod_past_its_deadline_is_ended_by_the_cluster_and_tried_again(bench: Bench, tmp_path: Path) -> None:
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    bench.deadline_s = 3

    with pytest.raises(AirflowException, match="PodTimeout: the pod of look-around ran past its deadline") as caught:
        bench.attempt()

    assert type(caught.value) is AirflowException
    gone(bench)


@pytest.fixture
def quota(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the namespace's quota; a task asks again ten times a second."""
    monkeypatch.setattr(pods, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(pods, "LONGEST_PAUSE_S", 0.1)

    laid_down = bench.kube.policies.items["ResourceQuota"]

    def put(**hard: str) -> None:
        named = {name.replace("__", "."): amount for name, amount in hard.items()}
        item = {"metadata": {"name": "workers", "namespace": NAMESPACE}, "spec": {"hard": named}}
        bench.kube.policies.items["ResourceQuota"] = [item]

    yield put
    bench.kube.policies.items["ResourceQuota"] = laid_down


def test_a_pod_that_the_quota_has_no_room_for_is_asked_for_until_it_has(
    bench: Bench, quota: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quota(pods="1")
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    first = bench.start()
    bench.state.clear()
    bench.title = released(bench.catalog, batch_id="behind")
    before = bench.kube.counts["create", "pods"]

    with caplog.at_level(logging.WARNING):
        second = bench.start()
    rounds: list[str] = []

    def make_room() -> None:
        rounds.append(second.method_name)
        if len(rounds) == 3:
            asyncio.run(trigger_of(first).on_kill())
            soon(lambda: bench.pods() == [], "the end of the first pod")

    assert second.method_name == "ask_again"
    # What an encode binds to is decided when it has its pod.
    assert bench.store.size(bench.document().key) is None
    assert bench.finish(second, before_resuming=make_room) is None
    assert bench.kube.counts["create", "pods"] >= before + 4
    assert bench.told() == ["task.started", "task.finished"]
    assert "look-around has no pod yet; it is asked for again in 0 s" in caplog.text
    assert "exceeded quota: workers, requested: pods=1, used: pods=1, limited: pods=1" in caplog.text


def test_a_quota_that_stays_full_fails_in_time_with_the_servers_words(
    bench: Bench, quota: Callable[..., None], tmp_path: Path
) -> None:
    quota(pods="1")
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    first = bench.start()
    bench.state.clear()
    bench.title, bench.patience_s = released(bench.catalog, batch_id="behind"), 1

    with pytest.raises(
        AirflowException, match=r"PodUnschedulable: .*no room for it within 1 s: .*limited: pods=1"
    ) as e:
        bench.attempt()

    assert type(e.value) is AirflowException
    asyncio.run(trigger_of(first).on_kill())
    gone(bench)


def test_a_pod_that_is_larger_than_the_whole_quota_is_not_waited_for(bench: Bench, quota: Callable[..., None]) -> None:
    quota(limits__memory="1Gi", pods="10")

    with pytest.raises(AirflowFailException, match=r"ConfigurationError: .*no quota has room for it: .*memory=4Gi"):
        bench.attempt()


def test_a_quota_without_gpus_sends_the_job_to_the_cpus(bench: Bench, quota: Callable[..., None], lab: Lab) -> None:
    bench.kube.add_node(GPU_NODE)
    quota(**{"requests__nvidia__com/gpu": "0"})
    planned(bench, lab)

    with pytest.raises(AirflowException, match=r"GpuUnavailable: .*exceeded quota.*the next attempt runs on CPUs"):
        bench.attempt("make-them", job=GPU_JOB)
    deferred = bench.start("make-them", job=GPU_JOB)

    assert bench.pods()[0]["spec"]["nodeSelector"] == {"callsheet/pool": "cpu"}
    bench.finish(deferred, "make-them", job=GPU_JOB)


def test_what_is_forbidden_and_no_quota_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.kube, "denied", {("create", "pods")})

    with pytest.raises(AirflowFailException, match=r"ConfigurationError: .*\(403\): .*cannot create resource"):
        bench.attempt()


@pytest.mark.parametrize("kind", ["429", "500", "503", "reset"])
def test_a_server_that_takes_no_request_for_minutes_costs_no_attempt(
    kind: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "FIRST_PAUSE_S", 0.1)
    bench.kube.faults.add(ApiFault(kinds=(kind,), rate=1, methods="POST", retry_after_s=0))
    deferred = bench.start()

    assert deferred.method_name == "ask_again"
    # A pod may have come of it, which would read its job document.
    assert bench.store.size(bench.document().key)
    assert bench.finish(deferred, before_resuming=bench.kube.faults.clear) is None
    assert bench.told() == ["task.started", "task.finished"]


def test_pauses_grow_and_end_with_the_time_that_is_left(bench: Bench) -> None:
    bench.kube.faults.add(ApiFault(kinds=("503",), rate=1, methods="POST"))
    deferred = bench.start()
    pauses = [deferred.trigger.seconds]

    def again(since: float, asked: int) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as caught:
            bench.task().ask_again(bench.context(), event={}, since=since, asked=asked)
        return caught.value

    for _ in range(3):
        deferred = again(**deferred.kwargs)
        pauses.append(deferred.trigger.seconds)

    assert pauses == [15, 30, 60, 60]
    assert 0 < again(since=time.time() - pods.OUTAGE_S + 9, asked=3).trigger.seconds <= 9
    with pytest.raises(AirflowException, match="PlatformUnavailable: the Kubernetes API failed the task look-around"):
        bench.task().ask_again(bench.context(), event={}, since=time.time() - pods.OUTAGE_S, asked=3)


@pytest.mark.parametrize(
    ("words", "fits", "kind"),
    [
        ("exceeded quota: w, requested: pods=1, used: pods=9, limited: pods=9", True, PodUnschedulable),
        ("exceeded quota: w, requested: limits.memory=5Gi, used: limits.memory=0, limited: limits.memory=5000Mi",
         False, ConfigurationError),
        ("exceeded quota: w, requested: cpu=4500m,pods=1, used: cpu=1,pods=1, limited: cpu=5,pods=1", True,
         PodUnschedulable),
        ("exceeded quota: w, requested: cpu=odd, used: cpu=1, limited: cpu=5", True, PodUnschedulable),
        ("status unknown for quota: w, resources: pods", True, PodUnschedulable),
        ("failed quota: w: must specify limits.cpu for: base", True, ConfigurationError),
        ("maximum memory usage per Container is 64Gi, but limit is 65Gi", True, ConfigurationError),
    ],
)  # fmt: skip
def test_the_servers_words_say_whether_room_may_come(words: str, fits: bool, kind: type[Exception]) -> None:
    failure = ApiException(status=403, reason="Forbidden")
    failure.body = json.dumps({"kind": "Status", "message": f'pods "x" is forbidden: {words}'})

    assert never_fits(failure) is not fits
    assert type(refusal(failure, "encode")) is kind
    assert words in str(refusal(failure, "encode"))


def test_results_count_though_the_pod_ended_badly_afterwards(bench: Bench) -> None:
    deferred = bench.start()
    soon(lambda: bench.store.size(result_key(bench.title.job(), "look")) is not None, "the result")
    core(bench.kube).delete_namespaced_pod(bench.pods()[0]["metadata"]["name"], NAMESPACE, grace_period_seconds=0)

    assert bench.finish(deferred) is None
    assert bench.told() == ["task.started", "task.finished"]


@pytest.mark.parametrize(("do", "error"), [("", None), ("forget", "NodeLost: .*left no result of look")])
def test_where_the_pod_is_gone_after_a_success_event_its_results_decide(
    do: str, error: str | None, bench: Bench
) -> None:
    said(bench, do=do)
    deferred = bench.start()
    name = bench.pods()[0]["metadata"]["name"]

    def collect() -> None:
        core(bench.kube).delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)

    if error is None:
        assert bench.finish(deferred, before_resuming=collect) is None
    else:
        with pytest.raises(AirflowException, match=error):
            bench.finish(deferred, before_resuming=collect)


def test_out_of_memory_asks_for_more_and_other_failures_do_not(bench: Bench) -> None:
    asked = []
    for kind in ("killed", "oom", "evicted", "oom", None):
        if kind:
            bench.kube.faults.add(PodFault(kind=kind))  # type: ignore[arg-type]
        deferred = bench.start()
        asked.append(memory_mb(bench.pods()[0]))
        if kind:
            with pytest.raises(AirflowException):
                bench.finish(deferred)
        else:
            bench.finish(deferred)

    assert asked == [4096, 4096, 6144, 6144, 9216]


def test_out_of_all_memory_there_is_is_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_MAX_MEMORY_MB", "4500")
    bench.kube.faults.add(PodFault(kind="oom", times=2))

    with pytest.raises(AirflowException, match="OutOfMemory"):
        bench.attempt()
    with pytest.raises(AirflowFailException, match=r"MemoryExhausted: .*all 4500 MiB that CALLSHEET_MAX_MEMORY_MB"):
        bench.attempt()


def test_the_next_attempt_takes_over_the_pod_of_a_task_that_died(bench: Bench) -> None:
    before = bench.kube.counts["create", "pods"]
    bench.start()

    assert bench.attempt() is None
    assert bench.kube.counts["create", "pods"] == before + 1


def test_it_is_found_by_its_labels_where_the_task_died_before_it_noted_the_pod(bench: Bench) -> None:
    before = bench.kube.counts["create", "pods"]
    bench.start()
    bench.state.clear()

    assert bench.attempt() is None
    assert bench.kube.counts["create", "pods"] == before + 1


def test_an_answer_that_is_lost_makes_no_second_pod(bench: Bench) -> None:
    bench.kube.faults.add(ApiFault(kinds=("lost_answer",), rate=1, methods="POST", times=1))
    deferred = bench.start()

    assert len(bench.pods()) == 1
    assert bench.finish(deferred) is None
    gone(bench)


def test_clearing_a_deferred_task_ends_its_pod_before_the_next_one_starts(bench: Bench, tmp_path: Path) -> None:
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    cleared = bench.start()
    soon(lambda: (tmp_path / "pid").exists(), "the worker's work")
    (first,) = bench.pods()

    # As the triggerer does for a user's action; a triggerer that merely stops does not.
    asyncio.run(trigger_of(cleared).on_kill())
    deferred = bench.start()

    (second,) = bench.pods()
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    asyncio.run(trigger_of(deferred).on_kill())
    gone(bench)


def test_a_triggerer_that_stops_leaves_the_pod_to_the_next_one(bench: Bench) -> None:
    deferred = bench.start()

    asyncio.run(trigger_of(deferred).cleanup())

    assert bench.finish(deferred) is None


def test_a_task_that_is_killed_while_it_runs_takes_its_pod_along(bench: Bench, tmp_path: Path) -> None:
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    bench.start()
    task = bench.task()
    soon(lambda: bench.pods()[0]["status"]["phase"] == "Running", "the start of the worker")
    task.pod = core(bench.kube).read_namespaced_pod(bench.pods()[0]["metadata"]["name"], NAMESPACE)

    task.on_kill()

    gone(bench)


def test_an_api_that_fails_now_and_then_costs_no_title(bench: Bench) -> None:
    bench.kube.faults.add(ApiFault(kinds=API_FAULTS, rate=0.05, hang_s=0.2))
    for number in range(6):
        bench.title = released(bench.catalog, batch_id=f"shaky{number}")
        bench.state.clear()
        for _ in range(3):
            with contextlib.suppress(AirflowException):
                bench.attempt()
        assert "ConfigurationError" not in failures(bench)
        assert bench.store.size(result_key(bench.title.job(), "look"))

    assert bench.kube.faults.hits


def test_without_a_gpu_node_a_job_runs_on_cpus_at_once_and_says_why(bench: Bench, lab: Lab) -> None:
    planned(bench, lab)
    deferred = bench.start("make-them", job=GPU_JOB)

    (pod,) = bench.pods()
    assert pod["spec"]["nodeSelector"] == {"callsheet/pool": "cpu"}
    assert "nvidia.com/gpu" not in pod["spec"]["containers"][0]["resources"]["limits"]
    assert bench.job("make-them", GPU_JOB).hardware is False
    bench.finish(deferred, "make-them", job=GPU_JOB)
    assert "no node labelled callsheet/pool=gpu has nvidia.com/gpu" in last_detail(bench)["on_cpus"]


def test_a_job_for_a_gpu_runs_on_a_node_that_has_one(bench: Bench, lab: Lab) -> None:
    bench.kube.add_node(GPU_NODE)
    planned(bench, lab)
    deferred = bench.start("make-them", job=GPU_JOB)

    soon(lambda: bool(bench.pods()[0]["spec"].get("nodeName")), "its node")
    assert bench.pods()[0]["spec"]["nodeName"] == GPU_NODE.name
    assert bench.job("make-them", GPU_JOB).hardware is True
    bench.finish(deferred, "make-them", job=GPU_JOB)
    assert "on_cpus" not in last_detail(bench)


def test_where_no_gpu_comes_free_in_time_the_next_attempt_runs_on_cpus(bench: Bench, lab: Lab) -> None:
    bench.kube.add_node(GPU_NODE)
    planned(bench, lab)
    bench.patience_s = 1
    bench.kube.faults.add(PodFault(kind="pending", message="0/2 nodes are available: 1 Insufficient nvidia.com/gpu."))

    with pytest.raises(AirflowException, match=r"GpuUnavailable: .*Insufficient nvidia.com/gpu.*runs on CPUs"):
        bench.attempt("make-them", job=GPU_JOB)
    deferred = bench.start("make-them", job=GPU_JOB)

    soon(lambda: len(bench.pods()) == 1, "the end of the first")
    assert bench.pods()[0]["spec"]["nodeSelector"] == {"callsheet/pool": "cpu"}
    bench.finish(deferred, "make-them", job=GPU_JOB)
    assert "Insufficient nvidia.com/gpu" in last_detail(bench)["on_cpus"]


@pytest.mark.parametrize("why", ["nodes come on demand", "nodes may not be listed"])
def test_that_no_gpu_node_is_seen_says_nothing_where(
    why: str, bench: Bench, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "nodes come on demand":
        monkeypatch.setenv("CALLSHEET_GPU_NODES_ON_DEMAND", "true")
    else:
        monkeypatch.setattr(bench.kube, "denied", {("list", "nodes")})
    planned(bench, lab)

    deferred = bench.start("make-them", job=GPU_JOB)

    assert bench.pods()[0]["spec"]["nodeSelector"] == {"callsheet/pool": "gpu"}
    bench.kube.add_node(GPU_NODE)
    bench.finish(deferred, "make-them", job=GPU_JOB)


class Airflow:
    """What Airflow's API says of the task instances of a run."""

    def __init__(self, state: str | None, *, known: bool = True) -> None:
        self.state, self.known = state, known

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        if not self.known:
            raise DagUnknown(dag_id)
        assert (dag_id, run_id) == ("batch__batch-hang", "alpha__1")
        return [{"task_id": "look-around", "map_index": -1, "state": self.state}]


@pytest.mark.parametrize(
    ("airflow", "age", "swept"),
    [
        (Airflow("deferred"), 2 * SWEEP_AFTER, False),
        (Airflow("running"), 2 * SWEEP_AFTER, False),
        (Airflow("up_for_retry"), 2 * SWEEP_AFTER, False),
        (Airflow(None), 2 * SWEEP_AFTER, False),
        (Airflow("failed"), SWEEP_AFTER / 2, False),
        (Airflow("failed"), 2 * SWEEP_AFTER, True),
        (Airflow("success"), 2 * SWEEP_AFTER, True),
        (Airflow(None, known=False), 2 * SWEEP_AFTER, True),
    ],
    ids=lambda each: f"{each.state}{'' if each.known else ' run gone'}" if isinstance(each, Airflow) else str(each),
)
def test_a_pod_that_no_task_waits_for_is_swept(
    airflow: Any, age: Any, swept: bool, bench: Bench, tmp_path: Path
) -> None:
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    deferred = bench.start()
    (pod,) = bench.pods()
    created = core(bench.kube).read_namespaced_pod(pod["metadata"]["name"], NAMESPACE).metadata.creation_timestamp

    found = sweep_pods(airflow, load_settings(), now=created + age)

    assert found == ([pod["metadata"]["name"]] if swept else [])
    if not swept:
        asyncio.run(trigger_of(deferred).on_kill())
    gone(bench)


def silent(bench: Bench, tmp_path: Path) -> Item:
    """The pod of a task whose node fell silent: it is being deleted, and nobody ends it."""
    said(bench, do="hang", pid_file=str(tmp_path / "pid"))
    bench.kube.faults.add(PodFault(kind="node_silent"))
    bench.start()
    soon(lambda: "deletionTimestamp" in bench.pods()[0]["metadata"], "the node's silence")
    return bench.pods()[0]


def test_a_pod_whose_node_is_silent_is_deleted_by_force_once_it_should_have_ended(bench: Bench, tmp_path: Path) -> None:
    name = silent(bench, tmp_path)["metadata"]["name"]
    pod = core(bench.kube).read_namespaced_pod(name, NAMESPACE)
    last = pod.metadata.deletion_timestamp + timedelta(seconds=SILENCE_S)
    deferred: Any = Airflow("deferred")

    assert sweep_pods(deferred, load_settings(), now=last) == []
    assert len(bench.pods()) == 1
    assert sweep_pods(deferred, load_settings(), now=last + timedelta(seconds=1)) == [name]
    gone(bench)


def test_the_next_attempt_does_not_wait_for_a_pod_whose_node_is_lost(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = silent(bench, tmp_path)["metadata"]["uid"]
    # As if the node had been silent for long; otherwise the attempt waits for a minute before it leaves the pod behind.
    monkeypatch.setattr(endings, "SILENCE_S", -GRACE_S - 1)
    monkeypatch.setattr(pods, "DYING_LIMIT_S", 3600)

    deferred = bench.start()

    (second,) = bench.pods()
    assert second["metadata"]["uid"] != first
    asyncio.run(trigger_of(deferred).on_kill())
    gone(bench)


def failures(bench: Bench) -> list[str]:
    """Types of the title's failed attempts."""
    events = bench.catalog.history.events(request_id=bench.title.request_id)
    return [str((each.detail or {})["type"]) for each in events if each.kind == "task.failed"]


def last_detail(bench: Bench) -> dict[str, Any]:
    """Of the title's last event that a finished task left."""
    events = [
        each for each in bench.catalog.history.events(request_id=bench.title.request_id) if each.kind == "task.finished"
    ]
    return dict(events[-1].detail or {})


@pytest.fixture(autouse=True)
def _no_gpu_node(cluster: Kube) -> Any:
    yield
    if any(each["metadata"]["name"] == GPU_NODE.name for each in cluster.storage.list("nodes")[0]):
        cluster.remove_node(GPU_NODE.name)
