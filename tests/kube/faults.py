"""Faults that a test plants: in pods, by name or label, and in the API, at a seeded rate."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from tests.kube.selectors import label_selector, quantity

BeforeStart = ("pending", "creating", "image")
PodFaultKind = Literal[
    "pending",  # fits nowhere, for ever
    "creating",  # bound to a node, its container never starts
    "image",  # ErrImagePull, then ImagePullBackOff, for ever
    "oom",  # SIGKILL, reported as OOMKilled, 137
    "killed",  # SIGKILL, reported as Error, 137
    "killed_but_succeeded",  # SIGKILL, reported as Completed, 0
    "hangs",  # SIGSTOP: runs on and does nothing
    "evicted",  # killed by the kubelet, with the containers' last state
    "evicted_bare",  # the same without any container status, as after a kubelet's restart
    "preempted",  # deleted by the scheduler for a pod of higher priority
    "drained",  # deleted through the eviction API
    "tainted",  # deleted because its node has got a taint that it does not stand
    "node_lost",  # the node is gone: Unknown, then deleted; logs cannot be read
    "node_silent",  # the node answers no more: Running for ever, then being deleted for ever, unless by force
    "node_not_ready",  # the same, and nobody deletes its pods: every other node is silent, too
    "vanishes",  # the object is deleted without any terminal state
]
ApiFaultKind = Literal[
    "401",  # the server's keys are being changed
    "500",
    "503",
    "429",  # with Retry-After
    "reset",  # the connection, before anything was done
    "lost_answer",  # the request is carried out and the connection reset
    "timeout",  # no answer for a while, then the connection closes
    "cut",  # a stream ends in the middle of a line
]
API_FAULTS: tuple[ApiFaultKind, ...] = ("500", "503", "429", "reset", "lost_answer", "timeout", "cut")

_ONLY_FOR = {"cut": ("WATCH", "LOG"), "lost_answer": ("POST", "PUT", "PATCH", "DELETE")}


@dataclass(frozen=True, kw_only=True)
class PodFault:
    """What happens to the next ``times`` pods that match."""

    kind: PodFaultKind
    pods: str = "*"
    """Glob of names."""
    labels: str = ""
    """Label selector."""
    memory_mb: int | None = None
    """Only pods whose limit is at most this, in MiB; None is any limit, and none."""
    times: int | None = 1
    """How many pods it meets; None is every one."""
    after_s: float = 0.0
    """From the container's start, for faults of a running pod."""
    on_log: str = ""
    """Instead of a time: as soon as a line of the container's log contains this."""
    message: str = ""
    """In place of the usual words of the kubelet or the scheduler."""


@dataclass(frozen=True, kw_only=True)
class ApiFault:
    """Which requests fail, and how often."""

    kinds: tuple[ApiFaultKind, ...] = API_FAULTS
    rate: float = 0.05
    methods: str = "*"
    """Glob over GET, LIST, WATCH, LOG, POST, PATCH, PUT, DELETE."""
    paths: str = "*"
    """Glob over the path without the query."""
    times: int | None = None
    """How many requests it meets; None is no limit."""
    hang_s: float = 2.0
    """How long ``timeout`` waits."""
    retry_after_s: int = 1
    latency_s: float = 0.0
    """Every matching request, whether it fails or not, waits this long first."""


class Faults:
    """The planted faults; may be changed while the server runs."""

    def __init__(self, planted: Iterable[PodFault | ApiFault] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._dice = random.Random(seed)
        self._pods: list[PodFault] = []
        self._api: list[ApiFault] = []
        self.hits: list[tuple[str, str]] = []
        """(kind, pod's name or request) of everything that was met."""
        self.add(*planted)

    def add(self, *planted: PodFault | ApiFault) -> None:
        with self._lock:
            self._pods += [fault for fault in planted if isinstance(fault, PodFault)]
            self._api += [fault for fault in planted if isinstance(fault, ApiFault)]

    def clear(self) -> None:
        """No faults for what comes; a pod that has met one keeps it."""
        with self._lock:
            self._pods.clear()
            self._api.clear()

    def claim(self, pod: dict[str, Any], *, started: bool) -> PodFault | None:
        """The fault that this pod meets, taken off the count."""
        with self._lock:
            for index, fault in enumerate(self._pods):
                if (started and fault.kind in BeforeStart) or fault.times == 0:
                    continue
                named = fnmatchcase(pod["metadata"]["name"], fault.pods)
                if named and (not fault.labels or label_selector(fault.labels)(pod)) and _small_enough(pod, fault):
                    if fault.times is not None:
                        self._pods[index] = replace(fault, times=fault.times - 1)
                    return fault
        return None

    def give_back(self, fault: PodFault) -> None:
        """The pod ended before the fault came."""
        if fault.times is not None:
            self.add(replace(fault, times=1))

    def note(self, kind: str, what: str) -> None:
        with self._lock:
            self.hits.append((kind, what))

    def of_request(self, verb: str, path: str) -> tuple[ApiFaultKind | None, ApiFault, float]:
        """How this request fails (None: not at all), by which fault, and how long it waits first."""
        latency = 0.0
        with self._lock:
            for index, fault in enumerate(self._api):
                if not (fnmatchcase(verb, fault.methods) and fnmatchcase(path, fault.paths)) or fault.times == 0:
                    continue
                latency += fault.latency_s
                kinds = [kind for kind in fault.kinds if verb in _ONLY_FOR.get(kind, (verb,))]
                if kinds and self._dice.random() < fault.rate:
                    if fault.times is not None:
                        self._api[index] = replace(fault, times=fault.times - 1)
                    kind = self._dice.choice(kinds)
                    self.hits.append((kind, f"{verb} {path}"))
                    return kind, fault, latency
        return None, ApiFault(), latency


def _small_enough(pod: dict[str, Any], fault: PodFault) -> bool:
    if fault.memory_mb is None:
        return True
    limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory")
    return limit is not None and quantity(limit) <= fault.memory_mb * 1024**2
