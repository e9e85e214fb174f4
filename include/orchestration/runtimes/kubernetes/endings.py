"""How a pod ended, or why it never began, and which of our errors that is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import parse_quantity
from urllib3.exceptions import HTTPError

from include.base.errors import (
    EXIT_CODES,
    CallsheetError,
    ConfigurationError,
    ErrorDocument,
    GpuUnavailable,
    ImageUnavailable,
    NodeLost,
    OtherRelease,
    OutOfMemory,
    PlatformUnavailable,
    PodEvicted,
    PodTimeout,
    PodUnschedulable,
    Retry,
    from_document,
)
from include.orchestration.runtimes.kubernetes.spec import CONTAINER, GPU, GRACE_S

SILENCE_S = 120
"""How late the news of a pod's end may come. Clocks of nodes and of this machine differ by less than that."""

ENDED = ("Succeeded", "Failed")
"""Phases of a pod of which nothing runs any more."""
NODE_REMOVED = "DeletionByPodGC"
"""Why a pod was ended whose node is no longer part of the cluster."""

_QUOTA = re.compile(
    r"exceeded quota: [^,]+, requested: (?P<requested>\S+), used: \S+, limited: (?P<limited>\S+)"
    r"|status unknown for quota"
)
"""What the API server says where a namespace's quota is full, or where it has not counted yet what is used of it."""

_NODE_GONE = ("NodeLost", "NodeShutdown", "Shutdown", "Terminated", "NodeAffinity", NODE_REMOVED)

_READS = re.compile(r"this release reads format (?P<format>\d+)")
"""What a worker says that refuses a job document of another format."""
_KNOWS_NO_FORMATS = "is no whole TaskJob"
"""What a worker of 0.1 says of a document that tells its format: it knows format 1 alone, which does not."""


@dataclass(frozen=True, kw_only=True)
class PodEnd:
    """How a pod ended, or why it never began: what its status said before it was deleted."""

    phase: str = ""
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``; empty where the status has none."""
    reason: str = ""
    """Why the pod was ended: ``Evicted``, ``DeadlineExceeded``, ``NodeLost`` … or the reason of its disruption."""
    message: str = ""
    """What pod and container say about it, up to 1000 characters."""
    exit_code: int | None = None
    """The worker's; None while it has not ended."""
    container_reason: str = ""
    """Why the container ended (``OOMKilled``, ``Error`` …), or what it waits for (``ErrImagePull`` …)."""
    unscheduled: str | None = None
    """Why the scheduler has found no node for the pod; None once it has one."""
    disrupted: bool = False
    """Whether the cluster ended the pod for reasons of its own: a drained node, a more important pod."""
    memory_mb: int = 0
    """The pod's limit."""
    lost: bool = False
    """Whether the pod should have ended long ago and has not: see :func:`is_lost`."""


def given_up_at(pod: Any) -> datetime | None:
    """When a pod counts as lost if it has not ended until then; None where nothing says when it has to end.

    A pod has to end when it is deleted, and when its deadline has passed. Its node ends it. If that does not happen
    within the grace period and :data:`SILENCE_S`, the node is gone or cut off.
    """
    status, deleted = pod.status, pod.metadata.deletion_timestamp
    silence = timedelta(seconds=SILENCE_S)
    if deleted is not None:
        # Kubernetes has added the grace period to this time already.
        return deleted + silence  # type: ignore[no-any-return]  # the client has no types
    limit_s = pod.spec.active_deadline_seconds
    if status.start_time is None or limit_s is None:
        return None
    return status.start_time + timedelta(seconds=limit_s + GRACE_S) + silence  # type: ignore[no-any-return]  # the same


def is_lost(pod: Any, now: datetime) -> bool:
    """Whether a pod should have ended long ago and has not: see :func:`given_up_at`."""
    if pod.status.phase in ENDED:
        return False
    end = given_up_at(pod)
    return end is not None and now > end


def is_silent(pod: Any) -> bool:
    """Whether the node of a pod that runs has stopped to answer.

    The control plane then says that the pod is not ready. A worker has no probe of its own that would say so.
    """
    if pod.status.phase != "Running":
        return False
    containers = pod.status.container_statuses or []
    ready = next((each for each in pod.status.conditions or [] if each.type == "Ready"), None)
    return any(each.state.running for each in containers) and ready is not None and ready.status != "True"


def disruption_of(pod: Any) -> dict[str, str] | None:
    """Why the cluster ends a pod for reasons of its own, as reason and message; None where it does not."""
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return {"reason": condition.reason or "", "message": condition.message or ""}
    return None


def end_by(disruption: dict[str, Any], label: str) -> CallsheetError:
    """Which of our errors it is that the cluster has ended a pod, which is gone since then.

    Args:
        disruption: What :func:`disruption_of` said, and whether the node was ``silent`` when the pod was seen last.
        label: Name of the task, for the message.
    """
    words = f"({disruption['reason']}): {disruption['message']}"
    if disruption["reason"] == NODE_REMOVED or disruption.get("silent"):
        return NodeLost(f"the node of {label}'s pod is gone {words}")
    return PodEvicted(f"the pod of {label} was evicted {words}")


def pod_end(pod: k8s.V1Pod, *, lost: bool = False) -> PodEnd:
    """Read from the status of a pod how it ended, or why it has not begun."""
    status = pod.status
    conditions = {condition.type: condition for condition in status.conditions or []}
    scheduled, disruption = conditions.get("PodScheduled"), disruption_of(pod)
    container = next((found for found in status.container_statuses or [] if found.name == CONTAINER), None)
    state = container.state if container else None
    terminated, waiting = (state.terminated, state.waiting) if state else (None, None)
    unscheduled = scheduled.message or scheduled.reason or "" if scheduled and scheduled.status != "True" else None
    limits = next(found.resources.limits or {} for found in pod.spec.containers if found.name == CONTAINER)
    why = disruption["message"] if disruption and not status.message else ""
    said = [status.message, why, terminated and terminated.message, waiting and waiting.message]
    return PodEnd(
        phase=status.phase or "",
        reason=status.reason or (disruption["reason"] if disruption else ""),
        message=" ".join(text.strip() for text in said if text)[-1000:],
        exit_code=terminated.exit_code if terminated else None,
        container_reason=(terminated.reason if terminated else waiting.reason if waiting else "") or "",
        unscheduled=unscheduled,
        disrupted=disruption is not None,
        memory_mb=int(parse_quantity(limits.get("memory", "0")) / 1024**2),
        lost=lost,
    )


def refusal(
    failure: ApiException | HTTPError, label: str, *, on_gpu: bool = False, waited_s: float = 0
) -> CallsheetError:
    """Which of our errors it is that the API server refused a request, or did not answer it.

    Args:
        failure: What the Kubernetes client raised; its message goes into ours.
        label: Name of the task, for the message.
        on_gpu: Whether the pod wanted a GPU.
        waited_s: How long the pod was allowed to wait for room in the quota, in seconds.
    """
    said = said_by(failure)
    if not isinstance(failure, ApiException):
        return PlatformUnavailable(f"the Kubernetes API failed the task {label}: {said}")
    if is_without_room(failure):
        hopeless = never_fits(failure)
        why = "no quota has room for it" if hopeless else f"the quota had no room for it within {waited_s:g} s"
        words = f"the pod of {label} was not made, {why}: {said}"
        if on_gpu and GPU in said:
            return GpuUnavailable(f"{words}; the next attempt runs on CPUs")
        return ConfigurationError(words) if hopeless else PodUnschedulable(words)
    # What is wrong with the pod itself, or forbidden, is so at every attempt.
    kind = ConfigurationError if failure.status in (400, 403, 422) else PlatformUnavailable
    return kind(f"the Kubernetes API failed the task {label} ({failure.status}): {said}")


def said_by(failure: ApiException | HTTPError) -> str:
    """The message of a failed request: what the API server answered, or why it could not be reached."""
    if not isinstance(failure, ApiException):
        return str(failure)
    try:
        return str(json.loads(failure.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(failure.reason)


def is_without_room(failure: ApiException | HTTPError) -> bool:
    """Whether a pod was refused because its namespace's quota is full. That passes; other refusals do not."""
    return isinstance(failure, ApiException) and failure.status == 403 and bool(_QUOTA.search(said_by(failure)))


def never_fits(failure: ApiException | HTTPError) -> bool:
    """Whether a pod asks for more than its namespace's quota would have if it were empty."""
    found = _QUOTA.search(said_by(failure))
    if found is None or not found["requested"]:
        return False
    asked, most = (dict(_amounts(found[name])) for name in ("requested", "limited"))
    return any(asked[name] > most[name] for name in asked.keys() & most.keys())


def _amounts(text: str) -> Iterable[tuple[str, Decimal]]:
    """Names and amounts of a list like ``requests.cpu=4,pods=1``."""
    for item in text.split(","):
        name, _, amount = item.partition("=")
        with suppress(ValueError):
            yield name, parse_quantity(amount)


def failure_of(
    end: PodEnd,
    *,
    label: str,
    missing: list[str],
    document: ErrorDocument | None = None,
    on_gpu: bool = False,
    waited_s: float = 0,
) -> CallsheetError:
    """Which of our errors it is that a pod ended without leaving its results.

    What the worker itself wrote down comes first: it knows best. One case is an exception: where the container was
    killed for memory, the worker may have seen only that its tool died, and have called that transient. If the worker
    wrote nothing, the pod's end decides, then the exit code.

    Args:
        end: How the pod ended.
        label: Name of the task, for the message.
        missing: The stages without a result, for the message.
        document: The failure that the worker wrote down, if it did.
        on_gpu: Whether the pod wanted a GPU.
        waited_s: How long the pod was allowed to wait for a node, in seconds.
    """
    if end.container_reason == "OOMKilled" and (document is None or document.retry is Retry.TRANSIENT):
        return OutOfMemory(f"the pod of {label} was killed for memory", command="", stderr_tail=end.message)
    if document is not None:
        return from_document(document)
    said = f": {end.message}" if end.message else ""
    if end.lost:
        return NodeLost(f"the node of {label}'s pod does not answer: the pod should have ended long ago{said}")
    if end.phase in ("Pending", "") and not end.disrupted:
        return _never_began(end, label, said, on_gpu=on_gpu, waited_s=waited_s)
    if end.phase == "Running" and not end.disrupted:
        return PodTimeout(f"the pod of {label} still ran at the task's own limit and was deleted{said}")
    if end.reason == "DeadlineExceeded":
        return PodTimeout(f"the pod of {label} ran past its deadline and was ended{said}")
    if end.reason in _NODE_GONE or end.phase == "Unknown":
        return NodeLost(f"the node of {label}'s pod is gone ({end.reason or 'it does not answer'}){said}")
    if end.reason in ("Evicted", "Preempting") or end.disrupted:
        return PodEvicted(f"the pod of {label} was evicted ({end.reason}){said}")
    if end.exit_code == EXIT_CODES[Retry.LATER]:
        return OtherRelease(f"the worker of {label} is of another release and has not tried its job{said}")
    if end.exit_code == EXIT_CODES[Retry.NEVER]:
        return ConfigurationError(f"the worker of {label} ended with exit code 64 and left no word{said}")
    if end.exit_code in (0, None):
        return PlatformUnavailable(
            f"the pod of {label} ended as {end.phase or 'nothing'} but left no result of {', '.join(missing)}{said}"
        )
    return PlatformUnavailable(f"the worker of {label} ended with exit code {end.exit_code} and left no word{said}")


def format_read_by(end: PodEnd) -> str:
    """Which format of job documents the worker reads that refused its own; empty where it did not.

    Of a worker of 0.1 it is a guess: the caller has to know that the document is whole.
    """
    if end.exit_code == EXIT_CODES[Retry.LATER]:
        found = _READS.search(end.message)
        return found["format"] if found else "unknown"
    return "1" if end.exit_code == EXIT_CODES[Retry.TRANSIENT] and _KNOWS_NO_FORMATS in end.message else ""


def _never_began(end: PodEnd, label: str, said: str, *, on_gpu: bool, waited_s: float) -> CallsheetError:
    """The error of a pod that did not start: its container could not, or no node took it."""
    if end.unscheduled is None:
        kind = ImageUnavailable if "Image" in end.container_reason else PlatformUnavailable
        return kind(f"the pod of {label} did not start ({end.container_reason or 'no reason given'}){said}")
    words = (
        f"no node took the pod of {label} within {waited_s:g} s: {end.unscheduled or 'the scheduler gave no reason'}"
    )
    return GpuUnavailable(f"{words}; the next attempt runs on CPUs") if on_gpu else PodUnschedulable(words)
