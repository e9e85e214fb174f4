"""Which tasks of a title run when others fail or have nothing to do: Airflow's scheduler decides, on its own tables."""

from __future__ import annotations

import pytest

from tests.orchestration.own_airflow import told_by

LISTS = ("encode_gpu_jobs", "encode_rest_cpu_jobs", "encode_rest_gpu_jobs", "first_asked")
ALONE = ("prepare", "plan", "extras", "encode_done", "first_done", "finish", "publish", "settle", *LISTS)
NO_FIRST = dict.fromkeys(("first", "first_finish", "first_publish", "encode_rest_cpu", "encode_rest_gpu"), "skipped")
DONE = {**dict.fromkeys(ALONE, "success"), **NO_FIRST}
"""The whole of a title but its mapped encodes, without a first version."""
WITH_FIRST = {**dict.fromkeys((*ALONE, "first.0", "first_finish", "first_publish"), "success"),
              "encode_cpu.0": "success", "encode_gpu": "skipped",
              "encode_rest_cpu.0": "success", "encode_rest_gpu": "skipped"}  # fmt: skip
"""The whole of a title with one core rung and another, on CPUs."""
NOTHING_PLANNED = {
    **dict.fromkeys((*LISTS, *NO_FIRST, "encode_cpu", "encode_gpu", "finish", "publish"), "upstream_failed")
}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """States of all tasks of each title."""
    found: dict[str, dict[str, str]] = told_by("shape.py", tmp_path_factory.mktemp("shape"))
    return found


@pytest.mark.parametrize(
    ("title", "differs"),
    [
        ("slow", {"encode_cpu.0": "success", "encode_cpu.1": "success", "encode_gpu": "skipped"}),
        ("cpu_only", {"encode_cpu.0": "success", "encode_cpu.1": "success", "encode_gpu": "skipped"}),
        ("gpu_only", {"encode_cpu": "skipped", "encode_gpu.0": "success", "encode_gpu.1": "success"}),
        ("both", {"encode_cpu.0": "success", "encode_gpu.0": "success", "encode_gpu.1": "success"}),
        ("one_rendition_failed",
         {"encode_cpu.0": "success", "encode_cpu.1": "failed", "encode_gpu.0": "success"}),
        ("every_rendition_failed", {"encode_cpu.0": "failed", "encode_gpu.0": "failed"}),
        # Failed before the gate was skipped: the same to what follows.
        ("no_sound", {"encode_cpu.0": "success", "encode_gpu.0": "success", "extras": "failed",
                      **dict.fromkeys(("first_finish", "first_publish", "encode_rest_cpu", "encode_rest_gpu",
                                       "finish", "publish"), "upstream_failed")}),
        ("no_plan", {**NOTHING_PLANNED, "plan": "failed"}),
        ("rejected", {**NOTHING_PLANNED, "prepare": "failed", "plan": "upstream_failed", "extras": "upstream_failed"}),
    ],
)  # fmt: skip
def test_empty_encodes_sink_nothing_failed_ones_leave_it_to_the_checks_and_every_title_is_settled(
    title: str, differs: dict[str, str], states: dict[str, dict[str, str]]
) -> None:
    assert ends(states[title]) == {**DONE, **differs}


@pytest.mark.parametrize(
    ("title", "differs"),
    [
        ("first", {"encode_rest_cpu.1": "success", "encode_rest_gpu": None, "encode_rest_gpu.0": "success"}),
        ("first_on_gpu", {"encode_cpu.0": None, "encode_cpu": "skipped", "encode_gpu": None,
                          "encode_gpu.0": "success"}),
        ("first_lacks_its_core", {"encode_cpu.0": "failed", "first_finish": "failed",
                                  "first_publish": "upstream_failed", "finish": "failed",
                                  "publish": "upstream_failed"}),
        ("first_is_not_published", {"first_publish": "failed"}),
        ("rest_failed", {"encode_rest_cpu.0": "failed", "finish": "failed", "publish": "upstream_failed"}),
        ("first_without_sound", dict.fromkeys(("first_finish", "first_publish", "encode_rest_cpu", "encode_rest_gpu",
                                               "finish", "publish"), "upstream_failed")
                                | {"extras": "failed", "encode_rest_cpu.0": None}),
    ],
)  # fmt: skip
def test_a_first_version_has_tasks_of_its_own_and_its_failure_leaves_the_whole_set_to_itself(
    title: str, differs: dict[str, str | None], states: dict[str, dict[str, str]]
) -> None:
    wanted = {**WITH_FIRST, **differs}
    assert ends(states[title]) == {name: state for name, state in wanted.items() if state is not None}


def test_the_other_encodes_begin_with_the_first_version_s_checks_and_the_whole_set_behind_its_publication(
    states: dict[str, dict[str, str]],
) -> None:
    at = begins(states["first"])

    assert max(at["extras"], at["encode_cpu.0"]) < at["first_finish"]
    assert at["first_finish"] == at["encode_rest_cpu.0"] == at["encode_rest_gpu.0"]
    assert at["first_publish"] < at["finish"]


def test_a_title_without_a_first_version_waits_for_nothing_of_it(states: dict[str, dict[str, str]]) -> None:
    at = begins(states["slow"])

    # All of it is skipped while the encodes run: their join is what the finish waits for.
    assert max(at[name] for name in ("first_done", *NO_FIRST)) < at["encode_done"]
    assert int(at["finish"]) == int(at["encode_done"]) + 1
    assert at["encode_cpu.0"] == begins(states["cpu_only"])["encode_cpu.0"] == at["first_asked"]


def ends(found: dict[str, str]) -> dict[str, str]:
    return {name: state for name, state in found.items() if not name.startswith("at.")}


def begins(found: dict[str, str]) -> dict[str, str]:
    """The scheduler's look at which a task was given a state for the first time."""
    return {name.removeprefix("at."): moment for name, moment in found.items() if name.startswith("at.")}
