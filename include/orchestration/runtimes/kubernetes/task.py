"""Worker tasks as pods: the operator.

:class:`PodTask` does on a cluster what :class:`include.orchestration.runtimes.local.WorkerTask` does on this machine,
with the same command line, the same job document and the same exit codes; while its pod runs, the task is deferred.
It stands on the operator of Airflow's Kubernetes provider (cncf.kubernetes 10.25) and changes this:

- *Success.* The task has succeeded when its outputs are there. The provider asks the pod instead, and is wrong at
  times: it takes some killed pods, and some that have vanished, for successful ones.
- *Failure.* The provider deletes a failed pod and raises the same error for every reason. :meth:`PodTask.cleanup` reads
  how the pod ended before that, and :mod:`~include.orchestration.runtimes.kubernetes.endings` gives it a typed error.
- *One pod at a time.* An attempt finds the pod of the attempt before by the identity in the task state store and by
  its labels. :meth:`PodTask.get_or_create_pod` also waits for the end of a pod that is being deleted; the provider
  would watch that one as if it were its own.
- *A node that falls silent.* Its pods stay Running, or stay in deletion, for ever, and the provider waits for them.
  :func:`is_lost` says when to give such a pod up, and :func:`delete_by_force` removes it. Its log is not read
  (:mod:`~include.orchestration.runtimes.kubernetes.logs`): the provider would wait twelve minutes for it.
- *No room in the quota, or no answer from the API server*, for minutes: no attempt fails for that. The task defers and
  asks again (:class:`Pause`); a trigger whose pod is there asks again as well (:class:`PatientHook`).
- *A worker of another release*, while a deploy is under way: it does not try its job, and no attempt fails for that
  either. The task asks for another pod, as it does without room.
- *A pod that works for nobody.* Whoever clears or fails a task deletes its pod (``on_kill`` of the trigger or of the
  operator). If triggerer or task runner died before they could, the next attempt takes the pod over; if there is no
  next attempt, :func:`sweep_pods` deletes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import POD_IDENTIFIER_STATE_KEY, KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodNotFoundException
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import parse_quantity
from urllib3.exceptions import HTTPError

from include.adapters.catalog import Catalog
from include.adapters.store.documents import load_if_valid
from include.adapters.store.interface import ObjectStore
from include.base.errors import (
    CallsheetError,
    ErrorDocument,
    GpuUnavailable,
    MemoryExhausted,
    NodeLost,
    PlatformUnavailable,
    Retry,
)
from include.base.pools import wants_gpu
from include.base.release import VERSION
from include.base.settings import Settings
from include.base.text import one_line
from include.domain.media.media import Inspection
from include.domain.outcome.results import WorkerUsage
from include.domain.plan.footprint import START_MARGIN_S, Footprint, encode_footprint, more_memory, task_footprint
from include.domain.plan.plan import EncodeJob, Plan
from include.orchestration.runtimes.kubernetes.endings import (
    ENDED,
    PodEnd,
    end_by,
    failure_of,
    format_read_by,
    is_lost,
    is_without_room,
    never_fits,
    pod_end,
    refusal,
    said_by,
)
from include.orchestration.runtimes.kubernetes.logs import worker_lines
from include.orchestration.runtimes.kubernetes.spec import CONTAINER, GPU, GRACE_S, OURS, POOL_LABEL, pod_spec
from include.orchestration.runtimes.kubernetes.sweep import delete_by_force
from include.orchestration.runtimes.kubernetes.waiting import (
    OUTAGE_S,
    PASSING_CODES,
    POLL_S,
    ClusterHook,
    PatientManager,
    Pause,
    PodTrigger,
    asking_again,
)
from include.orchestration.runtimes.task import TitleTask, unfinished
from include.pipelines.core import find_pipeline
from include.pipelines.runner import TaskJob, find_result, load_plan
from include.recipes import load_recipes

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)

DYING_LIMIT_S = 2 * GRACE_S
"""How long an attempt waits for the end of an earlier pod that is being deleted; after that its node must be lost."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 60.0
"""Seconds before a pod is asked for again, doubled each time: to resume a task costs a second or two of CPU."""
LOG_EVERY_S = 15
MEMORY_KEY = "memory_mb"
"""Key of the task state store, which outlives an attempt: how much memory the next pod asks for."""
ON_CPUS_KEY = "on_cpus"
"""Another one: why this encode runs on CPUs though it was planned for a GPU."""
OTHER_RELEASE_KEY = "other_release"
"""Another one: since when (seconds of the epoch), and how often, workers of another release did not try the job, and in
which attempt."""


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
        self._disruption: dict[str, Any] | None = None
        """Why the cluster has ended a pod that is gone."""
        self._attempting = False
        self._since, self._asked = 0.0, 0
        """When this attempt asked for its pod first (seconds of the epoch), and how often it did in vain."""

    @cached_property
    def hook(self) -> KubernetesHook:
        """Client of the cluster that the connection names."""
        return ClusterHook(conn_id=self.kubernetes_conn_id)

    @cached_property
    def pod_manager(self) -> PodManager:
        """What reads, watches and deletes pods."""
        return PatientManager(kube_client=self.client)

    def defer(self, *, trigger: Any, **arguments: Any) -> NoReturn:
        """As the provider asks, but with our trigger."""
        super().defer(trigger=PodTrigger(**trigger.serialize()[1]), **arguments)

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Start the pod, or find it, and defer until it has ended. Where all is done already there is no pod."""
        if not unfinished(task_job, store):
            log.info("all results of %s are there already", task_job.label)
            return None
        self.namespace, self.kubernetes_conn_id = settings.worker_namespace, settings.kubernetes_conn_id
        begin = partial(self._begin, task_job, settings, store, context)
        return self._until_done(begin, task_job, settings, store, context)

    def ask_again(self, context: Context, event: dict[str, Any], since: float, asked: int) -> Any:
        """Airflow calls this when a task is resumed that could not have its pod."""
        self._since, self._asked = since, asked
        return self._attempt(context, self.work, resumed=True)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Airflow calls this when the trigger of the task has fired."""
        if self._attempting:
            # The pod ended before the task could defer: then the provider calls this itself, within the attempt.
            return super().trigger_reentry(context, event)
        return self._attempt(context, partial(self._resume, event=event), resumed=True)

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Read how the pod ended, then let the provider delete it."""
        self._end = pod_end(remote_pod, lost=is_lost(remote_pod, datetime.now(UTC))) if remote_pod else None
        if self._end is not None and self._end.lost:
            delete_by_force(self.client, remote_pod)
        super().cleanup(pod, remote_pod, xcom_result=xcom_result, context=context)

    def _write_logs(  # type: ignore[override]  # the provider's is decorated
        self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """Copy the worker's last lines into the task's log, unless the node that has them is lost."""
        if is_lost(pod, datetime.now(UTC)):
            log.warning("the log of pod %s is not read: its node does not answer", pod.metadata.name)
            return
        for line in worker_lines(self.client, pod, since=since_time):
            if line:
                self.log.info("[%s] logs: %s", self.base_container_name, line)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """The pod of this task that still runs, or a new one; never a second one, and none that is being deleted."""
        self._clear_the_way(context)
        try:
            return super().get_or_create_pod(pod_request_obj, context)
        except ApiException as error:
            if error.status != 409:
                raise
            # No other attempt uses this name. So the first request did make the pod, and only its answer was lost.
            try:
                pod = self.hook.get_pod(pod_request_obj.metadata.name, pod_request_obj.metadata.namespace)
            except ApiException as missing:
                # There is no such pod: the conflict was about the quota, which another pod changed at that moment.
                raise (error if missing.status == 404 else missing) from None
            self._persist_pod_identity_to_task_state_store(context, pod)
            return pod

    def _begin(self, task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context) -> None:
        self._heed_earlier_pods(settings, context)
        job = self._encode_job(task_job, store)
        if job is not None and wants_gpu(settings, job.pool) and not settings.gpu_nodes_on_demand:
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
        self._disruption = event.get("disruption")
        task_job = self._shape(task_job, settings, store, context)
        return self._until_done(partial(super().trigger_reentry, context, event), task_job, settings, store, context)

    def _until_done(
        self, step: Callable[[], object], task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context
    ) -> dict[str, Any]:
        """Run a step of the provider's, then decide by the outputs whether the task has succeeded."""
        failure: Exception | None = None
        self._attempting = True
        try:
            step()
        except Exception as error:  # the provider's are of many kinds
            failure = error
        finally:
            self._attempting = False
        missing = unfinished(task_job, store)
        if missing and self.pod is None and self._end is None:
            self._wait_where_that_helps(failure, task_job, store)
        if missing and self._end is not None:
            self._wait_for_one_release(self._end, task_job, store, context)
        if missing:
            typed = self._failure(failure, missing, task_job, store)
            raise self._noted_for_the_next_attempt(typed, settings, context) from failure
        if failure is not None:
            log.warning("%s has left all its results; its pod did not end well: %s", task_job.label, failure)
        why = _state(context).get(ON_CPUS_KEY)
        used = load_if_valid(store, task_job.usage_key, WorkerUsage)
        return {
            "pod": self.pod.metadata.name if self.pod else None,
            **({"cpu_s": used.cpu_s, "peak_memory_mb": used.peak_memory_mb} if used else {}),
            **({"on_cpus": why} if why else {}),
        }

    def _wait_where_that_helps(self, failure: Exception | None, task_job: TaskJob, store: ObjectStore) -> None:
        """Defer where there is no pod because the quota has no room, or because the API server does not answer."""
        if not isinstance(failure, ApiException | HTTPError):
            return
        no_room = is_without_room(failure)
        if not no_room and isinstance(failure, ApiException) and failure.status not in PASSING_CODES:
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
            # The next try binds the job anew, by the deadline as it is then. After an outage the document has to stay:
            # the lost request may have made a pod, and that reads it.
            store.delete(task_job.key)
        super().defer(
            trigger=Pause(pause_s), method_name="ask_again", kwargs={"since": since, "asked": self._asked + 1}
        )

    def _wait_for_one_release(self, end: PodEnd, task_job: TaskJob, store: ObjectStore, context: Context) -> None:
        """Defer where the worker was of another release, which has not tried its job; up to :data:`OUTAGE_S`."""
        reads = format_read_by(end)
        if not reads or load_if_valid(store, task_job.key, TaskJob) is None:
            return
        attempt, now = context["ti"].try_number, time.time()
        noted = _state(context).get(OTHER_RELEASE_KEY) or {}
        since, asked = (noted["since"], noted["asked"]) if noted.get("attempt") == attempt else (now, 0)
        left_s = since + OUTAGE_S - now
        if left_s <= 0:
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**asked, left_s)
        log.warning(
            "%s: its worker is of another release and has not tried it: the job is of format %d, the worker reads "
            "format %s. Another pod is asked for in %.0f s, and for %.0f s at most: CALLSHEET_WORKER_IMAGE should be "
            "of this release, %s",
            task_job.label, task_job.format, reads, pause_s, left_s, VERSION,
        )  # fmt: skip
        _state(context).set(OTHER_RELEASE_KEY, {"attempt": attempt, "since": since, "asked": asked + 1})
        # The next try binds the job anew, by the deadline as it is then.
        store.delete(task_job.key)
        super().defer(trigger=Pause(pause_s), method_name="ask_again", kwargs={"since": 0.0, "asked": 0})

    def _shape(self, task_job: TaskJob, settings: Settings, store: ObjectStore, context: Context) -> TaskJob:
        """Give this operator the pod's spec; returns the job document that goes with it."""
        job = self._encode_job(task_job, store)
        on_gpu = job is not None and wants_gpu(settings, job.pool) and not _state(context).get(ON_CPUS_KEY)
        footprint = self._footprint(task_job, job, settings, store, on_gpu=on_gpu)
        footprint = footprint.model_copy(update={"memory_mb": self._memory_mb(footprint, settings, context)})
        spec = pod_spec(task_job, settings, store.uri, footprint, on_gpu=on_gpu, instance=_instance(context))
        for name, value in spec.items():
            setattr(self, name, value)
        self.name = self._set_name(self.name)
        return task_job.model_copy(update={"hardware": on_gpu or job is None})

    def _encode_job(self, task_job: TaskJob, store: ObjectStore) -> EncodeJob | None:
        if task_job.item is None:
            return None
        pipeline = find_pipeline(task_job.title.pipeline, task_job.title.pipeline_version)
        plan = load_plan(task_job.title, pipeline.task(task_job.task), store)
        return next((job for job in plan.jobs if job.name == task_job.item), None)

    def _footprint(
        self, task_job: TaskJob, job: EncodeJob | None, settings: Settings, store: ObjectStore, *, on_gpu: bool
    ) -> Footprint:
        if job is not None:
            return encode_footprint(job, on_gpu=on_gpu)
        return task_footprint(
            find_result(task_job.title, Inspection, store),
            find_result(task_job.title, Plan, store),
            # Memory alone is asked for, of which the farm's own speed says nothing.
            predictor=load_recipes().prior,
            max_file_bytes=settings.max_file_size,
            time_limit_s=task_job.time_limit_s,
        )

    def _memory_mb(self, footprint: Footprint, settings: Settings, context: Context) -> int:
        stored = _state(context).get(MEMORY_KEY)
        return min(settings.max_memory_mb, stored if isinstance(stored, int) else footprint.memory_mb)

    def _leave_gpus_if_there_are_none(self, context: Context, settings: Settings) -> None:
        """Where no node has a GPU, note at once that the job runs on CPUs; its pod would wait for a node in vain."""
        if _state(context).get(ON_CPUS_KEY) or self._gpu_node_exists():
            return
        reason = (
            f"no node labelled {POOL_LABEL}=gpu has {GPU}: this job runs on CPUs. Add GPU nodes, or set "
            "CALLSHEET_GPU_SLOTS=0 so that nothing is planned for them"
        )
        log.warning(reason)
        _state(context).set(ON_CPUS_KEY, reason)

    @asking_again
    def _gpu_node_exists(self) -> bool:
        try:
            nodes = self.client.list_node(label_selector=f"{POOL_LABEL}=gpu").items
        except ApiException as error:
            if error.status != 403:
                raise
            log.warning("this account may not list nodes, so a pod for a GPU may wait for one that is not there")
            return True
        return any(parse_quantity((node.status.allocatable or {}).get(GPU, "0")) > 0 for node in nodes)

    def _heed_earlier_pods(self, settings: Settings, context: Context) -> None:
        """Ask for more memory where a pod ran out of it whose own attempt had died before the pod ended."""
        for pod in self._own_pods(context):
            end = pod_end(pod)
            if end.container_reason == "OOMKilled":
                _ask_for_more(end, settings, context)

    def _clear_the_way(self, context: Context) -> None:
        """Leave this task one running pod at most: delete the others, and wait until those being deleted are gone."""
        limit = time.monotonic() + DYING_LIMIT_S
        while True:
            pods = self._own_pods(context)
            # One that has ended and is deleted is held by a finalizer: nothing of it runs, and it may stay.
            pods = [pod for pod in pods if not (pod.metadata.deletion_timestamp and pod.status.phase in ENDED)]
            dying = [pod for pod in pods if pod.metadata.deletion_timestamp]
            ended = [pod for pod in pods if pod not in dying and pod.status.phase in ENDED]
            living = [pod for pod in pods if pod not in dying and pod not in ended]
            # There may be two: the request of an attempt that has died can be carried out late, after the next attempt
            # has looked for a pod. The one that this task has noted is kept, else the oldest.
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
        # Labels that describe the title are left out: its tier, say, may have changed since an earlier attempt.
        labels = {**OURS, **self._get_ti_pod_labels(context, include_try_number=False)}
        checked = [f"{self.POD_CHECKED_KEY}!=True"] if exclude_checked else []
        return ",".join([*(f"{name}={value}" for name, value in sorted(labels.items())), *checked])

    @asking_again
    def _own_pods(self, context: Context) -> list[k8s.V1Pod]:
        selector = self._build_find_pod_label_selector(context)
        found: list[k8s.V1Pod] = self.client.list_namespaced_pod(self.namespace, label_selector=selector).items
        return found

    def _failure(
        self, failure: Exception | None, missing: list[str], task_job: TaskJob, store: ObjectStore
    ) -> CallsheetError:
        """The typed error of an attempt without its results: by the pod's end, else by what the provider raised."""
        if self._end is not None:
            return failure_of(
                self._end,
                label=task_job.label,
                missing=missing,
                document=load_if_valid(store, task_job.error_key, ErrorDocument),
                on_gpu=bool(self.tolerations),
                waited_s=self.schedule_timeout_seconds,
            )
        if self._disruption is not None:
            return end_by(self._disruption, task_job.label)
        if failure is None or isinstance(failure, PodNotFoundException):
            return NodeLost(f"the pod of {task_job.label} is gone and has left no result of {', '.join(missing)}")
        if isinstance(failure, CallsheetError):
            return failure
        if isinstance(failure, ApiException | HTTPError):
            return refusal(
                failure, task_job.label, on_gpu=bool(self.tolerations), waited_s=self.schedule_timeout_seconds
            )
        return PlatformUnavailable(f"the pod of {task_job.label} could not be watched to its end: {failure}")

    def _noted_for_the_next_attempt(
        self, error: CallsheetError, settings: Settings, context: Context
    ) -> CallsheetError:
        """The error to raise; what the next attempt has to do differently is noted in the task state store."""
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


def _ask_for_more(end: PodEnd, settings: Settings, context: Context) -> bool:
    """Have the next attempt ask for more memory than this pod had; False where it had the most that is allowed."""
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
