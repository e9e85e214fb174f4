"""What a benchmark prints, whole or partial, and what ``python -m benchmarks`` makes of all of them."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as every
from benchmarks import order
from benchmarks._report import Measure, Report, Stopped, parser, run
from include.base.errors import ConfigurationError
from include.local import stack as local_stack
from include.local.environment import ROOT
from tests.benchmarks.smallest import SMALLEST, printed


def measured(measure: Measure, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object, and what was said."""
    code = run("example", parser("example", None).parse_args(["--json"]), measure)
    out, said = capsys.readouterr()
    return code, printed(out), said


def stops(error: BaseException) -> Measure:
    def measure(_: Namespace, report: Report) -> None:
        report.metrics["first"] = 1.5
        raise error

    return measure


def test_every_benchmark_has_a_smallest_form_that_a_test_runs() -> None:
    assert set(every.NAMES) == set(SMALLEST)
    for name, path in SMALLEST.items():
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), path
        assert "``--smallest``" in (importlib.import_module(f"benchmarks.{name}").__doc__ or ""), name


def test_a_whole_report_says_where_its_figures_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(_: Namespace, report: Report) -> None:
        report.metrics["titles_per_hour"] = 12.0
        report.details["titles"] = ["one", "two"]

    code, found, said = measured(measure, capsys)

    assert code == 0
    assert said == ""
    assert found["benchmark"] == "example"
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", found["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gb"] > 0
    assert found["options"] == {"smallest": False}
    assert found["metrics"] == {"titles_per_hour": 12.0}
    assert found["titles"] == ["one", "two"]
    assert "partial" not in found
    assert "stopped" not in found


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Stopped("t1 ended as failed: no frames"), "t1 ended as failed: no frames"),
        (ConfigurationError("Callsheet's plugin did not load"), "Callsheet's plugin did not load"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=["stopped", "configuration", "fault", "interrupted"],
)
def test_a_benchmark_that_cannot_go_on_says_why_and_prints_what_it_has(
    error: BaseException, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, said = measured(stops(error), capsys)

    assert code == 1
    assert found["partial"] is True
    assert found["stopped"] == why
    assert found["metrics"] == {"first": 1.5}
    assert f"STOPPED benchmarks.example: {why}" in said


def test_sigterm_ends_a_benchmark_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def measure(_: Namespace, report: Report) -> None:
        report.metrics["first"] = 1.5
        os.kill(os.getpid(), signal.SIGTERM)
        report.metrics["second"] = 2.5

    code, found, _ = measured(measure, capsys)

    assert code == 1
    assert found["stopped"] == "ended by SIGTERM"
    assert "first" in found["metrics"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_violation_fails_a_benchmark_whose_figures_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(_: Namespace, report: Report) -> None:
        report.violations.append("a rendition was encoded again")

    code, found, said = measured(measure, capsys)

    assert code == 1
    assert "partial" not in found
    assert found["violations"] == ["a rendition was encoded again"]
    assert "VIOLATION a rendition was encoded again" in said


def test_without_json_a_line_for_each_figure_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("example", parser("example", None).parse_args([]), stops(Stopped("no more")))

    out, _ = capsys.readouterr()
    assert code == 1
    assert re.search(r"^first +1\.5$", out, re.MULTILINE)
    assert re.search(r"^partial +True$", out, re.MULTILINE)
    assert re.search(r"^stopped +no more$", out, re.MULTILINE)


def test_a_stack_that_does_not_start_stops_a_benchmark_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_stack.sys, "executable", "/bin/false")

    code = order.main(["--json", "--smallest", "--only", "lag"])

    out, said = capsys.readouterr()
    assert code == 1
    assert "Airflow ended while starting (1)" in printed(out)["stopped"]
    assert "STOPPED benchmarks.order: Airflow ended while starting (1)" in said


def test_all_benchmarks_run_in_turn_and_partial_figures_do_not_replace_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"benchmark": "good", "metrics": {"titles": 3.0}}
    partial = {"benchmark": "bad", "partial": True, "stopped": "t1 failed", "metrics": {"titles": 1.0}}
    answers = {"good": (0, json.dumps(whole)), "bad": (1, json.dumps(partial)), "ugly": (2, "")}
    asked: list[list[str]] = []

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        code, out = answers[command[2].removeprefix("benchmarks.")]
        return subprocess.CompletedProcess(command, code, stdout=out)

    monkeypatch.setattr(every, "NAMES", ["bad", "good", "ugly"])
    monkeypatch.setattr(every.subprocess, "run", answer)
    (tmp_path / "bad.json").write_text("figures of an earlier day")

    assert every.main(["--smallest", "--results", str(tmp_path)]) == 1

    assert [command[1:] for command in asked] == [
        ["-m", f"benchmarks.{name}", "--json", "--smallest"] for name in ("bad", "good", "ugly")
    ]
    assert json.loads((tmp_path / "good.json").read_text()) == whole
    assert json.loads((tmp_path / "bad.partial.json").read_text()) == partial
    assert (tmp_path / "bad.json").read_text() == "figures of an earlier day"
    out, _ = capsys.readouterr()
    assert "t1 failed" in out
    assert "failed with 2" in out


@pytest.mark.parametrize("extra", [(), ("--validate", "2")], ids=["simulated", "validated"])
def test_the_farm_prints_one_object_on_stdout_and_progress_on_stderr(extra: tuple[str, ...], tmp_path: Path) -> None:
    chart = tmp_path / "farm.png"
    command = [sys.executable, "-m", "benchmarks.farm", "--json", "--smallest", "--chart", str(chart), *extra]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    found = printed(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stderr
    assert found["benchmark"] == "farm"
    assert found["options"]["smallest"] is True
    if extra:
        assert found["metrics"]["validation_jobs"] == 2
        assert found["metrics"]["validation_real_makespan_s"] > 0
    else:
        for kind in ("even", "bursts"):
            assert chart.with_stem(f"farm_{kind}").stat().st_size > 10_000
            assert found["metrics"][f"{kind}_0_9_premium_callsheet_titles"] > 0
            assert found["metrics"][f"{kind}_0_7_fifo_least_decile_p99_h"] > 0


def test_the_forecast_benchmark_takes_a_title_through_its_tasks() -> None:
    argv = [sys.executable, "-m", "benchmarks.forecast", "--json", "--smallest"]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    figures = printed(done.stdout)["metrics"]
    for task in ("prepare", "extras", "finish"):
        assert figures[f"1s_{task}_cpu_s"] > 0.3
        assert figures[f"1s_{task}_forecast_cpu_s"] > 0.3
