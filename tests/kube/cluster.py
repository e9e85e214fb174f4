"""Nodes, a scheduler and a kubelet: pods find a node and their containers run as processes of this machine.

A container's image means nothing. Its command runs in the project's folder with the environment that the test gives
(the image's, as it were) and the pod's own on top of it, closed in as :mod:`tests.kube.container` says.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets as random_names
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.kube.admission import Registered
from tests.kube.container import PROJECT, Mount, Process, closed_in
from tests.kube.faults import BeforeStart, Faults, PodFault
from tests.kube.policies import effective_requests, shown
from tests.kube.selectors import quantity, seconds_text, utc_now
from tests.kube.status import ApiError
from tests.kube.storage import Item, Storage

TICK_S = 0.02
IDLE_S = 0.25
MEASURE_EVERY_S = 0.25
NODE_LOST_S = 0.5
PULL_ERROR = 'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
TERMINAL = ("Succeeded", "Failed")
DISRUPTIONS = {
    "preempted": ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
    "drained": ("EvictionByEvictionAPI", "Eviction API: evicting"),
    "node_lost": ("DeletionByPodGC", "PodGC: node no longer exists"),
    "tainted": ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
}
"""Reason and message of the condition by which the control plane says that it ends a pod."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster."""

    name: str = "node-1"
    cpu: str = "8"
    memory: str = "32Gi"
    ephemeral_storage: str = "100Gi"
    gpu: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    """``key=value:effect``."""
    unschedulable: bool = False

    def to_item(self) -> Item:
        capacity = {
            "cpu": self.cpu,
            "memory": self.memory,
            "ephemeral-storage": self.ephemeral_storage,
            "pods": "110",
            **({"nvidia.com/gpu": str(self.gpu)} if self.gpu else {}),
        }
        taints = []
        for taint in self.taints:
            pair, _, effect = taint.rpartition(":")
            key, _, value = pair.partition("=")
            taints.append({"key": key, "value": value, "effect": effect})
        now = seconds_text(utc_now())
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {**labels, **self.labels}},
            "spec": {
                **({"taints": taints} if taints else {}),
                **({"unschedulable": True} if self.unschedulable else {}),
            },
            "status": {
                "capacity": capacity,
                "allocatable": dict(capacity),
                "conditions": [ready],
                "addresses": [
                    {"type": "InternalIP", "address": "10.0.0.1"},
                    {"type": "Hostname", "address": self.name},
                ],
            },
        }


class ConfigError(Exception):
    """A container cannot be configured yet: the kubelet waits and tries again."""


@dataclass(kw_only=True)
class Run:
    """A pod on its node."""

    namespace: str
    name: str
    uid: str
    folder: Path
    ip: str
    bound: float = field(default_factory=time.monotonic)
    started_at: datetime = field(default_factory=utc_now)
    fault: PodFault | None = None
    fault_met: bool = False
    processes: dict[str, Process] = field(default_factory=dict)
    stopping: float | None = None
    """When its processes were asked to end."""
    grace_s: float = 30.0
    verdict: dict[str, str] = field(default_factory=dict)
    """Reason and message of a pod that was ended from outside: the status says them."""
    said: set[str] = field(default_factory=set)
    """Events that were recorded once."""
    unreachable: bool = False
    """Its node does not answer: nobody serves its logs, and nothing that happens there is reported."""
    lost: float | None = None
    """Since when the node is known to be gone."""
    dropped: bool = False


class Cluster:
    """Binds pods to nodes and runs them, in a thread of its own."""

    def __init__(
        self,
        storage: Storage,
        *,
        folder: Path,
        faults: Faults,
        registered: Registered,
        env: Mapping[str, str],
        entrypoint: tuple[str, ...],
        image: Iterable[Path],
    ) -> None:
        self.storage = storage
        self.folder = folder
        self.faults = faults
        self.registered = registered
        self.env = dict(env)
        self.entrypoint = entrypoint
        self.image = tuple(image)
        self.outside: tuple[Path, ...] = ()
        """Folders of this machine that stand for others in the network, a store's for example: pods write there."""
        self.runs: dict[str, Run] = {}
        self.errors: list[BaseException] = []
        """The stand-in's own mistakes: a test fails on them at its end."""
        self._closing = threading.Event()
        self._ips = 0
        self._measured_at = 0.0
        self._pending: dict[str, PodFault] = {}
        self._thread = threading.Thread(target=self._loop, name="kubelet", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        with self.storage.changed:
            self.storage.changed.notify_all()
        self._thread.join()

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                busy = self._tick()
            except Exception as error:
                self.errors.append(error)
                busy = True
            with self.storage.changed:
                self.storage.changed.wait(TICK_S if busy else IDLE_S)
        for run in self.runs.values():
            for process in run.processes.values():
                process.kill()
        for run in self.runs.values():
            for process in run.processes.values():
                while not process.poll():
                    time.sleep(0.01)

    def _tick(self) -> bool:
        """One round over all pods; whether any of them needs the next one soon."""
        pods, _ = self.storage.list("pods")
        with _gone():
            self._schedule([pod for pod in pods if not pod["spec"].get("nodeName")])
        pods, _ = self.storage.list("pods")
        present = {pod["metadata"]["uid"] for pod in pods}
        measure = time.monotonic() - self._measured_at > MEASURE_EVERY_S
        self._measured_at = time.monotonic() if measure else self._measured_at
        busy = False
        for pod in pods:
            if pod["spec"].get("nodeName"):
                with _gone():
                    busy |= self._sync(pod, measure)
        for uid in set(self.runs) - present:
            busy |= not self._drop(self.runs[uid])
        return busy

    # The scheduler

    def _schedule(self, waiting: list[Item]) -> None:
        nodes, _ = self.storage.list("nodes")
        for pod in sorted(waiting, key=lambda each: -each["spec"].get("priority", 0)):
            if pod["metadata"].get("deletionTimestamp"):
                continue
            uid = pod["metadata"]["uid"]
            if uid not in self._pending and (fault := self.faults.claim(pod, started=False)):
                self._pending[uid] = fault
                if fault.kind == "pending":
                    self.faults.note(fault.kind, pod["metadata"]["name"])
            planted = self._pending.get(uid)
            if planted and planted.kind == "pending":
                size = len(nodes)
                why = planted.message or f"0/{size} nodes are available: {size} Insufficient cpu."
            else:
                why = self._bind_where_it_fits(pod, nodes)
            if why:
                self._unschedulable(pod, why)

    def _bind_where_it_fits(self, pod: Item, nodes: list[Item]) -> str:
        """Why no node takes the pod; empty where one did."""
        if not nodes:
            return "no nodes available to schedule pods"
        reasons: Counter[str] = Counter()
        full = 0
        for node in nodes:
            found = self._misfits(pod, node)
            if not found:
                self._bind(pod, node)
                return ""
            reasons.update(found)
            full += self._would_fit_if_empty(pod, node, found)
        available = f"0/{len(nodes)} nodes are available: "
        if pod["spec"].get("preemptionPolicy") == "Never":
            preemption = "not eligible due to preemptionPolicy=Never."
        else:
            words = {
                "No preemption victims found for incoming pod": full,
                "Preemption is not helpful for scheduling": len(nodes) - full,
            }
            preemption = available + _counted(words) + "."
        return f"{available}{_counted(reasons)}. no new claims to deallocate, preemption: {preemption}"

    def _would_fit_if_empty(self, pod: Item, node: Item, misfits: list[str]) -> bool:
        """Whether nothing but other pods keeps this one off the node."""
        has = {name: quantity(amount) for name, amount in node["status"]["allocatable"].items()}
        wanted = effective_requests(pod["spec"])
        return all(each.startswith(("Insufficient", "Too many")) for each in misfits) and all(
            amount <= has.get(name, Decimal(0)) for name, amount in wanted.items()
        )

    def _misfits(self, pod: Item, node: Item) -> list[str]:
        spec = pod["spec"]
        if node["spec"].get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in node["spec"].get("taints") or []:
            if taint["effect"] != "PreferNoSchedule" and not any(
                _tolerates(each, taint) for each in spec["tolerations"]
            ):
                return ["node(s) had untolerated taint(s)"]
        labels = node["metadata"]["labels"]
        if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            return ["node(s) didn't match Pod's node affinity/selector"]
        free = {name: quantity(amount) for name, amount in node["status"]["allocatable"].items()}
        for other in self.storage.list("pods")[0]:
            if other["spec"].get("nodeName") == node["metadata"]["name"] and other["status"]["phase"] not in TERMINAL:
                for name, amount in {**effective_requests(other["spec"]), "pods": Decimal(1)}.items():
                    free[name] = free.get(name, Decimal(0)) - amount
        wanted = {**effective_requests(spec), "pods": Decimal(1)}
        short = [name for name, amount in wanted.items() if amount > free.get(name, Decimal(0))]
        return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in short]

    def _bind(self, pod: Item, node: Item) -> None:
        name = node["metadata"]["name"]

        def change(draft: Item) -> None:
            draft["spec"]["nodeName"] = name
            _condition(draft["status"], "PodScheduled", True)

        self._update(pod, change)
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self.record(pod, "Normal", "Scheduled", f"Successfully assigned {where} to {name}", "default-scheduler")

    def _unschedulable(self, pod: Item, why: str) -> None:
        before = next((each for each in pod["status"].get("conditions", []) if each["type"] == "PodScheduled"), {})
        if before.get("message") != why:
            self._update(pod, lambda draft: _condition(draft["status"], "PodScheduled", False, "Unschedulable", why))
            self.record(pod, "Warning", "FailedScheduling", why, "default-scheduler")

    # The kubelet

    def _sync(self, pod: Item, measure: bool) -> bool:
        """Move one bound pod a step on; whether it needs the next round soon."""
        metadata = pod["metadata"]
        run = self.runs.get(metadata["uid"])
        if run is None:
            if pod["status"]["phase"] in TERMINAL:
                return False
            run = self.runs[metadata["uid"]] = self._adopt(pod)
        if not run.fault_met and run.fault is None:
            run.fault = self.faults.claim(pod, started=bool(run.processes))
        if run.unreachable:
            self._forget(pod, run)
            return True
        if metadata.get("deletionTimestamp") and run.stopping is None:
            self._stop(pod, run, float(metadata.get("deletionGracePeriodSeconds", 30)))
        if pod["status"]["phase"] in TERMINAL:
            if metadata.get("deletionTimestamp"):
                self._remove(run)
            return False
        if self._node_is_gone(pod):
            run.fault = PodFault(kind="node_lost")
            self._strike(pod, run)
            return True
        if run.stopping is not None:
            self._end_stopped(pod, run)
            return True
        if not self._end_at_deadline(pod, run) and self._start_next(pod, run):
            self._watch_over(pod, run, measure)
        return True

    def _end_at_deadline(self, pod: Item, run: Run) -> bool:
        deadline = pod["spec"].get("activeDeadlineSeconds")
        if deadline is None or utc_now() - run.started_at <= timedelta(seconds=deadline):
            return False
        message = "Pod was active on the node longer than the specified deadline"
        run.verdict = {"reason": "DeadlineExceeded", "message": message}
        self.record(pod, "Normal", "DeadlineExceeded", message, "kubelet")
        self._stop(pod, run, float(pod["spec"]["terminationGracePeriodSeconds"]))
        return True

    def _adopt(self, pod: Item) -> Run:
        self._ips += 1
        metadata = pod["metadata"]
        run = Run(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            folder=self.folder / "pods" / metadata["uid"],
            ip=f"10.244.{self._ips // 250}.{self._ips % 250 + 1}",
            fault=self._pending.pop(metadata["uid"], None),
        )
        run.folder.mkdir(parents=True)

        def change(draft: Item) -> None:
            status = draft["status"]
            status["startTime"] = seconds_text(run.started_at)
            status["hostIP"] = "10.0.0.1"
            status["hostIPs"] = [{"ip": "10.0.0.1"}]
            _condition(status, "Initialized", not draft["spec"].get("initContainers"), "ContainersNotInitialized")
            for each in ("Ready", "ContainersReady"):
                _condition(status, each, False, "ContainersNotReady", "containers with unready status")
            self._report(draft, run)

        self._update(pod, change)
        return run

    def _start_next(self, pod: Item, run: Run) -> bool:
        """Start what is due, init containers one after the other; False while something keeps it from starting."""
        spec = pod["spec"]
        for container in spec.get("initContainers") or []:
            process = run.processes.get(container["name"])
            if process is None:
                return self._start(pod, run, container)
            if not process.poll():
                return True
            if process.exit_code:
                self._finish(pod, run)
                return False
        for container in spec["containers"]:
            if container["name"] not in run.processes and not self._start(pod, run, container):
                return False
        return True

    def _start(self, pod: Item, run: Run, container: Item) -> bool:
        if run.fault and run.fault.kind in BeforeStart:
            self._keep_waiting(pod, run, container, run.fault)
            return False
        field_path = f"spec.containers{{{container['name']}}}"
        try:
            argv, env = self._command(pod, run, container)
        except ConfigError as error:
            if str(error) not in run.said:
                run.said.add(str(error))
                self._wait(pod, run, container, "CreateContainerConfigError", str(error))
                self.record(pod, "Warning", "Failed", f"Error: {error}", "kubelet", field_path)
            return False
        image = container["image"]
        self.record(
            pod, "Normal", "Pulled", f'Container image "{image}" already present on machine', "kubelet", field_path
        )
        self.record(pod, "Normal", "Created", f"Created container: {container['name']}", "kubelet", field_path)
        watched = run.fault.on_log if run.fault else ""
        log = run.folder / "logs" / container["name"]
        run.processes[container["name"]] = Process(container["name"], argv, env, log, watched)
        self.record(pod, "Normal", "Started", f"Started container {container['name']}", "kubelet", field_path)
        self._update(pod, lambda draft: self._report(draft, run))
        return True

    def _keep_waiting(self, pod: Item, run: Run, container: Item, fault: PodFault) -> None:
        if run.fault_met:
            return
        run.fault_met = True
        self.faults.note(fault.kind, run.name)
        if fault.kind == "image":
            image = container["image"]
            why = fault.message or PULL_ERROR.format(image=image)
            path = f"spec.containers{{{container['name']}}}"
            self.record(pod, "Warning", "Failed", f'Failed to pull image "{image}": {why}', "kubelet", path)
            self._wait(pod, run, container, "ErrImagePull", why)
            self._wait(
                pod, run, container, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {why}'
            )
            self.record(pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', "kubelet", path)

    def _wait(self, pod: Item, run: Run, container: Item, reason: str, message: str) -> None:
        def change(draft: Item) -> None:
            self._report(draft, run)
            kind = (
                "initContainerStatuses"
                if container in (pod["spec"].get("initContainers") or [])
                else "containerStatuses"
            )
            for status in draft["status"][kind]:
                if status["name"] == container["name"]:
                    status["state"] = {"waiting": {"reason": reason, "message": message}}

        self._update(pod, change)

    def _watch_over(self, pod: Item, run: Run, measure: bool) -> None:
        if run.fault and not run.fault_met and self._is_due(run, run.fault):
            self._strike(pod, run)
            return
        if measure:
            self._limit(pod, run)
        ended = _poll(run)
        if all(ended) and len(ended) == len(pod["spec"]["containers"]) + len(pod["spec"].get("initContainers") or []):
            self._finish(pod, run)
        elif any(ended):
            self._update(pod, lambda draft: self._report(draft, run))

    def _is_due(self, run: Run, fault: PodFault) -> bool:
        alive = [each for each in run.processes.values() if not each.poll()]
        if not alive:
            return False
        if fault.on_log:
            return any(each.seen.is_set() for each in alive)
        return time.monotonic() - alive[-1].started >= fault.after_s

    def _limit(self, pod: Item, run: Run) -> None:
        """Kill what is resident beyond its limit of memory; evict the pod that has more on disk than it may."""
        containers = pod["spec"]["containers"]
        for container in containers:
            limit = (container["resources"].get("limits") or {}).get("memory")
            process = run.processes.get(container["name"])
            if limit and process and not process.poll() and process.memory() > quantity(limit):
                process.kill("OOMKilled")
        for volume in pod["spec"].get("volumes") or []:
            limit = (volume.get("emptyDir") or {}).get("sizeLimit")
            if limit and bytes_below(run.folder / "volumes" / volume["name"]) > quantity(limit):
                self._evict(pod, run, f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". ')
                return
        limits = [(each["resources"].get("limits") or {}).get("ephemeral-storage") for each in containers]
        most = sum((quantity(each) for each in limits if each), Decimal(0))
        # Logs count as well as volumes.
        if most and bytes_below(run.folder) > most:
            total = shown("limits.ephemeral-storage", most)
            why = f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
            self._evict(pod, run, why)

    def _strike(self, pod: Item, run: Run) -> None:
        """The planted fault comes."""
        assert run.fault is not None
        fault, run.fault_met = run.fault, True
        self.faults.note(fault.kind, run.name)
        if fault.kind == "hangs":
            for process in run.processes.values():
                process.signal_group(signal.SIGSTOP)
            return
        if fault.kind in ("preempted", "drained", "tainted"):
            reason, message = DISRUPTIONS[fault.kind]
            self._mark_for_deletion(pod, reason, fault.message or message)
            if fault.kind == "preempted":
                self.record(pod, "Normal", "Preempted", fault.message or message, "default-scheduler")
            return
        for process in run.processes.values():
            process.kill("OOMKilled" if fault.kind == "oom" else "")
            while not process.poll():
                time.sleep(0.002)
            if fault.kind == "killed_but_succeeded":
                process.exit_code, process.reason = 0, "Completed"
        self._report_end(pod, run, fault)

    def _report_end(self, pod: Item, run: Run, fault: PodFault) -> None:
        """What is said of a pod whose processes a fault has ended."""
        if fault.kind == "vanishes":
            run.dropped = True
            self._remove(run, force=True)
        elif fault.kind == "node_lost":
            self._lose_node(pod, run)
        elif fault.kind in ("node_silent", "node_not_ready"):
            # No kubelet reports the end of the processes or of the pod: its last words stand.
            run.unreachable = True
            self._update(pod, lambda draft: _condition(draft["status"], "Ready", False, "NodeNotReady"))
            if fault.kind == "node_silent":
                self._mark_for_deletion(pod, *DISRUPTIONS["tainted"])
        elif fault.kind in ("evicted", "evicted_bare"):
            self._evict(
                pod,
                run,
                fault.message or "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. ",
            )
        else:
            self._finish(pod, run)

    def _evict(self, pod: Item, run: Run, message: str) -> None:
        for process in run.processes.values():
            process.kill()
            while not process.poll():
                time.sleep(0.002)
        run.verdict = {"reason": "Evicted", "message": message}
        self.record(pod, "Warning", "Evicted", message, "kubelet")
        self._finish(pod, run)

    def _mark_for_deletion(self, pod: Item, reason: str, message: str, grace_s: int | None = None) -> None:
        def change(draft: Item) -> None:
            grace = draft["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s
            _condition(draft["status"], "DisruptionTarget", True, reason, message)
            draft["metadata"].setdefault("deletionTimestamp", seconds_text(utc_now() + timedelta(seconds=grace)))
            draft["metadata"].setdefault("deletionGracePeriodSeconds", grace)

        self._update(pod, change)

    def _lose_node(self, pod: Item, run: Run) -> None:
        run.unreachable, run.lost = True, time.monotonic()
        node = pod["spec"]["nodeName"]

        def change(draft: Item) -> None:
            draft["status"]["phase"] = "Unknown"
            draft["status"]["reason"] = "NodeLost"
            draft["status"]["message"] = f"Node {node} which was running pod {run.name} is unresponsive"
            _condition(draft["status"], "Ready", False, "NodeLost")

        self._update(pod, change)
        self.record(pod, "Warning", "NodeNotReady", "Node is not ready", "node-controller")
        self._mark_for_deletion(pod, *DISRUPTIONS["tainted"])

    def _forget(self, pod: Item, run: Run) -> None:
        """Remove a pod of a node that is gone, a moment later; one of a silent node stays."""
        is_due = run.lost is not None and time.monotonic() - run.lost > NODE_LOST_S
        if is_due or (run.lost is None and self._node_is_gone(pod)):
            # The collector of such pods says why before it removes one.
            self._mark_for_deletion(pod, *DISRUPTIONS["node_lost"])
            self._remove(run, force=True)

    def _node_is_gone(self, pod: Item) -> bool:
        names = {node["metadata"]["name"] for node in self.storage.list("nodes")[0]}
        return pod["spec"]["nodeName"] not in names

    def _stop(self, pod: Item, run: Run, grace_s: float) -> None:
        run.stopping, run.grace_s = time.monotonic(), grace_s
        for name, process in run.processes.items():
            if not process.poll():
                path = f"spec.containers{{{name}}}"
                self.record(pod, "Normal", "Killing", f"Stopping container {name}", "kubelet", path)
                process.terminate()

    def _end_stopped(self, pod: Item, run: Run) -> None:
        assert run.stopping is not None
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            # A second DELETE may shorten the wait.
            run.grace_s = min(run.grace_s, float(metadata["deletionGracePeriodSeconds"]))
        if time.monotonic() - run.stopping > run.grace_s:
            for process in run.processes.values():
                process.kill()
        if all(_poll(run)):
            self._finish(pod, run)
            if metadata.get("deletionTimestamp"):
                self._remove(run)

    def _finish(self, pod: Item, run: Run) -> None:
        if run.fault and not run.fault_met:
            self.faults.give_back(run.fault)
            run.fault_met = True
        good = all(process.exit_code == 0 for process in run.processes.values()) and not run.verdict
        # Deleted before anything of it ran: the kubelet calls that a failure, too.
        phase = "Succeeded" if good and run.processes else "Failed"
        bare = bool(run.fault and run.fault.kind == "evicted_bare" and run.verdict)

        def change(draft: Item) -> None:
            status = draft["status"]
            status["phase"] = phase
            status.update(run.verdict)
            if run.verdict.get("reason") == "Evicted":
                _condition(status, "DisruptionTarget", True, "TerminationByKubelet", run.verdict["message"])
            self._report(draft, run)
            why = "PodCompleted" if phase == "Succeeded" else "PodFailed"
            for each in ("Ready", "ContainersReady"):
                _condition(status, each, False, why)
            if bare:
                for kind in ("containerStatuses", "initContainerStatuses", "podIP", "podIPs"):
                    status.pop(kind, None)

        self._update(pod, change)

    def _remove(self, run: Run, *, force: bool = False) -> None:
        pod = self.storage.get("pods", run.namespace, run.name)
        if pod["metadata"]["uid"] == run.uid and (force or not pod["metadata"].get("finalizers")):
            self.storage.delete("pods", run.namespace, run.name)

    def _drop(self, run: Run) -> bool:
        """The object is gone: what still runs is killed; True once nothing is left."""
        for process in run.processes.values():
            process.kill()
        if all(_poll(run)):
            del self.runs[run.uid]
            # The kubelet deletes a pod's volumes and logs with it.
            shutil.rmtree(run.folder, ignore_errors=True)
            return True
        return False

    # What a container gets

    def _command(self, pod: Item, run: Run, container: Item) -> tuple[list[str], dict[str, str]]:
        security = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
        if security.get("runAsNonRoot") and security.get("runAsUser", 0) == 0:
            said = "runAsUser" in security
            why = "container's runAsUser breaks non-root policy"
            raise ConfigError(why if said else "container has runAsNonRoot and image will run as root")
        own = self._environment(pod, run, container)
        command = [_expanded(each, own) for each in container.get("command") or self.entrypoint]
        argv = [*command, *(_expanded(each, own) for each in container.get("args") or [])]
        if not argv:
            raise ConfigError("no command specified")
        if argv[0] in ("python", "python3"):
            argv[0] = sys.executable
        mounts = [
            *(Mount(inside=str(each), outside=each) for each in self.outside),
            *self._mounts(pod, run, container),
        ]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/",
            "HOSTNAME": run.name[:63],
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
            **self.env,
            **own,
        }
        return [*closed_in(security, mounts, container.get("workingDir") or str(PROJECT), self.image), *argv], env

    def _environment(self, pod: Item, run: Run, container: Item) -> dict[str, str]:
        env: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            # No pod of ours has a config map: it would end the test with a KeyError.
            values = self._secret(run, source["secretRef"]["name"], source["secretRef"])
            env.update({source.get("prefix", "") + name: value for name, value in values.items()})
        for variable in container.get("env") or []:
            value = (
                self._value_from(pod, run, container, variable["valueFrom"])
                if "valueFrom" in variable
                else _expanded(variable.get("value", ""), env)
            )
            if value is not None:
                env[variable["name"]] = value
        return env

    def _secret(self, run: Run, name: str, reference: Item) -> Mapping[str, str]:
        values = self.registered.secrets.get((run.namespace, name))
        if values is None and not reference.get("optional"):
            raise ConfigError(f'secret "{name}" not found')
        return values or {}

    def _value_from(self, pod: Item, run: Run, container: Item, source: Item) -> str | None:
        if reference := source.get("secretKeyRef"):
            name, key = reference["name"], reference["key"]
            values = self._secret(run, name, reference)
            if key not in values and not reference.get("optional"):
                raise ConfigError(f"couldn't find key {key} in secret {run.namespace}/{name}")
            return values.get(key)
        if reference := source.get("fieldRef"):
            return self._field(pod, run, reference["fieldPath"])
        reference = source["resourceFieldRef"]
        kind, _, name = reference["resource"].partition(".")
        amount = (container["resources"].get(kind) or {}).get(name, "0")
        return str(math.ceil(quantity(amount) / quantity(reference.get("divisor") or "1")))

    def _field(self, pod: Item, run: Run, path: str) -> str:
        if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
            return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
        if path in ("status.podIP", "status.podIPs"):
            return run.ip
        part, _, name = path.partition(".")
        return str(pod[part].get(name, ""))

    def _mounts(self, pod: Item, run: Run, container: Item) -> Iterator[Mount]:
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        for mount in container.get("volumeMounts") or []:
            volume = volumes[mount["name"]]
            if not {"emptyDir", "hostPath", "projected", "secret"} & set(volume):
                raise NotImplementedError(f"a volume of another kind: {volume}")
            folder = run.folder / "volumes" / mount["name"]
            if "hostPath" in volume:
                folder = Path(volume["hostPath"]["path"])
            folder.mkdir(parents=True, exist_ok=True)
            if reference := volume.get("secret"):
                for name, value in self._secret(run, reference["secretName"], reference).items():
                    (folder / name).write_text(value)
            yield Mount(
                inside=mount["mountPath"],
                outside=folder / mount.get("subPath", ""),
                read_only=bool(mount.get("readOnly")) or not {"emptyDir", "hostPath"} & set(volume),
            )

    # What the status says

    def _report(self, draft: Item, run: Run) -> None:
        spec, status = draft["spec"], draft["status"]
        initialized = True
        for kind, plural in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
            statuses = [self._container_status(container, run, kind, initialized) for container in spec.get(kind) or []]
            if statuses:
                status[plural] = statuses
            if kind == "initContainers":
                initialized = all(each["state"].get("terminated", {}).get("exitCode", 1) == 0 for each in statuses)
        if run.processes:
            status["podIP"] = run.ip
            status["podIPs"] = [{"ip": run.ip}]
            _condition(status, "PodReadyToStartContainers", True)
        if initialized:
            _condition(status, "Initialized", True)
        mains = [run.processes.get(container["name"]) for container in spec["containers"]]
        if all(mains) and status["phase"] == "Pending":
            status["phase"] = "Running"
        if all(each and each.finished_at is None for each in mains):
            for each in ("Ready", "ContainersReady"):
                _condition(status, each, True)

    def _container_status(self, container: Item, run: Run, kind: str, initialized: bool) -> Item:
        process = run.processes.get(container["name"])
        running = process is not None and process.finished_at is None
        status: Item = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "" if process is None else f"{container['image']}@sha256:{'0' * 64}",
            "lastState": {},
            "ready": running if kind == "containers" else bool(process and not running and process.exit_code == 0),
            "started": running,
            "restartCount": 0,
            "state": {},
        }
        if process is None:
            status["state"] = {"waiting": {"reason": "ContainerCreating" if initialized else "PodInitializing"}}
            return status
        status["containerID"] = process.id
        if running:
            status["state"] = {"running": {"startedAt": seconds_text(process.started_at)}}
            return status
        assert process.finished_at is not None
        message = process.message
        if process.exit_code and not message and container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            message = process.tail()
        status["state"] = {
            "terminated": {
                "exitCode": process.exit_code,
                "reason": process.reason,
                "startedAt": seconds_text(process.started_at),
                "finishedAt": seconds_text(process.finished_at),
                "containerID": process.id,
                **({"message": message} if message else {}),
            }
        }
        return status

    def _update(self, pod: Item, change: Callable[[Item], None]) -> None:
        metadata = pod["metadata"]
        self.storage.update("pods", metadata["namespace"], metadata["name"], change, uid=metadata["uid"])

    def record(self, pod: Item, kind: str, reason: str, message: str, component: str, path: str = "") -> None:
        """An event about a pod."""
        metadata, now = pod["metadata"], seconds_text(utc_now())
        involved = {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "apiVersion": "v1",
            "resourceVersion": metadata["resourceVersion"],
            **({"fieldPath": path} if path else {}),
        }
        source = {"component": component, **({"host": pod["spec"]["nodeName"]} if "nodeName" in pod["spec"] else {})}
        self.storage.create(
            "events",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{metadata['name'][:230]}.{random_names.token_hex(8)}",
                    "namespace": metadata["namespace"],
                },
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": kind,
                "source": source,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "eventTime": None,
                "reportingComponent": component,
                "reportingInstance": source.get("host", ""),
            },
        )


def _poll(run: Run) -> list[bool]:
    """Whether each process has ended; every one is looked after, so no generator."""
    return [process.poll() for process in run.processes.values()]


@contextlib.contextmanager
def _gone() -> Any:
    """A pod that is deleted between two looks is no mistake of ours."""
    try:
        yield
    except ApiError as error:
        if error.code not in (404, 409):
            raise


def _condition(status: Item, kind: str, holds: bool, reason: str = "", message: str = "") -> None:
    conditions = status.setdefault("conditions", [])
    before = next((each for each in conditions if each["type"] == kind), None)
    value = "True" if holds else "False"
    item: Item = {"type": kind, "status": value, "lastProbeTime": None}
    unchanged = before is not None and before["status"] == value
    item["lastTransitionTime"] = before["lastTransitionTime"] if unchanged and before else seconds_text(utc_now())
    if not holds or kind == "DisruptionTarget":
        item.update({name: text for name, text in (("reason", reason), ("message", message)) if text})
    if before is None:
        conditions.append(item)
    else:
        before.clear()
        before.update(item)


def _counted(words: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {text}" for text, count in words.items() if count))


def bytes_below(folder: Path) -> int:
    """Bytes of the files below a folder, some of which may go while it looks, as may folders."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{where}/{name}").st_size
    return total


def _tolerates(toleration: Item, taint: Item) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint["value"]


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` as the kubelet expands it; ``$$(NAME)`` is literal, an unknown name stays."""

    def one(found: re.Match[str]) -> str:
        return found[0][1:] if found[0].startswith("$$") else env.get(found[1], found[0])

    return re.sub(r"\$?\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)", one, text)
