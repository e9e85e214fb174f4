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

from include.orchestration.runtimes.kubernetes.endings import is_lost

log = logging.getLogger(__name__)

_Request = TypeVar("_Request", bound=Callable[..., Any])

OUTAGE_S = 1800
"""How long to wait for an API server that does not answer: an upgrade of its cluster takes minutes."""

POLL_S = 5
"""Seconds between two looks at a pod, and the length of a watch: the API server takes whole numbers only."""


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
                passing = passing or getattr(error, "status", None) in TRANSIENT_STATUS_CODES
                if not passing or time.monotonic() > end:
                    raise
                log.warning("the Kubernetes API does not answer, asking again: %s", str(error).partition("\n")[0])
            await asyncio.sleep(POLL_S)


class PodTrigger(KubernetesPodTrigger):
    """The provider's trigger; it does not fail while the API server is away, and does not wait for a lost pod."""

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

    async def _get_pod(self) -> Any:  # type: ignore[override]  # the provider's is decorated
        pod = await super()._get_pod()
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
