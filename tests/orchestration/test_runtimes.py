"""Runtimes and pools: what one more entry brings, and what every runtime keeps from its workers."""

from __future__ import annotations

from typing import Any

import pytest

from include.base import pools as known
from include.base.errors import ConfigurationError
from include.base.pools import Pool, wants_gpu, worker_pools, worker_slots
from include.base.settings import Settings
from include.orchestration import factory, tick
from include.orchestration.factory import batch_dag
from include.orchestration.runtimes import task as runtimes_task
from include.orchestration.runtimes.kubernetes.task import PodTask
from include.orchestration.runtimes.local import WorkerTask
from include.orchestration.runtimes.registry import find_runtime, runtimes_of
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.lab import Lab, Supervisor, context, released

SPOT = Pool(name="spot_encode", slots=7, runtime="kubernetes")


def with_a_third(settings: Settings) -> tuple[Pool, ...]:
    """This machine's pools, and one of pods."""
    return (*worker_pools(settings), SPOT)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (factory, runtimes_task, tick):
        monkeypatch.setattr(module, "worker_pools", with_a_third)


def test_the_settings_make_the_pools() -> None:
    assert worker_pools(Settings(runtime="local", encode_slots=3, gpu_slots=2)) == (
        Pool(name="cpu_encode", slots=3, runtime="local"),
        Pool(name="gpu_encode", slots=2, runtime="local", gpu=True),
    )


def test_pools_of_one_runtime_have_it_once() -> None:
    given = Settings(runtime="kubernetes", worker_image="worker:1", store_uri="s3://bucket/store")

    assert runtimes_of(worker_pools(given)) == [find_runtime("kubernetes")]


def test_slots_are_counted_over_all_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(encode_slots=3, gpu_slots=2)
    assert worker_slots(settings) == 5

    pools = with_a_third(settings)
    monkeypatch.setattr(known, "worker_pools", lambda settings: pools)

    assert worker_slots(settings) == 12


@pytest.mark.parametrize(("pool", "wanted"), [("gpu_encode", True), ("cpu_encode", False), ("tpu", False)])
def test_a_pool_says_whether_its_encodes_want_a_gpu(pool: str, wanted: bool) -> None:
    assert wants_gpu(Settings(), pool) is wanted


def test_an_unknown_runtime_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="no runtime 'slurm'; there are control, local, kubernetes"):
        find_runtime("slurm")


@pytest.mark.usefixtures("third")
def test_a_third_pool_on_another_runtime_has_mapped_tasks_of_its_own() -> None:
    dag = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=3)

    kinds = {task.task_id: getattr(task, "operator_class", type(task)) for task in dag.tasks}
    pools = {task.task_id: task.pool for task in dag.tasks}
    assert {"encode_spot": PodTask, "encode_rest_spot": PodTask} == {
        task_id: kind for task_id, kind in kinds.items() if kind is PodTask
    }
    assert {"encode_spot", "encode_rest_spot"} == {task_id for task_id, pool in pools.items() if pool == "spot_encode"}
    assert (kinds["encode_cpu"], kinds["prepare"], pools["prepare"]) == (WorkerTask, WorkerTask, "cpu_encode")
    assert "encode_done" in dag.get_task("encode_spot").downstream_task_ids


@pytest.mark.usefixtures("third")
def test_a_plans_jobs_go_to_a_third_pool_too(lab: Lab, catalog: Any, supervisor: Supervisor) -> None:
    title = released(catalog, metadata={"jobs": 3, "pools": {"h264_1p": "gpu_encode", "h264_2p": "spot_encode"}})
    lab.task("look-around").execute(context(title))

    assert lab.task("make-up-your-mind").execute(context(title)) == ["h264_0p"]
    assert supervisor.xcoms == {
        ("make-them_gpu_jobs", "return_value"): (["h264_1p"], 1),
        ("make-them_spot_jobs", "return_value"): (["h264_2p"], 1),
    }


@pytest.mark.usefixtures("third", "airflow")
def test_the_minute_hand_sweeps_each_runtime_in_use_once(
    catalog: Any, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        type(find_runtime("kubernetes")), "sweep", lambda self, *given, now: asked.append("pods") or ["lost"]
    )

    said = tick.tick()

    assert said["pods"] == "['lost']"
    assert asked == ["pods"]


def test_nothing_is_swept_where_all_work_is_on_this_machine(catalog: Any, airflow: AirflowServer) -> None:
    assert "pods" not in tick.tick()


@pytest.mark.parametrize("name", ["control", "local", "kubernetes"])
def test_no_runtime_hands_a_worker_the_platforms_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in runtimes_task.WORKER_SECRETS:
        monkeypatch.setenv(secret, "planted")
    monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", "planted")
    monkeypatch.setenv("CALLSHEET_S3_SSE", "AES256")

    seen = find_runtime(name).environment(Settings())

    assert "planted" not in seen.values()
    assert ("CALLSHEET_S3_SSE" in seen) is (name != "control")
