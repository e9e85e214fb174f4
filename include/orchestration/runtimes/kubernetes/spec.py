"""What the pod of a task is: image, command, resources, security, where it may run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from kubernetes.client import models as k8s

from include.base.settings import Settings
from include.domain.plan.footprint import Footprint
from include.orchestration.runtimes.task import WORKER_SECRETS
from include.pipelines.runner import TaskJob

CONTAINER = "base"

SCRATCH = "/scratch"
"""The only folder that a worker writes to: CALLSHEET_HOME, and the home and temporary folder of its tools."""

USER = 10001
"""User of the worker image, who is not root."""

GPU = "nvidia.com/gpu"

POOL_LABEL = "callsheet/pool"
"""Label of nodes: ``cpu`` or ``gpu``."""

OURS = {"app.kubernetes.io/name": "callsheet-worker", "app.kubernetes.io/managed-by": "callsheet"}

ANNOTATIONS = ("callsheet/dag-id", "callsheet/run-id", "callsheet/task-id", "callsheet/map-index")
"""They name the task instance that a pod works for. Labels would be too short for the ids."""

STAY = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Annotations that ask the cluster's autoscaler, by either name, not to empty a node under an encode."""

GRACE_S = 30
"""Between SIGTERM and SIGKILL: the worker ends its tools and removes its scratch files."""

ON_NODE = frozenset({"HOME", "FFMPEG", "FFPROBE", "PACKAGER", "ENCODE_SLOTS"})
"""Settings, without their prefix, that describe this machine and mean nothing in a pod."""

STORE_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Where the store is; keys to it come from ``worker_secret`` or from the workload identity."""


# long: one table of what a pod is, to be read from top to bottom.
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
        "annotations": {**STAY, **dict(zip(ANNOTATIONS, instance, strict=True))},
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
    # A pod does one encode, and all its CPUs are for that.
    return {**given, "CALLSHEET_HOME": SCRATCH, "CALLSHEET_ENCODE_SLOTS": "1", "HOME": SCRATCH, "TMPDIR": SCRATCH}
