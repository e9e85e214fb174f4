"""The stand-in's scheduler and kubelet: what becomes of a pod, and what is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client, config
from kubernetes.client.rest import ApiException

from tests.kube.cluster import PROJECT, Node, bytes_below
from tests.kube.conftest import core, raw, soon
from tests.kube.faults import PodFault
from tests.kube.samples import SLEEPS, STUBBORN, make_pod, new_name
from tests.kube.server import Kube, kube_server

NS = "callsheet-workers"
GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
TOLERATION = {"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}


def get(kube: Kube, name: str) -> dict[str, Any] | None:
    return next((pod for pod in kube.pods(NS) if pod["metadata"]["name"] == name), None)


def create(kube: Kube, pod: dict[str, Any]) -> str:
    core(kube).create_namespaced_pod(NS, pod)
    return str(pod["metadata"]["name"])


def status(kube: Kube, name: str) -> dict[str, Any]:
    pod = get(kube, name)
    assert pod is not None
    return dict(pod["status"])


def ended(kube: Kube, name: str) -> dict[str, Any]:
    soon(lambda: status(kube, name)["phase"] in ("Succeeded", "Failed"), f"the end of {name}")
    return status(kube, name)


def terminated(found: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return dict(found["containerStatuses"][index]["state"]["terminated"])


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in found.get("conditions", []) if each["type"] == kind), {})


def up(kube: Kube, name: str) -> int:
    """Process id of a pod that has said something."""
    soon(lambda: bool(kube.processes()) and said(kube, name) != "", f"{name} up")
    (pid,) = [
        process.pid
        for run in kube.cluster.runs.values()
        if run.name == name
        for process in run.processes.values()
        if process.pid
    ]
    return pid


def said(kube: Kube, name: str) -> str:
    with raw(kube) as http:
        answer = http.get(f"/api/v1/namespaces/{NS}/pods/{name}/log")
        return answer.text if answer.status_code == 200 else ""


def reasons(kube: Kube, name: str) -> list[str]:
    events = kube.storage.list("events", NS)[0]
    mine = [event for event in events if event["involvedObject"]["name"] == name]
    return [event["reason"] for event in sorted(mine, key=lambda each: int(each["metadata"]["resourceVersion"]))]


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Kube]:
    with kube_server(tmp_path) as running:
        yield running


# The scheduler


def test_a_pod_that_fits_nowhere_says_why_until_a_node_joins(tmp_path: Path) -> None:
    with kube_server(tmp_path, nodes=[Node()]) as kube:
        name = create(kube, make_pod(container=GPU))
        soon(lambda: condition(status(kube, name), "PodScheduled") != {}, "the scheduler's word")
        scheduled = condition(status(kube, name), "PodScheduled")
        assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
        soon(lambda: reasons(kube, name) == ["FailedScheduling"], "the event of it, which comes after the condition")
        assert status(kube, name)["phase"] == "Pending"
        assert said(kube, name) == ""
        kube.add_node(Node(name="big", gpu=1))
        assert ended(kube, name)["phase"] == "Succeeded"


def test_a_gpu_pod_with_toleration_and_selector_runs_on_the_gpu_node(tmp_path: Path) -> None:
    gpu = Node(name="gpu-1", gpu=1, labels={"pool": "gpu"}, taints=("gpu=true:NoSchedule",))
    with kube_server(tmp_path, nodes=[Node(), gpu]) as kube:
        spec = {"container": GPU, "tolerations": [TOLERATION], "nodeSelector": {"pool": "gpu"}}
        name = create(kube, make_pod(**spec))
        ended(kube, name)
        pod = get(kube, name)
        assert pod is not None
        assert pod["spec"]["nodeName"] == "gpu-1"


def test_a_node_holds_what_it_has_and_the_more_important_pod_goes_first(tmp_path: Path) -> None:
    with kube_server(tmp_path, nodes=[Node(cpu="1")], priority_classes={"premium": 100}) as kube:
        one = {"container": {"resources": {"limits": {"cpu": "1"}}}}
        first = create(kube, make_pod(*SLEEPS, **one))
        up(kube, first)
        low = create(kube, make_pod(*SLEEPS, **one))
        high = create(kube, make_pod(priorityClassName="premium", **one))
        soon(lambda: "FailedScheduling" in reasons(kube, high), "the wait")
        assert status(kube, low)["phase"] == status(kube, high)["phase"] == "Pending"
        core(kube).delete_namespaced_pod(first, NS)
        assert ended(kube, high)["phase"] == "Succeeded"


# The kubelet


@pytest.mark.parametrize(
    ("code", "phase", "exit_code", "reason"),
    [
        ("print('done')", "Succeeded", 0, "Completed"),
        ("raise SystemExit(64)", "Failed", 64, "Error"),
        ("raise SystemExit(137)", "Failed", 137, "Error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "Failed", 137, "Error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "Failed", 143, "Error"),
    ],
)
def test_a_pod_ends_as_its_process_does(kube: Kube, code: str, phase: str, exit_code: int, reason: str) -> None:
    name = create(kube, make_pod("python", "-c", code))
    found = ended(kube, name)
    last = terminated(found)
    assert (found["phase"], last["exitCode"], last["reason"]) == (phase, exit_code, reason)
    assert {"startedAt", "finishedAt", "containerID"} <= set(last)
    assert {"startTime", "hostIP", "podIP"} <= set(found)
    assert condition(found, "PodScheduled")["status"] == "True"
    assert condition(found, "Ready")["status"] == "False"
    assert reasons(kube, name) == ["Scheduled", "Pulled", "Created", "Started"]


def test_a_program_that_is_not_there_is_a_start_error(kube: Kube) -> None:
    found = ended(kube, create(kube, make_pod("no-such-program")))
    assert (terminated(found)["exitCode"], terminated(found)["reason"]) == (128, "StartError")
    assert "no-such-program" in terminated(found)["message"]


def test_the_end_of_a_failed_log_is_the_termination_message_where_the_pod_asks_for_it(kube: Kube) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    crash = ("python", "-c", "print('the reason'); raise SystemExit(3)")
    assert terminated(ended(kube, create(kube, make_pod(*crash, container=policy))))["message"] == "the reason"
    assert "message" not in terminated(ended(kube, create(kube, make_pod(*crash))))


ENVIRONMENT = """
import json, os, pathlib, sys
pathlib.Path("/scratch/made").touch()
print(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd(), os.listdir("/store")]))
"""


def test_a_container_gets_its_environment_its_volumes_and_nothing_of_ours(kube: Kube, tmp_path: Path) -> None:
    os.environ["OF_THE_TESTS"] = "secret"
    fields = {name: {"fieldRef": {"fieldPath": f"metadata.{name}"}} for name in ("name", "namespace")}
    container = {
        "command": ["python", "-c", ENVIRONMENT],
        "args": ["$(GREETING)", "$$(GREETING)", "$(UNKNOWN)", "/scratch/in", "file:///store/a", "/scratchy"],
        "env": [
            {"name": "GREETING", "value": "hello $(AWS_ACCESS_KEY_ID)"},
            {"name": "HOME_OF_WORK", "value": "/scratch"},
            {"name": "BOTH", "value": "pod"},
            *({"name": f"POD_{name.upper()}", "valueFrom": source} for name, source in fields.items()),
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store-keys", "key": "AWS_ACCESS_KEY_ID"}}},
        ],
        "envFrom": [{"secretRef": {"name": "store-keys"}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}, {"name": "store", "mountPath": "/store"}],
        "resources": {"limits": {"cpu": "1500m"}},
    }
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "store", "hostPath": {"path": str(tmp_path)}}]
    (tmp_path / "a").touch()
    name = create(kube, make_pod(container=container, volumes=volumes))
    ended(kube, name)
    env, argv, cwd, stored = json.loads(said(kube, name))
    assert argv == ["hello key", "$(GREETING)", "$(UNKNOWN)", "/scratch/in", "file:///store/a", "/scratchy"]
    assert stored == ["a"]
    (made,) = kube.folder.glob("pods/*/volumes/scratch/made")
    expected = {
        "HOME_OF_WORK": "/scratch",
        "FROM_IMAGE": "image",
        "BOTH": "pod",
        "POD_NAME": name,
        "POD_NAMESPACE": NS,
        "CPUS": "2",
        "KEY": "key",
        "AWS_ACCESS_KEY_ID": "key",
    }
    assert expected.items() <= env.items()
    assert "OF_THE_TESTS" not in env
    assert cwd == str(PROJECT)
    core(kube).delete_namespaced_pod(name, NS)
    soon(lambda: not made.parent.exists(), "the end of the scratch folder")


def test_arguments_alone_go_to_the_image_s_entrypoint(kube: Kube) -> None:
    name = create(kube, make_pod(container={"command": [], "args": ["print('by entrypoint')"]}))
    ended(kube, name)
    assert said(kube, name) == "by entrypoint\n"


def test_a_pod_waits_for_its_secret(kube: Kube) -> None:
    container = {"envFrom": [{"secretRef": {"name": "later"}}]}
    name = create(kube, make_pod("python", "-c", "import os; print(os.environ['A'])", container=container))
    soon(lambda: "Failed" in reasons(kube, name), "the complaint")
    waiting = status(kube, name)["containerStatuses"][0]["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", 'secret "later" not found')
    kube.add_secret("later", {"A": "there"})
    assert ended(kube, name)["phase"] == "Succeeded"
    assert said(kube, name) == "there\n"


@pytest.mark.parametrize(("code", "phase", "main"), [(0, "Succeeded", "terminated"), (3, "Failed", "waiting")])
def test_init_containers_run_first_and_a_failed_one_is_the_pod_s_end(
    kube: Kube, code: int, phase: str, main: str
) -> None:
    first = {"name": "first", "image": "i:1", "command": ["python", "-c", f"print('1'); raise SystemExit({code})"]}
    name = create(kube, make_pod(initContainers=[first]))
    found = ended(kube, name)
    assert found["phase"] == phase
    assert found["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == code
    assert list(found["containerStatuses"][0]["state"]) == [main]


def test_a_deleted_pod_is_asked_first_then_gone_with_a_last_event(fresh: Kube) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), time.sleep(.2), sys.exit(5)))
print('up', flush=True)
time.sleep(600)
"""
    name = create(fresh, make_pod("python", "-c", code))
    pid = up(fresh, name)
    version = fresh.storage.version
    answer = core(fresh).delete_namespaced_pod(name, NS)
    assert answer.metadata.deletion_grace_period_seconds == 30
    assert status(fresh, name)["phase"] == "Running"
    soon(lambda: get(fresh, name) is None, "the pod's end")
    changes = fresh.storage.since("pods", version)
    assert [change.type for change in changes][-1] == "DELETED"
    last = changes[-1].item
    assert (last["status"]["phase"], terminated(last["status"])["exitCode"]) == ("Failed", 5)
    assert "Killing" in reasons(fresh, name)
    assert gone(pid)


@pytest.mark.parametrize("grace", [0, 1])
def test_a_pod_that_does_not_listen_is_killed_after_its_grace(fresh: Kube, grace: int) -> None:
    name = create(fresh, make_pod(*STUBBORN))
    pid = up(fresh, name)
    core(fresh).delete_namespaced_pod(name, NS, grace_period_seconds=grace)
    # Without grace the object goes at once, and the process after it.
    assert (get(fresh, name) is None) == (grace == 0)
    soon(lambda: get(fresh, name) is None and gone(pid), "the pod's end")


def test_a_second_delete_may_only_shorten_the_wait(fresh: Kube) -> None:
    name = create(fresh, make_pod(*STUBBORN))
    up(fresh, name)
    api = core(fresh)
    api.delete_namespaced_pod(name, NS, grace_period_seconds=600)
    assert api.delete_namespaced_pod(name, NS).metadata.deletion_grace_period_seconds == 30
    assert api.delete_namespaced_pod(name, NS, grace_period_seconds=600).metadata.deletion_grace_period_seconds == 30
    api.delete_namespaced_pod(name, NS, grace_period_seconds=1)
    soon(lambda: get(fresh, name) is None, "the pod's end")


def test_only_the_pod_that_is_meant_is_deleted(fresh: Kube) -> None:
    api = core(fresh)
    name = create(fresh, make_pod(nodeSelector={"no-such": "node"}, labels={"a": "b"}))
    other = create(fresh, make_pod(nodeSelector={"no-such": "node"}))
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    with pytest.raises(ApiException, match="UID in precondition: other") as caught:
        api.delete_namespaced_pod(name, NS, body=wrong)
    assert caught.value.status == 409
    api.delete_namespaced_pod(name, NS)
    assert [pod["metadata"]["name"] for pod in fresh.pods()] == [other]


def test_a_finalizer_holds_the_object_until_it_is_cleared(fresh: Kube) -> None:
    pod = make_pod()
    pod["metadata"]["finalizers"] = ["callsheet.example/hold"]
    name = create(fresh, pod)
    ended(fresh, name)
    api = core(fresh)
    api.delete_namespaced_pod(name, NS)
    held = get(fresh, name)
    assert held is not None
    assert held["metadata"]["deletionTimestamp"]
    api.patch_namespaced_pod(name, NS, {"metadata": {"finalizers": None}})
    assert get(fresh, name) is None


def test_a_pod_past_its_deadline_is_ended_and_says_so(fresh: Kube) -> None:
    name = create(fresh, make_pod(*STUBBORN, activeDeadlineSeconds=1, terminationGracePeriodSeconds=1))
    pid = up(fresh, name)
    found = ended(fresh, name)
    assert (found["phase"], found["reason"], terminated(found)["exitCode"]) == ("Failed", "DeadlineExceeded", 137)
    assert gone(pid)
    assert get(fresh, name) is not None


def test_limits_of_memory_and_disk_are_enforced(kube: Kube) -> None:
    volumes = {"volumeMounts": [{"name": "s", "mountPath": "/scratch"}]}
    fills = ("python", "-c", "import time; open('/scratch/a', 'wb').write(b'x' * 9000); time.sleep(60)")
    hungry = make_pod(
        "python",
        "-c",
        "data = b'x' * 100_000_000; import time; time.sleep(60)",
        container={"resources": {"limits": {"memory": "60Mi"}}},
    )
    greedy = make_pod(*fills, container=volumes, volumes=[{"name": "s", "emptyDir": {"sizeLimit": "4k"}}])
    limits = {"resources": {"limits": {"ephemeral-storage": "8k"}}}
    greedier = make_pod(*fills, container={**volumes, **limits}, volumes=[{"name": "s", "emptyDir": {}}])
    names = [create(kube, pod) for pod in (hungry, greedy, greedier)]
    memory, scratch, all_disk = (ended(kube, name) for name in names)
    assert (terminated(memory)["exitCode"], terminated(memory)["reason"]) == (137, "OOMKilled")
    assert {(each["phase"], each["reason"]) for each in (scratch, all_disk)} == {("Failed", "Evicted")}
    assert 'Usage of EmptyDir volume "s" exceeds the limit "4k"' in scratch["message"]
    assert "Pod ephemeral local storage usage exceeds the total limit of containers 8k" in all_disk["message"]


def test_a_folder_that_goes_while_its_size_is_taken_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_bytes(b"12345")
    (tmp_path / "going").mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("going"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert bytes_below(tmp_path) == 5


TRIES = """
import contextlib, json, os, pathlib, subprocess, sys
def wrote(folder):
    with contextlib.suppress(OSError):
        return bool(pathlib.Path(folder, "made").write_text("x"))
can = [each for each in ("/scratch", "/keys", "/dev/shm", "/tmp", "/", os.getcwd(), "/usr", sys.prefix) if wrote(each)]
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
unshared = subprocess.run(["unshare", "--user", "true"], stderr=subprocess.DEVNULL).returncode == 0
rights = int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]
sees = [each for each in sys.argv[1:] if os.path.exists(each)]
print(json.dumps([os.getuid(), os.getgid(), can, rights, unshared, sees]))
"""


def test_a_container_may_do_what_its_security_context_says(kube: Kube, tmp_path: Path) -> None:
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "store-keys"}}]
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in ("scratch", "keys")]
    strict = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    user = {"runAsUser": 10001, "runAsGroup": 10002, "seccompProfile": {"type": "RuntimeDefault"}}
    found = []
    for container, pod in ((strict, user), ({}, {})):
        tries = make_pod(
            *("python", "-c", TRIES, str(tmp_path), str(kube.folder)),
            container={"volumeMounts": mounts, "securityContext": container},
            volumes=volumes,
            securityContext=pod,
        )
        name = create(kube, tries)
        assert ended(kube, name)["phase"] == "Succeeded", said(kube, name)
        found.append(json.loads(said(kube, name)))
    closed, (*user_and_group, can, (effective, _, _), unshares, sees) = found
    assert closed == [10001, 10002, ["/scratch", "/dev/shm"], [0, 0, "1"], False, []]
    assert (user_and_group, can, unshares) == ([0, 0], ["/scratch", "/dev/shm", "/tmp", "/"], True)
    assert effective > 0
    # Nothing of this machine is there but what belongs to the image.
    assert sees == []


@pytest.mark.parametrize(
    ("pod", "container", "why"),
    [
        ({"runAsNonRoot": True}, {}, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 7}, {"runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ],
)
def test_a_container_that_must_not_be_root_waits_where_it_is(
    kube: Kube, pod: dict[str, Any], container: dict[str, Any], why: str
) -> None:
    name = create(kube, make_pod(container={"securityContext": container}, securityContext=pod))
    soon(lambda: "Failed" in reasons(kube, name), "the complaint")
    waiting = status(kube, name)["containerStatuses"][0]["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", why)


# Planted faults


@pytest.mark.parametrize(
    ("kind", "phase", "reason", "exit_code", "why"),
    [
        ("oom", "Failed", None, 137, "OOMKilled"),
        ("killed", "Failed", None, 137, "Error"),
        ("killed_but_succeeded", "Succeeded", None, 0, "Completed"),
        ("evicted", "Failed", "Evicted", 137, "Error"),
    ],
)
def test_a_planted_end_kills_the_process_and_is_reported_as_planned(
    fresh: Kube, kind: Any, phase: str, reason: str | None, exit_code: int, why: str
) -> None:
    fresh.faults.add(PodFault(kind=kind, pods="struck-*", on_log="up"))
    name = create(fresh, make_pod(*SLEEPS, name=new_name("struck")))
    found = ended(fresh, name)
    assert (found["phase"], found.get("reason")) == (phase, reason)
    assert (terminated(found)["exitCode"], terminated(found)["reason"]) == (exit_code, why)
    assert (said(fresh, name), fresh.processes()) == ("up\n", [])
    assert fresh.faults.hits == [(kind, name)]


def test_an_eviction_may_leave_no_container_status(fresh: Kube) -> None:
    fresh.faults.add(PodFault(kind="evicted_bare"))
    found = ended(fresh, create(fresh, make_pod(*SLEEPS)))
    assert found["reason"] == "Evicted"
    assert "containerStatuses" not in found
    assert condition(found, "DisruptionTarget")["reason"] == "TerminationByKubelet"


@pytest.mark.parametrize(
    ("kind", "phase"), [("vanishes", "Running"), ("node_lost", "Unknown"), ("preempted", "Failed")]
)
def test_a_pod_that_is_taken_away_is_deleted(fresh: Kube, kind: Any, phase: str) -> None:
    fresh.faults.add(PodFault(kind=kind, on_log="up"))
    version = fresh.storage.version
    name = create(fresh, make_pod(*SLEEPS))
    soon(lambda: fresh.faults.hits == [(kind, name)], "the fault")
    soon(lambda: get(fresh, name) is None, "the end of the object")
    last = fresh.storage.since("pods", version)[-1]
    assert (last.type, last.item["status"]["phase"]) == ("DELETED", phase)
    assert (last.item["status"].get("reason") == "NodeLost") == (kind == "node_lost")
    assert fresh.processes() == []


def test_the_pod_of_a_silent_node_stays_until_it_is_deleted_by_force(fresh: Kube) -> None:
    fresh.faults.add(PodFault(kind="node_silent", on_log="up"))
    name = create(fresh, make_pod(*SLEEPS))
    soon(lambda: fresh.faults.hits == [("node_silent", name)], "the fault")
    api = core(fresh)
    deleted = api.delete_namespaced_pod(name, NS, grace_period_seconds=1)
    assert deleted.metadata.deletion_timestamp
    time.sleep(1.3)
    found = status(fresh, name)
    assert (found["phase"], list(found["containerStatuses"][0]["state"])) == ("Running", ["running"])
    assert fresh.processes() == []
    api.delete_namespaced_pod(name, NS, grace_period_seconds=0)
    assert get(fresh, name) is None


def test_the_pods_of_a_removed_node_are_lost_with_it(fresh: Kube) -> None:
    name = create(fresh, make_pod(*SLEEPS))
    pid = up(fresh, name)
    fresh.remove_node("node-1")
    soon(lambda: status(fresh, name).get("reason") == "NodeLost", "the loss")
    with raw(fresh) as http:
        assert http.get(f"/api/v1/namespaces/{NS}/pods/{name}/log").status_code == 500
    soon(lambda: get(fresh, name) is None and gone(pid), "the end of the object")


@pytest.mark.parametrize(
    ("kind", "waiting"), [("image", "ImagePullBackOff"), ("creating", "ContainerCreating"), ("pending", None)]
)
def test_a_pod_that_never_starts_waits_until_it_is_deleted(fresh: Kube, kind: Any, waiting: str | None) -> None:
    fresh.faults.add(PodFault(kind=kind, labels="stuck"))
    name = create(fresh, make_pod(labels={"stuck": "true"}))
    soon(lambda: fresh.faults.hits == [(kind, name)], "the fault")
    assert ended(fresh, create(fresh, make_pod(labels={"stuck": "true"})))["phase"] == "Succeeded"
    found = status(fresh, name)
    assert found["phase"] == "Pending"
    states = [each["state"]["waiting"]["reason"] for each in found.get("containerStatuses", [])]
    assert states == ([waiting] if waiting else [])
    if waiting:
        with raw(fresh) as http:
            answer = http.get(f"/api/v1/namespaces/{NS}/pods/{name}/log")
            assert (answer.status_code, "waiting to start" in answer.json()["message"]) == (400, True)
    core(fresh).delete_namespaced_pod(name, NS)
    soon(lambda: get(fresh, name) is None, "the end")


def test_a_hanging_pod_is_killed_only_after_its_grace(fresh: Kube) -> None:
    fresh.faults.add(PodFault(kind="hangs", on_log="up"))
    name = create(fresh, make_pod(*SLEEPS))
    soon(lambda: fresh.faults.hits == [("hangs", name)], "the fault")
    (pid,) = fresh.processes()
    soon(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop")
    core(fresh).delete_namespaced_pod(name, NS, grace_period_seconds=1)
    soon(lambda: get(fresh, name) is None and gone(pid), "the end")


def test_a_fault_that_came_too_late_meets_the_next_pod(fresh: Kube) -> None:
    fresh.faults.add(PodFault(kind="oom", on_log="up"))
    assert ended(fresh, create(fresh, make_pod()))["phase"] == "Succeeded"
    assert terminated(ended(fresh, create(fresh, make_pod(*SLEEPS))))["reason"] == "OOMKilled"
    assert ended(fresh, create(fresh, make_pod()))["phase"] == "Succeeded"


def test_a_fault_for_small_pods_leaves_larger_ones_alone(fresh: Kube) -> None:
    fresh.faults.add(PodFault(kind="oom", memory_mb=64, times=None))

    def asking(memory: str) -> dict[str, Any]:
        resources = {"limits": {"memory": memory}, "requests": {"memory": memory}}
        return make_pod(*SLEEPS, container={"resources": resources})

    large = create(fresh, asking("65Mi"))
    for _ in range(2):
        assert terminated(ended(fresh, create(fresh, asking("64Mi"))))["reason"] == "OOMKilled"
    soon(lambda: status(fresh, large)["phase"] == "Running", "the large pod's start")


# Processes

FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]], start_new_session=True)
print('up', flush=True)
time.sleep({sleep})
"""


def test_the_end_of_the_first_process_is_the_end_of_its_children(kube: Kube) -> None:
    child = new_name("child")

    def alive() -> bool:
        return any(child in each.info["cmdline"] for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"])

    name = create(kube, make_pod("python", "-c", FAMILY.format(sleep=0), child))
    assert (ended(kube, name)["phase"], said(kube, name)) == ("Succeeded", "up\n")
    soon(lambda: not alive(), "the child's end")


SERVER = """
import pathlib, sys, threading
from tests.kube.server import kube_server
with kube_server(pathlib.Path(sys.argv[1])) as kube:
    print("up", flush=True)
    threading.Event().wait()
"""


def test_a_server_that_is_killed_takes_its_pods_along(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            api = client.CoreV1Api(config.new_client_from_config(str(tmp_path / "kubeconfig")))
            pod = make_pod("python", "-c", FAMILY.format(sleep=600), "child", name="family")
            api.create_namespaced_pod(NS, pod)
            # Bubblewrap, the first process of its namespace, the command, its child.
            soon(lambda: len(psutil.Process(server.pid).children(recursive=True)) == 4, "the pod and its child")
            pids = [each.pid for each in psutil.Process(server.pid).children(recursive=True)]
        finally:
            server.kill()
    soon(lambda: all(gone(pid) for pid in pids), "the end of the pods")
