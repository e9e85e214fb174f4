"""Kills at random: a farm of separate processes, a stream of short titles, and whatever the seed says dies.

``python -m benchmarks.chaos --json [--kills N --seed S]`` starts PostgreSQL and Airflow's components in a temporary
home and kills N times: a component, a task's supervisor, its process, its worker, a media tool, every connection to the
database, or the database. A reader looks at everything published all the while. The exit code is 1 where a title did
not come to exactly one end, a published version changed, a reader found a file missing or a finished rendition was
encoded again. The seed decides what is killed and when; how far the titles are by then is up to the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

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

CALM_S = (1.0, 15.0)
"""Shortest and longest time between the recovery of a component and the next kill."""
LIMIT_S = 900.0
"""How long the last titles may take to come to their ends; a lost run is settled after five minutes."""
WAITED = frozenset({*UNITS, "connections", "database"})
"""Victims whose recovery is seen from outside: every component is healthy again."""


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    parser.add_argument("--kills", type=int, default=30, help="how many (default 30, about 15 minutes on two cores)")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed and when (default 1)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="callsheet-chaos-") as folder:
        result = measure(Path(folder), kills=arguments.kills, seed=arguments.seed)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result["metrics"].items():
            print(f"{name:45} {value}")
    for each in result["violations"]:
        _say(f"VIOLATION {each}")
    return 1 if result["violations"] else 0


def measure(home: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` times on a farm of its own in ``home``."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    recoveries: list[float] = []
    began = time.monotonic()
    with farm(home / "home") as running:
        _say(f"the farm is up after {time.monotonic() - began:.0f} s")
        clip = make_clip(running.mezzanines / "short.mp4", seconds=1, size="160x90")
        with watching(running) as watch:
            stream = Stream(running, clip.as_uri(), "chaos", watch)
            for number in range(kills):
                victim, calm_s = chance.choice(VICTIMS), chance.uniform(*CALM_S)
                time.sleep(calm_s)
                try:
                    kill_when_due(running, [Kill(victim=victim)], stream.top_up)
                except TimeoutError as error:
                    raise SystemExit(f"the farm stands still: {error}") from error
                killed[victim] += 1
                at, moment = datetime.now(UTC), time.monotonic()
                if victim in WAITED:
                    time.sleep(1)  # the death has to show first
                    if not wait_until(running.healthy, LIMIT_S):
                        raise SystemExit(f"{victim} did not come back")
                    recoveries.append(time.monotonic() - moment)
                _say(f"{number + 1}/{kills} {at:%H:%M:%S} killed {victim}: {dict(states(running, stream.batches))}")
            _say("waiting for the last titles")
            rest_began = time.monotonic()
            wait_until(lambda: at_rest(running, stream.batches), LIMIT_S)
            rest_s = time.monotonic() - rest_began
        ends = states(running, stream.batches)
        wrong = [*watch.violations, *end_violations(running, stream.batches), *_blamed(running, stream.batches)]
        attempts = _attempts(running, stream.batches)
    unfinished = sum(count for state, count in ends.items() if not State(state).final)
    metrics: dict[str, float] = {
        "titles": float(ends.total()),
        "kills": float(killed.total()),
        **{f"kills_{victim.replace('-', '_')}": float(killed[victim]) for victim in VICTIMS},
        **{f"titles_{state}": float(count) for state, count in sorted(ends.items())},
        "titles_lost": float(unfinished),
        "renditions_encoded_twice": float(sum("encoded again" in each for each in wrong)),
        "violations": float(len(wrong)),
        "reader_looks": float(watch.looks),
        "component_recovery_s_p50": round(statistics.median(recoveries), 1) if recoveries else 0.0,
        "component_recovery_s_max": round(max(recoveries), 1) if recoveries else 0.0,
        "task_recovery_s_p50": round(statistics.median(attempts), 1) if attempts else 0.0,
        "task_recovery_s_max": round(max(attempts), 1) if attempts else 0.0,
        "last_titles_s": round(rest_s, 1),
        "wall_s": round(time.monotonic() - began, 1),
    }
    return {
        "benchmark": "chaos",
        "seed": seed,
        "metrics": metrics,
        "violations": wrong,
        "cores": psutil.cpu_count(),
    }


def _blamed(running: Farm, batches: list[str]) -> list[str]:
    """Titles of which a kill was taken for a fault of their mezzanine, which is sound."""
    titles = [title for batch_id in batches for title in running.catalog.titles.find(batch_id=batch_id)]
    return [f"{each.request_id} is rejected: {each.message}" for each in titles if each.state is State.REJECTED]


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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
