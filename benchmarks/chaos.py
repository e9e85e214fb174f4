"""Kills at random: a farm of separate processes, a stream of short titles, and whatever the seed says dies.

``python -m benchmarks.chaos --json [--kills N --seed S]`` starts PostgreSQL and Airflow's components in a temporary
home and kills N times: a component, a task's supervisor, its process, its worker, a media tool, every connection to the
database, or the database. A reader looks at everything published all the while. The exit code is 1 where a title did
not come to exactly one end, a published version changed, a reader found a file missing or a finished rendition was
encoded again. The seed decides what is killed and when; how far the titles are by then is up to the machine.

``--smallest`` takes a minute: one title, and one kill, of its worker.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks._report import Report, Stopped, parser, run, say
from include.domain.title.title import State
from tests.clips import make_clip
from tests.farm import UNITS, Farm, farm
from tests.production.chaos import (
    VICTIMS,
    Kill,
    Stream,
    at_rest,
    end_violations,
    kill_when_due,
    states,
    wait_until,
    watching,
)

LIMIT_S = 900.0
"""How long the last titles may take to come to their ends; a lost run is settled after five minutes."""
WAITED = frozenset({*UNITS, "connections", "database"})
"""Victims whose recovery is seen from outside: every component is healthy again."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is killed, and how much there is to be killed."""

    kills: int
    victims: tuple[str, ...] = VICTIMS
    calm_s: tuple[float, float] = (1.0, 15.0)
    """Shortest and longest time between the recovery of a component and the next kill."""
    ahead: int = 6
    """Titles that wait or run at any time."""


SMALLEST = Size(kills=1, victims=("worker",), calm_s=(0.0, 0.0), ahead=1)


def main(argv: Sequence[str] | None = None, *, on: Farm | None = None, mezzanine: str = "") -> int:
    """Run, on a farm of its own or on ``on`` with the mezzanine that its workers can read; returns the exit code."""
    options = parser("chaos", __doc__)
    options.add_argument("--kills", type=int, default=30, help="how many (default 30, about 15 minutes on two cores)")
    options.add_argument("--seed", type=int, default=1, help="of what is killed and when (default 1)")

    def measure(arguments: Namespace, report: Report) -> None:
        with tempfile.TemporaryDirectory(prefix="callsheet-chaos-") as folder, _running(Path(folder), report, on) as up:
            clip = mezzanine or make_clip(up.mezzanines / "short.mp4", seconds=1, size="160x90").as_uri()
            size = SMALLEST if arguments.smallest else Size(kills=arguments.kills)
            with watching(up) as watch:
                stream = Stream(up, clip, "chaos", watch, ahead=size.ahead)
                measure_kills(stream, report, size, seed=arguments.seed)
            report.metrics["reader_looks"] = float(watch.looks)
            report.violations = _violations(stream)
            report.metrics["violations"] = float(len(report.violations))

    return run("chaos", options.parse_args(argv), measure)


def measure_kills(stream: Stream, report: Report, size: Size, *, seed: int) -> None:
    """Kill while short titles keep coming, then wait for the last of them."""
    farm, chance, began = stream.farm, random.Random(seed), time.monotonic()
    killed: Counter[str] = Counter()
    recoveries: list[float] = []
    try:
        for number in range(size.kills):
            victim, pause_s = chance.choice(size.victims), chance.uniform(*size.calm_s)
            time.sleep(pause_s)
            recoveries += _kill(stream, victim)
            killed[victim] += 1
            say(f"{number + 1}/{size.kills} killed {victim}: {dict(states(farm, stream.batches))}")
            _sound(farm)
        say("waiting for the last titles")
        rest_began = time.monotonic()
        wait_until(lambda: at_rest(farm, stream.batches), LIMIT_S)
        report.metrics["last_titles_s"] = round(time.monotonic() - rest_began, 1)
    finally:
        report.metrics |= {
            "kills": float(killed.total()),
            **{f"kills_{victim.replace('-', '_')}": float(killed[victim]) for victim in VICTIMS},
            **_statistics("component_recovery_s", recoveries),
            "wall_s": round(time.monotonic() - began, 1),
        }
    ends, wrong = states(farm, stream.batches), _violations(stream)
    report.metrics |= {
        "titles": float(ends.total()),
        **{f"titles_{state}": float(count) for state, count in sorted(ends.items())},
        "titles_lost": float(sum(count for state, count in ends.items() if not State(state).final)),
        "renditions_encoded_twice": float(sum("encoded again" in said for said in wrong)),
        **_statistics("task_recovery_s", _attempts(farm, stream.batches)),
    }


def _kill(stream: Stream, victim: str) -> list[float]:
    """Kill when there is one; returns the seconds until the farm is healthy again, where that is seen from outside."""
    try:
        kill_when_due(stream.farm, [Kill(victim=victim)], stream.top_up)
    except TimeoutError as error:
        _sound(stream.farm)
        raise Stopped(f"the farm stands still: {error}") from error
    moment = time.monotonic()
    if victim not in WAITED:
        return []
    time.sleep(1)  # the death has to show first
    if not wait_until(stream.farm.healthy, LIMIT_S):
        raise Stopped(f"{victim} did not come back")
    return [time.monotonic() - moment]


def _sound(farm: Farm) -> None:
    """Raise :class:`Stopped` where a batch's DAG cannot be imported: its titles would wait for ever."""
    for error in farm.api("admin").request("GET", "/api/v2/importErrors")["import_errors"]:
        last = str(error["stack_trace"]).strip().splitlines()[-1:]
        raise Stopped(f"Airflow cannot import {error['filename']}: {' '.join(last)}")


def _violations(stream: Stream) -> list[str]:
    farm, batches = stream.farm, stream.batches
    return [*stream.watch.violations, *end_violations(farm, batches), *_blamed(farm, batches)]


def _statistics(name: str, seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"{name}_p50": round(statistics.median(seconds), 1), f"{name}_max": round(max(seconds), 1)}


@contextmanager
def _running(folder: Path, report: Report, on: Farm | None) -> Iterator[Farm]:
    if on is not None:
        yield on
        return
    began = time.monotonic()
    with farm(folder / "home") as running:
        report.metrics["start_s"] = round(time.monotonic() - began, 1)
        say(f"the farm is up after {report.metrics['start_s']} s")
        yield running


def _blamed(running: Farm, batches: list[str]) -> list[str]:
    """Titles of which a kill was taken for a fault of their mezzanine, which is sound."""
    titles = [title for batch_id in batches for title in running.catalog.titles.find(batch_id=batch_id)]
    return [f"{title.request_id} is rejected: {title.message}" for title in titles if title.state is State.REJECTED]


def _attempts(running: Farm, batches: list[str]) -> list[float]:
    """Seconds from the start of an attempt that came to nothing to the start of the next one."""
    found = []
    for batch_id in batches:
        for title in running.catalog.titles.find(batch_id=batch_id):
            started: dict[tuple[str | None, str | None], datetime] = {}
            for event in running.catalog.history.events(request_id=title.request_id, limit=5000):
                name = (event.task, event.item)
                if event.kind == "task.finished":
                    started.pop(name, None)
                elif event.kind == "task.started":
                    if name in started:
                        found.append((event.at - started[name]).total_seconds())
                    started[name] = event.at
    return found


if __name__ == "__main__":
    sys.exit(main())
