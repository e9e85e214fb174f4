"""The DAGs as Airflow sees them: found, complete, quick to parse, and the same at every parse."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TriggerRule, WeightRule
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.serialization.serialized_objects import DagSerialization

import include
from include.adapters.catalog import Stub
from include.base.errors import ConfigurationError
from include.orchestration.bundle import write_stubs
from include.orchestration.factory import batch_dag
from include.orchestration.runtimes.control import ControlTask, Gate, PublishTask
from include.orchestration.runtimes.local import WorkerTask
from include.orchestration.weights import weight_of

ROOT = Path(next(iter(include.__path__))).parent
TAGS = {"callsheet", "control", "intake", "batch", "proof", "pipeline:vod", "pipeline:vod-download"}
POOLS = {"control", "cpu_encode", "gpu_encode"}
CONTROL_DAGS = {"dispatch", "housekeeping", "intake", "proofs"}
EDGES = {
    ("prepare", "plan"), ("prepare", "extras"),
    ("prepare", "encode_cpu"), ("plan", "encode_cpu"), ("encode_cpu", "encode_done"),
    ("prepare", "encode_gpu"), ("plan", "encode_gpu"), ("encode_gpu", "encode_done"),
    ("plan", "encode_gpu_jobs"), ("encode_gpu_jobs", "encode_gpu"),
    ("prepare", "finish"), ("plan", "finish"), ("encode_done", "finish"), ("extras", "finish"),
    ("finish", "publish"),
    ("prepare", "settle"), ("plan", "settle"), ("encode_done", "settle"), ("extras", "settle"),
    ("finish", "settle"), ("publish", "settle"),
    # Of a first version: behind the gate, and nothing but the join behind them.
    ("plan", "first_asked"), ("first_asked", "first"),
    ("plan", "encode_rest_cpu_jobs"), ("plan", "encode_rest_gpu_jobs"),
    ("encode_rest_cpu_jobs", "encode_rest_cpu"), ("encode_rest_gpu_jobs", "encode_rest_gpu"),
    *((upstream, task) for task in ("encode_rest_cpu", "encode_rest_gpu", "first_finish")
      for upstream in ("first", "prepare", "plan", "encode_done", "extras")),
    ("first", "first_publish"), ("plan", "first_publish"), ("first_finish", "first_publish"),
    *((task, "first_done") for task in ("encode_rest_cpu", "encode_rest_gpu", "first_finish", "first_publish")),
    ("first_done", "finish"), ("first_done", "settle"),
}  # fmt: skip
"""Of every title's run: what takes from what. Losing one lets a task start too early."""
HEAVY = (
    "numpy", "pandas", "xgboost", "boto3", "botocore", "great_expectations", "ffmpeg", "imageio_ffmpeg", "kubernetes",
    "kubernetes_asyncio",
)  # fmt: skip


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stubs of a batch for each pipeline, and of one whose pipeline this deployment does not have."""
    folder = tmp_path_factory.mktemp("stubs")
    write_stubs(
        folder,
        lambda: [
            Stub(batch_id="spring", pipeline="vod", pipeline_version=3),
            Stub(batch_id="autumn", pipeline="vod-download", pipeline_version=3),
            Stub(batch_id="broken", pipeline="vod", pipeline_version=99),
        ],
    )
    return folder


@pytest.fixture(scope="module")
def bag(stubs: Path) -> DagBag:
    return DagBag(dag_folder=str(stubs))


@pytest.fixture(scope="module")
def dags(bag: DagBag) -> dict[str, Any]:
    """All DAGs, by id."""
    control = DagBag(dag_folder=str(ROOT / "dags"))
    assert control.import_errors == {}
    found = {**control.dags, **bag.dags}
    assert {*CONTROL_DAGS, "batch__spring", "batch__autumn"} == set(found)
    return found


@pytest.fixture(scope="module")
def tasks(dags: dict[str, Any]) -> list[tuple[str, Any]]:
    found = [(dag_id, task) for dag_id, dag in dags.items() for task in dag.tasks]
    assert len(found) == 7 + 2 * 19
    return found


def edges(dag: DAG) -> set[tuple[str, str]]:
    return {(task.task_id, downstream) for task in dag.tasks for downstream in task.downstream_task_ids}


def test_a_stub_that_cannot_be_parsed_breaks_no_other(bag: DagBag) -> None:
    assert {"batch__spring", "batch__autumn"} == set(bag.dags)
    ((path, error),) = bag.import_errors.items()
    assert path.endswith("batch_broken.py")
    assert "pipeline vod v99 is not registered" in error
    assert "its batches wait for the release that has it" in error


def test_an_unknown_version_of_a_pipeline_is_a_configuration_error_that_says_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"vod v1 is not registered \(known: .*vod v3.*moves its batches"):
        batch_dag(batch_id="spring", pipeline="vod", pipeline_version=1)


def test_tags_come_from_a_closed_set(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert "callsheet" in dag.tags
        assert set(dag.tags) <= TAGS


def test_every_dag_says_what_it_does_and_what_to_do_if_it_fails(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert "If it fails" in dag.doc_md
        assert len(dag.doc_md) > 200


def test_no_dag_starts_by_itself_but_those_with_a_timetable(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        assert dag.catchup is False
        assert dag.start_date.isoformat() == "2024-01-01T00:00:00+00:00"
        assert (dag.schedule is None) == (dag_id not in {"dispatch", "housekeeping"})
        assert dag.is_paused_upon_creation is False


def test_every_task_has_pool_weight_rule_limit_retries_and_a_doc(tasks: list[tuple[str, Any]]) -> None:
    for dag_id, task in tasks:
        where = f"{dag_id}.{task.task_id}"
        assert task.pool in POOLS, where
        assert WeightRule(task.weight_rule) is WeightRule.ABSOLUTE, where
        # A title's tasks may take three days, where it has 24 hours.
        most = timedelta(hours=12) if dag_id in CONTROL_DAGS - {"proofs"} else timedelta(days=4)
        assert timedelta() < task.execution_timeout <= most, where
        assert task.retries >= (0 if dag_id == "dispatch" else 2), where
        assert task.retry_delay >= timedelta(seconds=3), where
        assert task.doc_md, where


def test_encodes_wait_in_their_own_pool_and_control_never_behind_them(tasks: list[tuple[str, Any]]) -> None:
    for _, task in tasks:
        workers = dict.fromkeys(
            ("prepare", "encode_cpu", "encode_rest_cpu", "extras", "first_finish", "finish", "prove"), "cpu_encode"
        )
        gpus = dict.fromkeys(("encode_gpu", "encode_rest_gpu"), "gpu_encode")
        assert task.pool == {**workers, **gpus}.get(task.task_id, "control"), task.task_id


def test_intake_outranks_dispatch_which_outranks_every_title(dags: dict[str, Any]) -> None:
    weights = {dag_id: max(task.priority_weight for task in dags[dag_id].tasks) for dag_id in ("intake", "dispatch")}

    assert weights["intake"] > weights["dispatch"] > 1000


@pytest.mark.parametrize("dag_id", ["batch__spring", "batch__autumn"])
def test_the_edges_of_a_title_are_locked(dag_id: str, dags: dict[str, Any]) -> None:
    assert edges(dags[dag_id]) == EDGES


def test_the_edges_of_the_control_dags_are_locked(dags: dict[str, Any]) -> None:
    assert edges(dags["intake"]) == {("accept", "release")}
    assert edges(dags["housekeeping"]) == {("retire_batches", "clean_work")}
    assert edges(dags["dispatch"]) == set()
    assert edges(dags["proofs"]) == set()


def test_a_proof_is_one_worker_task_in_a_dag_of_its_own_below_every_encode(dags: dict[str, Any]) -> None:
    """No title's run waits for it, nor has a task for it: titles whose tier asks for none cost nothing."""
    (prove,) = dags["proofs"].tasks

    assert (prove.task_id, type(prove), prove.pool) == ("prove", WorkerTask, "cpu_encode")
    assert prove.priority_weight < weight_of(0, 0, beyond_share=True)
    assert "prove" not in {task.task_id for task in dags["batch__spring"].tasks}


def test_failed_renditions_do_not_stop_the_finish_and_nothing_stops_the_settlement(dags: dict[str, Any]) -> None:
    rules = {task.task_id: TriggerRule(task.trigger_rule).value for task in dags["batch__spring"].tasks}

    assert rules == {
        "prepare": "all_success",
        "plan": "all_success",
        "encode_gpu_jobs": "all_success",
        "encode_cpu": "all_success",
        "encode_gpu": "all_success",
        "encode_done": "all_done",
        "extras": "all_success",
        "first_asked": "all_success",
        "first": "all_success",
        "encode_rest_cpu_jobs": "all_success",
        "encode_rest_gpu_jobs": "all_success",
        "encode_rest_cpu": "all_success",
        "encode_rest_gpu": "all_success",
        "first_finish": "all_success",
        "first_publish": "all_success",
        "first_done": "all_done",
        "finish": "all_success",
        "publish": "all_success",
        "settle": "all_done",
    }


@pytest.mark.parametrize(
    ("task_id", "jobs"),
    [
        ("encode_cpu", "plan"),
        ("encode_gpu", "encode_gpu_jobs"),
        ("encode_rest_cpu", "encode_rest_cpu_jobs"),
        ("encode_rest_gpu", "encode_rest_gpu_jobs"),
    ],
)
def test_encodes_are_mapped_over_the_plans_jobs_for_their_pool(task_id: str, jobs: str, dags: dict[str, Any]) -> None:
    encode = dags["batch__spring"].get_task(task_id)

    assert isinstance(encode, MappedOperator)
    (reference,) = encode.expand_input.iter_references()
    assert reference[0].task_id == jobs
    assert encode.partial_kwargs["pipeline_task"] == "encode"


def test_each_task_runs_where_its_stages_belong(dags: dict[str, Any]) -> None:
    kinds = {task.task_id: getattr(task, "operator_class", type(task)) for task in dags["batch__spring"].tasks}

    assert kinds == {
        "prepare": WorkerTask, "plan": ControlTask, "extras": WorkerTask, "encode_cpu": WorkerTask,
        "encode_gpu": WorkerTask, "encode_gpu_jobs": EmptyOperator, "encode_done": EmptyOperator,
        "finish": WorkerTask, "publish": PublishTask, "settle": ControlTask,
        "first_asked": EmptyOperator, "first": Gate, "encode_rest_cpu_jobs": EmptyOperator,
        "encode_rest_gpu_jobs": EmptyOperator, "encode_rest_cpu": WorkerTask, "encode_rest_gpu": WorkerTask,
        "first_finish": WorkerTask, "first_publish": PublishTask, "first_done": EmptyOperator,
    }  # fmt: skip


def test_on_kubernetes_every_worker_task_is_a_pod_and_the_dag_is_else_the_same(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, Any]
) -> None:
    from include.orchestration.runtimes.kubernetes.task import PodTask

    for name, value in {"RUNTIME": "kubernetes", "STORE_URI": "s3://vault/x", "WORKER_IMAGE": "worker:1"}.items():
        monkeypatch.setenv(f"CALLSHEET_{name}", value)

    dag = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=3)

    kinds = {task.task_id: getattr(task, "operator_class", type(task)) for task in dag.tasks}
    pods = {task_id for task_id, kind in kinds.items() if kind is PodTask}
    assert pods == {
        "prepare", "extras", "encode_cpu", "encode_gpu", "encode_rest_cpu", "encode_rest_gpu", "first_finish", "finish"
    }  # fmt: skip
    assert edges(dag) == edges(dags["batch__spring"])
    assert {task.task_id: task.pool for task in dag.tasks} == {
        task.task_id: task.pool for task in dags["batch__spring"].tasks
    }
    again = batch_dag(batch_id="spring", pipeline="vod", pipeline_version=3)
    assert DagSerialization.to_dict(dag) == DagSerialization.to_dict(again)


def test_a_batch_runs_as_many_titles_as_are_released_and_has_a_deadline_each(dags: dict[str, Any]) -> None:
    dag = dags["batch__spring"]

    assert dag.max_active_runs == 200
    (alert,) = dag.deadline
    assert type(alert.reference).__name__ == "TitleDeadline"
    assert alert.interval == timedelta(0)
    assert "title_missed_its_deadline" in str(alert.callback.path)


def test_control_dags_never_overlap_themselves(dags: dict[str, Any]) -> None:
    assert {dag_id: dags[dag_id].max_active_runs for dag_id in ("dispatch", "housekeeping")} == {
        "dispatch": 1,
        "housekeeping": 1,
    }


def test_two_parses_of_everything_serialise_alike(stubs: Path, dags: dict[str, Any]) -> None:
    """In another process, with another seed for hashes: sets must not change the order of anything."""
    program = f"""
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
found = {{}}
for folder in ({str(ROOT / "dags")!r}, {str(stubs)!r}):
    found |= DagBag(dag_folder=folder).dags
print("@@" + json.dumps({{each: DagSerialization.to_dict(dag) for each, dag in found.items()}}, sort_keys=True))
"""
    environment = {**_environment(), "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )

    other = json.loads(done.stdout.partition("@@")[2])
    assert set(dags) == set(other)
    for dag_id, dag in dags.items():
        assert json.loads(json.dumps(DagSerialization.to_dict(dag))) == other[dag_id]


def test_parsing_a_stub_imports_nothing_heavy(stubs: Path) -> None:
    program = f"""
import runpy, sys
runpy.run_path({str(stubs / "batch_spring.py")!r})
print("@@" + ",".join(name for name in {HEAVY!r} if name in sys.modules))
print("@@", "include.orchestration.factory" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=_environment(), capture_output=True, text=True, check=True, timeout=120
    )

    lines = [line for line in done.stdout.splitlines() if line.startswith("@@")]
    assert lines == ["@@", "@@ True"]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
