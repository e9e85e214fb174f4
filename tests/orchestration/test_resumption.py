"""Finished work goes first: what a resumed task weighs, on Airflow's own database, triggerer and scheduler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.orchestration.weights import BEYOND_SHARE, HIGHEST_PRIORITY, RESUMED, weigh, weigh_resumed
from tests.orchestration.own_airflow import told_by


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened to a modest title's deferred task beside two valuable titles that wait for the same slot."""
    found: dict[str, Any] = told_by("resumption.py", tmp_path_factory.mktemp("resumption"))
    return found


def test_while_a_pod_works_its_deferred_task_holds_the_slot(seen: dict[str, Any]) -> None:
    assert seen["queued_while_deferred"] == []
    assert seen["weight_deferred"] < RESUMED


def test_a_resumed_task_goes_before_every_fresh_one_of_a_more_valuable_title(seen: dict[str, Any]) -> None:
    assert seen["state_resumed"] == "scheduled"
    assert seen["queued_when_resumed"] == ["modest"]
    assert seen["weight_resumed"] == seen["weight_queued"] == seen["weight_deferred"] + RESUMED


def test_a_new_version_of_the_dag_does_not_take_the_raise_away(seen: dict[str, Any]) -> None:
    assert seen["weight_verified"] == seen["weight_resumed"]


def test_a_retry_and_a_cleared_task_weigh_what_fresh_ones_do(seen: dict[str, Any]) -> None:
    assert seen["weight_before_clearing"] == seen["weight_resumed"]
    assert seen["weight_retried"] == seen["weight_cleared"] == seen["weight_deferred"]


def row(**fields: Any) -> Any:
    """A row of Airflow's as SQLAlchemy hands it over."""
    known = {"__tablename__": "task_instance", "dag_id": "batch__spring", "state": "scheduled",
             "next_method": "trigger_reentry", "priority_weight": 12}  # fmt: skip
    return SimpleNamespace(**{**known, **fields})


def raised(**fields: Any) -> Any:
    changed = row(**fields)
    weigh_resumed(None, None, changed)
    weigh_resumed(None, None, changed)
    return changed.priority_weight


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, RESUMED + 12),
        ({"state": "queued"}, RESUMED + 12),
        ({"priority_weight": None}, RESUMED),
        ({"priority_weight": RESUMED + 12}, RESUMED + 12),
        ({"priority_weight": RESUMED + 12, "next_method": None}, 12),
        ({"priority_weight": RESUMED + 12, "state": "running"}, 12),
        ({"priority_weight": BEYOND_SHARE + 12}, RESUMED + BEYOND_SHARE + 12),
        ({"priority_weight": RESUMED + BEYOND_SHARE + 12, "state": "running"}, BEYOND_SHARE + 12),
        ({"state": "deferred"}, 12),
        ({"next_method": None}, 12),
        ({"dag_id": "somebody__elses"}, 12),
        ({"__tablename__": "task_instance_history"}, 12),
    ],
    ids=repr,
)
def test_only_a_task_that_waits_to_resume_is_raised_and_only_once(fields: dict[str, Any], expected: int) -> None:
    assert raised(**fields) == expected


def test_the_least_raised_weight_is_above_every_other_and_the_highest_fits_the_column() -> None:
    heaviest: Any = SimpleNamespace(dag_id="batch__spring", task_id="settle", priority_weight=1)
    run: Any = SimpleNamespace(conf={"priority": HIGHEST_PRIORITY})

    weigh(heaviest, run)

    assert heaviest.priority_weight < raised(priority_weight=BEYOND_SHARE)
    assert raised(priority_weight=heaviest.priority_weight) < 2**31


def test_a_row_of_another_kind_is_left_alone() -> None:
    weigh_resumed(None, None, object())
