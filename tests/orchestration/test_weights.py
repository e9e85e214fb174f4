from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import include
from include.domain.order.steps import HEAVIEST_STEP
from include.orchestration.factory import batch_dag
from include.orchestration.weights import (
    BEYOND_SHARE,
    HIGHEST_PRIORITY,
    RESUMED,
    step_of,
    watch_resumptions,
    watches_resumptions,
    weigh,
    weigh_resumed,
    weight_of,
)
from include.pipelines.core import current_pipelines
from tests.orchestration.steps import STEPS, step

ROOT = Path(next(iter(include.__path__))).parent
UNTOUCHED = 7


def weight(
    conf: Any, *, task_id: str = "encode_cpu", map_index: int = -1, dag_id: str = "batch__spring", run: bool = True
) -> int:
    """The weight of a task instance as the scheduler has made it, with its operator's own weight."""
    before = step(task_id) if run and str(dag_id).startswith("batch__") else UNTOUCHED
    instance: Any = SimpleNamespace(dag_id=dag_id, task_id=task_id, map_index=map_index, priority_weight=before)
    dag_run: Any = SimpleNamespace(conf=conf) if run else None
    weigh(instance, dag_run)
    once: int = instance.priority_weight
    # Airflow calls the hook as often as it likes.
    weigh(instance, dag_run)
    assert instance.priority_weight == once
    return once


def test_a_higher_priority_outweighs_every_step_of_a_lower_one() -> None:
    assert weight({"priority": 2}, task_id="prepare") > weight({"priority": 1}, task_id="settle")


def test_within_one_priority_what_is_nearly_done_goes_first() -> None:
    order = ["prepare", "encode_gpu", "extras", "finish", "publish"]

    weights = [weight({"priority": 5}, task_id=task_id) for task_id in order]

    assert weights == sorted(set(weights))


@pytest.mark.parametrize(
    "conf",
    [None, {}, [], "x", 7, {"priority": None}, {"priority": "9"}, {"priority": 1.5}, {"priority": True},
     {"priority": -5}, {"priority": [1]}],
    ids=repr,
)  # fmt: skip
def test_a_conf_that_says_nothing_sensible_counts_as_no_priority(conf: Any) -> None:
    assert weight(conf) == weight({"priority": 0}) == 2


@pytest.mark.parametrize("priority", [10**6, 2**31, 10**30])
def test_the_weight_fits_the_column_whatever_the_priority(priority: int) -> None:
    assert 0 < weight({"priority": priority}, task_id="settle") < 2**31


@pytest.mark.parametrize("dag_id", ["intake", "dispatch", "somebody__elses", "abatch__x", None])
def test_other_dags_are_left_alone(dag_id: Any) -> None:
    assert weight({"priority": 3}, dag_id=dag_id) == UNTOUCHED


@pytest.mark.parametrize("task_id", ["encode_cpu", "encode_gpu"])
def test_an_encode_beyond_its_titles_share_weighs_less_than_anything_else_of_any_title(task_id: str) -> None:
    conf = {"priority": 10**7, "slots": 2}

    assert weight(conf, task_id=task_id, map_index=1) == weight({"priority": 10**7}, task_id=task_id)
    assert weight(conf, task_id=task_id, map_index=2) < weight({"priority": 0}, task_id="prepare")
    assert weight(conf, task_id=task_id, map_index=2) > weight(
        {"priority": 5, "slots": 2}, task_id=task_id, map_index=2
    )


@pytest.mark.parametrize("conf", [{"slots": None}, {"slots": "2"}, {"slots": True}, {"slots": 8}], ids=repr)
def test_a_share_that_says_nothing_sensible_holds_nothing_back(conf: Any) -> None:
    assert weight(conf, map_index=7) == weight({}, map_index=7)


def test_tasks_that_are_no_encodes_have_no_share() -> None:
    assert weight({"slots": 1}, task_id="publish", map_index=5) == weight({}, task_id="publish")


@pytest.mark.parametrize("name", ["vod", "vod-download"])
def test_every_task_of_a_batchs_dag_brings_its_steps_weight(name: str) -> None:
    dag = batch_dag(batch_id="spring", pipeline=name, pipeline_version=current_pipelines()[name].version)

    carried = {operator.task_id: (operator.priority_weight, operator.weight_rule) for operator in dag.tasks}

    absolute = carried["prepare"][1]
    assert STEPS.keys() <= carried.keys()
    assert carried == {task_id: (step(task_id), absolute) for task_id in carried}


@pytest.mark.parametrize("added", [0, RESUMED, BEYOND_SHARE, RESUMED + BEYOND_SHARE])
@pytest.mark.parametrize("priority", [0, 17, HIGHEST_PRIORITY, 10**30])
def test_a_weight_keeps_that_of_its_step_whatever_is_added(priority: int, added: int) -> None:
    for value in range(HEAVIEST_STEP + 1):
        assert step_of(weight_of(priority, value) + added) == value
    assert step_of(None) == 1


def test_without_a_run_nothing_changes() -> None:
    assert weight({}, run=False) == UNTOUCHED


def test_a_task_that_says_no_weight_has_the_least() -> None:
    assert weight({"priority": 1}, task_id="of-a-users-own") == weight({"priority": 1}, task_id="prepare")


def test_airflows_hook_weighs() -> None:
    spec = importlib.util.spec_from_file_location("hook_under_test", ROOT / "plugins" / "airflow_local_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    instance = SimpleNamespace(dag_id="batch__spring", task_id="settle", priority_weight=step("settle"))

    module.task_instance_mutation_hook(instance, SimpleNamespace(conf={"priority": 1}))

    assert instance.priority_weight == 19


def test_resumptions_are_watched_once_however_often_it_is_asked_for() -> None:
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    before = watches_resumptions()
    watch_resumptions()
    try:
        watch_resumptions()
        assert watches_resumptions()
    finally:
        if not before:
            event.remove(Mapper, "before_update", weigh_resumed)
    assert watches_resumptions() is before


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"next_method": "resume", "state": "scheduled"}, 7 + RESUMED),
        ({"next_method": "resume", "state": "queued", "priority_weight": None}, RESUMED),
        ({"next_method": "resume", "state": "queued", "priority_weight": 7 + RESUMED}, 7 + RESUMED),
        ({"next_method": "resume", "state": "deferred"}, 7),
        ({"next_method": "resume", "state": "running", "priority_weight": 7 + RESUMED}, 7),
        ({"next_method": None, "state": "scheduled"}, 7),
        ({"next_method": "resume", "state": "scheduled", "dag_id": "someone_elses"}, 7),
        ({"next_method": "resume", "state": "scheduled", "dag_id": "proofs"}, 7 + RESUMED),
        ({"next_method": "resume", "state": "scheduled", "__tablename__": "dag_run"}, 7),
    ],
)
def test_a_task_is_raised_only_while_it_waits_to_resume(row: dict[str, Any], expected: int) -> None:
    given = {"__tablename__": "task_instance", "dag_id": "batch__spring", "priority_weight": 7, **row}
    written = SimpleNamespace(**given)

    weigh_resumed(None, None, written)

    assert written.priority_weight == expected
