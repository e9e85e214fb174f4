"""Worker tasks as pods: everything about Kubernetes is here.

:class:`PodTask` is the deferrable counterpart of :class:`include.orchestration.runtimes.operators.WorkerTask`: the
same argv, the same job document, the same exit codes. What the provider does and what is filled in
(cncf.kubernetes 10.25):

- *Success* is what the outputs say. The provider reports a killed pod as succeeded now and then, and takes one that is
  gone after a success event for one.
- *Failure* of the provider's is one plain error, after the pod was deleted. :meth:`PodTask.cleanup` looks before.
- *A second pod beside a living one* is prevented by the pod's identity in the task state store and by its labels. The
  provider would also come back to a pod that is being deleted: :meth:`PodTask.get_or_create_pod` waits for its end.
- *A pod that nobody ends*: on a node that has fallen silent it is Running, or being deleted, for ever, and the provider
  waits as long. :func:`is_lost` says when to give it up; then it is deleted by force (:func:`delete_by_force`).
- *A quota without room* and *an API server that is away* for minutes cost no title: the task defers and asks again
  (:class:`Pause`), as does the trigger of a pod that is there (:class:`PatientHook`).
- *A pod for nobody*: clearing or failing a task deletes its pod (the trigger's ``on_kill``, or the operator's). Where
  the triggerer or the task runner died first, the next attempt takes the pod over; where there is none,
  :func:`sweep_pods` deletes it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    TRANSIENT_CONNECTION_ERRORS,
    TRANSIENT_STATUS_CODES,
    generic_api_retry,
)
from airflow.providers.cncf.kubernetes.operators.pod import POD_IDENTIFIER_STATE_KEY, KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodLaunchTimeoutException,
    PodManager,
    PodNotFoundException,
    detect_pod_terminate_early_issues,
)
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import parse_quantity
from urllib3.exceptions import HTTPError

from include.adapters.store.documents import load_if_valid
from include.base.errors import (
    EXIT_CODES,
    CallsheetError,
    ConfigurationError,
    ErrorDocument,
    GpuUnavailable,
    ImageUnavailable,
    MemoryExhausted,
    NodeLost,
    OutOfMemory,
    PlatformUnavailable,
    PodEvicted,
    PodTimeout,
    PodUnschedulable,
    Retry,
    from_document,
)
from include.base.settings import Settings
from include.base.text import one_line
from include.domain.media.media import Inspection
from include.domain.outcome.results import Cost
from include.domain.plan.footprint import START_MARGIN_S, Footprint, encode_footprint, more_memory, task_footprint
from include.domain.plan.plan import Plan
from include.orchestration.names import GPU_POOL
from include.orchestration.runtimes.operators import WORKER_SECRETS, TitleTask, unfinished

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from include.adapters.airflow_api import AirflowApi
    from include.adapters.catalog import Catalog
    from include.adapters.store.store import ObjectStore
    from include.domain.plan.plan import EncodeJob
    from include.pipelines.runner import TaskJob

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

CONTAINER = "base"
SCRATCH = "/scratch"
"""The only folder that a worker writes to: CALLSHEET_HOME, and the home and temporary folder of its tools."""
USER = 10001
"""Of the worker image."""
GPU = "nvidia.com/gpu"
POOL_LABEL = "callsheet/pool"
"""Label of nodes: ``cpu`` or ``gpu``."""
OURS = {"app.kubernetes.io/name": "callsheet-worker", "app.kubernetes.io/managed-by": "callsheet"}
ANNOTATIONS = ("callsheet/dag-id", "callsheet/run-id", "callsheet/task-id", "callsheet/map-index")
"""Of the task instance that a pod works for, in full: labels are shortened."""
GRACE_S = 30
"""Between SIGTERM and SIGKILL: the worker ends its tools and removes its scratch files."""
DYING_LIMIT_S = 2 * GRACE_S
"""A pod that is still being deleted after this long has lost its node, and nobody will end it there."""
SILENCE_S = 120
"""How long after a pod should have ended its node may still say so; their clocks may differ by less."""
OUTAGE_S = 1800
"""How long to wait for an API server that does not answer: an upgrade of its cluster takes minutes."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 60.0
"""Before a pod is asked for again, doubled each time: to resume a task costs a second or two of CPU."""
POLL_S = 5.0
LOG_EVERY_S = 15
ON_NODE = frozenset({"HOME", "FFMPEG", "FFPROBE", "PACKAGER", "ENCODE_SLOTS"})
"""Settings (without prefix) of this machine, which mean nothing in a pod."""
STORE_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Where the store is; keys to it come from ``worker_secret`` or from the workload identity."""
MEMORY_KEY = "memory_mb"
ON_CPUS_KEY = "on_cpus"
"""Keys of the task state store, which outlives an attempt: what the next one asks for, and why it leaves the GPU."""
LIVING_STATES = frozenset({"running", "deferred", "queued", "scheduled", "up_for_retry", "restarting"})
"""Of a task instance (or none: it was cleared): it waits for its pod, or takes it over when it runs."""
SWEEP_AFTER = timedelta(minutes=5)
_QUOTA = re.compile(
    r"exceeded quota: [^,]+, requested: (?P<requested>\S+), used: \S+, limited: (?P<limited>\S+)"
    r"|status unknown for quota"
)
"""The API server's words for a namespace without room, or whose use of its quota it has not counted yet."""


@dataclass(frozen=True, kw_only=True)
class PodEnd:
    """How a pod ended, or why it never began, as its status said before it was deleted."""

    phase: str = ""
    reason: str = ""
    """Of the pod: ``Evicted``, ``DeadlineExceeded``, ``NodeLost`` …, or of its disruption."""
    message: str = ""
    exit_code: int | None = None
    container_reason: str = ""
    """``OOMKilled``, ``Error`` …, or why the container waits: ``ErrImagePull`` …"""
    unscheduled: str | None = None
    """The scheduler's words, for a pod that has no node."""
    disrupted: bool = False
    memory_mb: int = 0
    """What it had."""
    lost: bool = False
    """It has not ended, though it should have long ago."""


def _again(call: Callable[P, R]) -> Callable[P, R]:
    """The provider's retries of a request: transient answers and broken connections."""
    return generic_api_retry(call)  # type: ignore[no-untyped-call,no-any-return]  # it has no types


class _Hook(KubernetesHook):
    """As the provider's; reading a pod is tried again like its other requests."""

    @_again
    def get_pod(self, name: str, namespace: str) -> k8s.V1Pod:
        """Read a pod."""
        return super().get_pod(name, namespace)


class PatientHook(AsyncKubernetesHook):
    """As the provider's, for a task that is deferred: to wait for an API server that is away costs nothing."""

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
    """Waits for a pod as the provider's does, but neither fails for an outage nor waits for a pod that is lost."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "include.orchestration.runtimes.kubernetes.pods.PodTrigger", super().serialize()[1]

    @cached_property
    def hook(self) -> PatientHook:
        """Way into the cluster."""
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
            # The provider's word for giving a pod up without waiting for its end.
            raise PodLaunchTimeoutException(f"pod {self.pod_name} should have ended; its node does not answer")
        return pod


class Pause(BaseTrigger):
    """Lets a task ask for its pod again after some seconds; meanwhile it takes no process."""

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "include.orchestration.runtimes.kubernetes.pods.Pause", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire."""
        await asyncio.sleep(self.seconds)
        yield TriggerEvent({})  # type: ignore[no-untyped-call]  # the same


class _Manager(PodManager):
    """As the provider's, but it waits for the end of no pod that will not end by itself."""

    def run_pod_async(self, pod: k8s.V1Pod, **options: Any) -> k8s.V1Pod:
        """Create the pod. The provider would log each refusal as an error with the pod's whole spec."""
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
                # No deadline runs for it. The next attempt takes it over, and its place among those that wait.
                raise AirflowException(f"its trigger failed while pod {found.metadata.name} had no node yet")
            time.sleep(2)


class PodTask(TitleTask, KubernetesPodOperator):
    """A task whose stages run in a worker's pod, while the task itself is deferred."""

    # Its own fields are made of ids and addresses by this class: no template may come to life in them.
    template_fields = ("job",)
    template_ext = ()

    def __init__(self, **arguments: Any) -> None:
        given = {
            "poll_interval": POLL_S,
            "startup_check_interval_seconds": POLL_S,
            "logging_interval": LOG_EVERY_S,
            **arguments,
        }
        super().__init__(
            deferrable=True,
            durable=True,
            do_xcom_push=False,
            get_logs=True,
            on_finish_action="delete_pod",
            on_kill_action="delete_pod",
            random_name_suffix=True,
            base_container_name=CONTAINER,
            log_pod_spec_on_failure=False,
            termination_message_policy="FallbackToLogsOnError",
            termination_grace_period=GRACE_S,
            startup_timeout_seconds=START_MARGIN_S,
            **given,
        )
        self._end: PodEnd | None = None
        self._attempting = False
        self._since, self._asked = 0.0, 0
        """When this attempt asked for its pod first (seconds of the epoch), and how often it did in vain."""

    @cached_property
    def hook(self) -> KubernetesHook:
        """Way into the cluster of the connection."""
        return _Hook(conn_id=self.kubernetes_conn_id)

    @cached_property
    def pod_manager(self) -> PodManager:
        """What reads, watches and deletes pods."""
        return _Manager(kube_client=self.client)

    def defer(self, *, trigger: Any, **arguments: Any) -> NoReturn:
        """As the provider asks, but with our trigger."""
        super().defer(trigger=PodTrigger(**trigger.serialize()[1]), **arguments)

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Start the pod, or find it, and defer until it has ended. Where all is done already there is no pod."""
        if not unfinished(task_job, store, self.pipeline, self.pipeline_version):
            log.info("all results of %s are there already", task_job.label)
            return None
        self.namespace, self.kubernetes_conn_id = settings.worker_namespace, settings.kubernetes_conn_id
        begin = partial(self._begin, task_job, settings, store, context)
        return self._until_done(begin, task_job, settings, store, context)

    def ask_again(self, context: Context, event: dict[str, Any], since: float, asked: int) -> Any:
        """Where the task goes on that could not have its pod."""
        self._since, self._asked = since, asked
        return self._attempt(context, self.work, resumed=True)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Where the task goes on once its trigger has fired."""
        if self._attempting:
            # The pod had ended before there was anything to wait for: the provider comes here by itself.
            return super().trigger_reentry(context, event)
        return self._attempt(context, partial(self._resume, event=event), resumed=True)

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """As the provider's, which deletes the pod; its end is read before."""
        self._end = pod_end(remote_pod, lost=is_lost(remote_pod, datetime.now(UTC))) if remote_pod else None
        if self._end is not None and self._end.lost:
            delete_by_force(self.client, remote_pod)
        super().cleanup(pod, remote_pod, xcom_result=xcom_result, context=context)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """The living pod of this task, or a new one; never a second, and none that is about to end."""
        self._clear_the_way(context)
        try:
            return super().get_or_create_pod(pod_request_obj, context)
        except ApiException as error:
            if error.status != 409:
                raise
            # The name is this attempt's own: its first request was carried out, and the answer was lost.
            try:
                pod = self.hook.get_pod(pod_request_obj.metadata.name, pod_request_obj.metadata.namespace)
            except ApiException as missing:
                # Or another pod was counted into the quota at the same moment.
                raise (error if missing.status == 404 else missing) from None
            self._persist_pod_identity_to_task_state_store(context, pod)
            return pod

    def _begin(self, task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context) -> None:
        self._learn_of_the_dead(settings, context)
        job = self._encode_job(task_job, store)
        if job is not None and job.pool == GPU_POOL and not settings.gpu_nodes_on_demand:
            self._leave_gpus_if_there_are_none(context, settings)
        task_job = self._shape(task_job, settings, store, context)
        store.delete(task_job.usage_key)
        store.put_bytes(task_job.key, task_job.to_json().encode())
        self.execute_async(context)

    def _resume(
        self,
        task_job: TaskJob,
        *,
        settings: Settings,
        store: ObjectStore,
        catalog: Catalog,
        context: Context,
        event: dict[str, Any],
    ) -> dict[str, Any] | None:
        task_job = self._shape(task_job, settings, store, context)
        return self._until_done(partial(super().trigger_reentry, context, event), task_job, settings, store, context)

    def _until_done(
        self, step: Callable[[], object], task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context
    ) -> dict[str, Any]:
        """Let the provider do its ``step``, then decide by the outputs."""
        failure: Exception | None = None
        self._attempting = True
        try:
            step()
        except Exception as error:  # the provider's are of many kinds
            failure = error
        finally:
            self._attempting = False
        missing = unfinished(task_job, store, self.pipeline, self.pipeline_version)
        if missing and self.pod is None and self._end is None:
            self._wait_where_that_helps(failure, task_job, store)
        if missing:
            ended = self._verdict(failure, missing, task_job, settings, store)
            raise self._prepared_for_the_next_attempt(ended, settings, context) from failure
        if failure is not None:
            log.warning("%s has left all its results; its pod did not end well: %s", task_job.label, failure)
        why = _state(context).get(ON_CPUS_KEY)
        used = load_if_valid(store, task_job.usage_key, Cost)
        return {
            "pod": self.pod.metadata.name if self.pod else None,
            **({"cpu_s": used.cpu_s, "peak_memory_mb": used.peak_memory_mb} if used else {}),
            **({"on_cpus": why} if why else {}),
        }

    def _wait_where_that_helps(self, failure: Exception | None, task_job: TaskJob, store: ObjectStore) -> None:
        """Defer where there is no pod for want of room in the quota, or of an API server that answers."""
        if not isinstance(failure, ApiException | HTTPError):
            return
        no_room = is_without_room(failure)
        if not no_room and isinstance(failure, ApiException) and failure.status not in TRANSIENT_STATUS_CODES:
            return
        now = time.time()
        since = self._since or now
        left_s = since + (self.schedule_timeout_seconds if no_room else OUTAGE_S) - now
        if left_s <= 0 or never_fits(failure):
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._asked, left_s)
        log.warning(
            "%s has no pod yet; it is asked for again in %.0f s, and for %.0f s at most: %s",
            task_job.label, pause_s, left_s, one_line(said_by(failure)),
        )  # fmt: skip
        if no_room:
            # What the job binds to is decided when it starts. After an outage a pod may be there that reads it.
            store.delete(task_job.key)
        super().defer(
            trigger=Pause(pause_s), method_name="ask_again", kwargs={"since": since, "asked": self._asked + 1}
        )

    def _shape(self, task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context) -> TaskJob:
        """Give this operator the pod's spec; returns the job document that goes with it."""
        job = self._encode_job(task_job, store)
        on_gpu = job is not None and job.pool == GPU_POOL and not _state(context).get(ON_CPUS_KEY)
        footprint = self._footprint(task_job, job, settings, store, on_gpu=on_gpu)
        footprint = footprint.model_copy(update={"memory_mb": self._memory_mb(footprint, settings, context)})
        spec = pod_spec(task_job, settings, store.uri, footprint, on_gpu=on_gpu, instance=_instance(context))
        for name, value in spec.items():
            setattr(self, name, value)
        self.name = self._set_name(self.name)
        return task_job.model_copy(update={"hardware": on_gpu or job is None})

    def _encode_job(self, task_job: TaskJob, store: ObjectStore) -> EncodeJob | None:
        from include.pipelines.core import find_pipeline
        from include.pipelines.runner import load_plan

        if task_job.item is None:
            return None
        plan = load_plan(task_job.title, find_pipeline(self.pipeline, self.pipeline_version).task(task_job.task), store)
        return next((each for each in plan.jobs if each.name == task_job.item), None)

    def _footprint(
        self, task_job: TaskJob, job: EncodeJob | None, settings: Settings, store: ObjectStore, *, on_gpu: bool
    ) -> Footprint:
        from include.pipelines.runner import load_result

        source = load_result(task_job.title, "inspect", Inspection, store)
        source = source if isinstance(source, Inspection) else None
        if job is not None:
            return encode_footprint(job, source.duration_s if source else 0.0, on_gpu=on_gpu)
        plan = load_result(task_job.title, "plan", Plan, store)
        return task_footprint(
            source,
            plan if isinstance(plan, Plan) else None,
            max_file_bytes=settings.max_file_size,
            time_limit_s=task_job.time_limit_s,
        )

    def _memory_mb(self, footprint: Footprint, settings: Settings, context: Context) -> int:
        stored = _state(context).get(MEMORY_KEY)
        return min(settings.max_memory_mb, stored if isinstance(stored, int) else footprint.memory_mb)

    def _leave_gpus_if_there_are_none(self, context: Context, settings: Settings) -> None:
        """Note at once that the job must run on CPUs, rather than have its pod wait for a node that never comes."""
        if _state(context).get(ON_CPUS_KEY) or self._gpu_node_exists():
            return
        reason = (
            f"no node labelled {POOL_LABEL}=gpu has {GPU}: this job runs on CPUs. Add GPU nodes, or set "
            "CALLSHEET_GPU_SLOTS=0 so that nothing is planned for them"
        )
        log.warning(reason)
        _state(context).set(ON_CPUS_KEY, reason)

    @_again
    def _gpu_node_exists(self) -> bool:
        try:
            nodes = self.client.list_node(label_selector=f"{POOL_LABEL}=gpu").items
        except ApiException as error:
            if error.status != 403:
                raise
            log.warning("this account may not list nodes, so a pod for a GPU may wait for one that is not there")
            return True
        return any(parse_quantity((node.status.allocatable or {}).get(GPU, "0")) > 0 for node in nodes)

    def _learn_of_the_dead(self, settings: Settings, context: Context) -> None:
        """Heed what the pod of an attempt that did not live to see its end has died of."""
        for pod in self._own_pods(context):
            end = pod_end(pod)
            if end.container_reason == "OOMKilled":
                _ask_for_more(end, settings, context)

    def _clear_the_way(self, context: Context) -> None:
        """Delete this task's pods that have ended or are one too many; wait for the end of what is being deleted."""
        limit = time.monotonic() + DYING_LIMIT_S
        while True:
            pods = self._own_pods(context)
            dying = [pod for pod in pods if pod.metadata.deletion_timestamp]
            ended = [pod for pod in pods if pod not in dying and pod.status.phase in ("Succeeded", "Failed")]
            living = [pod for pod in pods if pod not in dying and pod not in ended]
            # A request that a dead task had sent may be carried out after the next attempt has looked.
            noted = _state(context).get(POD_IDENTIFIER_STATE_KEY) or {}
            living.sort(key=lambda pod: (pod.metadata.name != noted.get("name"), pod.metadata.creation_timestamp))
            for pod in [*ended, *living[1:]]:
                self.pod_manager.delete_pod(pod)
            for pod in dying:
                if is_lost(pod, datetime.now(UTC)):
                    delete_by_force(self.client, pod)
            if not dying and not living[1:]:
                return
            if time.monotonic() > limit:
                for pod in dying:
                    log.warning("pod %s does not end; its node may be lost. It is left to the sweep", pod.metadata.name)
                    self.patch_already_checked(pod, reraise=False)
                return
            time.sleep(1)

    def _build_find_pod_label_selector(self, context: Context | None = None, *, exclude_checked: bool = True) -> str:
        # What of the title is in the labels, its tier among it, may have changed since an earlier attempt.
        labels = {**OURS, **self._get_ti_pod_labels(context, include_try_number=False)}
        checked = [f"{self.POD_CHECKED_KEY}!=True"] if exclude_checked else []
        return ",".join([*(f"{name}={value}" for name, value in sorted(labels.items())), *checked])

    @_again
    def _own_pods(self, context: Context) -> list[k8s.V1Pod]:
        selector = self._build_find_pod_label_selector(context)
        found: list[k8s.V1Pod] = self.client.list_namespaced_pod(self.namespace, label_selector=selector).items
        return found

    def _verdict(
        self,
        failure: Exception | None,
        missing: list[str],
        task_job: TaskJob,
        settings: Settings,
        store: ObjectStore,
    ) -> CallsheetError:
        if self._end is not None:
            return failure_of(
                self._end,
                label=task_job.label,
                missing=missing,
                document=load_if_valid(store, task_job.error_key, ErrorDocument),
                on_gpu=bool(self.tolerations),
                waited_s=self.schedule_timeout_seconds,
            )
        if failure is None or isinstance(failure, PodNotFoundException):
            return NodeLost(f"the pod of {task_job.label} is gone and has left no result of {', '.join(missing)}")
        if isinstance(failure, CallsheetError):
            return failure
        if isinstance(failure, ApiException | HTTPError):
            return refusal(
                failure, task_job.label, on_gpu=bool(self.tolerations), waited_s=self.schedule_timeout_seconds
            )
        return PlatformUnavailable(f"the pod of {task_job.label} could not be watched to its end: {failure}")

    def _prepared_for_the_next_attempt(
        self, error: CallsheetError, settings: Settings, context: Context
    ) -> CallsheetError:
        """The error to raise, after noting what the next attempt has to do otherwise."""
        if isinstance(error, GpuUnavailable):
            _state(context).set(ON_CPUS_KEY, error.message)
        if error.retry is not Retry.MORE_MEMORY or self._end is None:
            return error
        if _ask_for_more(self._end, settings, context):
            return error
        document = error.document()
        return MemoryExhausted(
            f"{error.message}; it had all {self._end.memory_mb} MiB that CALLSHEET_MAX_MEMORY_MB allows",
            command=document.command or "",
            stderr_tail=document.stderr_tail or "",
        )


def pod_spec(
    task_job: TaskJob,
    settings: Settings,
    store_uri: str,
    footprint: Footprint,
    *,
    on_gpu: bool,
    instance: Iterable[str],
) -> dict[str, Any]:
    """What the pod of a task is, as attributes of :class:`KubernetesPodOperator`.

    Args:
        task_job: The job document.
        settings: Of this deployment.
        store_uri: Root of the store, for the document's address.
        footprint: Requests and limits.
        on_gpu: Whether it runs on a node with a GPU.
        instance: DAG id, run id, task id and map index of the task instance.
    """
    title = task_job.title
    amounts = {
        "cpu": str(footprint.cpus),
        "memory": f"{footprint.memory_mb}Mi",
        "ephemeral-storage": f"{footprint.scratch_mb}Mi",
    }
    labels = {
        "callsheet/batch": title.batch_id,
        "callsheet/title": title.title_id,
        "callsheet/task": task_job.label,
        "callsheet/tier": title.tier.value,
    }
    return {
        "name": f"callsheet-{title.title_id}-{task_job.label}"[:200],
        "namespace": settings.worker_namespace,
        "kubernetes_conn_id": settings.kubernetes_conn_id,
        "image": settings.worker_image,
        "cmds": ["python"],
        "arguments": ["-m", "include.worker", task_job.task, "--job", f"{store_uri}/{task_job.key}"],
        "labels": {**OURS, **{name: make_safe_label_value(value) for name, value in labels.items()}},
        "annotations": dict(zip(ANNOTATIONS, instance, strict=True)),
        "env_vars": [k8s.V1EnvVar(name=name, value=value) for name, value in sorted(worker_environment().items())],
        "env_from": [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=settings.worker_secret))]
        if settings.worker_secret
        else [],
        "service_account_name": settings.worker_service_account,
        "automount_service_account_token": False,
        "priority_class_name": f"callsheet-{title.tier.value}",
        "node_selector": {POOL_LABEL: "gpu" if on_gpu else "cpu"},
        "tolerations": [k8s.V1Toleration(key="gpu", operator="Equal", value="true", effect="NoSchedule")]
        if on_gpu
        else [],
        "container_resources": k8s.V1ResourceRequirements(
            requests=amounts, limits={**amounts, **({GPU: "1"} if on_gpu else {})}
        ),
        "volumes": [
            k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=f"{footprint.scratch_mb}Mi"))
        ],
        "volume_mounts": [k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)],
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        "active_deadline_seconds": footprint.deadline_s,
        "schedule_timeout_seconds": settings.gpu_schedule_timeout_s if on_gpu else settings.cpu_schedule_timeout_s,
    }


def worker_environment() -> dict[str, str]:
    """Settings of this process that a worker needs, without secrets and without what is of this machine alone."""
    names = {f"CALLSHEET_{name.upper()}" for name in Settings.model_fields if name.upper() not in ON_NODE}
    names = (names - WORKER_SECRETS) | set(STORE_ENVIRONMENT)
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    # One encode owns the pod's CPUs.
    return {**given, "CALLSHEET_HOME": SCRATCH, "CALLSHEET_ENCODE_SLOTS": "1", "HOME": SCRATCH, "TMPDIR": SCRATCH}


def is_lost(pod: Any, now: datetime) -> bool:
    """Whether a pod has not ended though it should have long ago: there is nobody on its node to end it."""
    status, deleted = pod.status, pod.metadata.deletion_timestamp
    if status.phase in ("Succeeded", "Failed"):
        return False
    silence = timedelta(seconds=SILENCE_S)
    if deleted is not None:
        # The time includes its grace.
        return bool(now > deleted + silence)
    limit_s = pod.spec.active_deadline_seconds
    if status.start_time is None or limit_s is None:
        return False
    return bool(now > status.start_time + timedelta(seconds=limit_s + GRACE_S) + silence)


def pod_end(pod: k8s.V1Pod, *, lost: bool = False) -> PodEnd:
    """What the status of a pod says about its end, or about why it waits."""
    status = pod.status
    conditions = {each.type: each for each in status.conditions or []}
    scheduled, disruption = conditions.get("PodScheduled"), conditions.get("DisruptionTarget")
    container = next((each for each in status.container_statuses or [] if each.name == CONTAINER), None)
    state = container.state if container else None
    terminated, waiting = (state.terminated, state.waiting) if state else (None, None)
    unscheduled = scheduled.message or scheduled.reason or "" if scheduled and scheduled.status != "True" else None
    limits = next(each.resources.limits or {} for each in pod.spec.containers if each.name == CONTAINER)
    said = [status.message, terminated and terminated.message, waiting and waiting.message]
    return PodEnd(
        phase=status.phase or "",
        reason=status.reason or (disruption.reason if disruption else "") or "",
        message=" ".join(each.strip() for each in said if each)[-1000:],
        exit_code=terminated.exit_code if terminated else None,
        container_reason=(terminated.reason if terminated else waiting.reason if waiting else "") or "",
        unscheduled=unscheduled,
        disrupted=disruption is not None and disruption.status == "True",
        memory_mb=int(parse_quantity(limits.get("memory", "0")) / 1024**2),
        lost=lost,
    )


def refusal(
    failure: ApiException | HTTPError, label: str, *, on_gpu: bool = False, waited_s: float = 0
) -> CallsheetError:
    """The typed error of a request that the API server refused or did not answer, in its own words.

    Args:
        failure: Of the request.
        label: Of the task, for the message.
        on_gpu: Whether the pod wanted a GPU.
        waited_s: How long a pod may wait for room.
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
    """The API server's words, or those of the way to it."""
    if not isinstance(failure, ApiException):
        return str(failure)
    try:
        return str(json.loads(failure.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(failure.reason)


def is_without_room(failure: ApiException | HTTPError) -> bool:
    """Whether a pod was refused because its namespace's quota is full: that passes, other prohibitions do not."""
    return isinstance(failure, ApiException) and failure.status == 403 and bool(_QUOTA.search(said_by(failure)))


def never_fits(failure: ApiException | HTTPError) -> bool:
    """Whether a pod asks for more than its namespace's quota would have if it were empty."""
    found = _QUOTA.search(said_by(failure))
    if found is None or not found["requested"]:
        return False
    asked, most = (dict(_amounts(found[name])) for name in ("requested", "limited"))
    return any(asked[name] > most[name] for name in asked.keys() & most.keys())


def _amounts(text: str) -> Iterable[tuple[str, Decimal]]:
    """Of ``requests.cpu=4,pods=1``."""
    for item in text.split(","):
        name, _, amount = item.partition("=")
        with suppress(ValueError):
            yield name, parse_quantity(amount)


def delete_by_force(core: Any, pod: Any) -> None:
    """Delete a pod that is lost without waiting for its node, which would keep the name and the quota for ever.

    Its worker may live on, where the node is cut off from the API server alone, and end beside the one that the next
    attempt starts. That is safe because no worker can spoil another's work: each has a scratch folder of its own, an
    object of the store is whole or not there, its key says what it holds, whichever of two equal ones came last is as
    good, and what is published is compared with what was checked and stands behind one compare-and-set.
    """
    log.warning("pod %s has lost its node: deleted by force", pod.metadata.name)
    try:
        _again(core.delete_namespaced_pod)(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
    except ApiException as error:
        if error.status != 404:
            raise


def failure_of(
    end: PodEnd,
    *,
    label: str,
    missing: list[str],
    document: ErrorDocument | None = None,
    on_gpu: bool = False,
    waited_s: float = 0,
) -> CallsheetError:
    """The typed error of a pod that has not left its results.

    Args:
        end: How it ended.
        label: Of the task, for the message.
        missing: Stages without a result.
        document: The worker's own word, if it left one.
        on_gpu: Whether it wanted a GPU.
        waited_s: How long it may wait for a node.
    """
    if end.container_reason == "OOMKilled" and (document is None or document.retry is Retry.TRANSIENT):
        return OutOfMemory(f"the pod of {label} was killed for memory", command="", stderr_tail=end.message)
    if document is not None:
        return from_document(document)
    said = f": {end.message}" if end.message else ""
    if end.lost:
        return NodeLost(f"the node of {label}'s pod does not answer: the pod should have ended long ago{said}")
    if end.phase in ("Pending", ""):
        return _never_began(end, label, said, on_gpu=on_gpu, waited_s=waited_s)
    if end.phase == "Running":
        return PodTimeout(f"the pod of {label} still ran at the task's own limit and was deleted{said}")
    if end.reason == "DeadlineExceeded":
        return PodTimeout(f"the pod of {label} ran past its deadline and was ended{said}")
    if end.reason in ("NodeLost", "NodeShutdown", "Shutdown", "Terminated", "NodeAffinity") or end.phase == "Unknown":
        return NodeLost(f"the node of {label}'s pod is gone ({end.reason or 'it does not answer'}){said}")
    if end.reason in ("Evicted", "Preempting") or end.disrupted:
        return PodEvicted(f"the pod of {label} was evicted ({end.reason}){said}")
    if end.exit_code == EXIT_CODES[Retry.NEVER]:
        return ConfigurationError(f"the worker of {label} ended with exit code 64 and left no word{said}")
    if end.exit_code in (0, None):
        return PlatformUnavailable(
            f"the pod of {label} ended as {end.phase or 'nothing'} but left no result of {', '.join(missing)}{said}"
        )
    return PlatformUnavailable(f"the worker of {label} ended with exit code {end.exit_code} and left no word{said}")


def _never_began(end: PodEnd, label: str, said: str, *, on_gpu: bool, waited_s: float) -> CallsheetError:
    if end.unscheduled is None:
        kind = ImageUnavailable if "Image" in end.container_reason else PlatformUnavailable
        return kind(f"the pod of {label} did not start ({end.container_reason or 'no reason given'}){said}")
    words = (
        f"no node took the pod of {label} within {waited_s:g} s: {end.unscheduled or 'the scheduler gave no reason'}"
    )
    return GpuUnavailable(f"{words}; the next attempt runs on CPUs") if on_gpu else PodUnschedulable(words)


def sweep_pods(api: AirflowApi, settings: Settings, *, now: datetime, client: Any = None) -> list[str]:
    """Delete worker pods that nobody waits for; returns their names.

    A pod outlives its task where task runner or triggerer died before the task was cleared, failed or deleted; and its
    deletion where its node is lost.
    """
    core = client or _Hook(conn_id=settings.kubernetes_conn_id).core_v1_client
    selector = ",".join(f"{name}={value}" for name, value in OURS.items())
    swept: list[str] = []
    states: dict[tuple[str, str], dict[tuple[str, str], str | None]] = {}
    for pod in _again(core.list_namespaced_pod)(settings.worker_namespace, label_selector=selector).items:
        meta = pod.metadata
        if meta.deletion_timestamp:
            if is_lost(pod, now):
                delete_by_force(core, pod)
                swept.append(meta.name)
            continue
        if now - meta.creation_timestamp < SWEEP_AFTER:
            continue
        dag_id, run_id, task_id, map_index = ((meta.annotations or {}).get(each, "") for each in ANNOTATIONS)
        if (dag_id, run_id) not in states:
            states[dag_id, run_id] = _states(api, dag_id, run_id)
        known = states[dag_id, run_id]
        if (task_id, map_index) in known:
            state = known[task_id, map_index]
            if state is None or state in LIVING_STATES:
                continue
        log.warning("pod %s works for nobody: deleted", meta.name)
        try:
            _again(core.delete_namespaced_pod)(meta.name, meta.namespace)
        except ApiException as error:
            if error.status != 404:
                raise
        swept.append(meta.name)
    return swept


def _states(api: AirflowApi, dag_id: str, run_id: str) -> dict[tuple[str, str], str | None]:
    from include.adapters.airflow_api import DagUnknown

    try:
        found = api.task_instances(dag_id, run_id)
    except DagUnknown:
        return {}
    return {(each["task_id"], str(each["map_index"])): each["state"] for each in found}


def _ask_for_more(end: PodEnd, settings: Settings, context: Context) -> bool:
    """Have the next attempt ask for more memory than the pod had; False where that was all there may be."""
    wanted_mb = more_memory(end.memory_mb, ceiling_mb=settings.max_memory_mb)
    if wanted_mb is None:
        return False
    log.warning("%d MiB of memory were not enough; the next pod asks for %d", end.memory_mb, wanted_mb)
    _state(context).set(MEMORY_KEY, wanted_mb)
    return True


def _state(context: Context) -> Any:
    return context["task_state_store"]


def _instance(context: Context) -> tuple[str, str, str, str]:
    ti = context["ti"]
    return ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index if ti.map_index is not None else -1)
