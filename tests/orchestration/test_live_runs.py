"""Runs that are under way follow the catalog: weights, conf and Airflow's own deadline, on its own database."""

from __future__ import annotations

from typing import Any

import pytest

from include.orchestration.weights import RESUMED
from include.orchestration.weights import weight_of as weigh_step
from tests.orchestration.own_airflow import told_by
from tests.orchestration.steps import STEPS, step


def weight_of(priority: int, task_id: str, *, beyond_share: bool = False) -> int:
    return weigh_step(priority, step(task_id), beyond_share=beyond_share)


WITHIN, BEYOND = (weight_of(900, "encode_cpu", beyond_share=beyond) for beyond in (False, True))
"""Weights of an encode within its title's share of the slots, which is two, and of one beyond it."""
SEEN_ONCE = {"found": True, "task_instances": 0, "deadline_moved": False}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was told to four titles' runs, and what the database held before and after."""
    found: dict[str, Any] = told_by("telling.py", tmp_path_factory.mktemp("telling"))
    return found


def test_a_released_run_is_told_once_and_knows_it_all_already(seen: dict[str, Any]) -> None:
    assert sorted(seen["first"]) == ["due", "free", "gone", "missed"]
    for name in ("free", "missed"):
        assert seen["first"][name].items() >= SEEN_ONCE.items()
    assert seen["third"] == {}


def test_a_run_that_airflow_does_not_have_holds_up_no_other(seen: dict[str, Any]) -> None:
    assert seen["first"]["gone"]["found"] is False
    assert "gone" not in seen["second"]


def test_a_new_priority_weighs_what_has_not_started_and_leaves_what_has(seen: dict[str, Any]) -> None:
    before, after = (seen[when]["due"]["weights"] for when in ("before", "after"))

    assert {before[task] for task in ("prepare", "plan")} == {weight_of(100, "prepare"), weight_of(100, "plan")}
    assert (after["prepare"], after["plan"]) == (before["prepare"], before["plan"])
    for task in after.keys() - {"prepare", "plan", "extras"}:
        assert after[task] == weight_of(900, task), task
    assert {"finish", "publish", "settle"} <= after.keys() & STEPS.keys()
    assert seen["second"]["due"]["task_instances"] == len(after) - 2


def test_a_task_that_resumes_keeps_its_raise(seen: dict[str, Any]) -> None:
    assert seen["before"]["due"]["weights"]["extras"] == RESUMED + weight_of(100, "extras")
    assert seen["after"]["due"]["weights"]["extras"] == RESUMED + weight_of(900, "extras")


def test_encodes_that_are_expanded_later_have_the_new_weight_and_those_beyond_the_share_wait(
    seen: dict[str, Any],
) -> None:
    assert seen["expanded"] == [WITHIN, WITHIN, BEYOND, BEYOND]


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("due", [["due", False]], [["sooner", False]]),
        ("free", [], [["sooner", False]]),
        ("missed", [["due", True]], [["sooner", False], ["due", True]]),
    ],
)
def test_airflow_s_own_deadline_moves_with_the_title_s(
    name: str, was: list[Any], becomes: list[Any], seen: dict[str, Any]
) -> None:
    def rows(which: list[Any]) -> list[Any]:
        return [[seen[moment], missed] for moment, missed in which]

    assert seen["before"][name]["deadlines"] == rows(was)
    assert seen["after"][name]["deadlines"] == rows(becomes)
    assert seen["after"][name]["conf"]["publish_at"] == seen["sooner"]
    assert seen["after"][name]["conf"]["request_id"] == f"spring/{name}"
    assert seen["second"][name]["deadline_moved"] is True


def test_telling_the_same_again_changes_nothing(seen: dict[str, Any]) -> None:
    assert list(seen["again"]) == ["due"]
    assert seen["again"]["due"].items() >= SEEN_ONCE.items()
    assert seen["unchanged"] is True


@pytest.mark.parametrize(
    ("moment", "weights", "changed"),
    [
        ("waiting", [WITHIN, WITHIN, BEYOND, BEYOND], 0),
        ("full", [WITHIN, WITHIN, BEYOND, BEYOND], 0),
        ("ending", [WITHIN, WITHIN, WITHIN, BEYOND], 1),
        ("ended", [WITHIN, WITHIN, WITHIN, BEYOND], 0),
        ("resumes", [WITHIN, RESUMED + WITHIN, WITHIN, BEYOND], 0),
    ],
)
def test_the_next_encode_comes_in_where_one_of_its_title_ends(
    moment: str, weights: list[int], changed: int, seen: dict[str, Any]
) -> None:
    assert seen["shares"][moment] == weights
    assert seen["shares"][f"{moment}_changed"] == [changed, 0]


def test_encodes_that_fail_or_wait_for_their_next_attempt_hold_no_slot(seen: dict[str, Any]) -> None:
    assert seen["shares"]["told"][2:] == [weight_of(950, "encode_cpu")] * 2
