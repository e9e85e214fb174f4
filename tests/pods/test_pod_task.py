"""A worker's pod from the task that starts it to its end, with the provider's own operator, trigger and hooks."""

from __future__ import annotations

import pytest

from include.pipelines.runner import result_key
from tests.pods.bench import Bench


def test_a_task_runs_in_a_pod_and_its_results_are_in_the_store(bench: Bench) -> None:
    assert bench.attempt() is None

    assert bench.store.size(result_key(bench.title.job(), "look"))
    assert bench.told() == ["task.started", "task.finished"]
    assert bench.pods() == []
