"""Benchmarks of a stack in their smallest form, on the session's stack; that of kills stands in tests/production."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import orchestration, order, premium
from include.base.settings import Settings
from include.services.upgrade import foreign_batches
from tests.benchmarks.smallest import printed
from tests.stack import LiveStack


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Runs a benchmark; returns exit code, JSON object and what was said."""

    def run(main: Callable[..., int], *options: str, **on: Any) -> tuple[int, dict[str, Any], str]:
        code = main(["--json", "--smallest", *options], **on)
        out, said = capsys.readouterr()
        return code, printed(out), said

    return run


def test_orchestration_measures_a_title_and_batches(live: LiveStack, measured: Any) -> None:
    code, found, said = measured(orchestration.main, on=live.settings)

    metrics = found["metrics"]
    assert (code, found.get("stopped")) == (0, None)
    assert "short-0: visible" in said
    assert 0 < metrics["request_to_dag_visible_s_median"] < metrics["request_to_playable_1s_clip_s_median"]
    assert metrics["request_to_first_encode_s_median"] < metrics["request_to_playable_1s_clip_s_median"]
    # What the idle stack would have used is subtracted, and a look of a second at it says little.
    assert {"stack_cpu_s_per_title_median", "idle_stack_cpu_share"} <= metrics.keys()
    assert found["stack_cpu_s_by_title"] == [metrics["stack_cpu_s_per_title_max"]]
    assert metrics["stack_peak_memory_mb"] > 100
    assert metrics["parse_3_batches_first_s"] > 0
    assert metrics["visible_beside_3_batches_s"] > 0
    assert metrics["import_errors"] == 0


def test_orchestration_measures_a_batch_of_titles(live: LiveStack, measured: Any) -> None:
    code, found, _ = measured(orchestration.main, "--only", "batch", on=live.settings)

    assert (code, found.get("stopped")) == (0, None)
    assert found["metrics"]["batch_2_published"] == 2
    assert found["metrics"]["batch_2_not_final"] == 0


def test_a_batch_that_airflow_cannot_import_stops_a_benchmark(
    live: LiveStack, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestration, "current_pipelines", lambda: {"vod": SimpleNamespace(version=99)})
    before = {stub.batch_id for stub in foreign_batches(live.catalog)}

    try:
        code, found, said = measured(orchestration.main, "--repeats", "0", on=live.settings)
    finally:
        retire_unknown_batches(live, but=before)

    assert code == 1
    assert found["partial"] is True
    assert "Airflow cannot import" in found["stopped"]
    assert "vod v99" in found["stopped"]
    assert "STOPPED benchmarks.orchestration: Airflow cannot import" in said
    assert found["metrics"]["idle_stack_cpu_share"] >= 0


def test_a_title_that_is_not_published_stops_a_benchmark(
    live: LiveStack, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbage(settings: Settings) -> Path:
        clip = settings.mezzanine_roots[0] / "garbage.mp4"
        clip.write_bytes(b"no video" * 1000)
        return clip

    monkeypatch.setattr(order, "tiny_clip", garbage)

    code, found, _ = measured(order.main, "--only", "waiting", on=live.settings)

    assert code == 1
    assert found["partial"] is True
    assert "idle0/idle0 ended as rejected" in found["stopped"]


def test_a_stack_that_is_not_up_stops_a_benchmark(tmp_path: Path, measured: Any) -> None:
    code, found, _ = measured(order.main, on=Settings(home=tmp_path))

    assert code == 1
    assert found["stopped"] == f"no stack runs in {tmp_path}"


def test_order_measures_lag_and_the_way_to_a_score(live: LiveStack, measured: Any) -> None:
    for part, metric in (("lag", "first_task_s_beside_0_runs"), ("readable", "score_readable_worst_s")):
        code, found, _ = measured(order.main, "--only", part, on=live.settings)

        assert (code, found.get("stopped")) == (0, None)
        assert 0 < found["metrics"][metric] < 60


def test_premium_measures_one_title(live: LiveStack, measured: Any) -> None:
    code, found, _ = measured(premium.main, on=live.settings)

    assert (code, found.get("stopped")) == (0, None)
    assert found["metrics"]["turnaround_s_policy"] > 1
    assert 50 < found["metrics"]["vmaf_policy"] <= 100
    assert found["metrics"]["encode_cpu_s_policy"] > 0


def retire_unknown_batches(live: LiveStack, *, but: set[str]) -> None:
    """Take batches of an unknown version away, except those of another test: their import errors are none of its."""
    for stub in foreign_batches(live.catalog):
        if stub.batch_id not in but:
            assert live.catalog.batches.retire(stub.batch_id, datetime.now(UTC))
