"""Clients of the cluster, and waiting for a pod: through outages of the API server, and not for lost pods."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    TRANSIENT_CONNECTION_ERRORS,
    TRANSIENT_STATUS_CODES,
    generic_api_retry,
)
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodLaunchTimeoutException,
    PodManager,
    detect_pod_terminate_early_issues,
)
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes.client import models as k8s
from kubernetes_asyncio import client as async_client
from kubernetes_asyncio.watch import Watch

from include.orchestration.runtimes.kubernetes.endings import disruption_of, given_up_at, is_lost, is_silent
from include.orchestration.runtimes.kubernetes.logs import LogReader

log = logging.getLogger(__name__)

_Request = TypeVar("_Request", bound=Callable[..., Any])

OUTAGE_S = 1800
"""How long to wait for an API server that does not answer: an upgrade of its cluster takes minutes."""

POLL_S = 5
"""Seconds between two looks at a pod, and the length of a watch of its events: the server takes whole numbers only."""

WATCH_S = 50
"""The length of a watch of the pod itself; the provider's client ends every request after 60 s."""

PASSING_CODES = TRANSIENT_STATUS_CODES | {401}
"""Answers of an API server that does better later. With 401 its keys are being changed, and it knows no token yet."""


def asking_again(request: _Request) -> _Request:
    """The request with the provider's retries: after answers that say "later", and after broken connections."""
    return generic_api_retry(request)  # type: ignore[no-untyped-call,no-any-return]  # it has no types


class ClusterHook(KubernetesHook):
    """The provider's client; it retries its requests, except for reading a pod, which is retried here as well."""

    @asking_again
    def get_pod(self, name: str, namespace: str) -> k8s.V1Pod:
        """Read a pod."""
        return super().get_pod(name, namespace)


class PatientHook(AsyncKubernetesHook):
    """The provider's client for triggers, with much more patience: a deferred task costs nothing while it waits."""

    async def get_pod(self, name: str, namespace: str) -> Any:
        """Read a pod, once the API server answers."""
        end = time.monotonic() + OUTAGE_S
        while True:
            try:
                return await super().get_pod(name, namespace)
            except Exception as error:
                passing = isinstance(error, (*TRANSIENT_CONNECTION_ERRORS, TimeoutError))
                status = getattr(error, "status", None)
                if not (passing or status in PASSING_CODES) or time.monotonic() > end:
                    raise
                if status == 401:
                    # The account's token may be another one by now.
                    self._config_loaded = False
                log.warning("the Kubernetes API does not answer, asking again: %s", str(error).partition("\n")[0])
            await asyncio.sleep(POLL_S)


class PodTrigger(KubernetesPodTrigger):
    """The provider's trigger; it does not fail while the API server is away, and does not wait for a lost pod.

    It watches the pod as well, and its event says why the cluster ended the pod (``disruption``): a pod that is
    preempted, or whose node is drained or tainted, is gone within moments, before the next look at it.
    """

    _disruption: dict[str, str] | None = None
    _silent = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "include.orchestration.runtimes.kubernetes.waiting.PodTrigger", super().serialize()[1]

    @cached_property
    def hook(self) -> PatientHook:
        """Client of the cluster."""
        return PatientHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_dict=self.config_dict,
            cluster_context=self.cluster_context,
            connection_extras=self.connection_extras,
        )

    @cached_property
    def pod_manager(self) -> LogReader:
        """What reads the worker's log."""
        return LogReader(async_hook=self.hook)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the pod, or for the time to look at its log."""
        watching = asyncio.create_task(self._watch())
        try:
            async for event in super().run():
                if self._disruption:
                    event.payload["disruption"] = {**self._disruption, "silent": self._silent}
                yield event
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        """Note why the cluster ends the pod, while there is a pod that says so."""
        while True:
            try:
                async with self.hook.get_conn() as connection, Watch() as stream:
                    core = async_client.CoreV1Api(connection)
                    only = f"metadata.name={self.pod_name}"
                    async for change in stream.stream(
                        core.list_namespaced_pod, self.pod_namespace, field_selector=only, timeout_seconds=WATCH_S
                    ):
                        self._note(change["object"])
            except Exception as error:  # of many kinds; without a watch the looks at the pod have to do
                log.debug("pod %s cannot be watched: %s", self.pod_name, error)
                await asyncio.sleep(POLL_S)

    def _note(self, pod: Any) -> None:
        """Keep what will not be seen later, and say in the task's log that the node has stopped to answer."""
        self._disruption = disruption_of(pod) or self._disruption
        silent = is_silent(pod)
        if silent and not self._silent:
            log.warning(
                "the node %s of pod %s does not answer: the worker may run on, and nobody knows. The pod is waited for "
                "until %s at most",
                pod.spec.node_name, pod.metadata.name, given_up_at(pod) or "the end of the task",
            )  # fmt: skip
        self._silent = silent

    async def _get_pod(self) -> Any:  # type: ignore[override]  # the provider's is decorated
        pod = await super()._get_pod()
        self._note(pod)
        if is_lost(pod, datetime.now(UTC)):
            # With this error the provider gives a pod up and does not wait for its end.
            raise PodLaunchTimeoutException(f"pod {self.pod_name} should have ended; its node does not answer")
        return pod


class Pause(BaseTrigger):
    """Resumes a task after some seconds, so that it asks for its pod again; meanwhile it takes no process."""

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "include.orchestration.runtimes.kubernetes.waiting.Pause", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire."""
        await asyncio.sleep(self.seconds)
        yield TriggerEvent({})  # type: ignore[no-untyped-call]  # the same


class PatientManager(PodManager):
    """The provider's manager of pods; it does not wait for a pod that will never end by itself."""

    def run_pod_async(self, pod: k8s.V1Pod, **options: Any) -> k8s.V1Pod:
        """Create the pod, without the provider's log of every refusal: an error, with the pod's whole spec."""
        body = self._client.api_client.sanitize_for_serialization(pod)
        return self._client.create_namespaced_pod(body=body, namespace=pod.metadata.namespace, **options)

    def await_pod_completion(self, pod: k8s.V1Pod, *_: object, **__: object) -> k8s.V1Pod:
        """Poll until the pod has ended, cannot start, or is lost."""
        while True:
            found: k8s.V1Pod = self.read_pod(pod)
            ended = found.status.phase in ("Succeeded", "Failed") or detect_pod_terminate_early_issues(found)
            if ended or is_lost(found, datetime.now(UTC)):
                return found
            if not found.spec.node_name:
                # Without a node no deadline runs for it, so it might wait for ever. It is left where it is: the next
                # attempt takes it over, and with it its place in the scheduler's queue.
                raise AirflowException(f"its trigger failed while pod {found.metadata.name} had no node yet")
            time.sleep(2)
