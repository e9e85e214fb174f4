"""What Callsheet asks Kubernetes for: each task's pod against the official schemas, and what no schema knows."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
from kubernetes.client import ApiClient

from include.base.settings import Settings
from include.domain.plan.footprint import encode_footprint, more_memory, task_footprint
from include.domain.plan.plan import EncodeJob
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.request import Tier
from include.domain.title.title import TitleJob
from include.orchestration.runtimes.kubernetes.spec import ANNOTATIONS, pod_spec, worker_environment
from include.orchestration.runtimes.kubernetes.task import PodTask
from include.pipelines.core import find_pipeline
from include.pipelines.runner import TaskJob
from include.recipes import load_recipes
from tests.deploy.manifests import guide_pod, objects, values_environment
from tests.kube.conftest import core
from tests.kube.server import Kube
from tests.pods.bench import NAMESPACE
from tests.predictions import predicted

Item = dict[str, Any]
VERSIONS = [kubernetes_validate.latest_version(), "1.28"]
VOD = find_pipeline("vod", 3)
WORKERS = [task.name for task in VOD.tasks if task.place == "worker"]
SETTINGS = Settings(
    store_uri="s3://vault/callsheet", runtime="kubernetes", worker_image="registry.example/worker@sha256:" + "0" * 64
)
RENDITION = Rendition(
    name="h264_1080p", rung="1080p", codec="h264", encoder="libx264", width=1920, height=1080, frame_rate="25",
    frames=None, rate_control=CappedCrf(crf=21, maxrate_kbps=6000, bufsize_kbps=9000),
    treatment=SourceTreatment(), preset="medium", gop_frames=50, core=True,
)  # fmt: skip
JOB = EncodeJob(
    name="h264_1080p",
    rendition=RENDITION,
    pool="gpu_encode",
    time_limit_s=1234.5,
    prediction=predicted(memory_mb=700, size_bytes=RENDITION.maxrate_kbps * 3600 * 128),
)


def title(**changes: Any) -> TitleJob:
    given: Item = {
        "request_id": "spring/alpha", "batch_id": "spring", "title_id": "alpha", "run_key": "spring.1",
        "pipeline": "vod", "pipeline_version": 3, "mezzanine": "s3://vault/alpha.mov", "tier": Tier.STANDARD,
    }  # fmt: skip
    return TitleJob(**{**given, **changes})


def a_pod(
    task: str = "encode", *, on_gpu: bool = False, memory_mb: int | None = None, settings: Settings = SETTINGS,
    of: TitleJob | None = None,
) -> Item:  # fmt: skip
    """The pod as it goes over the wire."""
    item = JOB.name if VOD.task(task).mapped_over else None
    document = TaskJob(task=task, title=of or title(), item=item, time_limit_s=1234.5)
    footprint = (
        encode_footprint(JOB, on_gpu=on_gpu)
        if item
        else task_footprint(
            None, None, predictor=load_recipes().prior, max_file_bytes=settings.max_file_size, time_limit_s=1234.5
        )
    )
    footprint = footprint.model_copy(update={"memory_mb": memory_mb or footprint.memory_mb})
    instance = ("batch__spring", "alpha__1", task, "-1" if item is None else "0")
    operator = PodTask(task_id=task, pipeline="vod", pipeline_version=3)
    for name, value in pod_spec(
        document, settings, settings.store_uri, footprint, on_gpu=on_gpu, instance=instance
    ).items():
        assert hasattr(operator, name), name
        setattr(operator, name, value)
    operator.name = operator._set_name(operator.name)
    ti = SimpleNamespace(dag_id=instance[0], task_id=task, map_index=int(instance[3]), try_number=1)
    context: Any = {"ti": ti, "run_id": instance[1], "dag": SimpleNamespace(), "ts": datetime.now(UTC)}
    found: Item = ApiClient().sanitize_for_serialization(operator.build_pod_request_obj(context, dry_run=True))
    return found


def container(pod: Item) -> Item:
    (found,) = pod["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("task", "tier"), list(product(WORKERS, Tier)))
def test_every_tasks_pod_keeps_the_official_schema(task: str, tier: Tier, version: str) -> None:
    for on_gpu, grown in product((False, True) if task == "encode" else (False,), (None, 6144)):
        pod = a_pod(task, on_gpu=on_gpu, memory_mb=grown, of=title(tier=tier))

        kubernetes_validate.validate(pod, version, strict=True)
        assert pod["spec"]["priorityClassName"] == f"callsheet-{tier.value}"


def test_all_worker_tasks_are_among_them() -> None:
    assert WORKERS == ["prepare", "encode", "extras", "first_finish", "finish", "prove"]


def test_the_pod_runs_the_workers_argv_and_nothing_else() -> None:
    found = container(a_pod())

    address = "s3://vault/callsheet/work/alpha/spring.1/jobs/encode.h264_1080p.json"
    assert found["command"] + found["args"] == ["python", "-m", "include.worker", "encode", "--job", address]
    assert found["image"] == SETTINGS.worker_image
    assert a_pod()["spec"]["restartPolicy"] == "Never"


def test_a_job_for_a_gpu_asks_for_one_and_stands_its_taint() -> None:
    pod = a_pod(on_gpu=True)

    assert container(pod)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
    assert pod["spec"]["nodeSelector"] == {"callsheet/pool": "gpu"}


def test_every_other_job_keeps_away_from_gpus() -> None:
    pod = a_pod()

    assert "nvidia.com/gpu" not in str(pod)
    assert not pod["spec"].get("tolerations")
    assert pod["spec"]["nodeSelector"] == {"callsheet/pool": "cpu"}


def test_requests_are_limits_and_come_from_the_plan() -> None:
    resources = container(a_pod())["resources"]

    assert resources["requests"] == resources["limits"]
    assert resources["limits"] == {"cpu": "4", "memory": "1084Mi", "ephemeral-storage": "5786Mi"}
    assert a_pod()["spec"]["activeDeadlineSeconds"] == 1235 + 900


def test_the_container_has_no_rights_and_one_folder_to_write_to() -> None:
    pod = a_pod()
    found, spec = container(pod), pod["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert spec["automountServiceAccountToken"] is False
    assert spec["volumes"] == [{"name": "scratch", "emptyDir": {"sizeLimit": "5786Mi"}}]
    assert found["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
    environment = {each["name"]: each["value"] for each in found["env"]}
    assert {environment[name] for name in ("CALLSHEET_HOME", "HOME", "TMPDIR")} == {"/scratch"}


def test_secrets_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CALLSHEET_CATALOG_URL", "CALLSHEET_WEBHOOK_SECRET", "CALLSHEET_API_PASSWORD", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AIRFLOW_CONN_CALLSHEET_AIRFLOW", "CALLSHEET_OF_SOMEBODY", "SLACK_TOKEN",
    ):  # fmt: skip
        monkeypatch.setenv(name, "topsecret")
    monkeypatch.setenv("CALLSHEET_S3_SSE", "AES256")
    monkeypatch.setenv("CALLSHEET_FFMPEG", "/usr/local/bin/ffmpeg")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    assert "topsecret" not in str(a_pod())
    given = worker_environment()
    assert (given["CALLSHEET_S3_SSE"], given["AWS_REGION"], given["CALLSHEET_ENCODE_SLOTS"]) == (
        "AES256", "eu-central-1", "1",
    )  # fmt: skip
    assert "CALLSHEET_FFMPEG" not in given


def test_keys_to_the_store_come_from_a_secret_of_the_cluster_if_one_is_named() -> None:
    named = SETTINGS.model_copy(update={"worker_secret": "store-keys"})

    assert container(a_pod(settings=named))["envFrom"] == [{"secretRef": {"name": "store-keys"}}]
    assert not container(a_pod()).get("envFrom")


def test_no_autoscaler_empties_a_node_under_a_worker() -> None:
    annotations = a_pod()["metadata"]["annotations"]

    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


@pytest.mark.parametrize("title_id", ["alpha", "A.b_c-9", "x" * 120, "9", "-_-"])
def test_labels_are_safe_and_annotations_whole(title_id: str) -> None:
    pod = a_pod(of=title(title_id=title_id))

    kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
    labels = pod["metadata"]["labels"]
    assert all(len(value) <= 63 for value in labels.values())
    assert labels["app.kubernetes.io/managed-by"] == "callsheet"
    assert [pod["metadata"]["annotations"][each] for each in ANNOTATIONS] == [
        "batch__spring", "alpha__1", "encode", "0",
    ]  # fmt: skip
    assert len(pod["metadata"]["name"]) <= 63


def test_two_attempts_have_names_of_their_own() -> None:
    assert a_pod()["metadata"]["name"] != a_pod()["metadata"]["name"]


@pytest.mark.parametrize("tier", Tier)
def test_a_server_with_the_files_of_deploy_takes_every_pod_and_warns_of_nothing(tier: Tier, kube: Kube) -> None:
    """Schemas do not know every rule: labels, quantities, names, limits and rights are the server's to judge."""
    settings = SETTINGS.model_copy(update={"worker_namespace": NAMESPACE})
    most = int(values_environment()["CALLSHEET_MAX_MEMORY_MB"])
    for task in WORKERS:
        for on_gpu, memory_mb in product((False, True) if task == "encode" else (False,), (None, most)):
            of = title(title_id="A.b_c-9" * 15, tier=tier)
            pod = a_pod(task, settings=settings, on_gpu=on_gpu, memory_mb=memory_mb, of=of)
            core(kube).create_namespaced_pod(NAMESPACE, pod, dry_run="All")
    assert kube.warnings == []


def test_the_guide_s_pod_that_measures_a_node_is_taken_as_well(kube: Kube) -> None:
    spec = guide_pod()
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "calibrate"}, "spec": spec}
    core(kube).create_namespaced_pod(NAMESPACE, pod, dry_run="All")

    assert kube.warnings == []
    ours = a_pod()["spec"]
    assert {each: spec["securityContext"].get(each) for each in ("runAsUser", "fsGroup")} == {
        each: ours["securityContext"][each] for each in ("runAsUser", "fsGroup")
    }
    assert spec["nodeSelector"] == ours["nodeSelector"]


@pytest.mark.parametrize("task", WORKERS)
def test_every_network_policy_of_the_workers_holds_for_their_pods(task: str) -> None:
    policies = [manifest for _, manifest in objects() if manifest["kind"] == "NetworkPolicy"]
    metadata = a_pod(task)["metadata"]

    assert policies
    for policy in policies:
        name, selector = policy["metadata"]["name"], policy["spec"]["podSelector"]
        assert policy["metadata"]["namespace"] == metadata["namespace"], name
        assert selector.keys() <= {"matchLabels"}, name
        assert selector.get("matchLabels", {}).items() <= metadata["labels"].items(), name


def test_memory_grows_by_half_in_steps_up_to_the_ceiling() -> None:
    grown = [1084]
    while (more := more_memory(grown[-1], ceiling_mb=4000)) is not None:
        grown.append(more)

    assert grown == [1084, 1792, 2816, 4000]
