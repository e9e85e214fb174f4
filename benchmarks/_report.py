"""How every benchmark is run, and what it prints: one JSON object on stdout, whole or partial; progress on stderr.

``benchmark, commit, date, machine, options`` say where the figures come from, ``metrics`` has them by name. A benchmark
that cannot go on raises :class:`Stopped`; what it had measured until then is printed all the same, with ``"partial":
true`` and ``"stopped"``, which says why, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import psutil

from include.base.errors import CallsheetError
from include.base.settings import available_cores
from include.local.environment import ROOT


class Stopped(Exception):
    """A benchmark cannot go on: its stack did not start, a DAG cannot be imported, a title failed, a wait was too long.

    What it would measure from there on would be a figure of something else.
    """


@dataclass
class Report:
    """What a benchmark has found so far."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers by name; units live in the names."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else belongs into the JSON object: the titles one by one, say."""
    violations: list[str] = field(default_factory=list)
    """What must not happen and did: the figures are whole, and the exit code is 1."""


Measure = Callable[[argparse.Namespace, Report], None]
"""Measures what the options ask for, and puts each figure into the report as soon as it stands."""


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have; each adds its own."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    made.add_argument(
        "--smallest", action="store_true", help="the form that the tests run: it says that all of it works"
    )
    return made


def run(name: str, arguments: argparse.Namespace, measure: Measure) -> int:
    """Measure and print; returns the exit code: 0 where all figures are there and nothing was violated, else 1."""
    report, date, stopped = Report(), datetime.now(UTC), ""
    try:
        with _ended_politely():
            measure(arguments, report)
    except (Stopped, CallsheetError) as error:
        stopped = str(error)
    except KeyboardInterrupt as error:
        stopped = str(error) or "interrupted"
    except Exception as error:  # whatever it is: the figures so far have taken long enough
        traceback.print_exc()
        stopped = f"{type(error).__name__}: {error}"
    origin = {"benchmark": name, "commit": commit(), "date": f"{date:%Y-%m-%dT%H:%M:%SZ}", "machine": machine()}
    options = {key: _plain(value) for key, value in vars(arguments).items() if key != "json"}
    partial = {"partial": True, "stopped": stopped} if stopped else {}
    if arguments.json:
        found = {**origin, "options": options, **partial, "metrics": report.metrics, **report.details}
        print(json.dumps({**found, "violations": report.violations}), flush=True)
    else:
        _print_lines({**origin, **options, **partial}, report)
    for violation in report.violations:
        say(f"VIOLATION {violation}")
    if stopped:
        say(f"STOPPED benchmarks.{name}: {stopped}; the {len(report.metrics)} figures so far are printed as partial")
    return 1 if stopped or report.violations else 0


def say(line: str) -> None:
    """Tell people how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


def commit() -> str:
    """The commit of this project's code, with ``-dirty`` where files were changed since; ``unknown`` without git."""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def machine() -> dict[str, float]:
    """What the figures were made on."""
    return {"cores": available_cores(), "memory_gb": round(psutil.virtual_memory().total / 1024**3, 1)}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _print_lines(origin: dict[str, Any], report: Report) -> None:
    for name, value in {**origin, **report.metrics}.items():
        print(f"{name:60} {value}")


@contextmanager
def _ended_politely() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: a stack is stopped and the figures so far are printed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
