"""Upgrades at random: the release of before works on a home, dies at a moment that the seed says, and today's goes on.

``python -m benchmarks.upgrade --json [--stops N --seed S --kept FILE]`` does so N times, each with a home of its own
(``tests/upgrade/home.py``). Two of ten are filled: every state of a title occurs, and the stop comes within 40 s. In
the others five titles are at work, and the stop comes after a number of their events. Two of five homes lie beside
PostgreSQL and an S3 store, the others beside SQLite and a folder; ``--beside`` takes only those of one kind. The exit
code is 1 where a title did not come to its end, a finished rendition was encoded again, or anything else of
``tests/upgrade/looks.py`` did not hold. ``--kept`` names a file with a line for each stop that is done: a run with the
same file goes on where the one before ended.

``--smallest`` takes some minutes: one stop, with every title still in its state.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._report import Report, parser, run, say
from tests.upgrade import looks
from tests.upgrade.home import EVENTS, AtStop, Home, fill, old_home, stop, upgrade, work
from tests.upgrade.past import FROM, LAST, Past, unpack
from tests.upgrade.services import BESIDE, FILES, SERVICES

LONGEST_S = 40.0
"""How long the release of before goes on, at most: by then its last encodes are done and published."""
SERVICES_OF_FIVE = (1, 3)
"""Which stops of five are beside services, by their numbers."""
FILLED_OF_TEN = (0, 1)
"""Which stops of ten are of a filled home."""
COUNTED = ("titles", "titles_under_way", "titles_lost", "renditions_finished", "renditions_encoded_twice")
LONGEST = ("start_s", "last_end_s")


def main(argv: Sequence[str] | None = None, *, on: tuple[Home, AtStop] | None = None) -> int:
    """Run, on homes of its own or with one look at ``on``, which has been upgraded; returns the exit code."""
    options = parser("upgrade", __doc__)
    options.add_argument("--stops", type=int, default=20, help="how many (default 20, some 5 minutes each)")
    options.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    options.add_argument("--release", choices=tuple(FROM), default=LAST, help=f"the release of before (default {LAST})")
    options.add_argument("--beside", choices=BESIDE, help="only the stops of such homes (default: of both)")
    options.add_argument("--kept", type=Path, help="file with a line for each stop that is done")

    def measure(arguments: Namespace, report: Report) -> None:
        report.details["from"] = FROM[arguments.release]
        if on is not None:
            enter(report, [{"number": 0, **found(*on)}])
            return
        measure_stops(arguments, report)

    return run("upgrade", options.parse_args(argv), measure)


def measure_stops(arguments: Namespace, report: Report) -> None:
    """One home after the other; what each has shown is in the report, and in the kept file, before the next begins."""
    origin = {"release": arguments.release, "seed": arguments.seed}
    done = _kept(arguments.kept, origin)
    enter(report, done)
    with tempfile.TemporaryDirectory(prefix="callsheet-upgrade-") as folder:
        past = unpack(Path(folder) / "past", arguments.release)
        for number in range(1 if arguments.smallest else arguments.stops):
            beside = SERVICES if number % 5 in SERVICES_OF_FIVE else FILES
            if number in {each["number"] for each in done} or arguments.beside not in (None, beside):
                continue
            chance = random.Random(f"{arguments.seed}.{number}")
            moment: dict[str, Any] = {"after_s": 0.0 if arguments.smallest else round(chance.uniform(0, LONGEST_S), 1)}
            if number % 10 not in FILLED_OF_TEN:
                moment = {"events": chance.randrange(EVENTS), "after_s": round(chance.uniform(0, 1), 1)}
            shown = {**_one(Path(folder) / str(number), past, beside, **moment), **moment, "beside": beside}
            one = {**origin, "number": number, **shown}
            done.append(one)
            enter(report, done)
            say(f"stop {number}: {json.dumps(one)}")
            if arguments.kept:
                with arguments.kept.open("a") as file:
                    file.write(json.dumps(one) + "\n")


def found(home: Home, at_stop: AtStop) -> dict[str, Any]:
    """What a home shows on which today's release has gone on: counts, and all that is wrong."""
    lost, twice = looks.ends(home), looks.encoded_twice(home, at_stop.finished)
    others = [*looks.versions(home), *looks.webhooks(home), *looks.moved(home, at_stop.under_way)]
    return {
        "titles": len(home.expected.ends),
        "titles_under_way": len(at_stop.under_way),
        "titles_lost": len(lost),
        "renditions_finished": len(at_stop.finished),
        "renditions_encoded_twice": len(twice),
        "wrong": [*lost, *twice, *others, *looks.api_views(home), *looks.import_errors(home), *looks.task_logs(home)],
    }


def enter(report: Report, done: list[dict[str, Any]]) -> None:
    """The sums over all stops so far."""
    report.metrics["stops"] = float(len(done))
    report.metrics["stops_beside_services"] = float(sum(each.get("beside") == SERVICES for each in done))
    for name in COUNTED:
        report.metrics[name] = float(sum(each[name] for each in done))
    for name in LONGEST:
        report.metrics[f"{name}_max"] = max((each.get(name, 0.0) for each in done), default=0.0)
    report.violations = [f"stop {each['number']}: {wrong}" for each in done for wrong in each["wrong"]]
    report.metrics["violations"] = float(len(report.violations))


def _one(folder: Path, past: Past, beside: str, *, after_s: float, events: int | None = None) -> dict[str, Any]:
    """One home, one stop, one upgrade, and what it shows after it."""
    folder.mkdir()
    wrong: list[str] = []
    with old_home(folder, past, beside) as home:
        if events is None:
            fill(home)
        else:
            work(home, events)
        at_stop = stop(home, after_s=after_s, open_gates=after_s > 0)
        begun = time.monotonic()
        upgrade(home)
        start_s = time.monotonic() - begun
        wrong += looks.steering(home)
        try:
            looks.go_on(home)
            home.tell()
        except TimeoutError as error:
            wrong.append(str(error))
        end_s = time.monotonic() - begun
        one = found(home, at_stop)
    return {
        **one,
        "wrong": [*wrong, *one["wrong"]],
        "start_s": round(start_s, 1),
        "last_end_s": round(end_s, 1),
    }


def _kept(file: Path | None, origin: dict[str, Any]) -> list[dict[str, Any]]:
    """Stops of this release and this seed that an earlier run has done."""
    if file is None or not file.exists():
        return []
    done = [json.loads(line) for line in file.read_text().splitlines()]
    return [each for each in done if origin.items() <= each.items()]


if __name__ == "__main__":
    raise SystemExit(main())
