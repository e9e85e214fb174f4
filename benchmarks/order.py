"""How quickly value becomes order: lag by active runs, a premium title beside thousands, score and verdict readable.

``python -m benchmarks.order --json`` starts stacks of its own in a temporary home; takes about 35 minutes on two cores.
Run it on a quiet machine: all figures are wall time. ``--only`` measures one part, each within a quarter of an hour:

- ``lag``: a run of the highest weight beside N active runs; the release window follows from it.
- ``waiting``: a new premium title's first task on an idle stack, on one that works, and on one where thousands wait.
- ``readable``: from the POST to score and verdict in the API, while the slots encode and thousands wait.

``--smallest`` takes a minute: each part once, on an idle stack, where nothing waits or runs beside what is measured.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks._report import Report, parser, run, say
from benchmarks._stack import Bench, looped, running, tiny_clip
from include.adapters.airflow_api import DagUnknown
from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.cli.client import BASE, Client
from include.cli.demo import fetch_clips
from include.domain.title.request import MAX_TITLES, parse_batch
from include.domain.title.title import State
from include.pipelines.core import current_pipelines
from include.services.valuation import value_batch

PARTS = ("lag", "waiting", "readable")
WINDOWS = (0, 4, 8, 16, 32, 64, 128)
WAITING = 5_000
FEW = 60
"""Waiting titles that keep a stack at work while a few latencies are measured."""
REQUESTS = 100
REPEATS = 5
LIMIT_S = 300.0
FAR_AWAY = "2100-01-01T00:00:00Z"
SMALL = {"width": 176, "height": 144, "frame_rate": 30000 / 1001}
LARGE = {"duration_s": 5.3, "width": 1280, "height": 720, "frame_rate": 25.0}
"""The CMS tells of its files what it knows: without it all titles count as long as is typical, whatever they are."""


def main(argv: Sequence[str] | None = None, *, on: Settings | None = None) -> int:
    """Run, on stacks of its own or on the one that runs with the settings ``on``; returns the exit code."""
    options = parser("order", __doc__)
    options.add_argument("--only", choices=PARTS, help="one part")
    options.add_argument("--windows", default=",".join(map(str, WINDOWS)), help="numbers of active runs, growing")
    options.add_argument("--waiting", type=int, default=WAITING, help="titles that wait")
    options.add_argument("--requests", type=int, default=REQUESTS, help="POSTs of which score and verdict are timed")
    options.add_argument("--repeats", type=int, default=REPEATS, help="measurements of each latency")
    arguments = options.parse_args(argv)
    if arguments.smallest:
        arguments.windows, arguments.waiting, arguments.requests, arguments.repeats = "0", 0, 2, 1

    def measure(arguments: Namespace, report: Report) -> None:
        parts = {"lag": measure_lag, "waiting": measure_waiting, "readable": measure_readable}
        with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
            for name in [arguments.only] if arguments.only else PARTS:
                parts[name](Path(folder) / name, arguments, report, on=on)

    return run("order", arguments, measure)


def measure_lag(home: Path, arguments: Namespace, report: Report, *, on: Settings | None) -> None:
    """From the trigger of a run of the highest weight with free slots to its first task, beside N active runs.

    The active runs are titles whose first task waits for a slot that never comes.
    """
    settings = on or Settings(home=home, release_window=200)
    windows = [int(number) for number in arguments.windows.split(",")]
    with running(settings, report, on=on) as bench:
        if max(windows) > 0:
            pool = {"pool": "cpu_encode", "slots": 0, "include_deferred": True}
            bench.api.request("PATCH", "/api/v2/pools/cpu_encode", json=pool, params={"update_mask": "slots"})
        active = 0
        for number in windows:
            if number > active:
                batch_id = f"active{number}"
                _enter(bench, batch_id, number - active, mezzanine=home / "nothing.mp4", source=LARGE)
                bench.until(partial(bench.api.knows_dag, f"batch__{batch_id}"), f"the DAG of {batch_id}")
                # It comes each minute anyway, which is long for a benchmark.
                bench.api.trigger("dispatch", batch_id, conf={}, logical_date=datetime.now(UTC))
                bench.until(partial(_at_least, number, bench), f"{number} active runs", limit_s=LIMIT_S)
                active = number
                time.sleep(10)  # until the scheduler has seen them all
            lags = [_probe(bench, f"probe{number}-{turn}") for turn in range(arguments.repeats)]
            report.metrics |= _statistics(lags, f"beside_{number}_runs")
            say(f"{number} active runs: first task after {statistics.median(lags):.2f} s, at worst {max(lags):.2f} s")


def measure_waiting(home: Path, arguments: Namespace, report: Report, *, on: Settings | None) -> None:
    """A premium title's first task: on an idle stack, on one at work, and beside thousands that wait.

    The stack at work with few that wait tells what the work costs from what the waiting costs.
    """
    # More slots than the titles of the window can use: whether one is free is not what is measured.
    settings = on or Settings(home=home, release_window=4, encode_slots=10)
    masses = [("idle", 0)]
    if arguments.waiting:
        masses += [("at_work", FEW), ("beside_waiting", arguments.waiting)]
    with running(settings, report, on=on) as bench:
        folder = settings.mezzanine_roots[0]
        # One rung: such a title never uses more than two slots.
        short = tiny_clip(settings)
        if arguments.waiting:
            short = fetch_clips(folder / "demo", say=say)["carphone_pristine.mp4"]
            minute = looped(settings, short, folder / "minute.mp4", seconds=60)
            time.sleep(10)
        for name, mass in masses:
            if mass:
                _enter_all(bench, name.replace("_", ""), mass, mezzanine=minute, source={**SMALL, "duration_s": 60})
                _until_window_is_full(bench)
            lags = [_first_task(bench, f"{name}{turn}", short) for turn in range(arguments.repeats)]
            report.metrics |= _statistics(lags, name)
            say(f"{name}: a premium title's first task after {statistics.median(lags):.2f} s, "
                f"at worst {max(lags):.2f} s")  # fmt: skip
        report.metrics["titles_waiting"] = float(_waiting(bench.catalog))


def measure_readable(home: Path, arguments: Namespace, report: Report, *, on: Settings | None) -> None:
    """From the POST of a title to its score and verdict in the API, while all slots encode and thousands wait."""
    settings = on or Settings(home=home)
    with running(settings, report, on=on) as bench:
        clip = tiny_clip(settings)
        if arguments.waiting:
            clip = fetch_clips(settings.mezzanine_roots[0] / "demo", say=say)["bigbuckbunny.mp4"]
            _enter_all(bench, "mass", arguments.waiting, mezzanine=clip, source=LARGE)
            _until_window_is_full(bench)
            bench.until(lambda: _encoded(bench.catalog) > 0, "the first encode", limit_s=LIMIT_S)
        before, began = _encoded(bench.catalog), time.monotonic()
        readable: list[float] = []
        for turn in range(arguments.requests):
            name = f"quoted{turn}"
            readable.append(_readable(bench, name, clip, wait=not arguments.waiting))
            report.metrics["requests"] = float(turn + 1)
            report.metrics |= _percentiles(sorted(readable))
            if not arguments.waiting:
                bench.cancel(name)
            if (turn + 1) % 20 == 0:
                say(f"{turn + 1} of {arguments.requests} requests, the last {readable[-1]:.1f} s")
        took_s = time.monotonic() - began
        report.metrics["titles_waiting_meanwhile"] = float(_waiting(bench.catalog))
        report.metrics["encodes_meanwhile"] = float(_encoded(bench.catalog) - before)
        say(f"score and verdict readable after {report.metrics['score_readable_p50_s']} s (p50), "
            f"{report.metrics['score_readable_p99_s']} s (p99); {report.metrics['encodes_meanwhile']:.0f} encodes in "
            f"the {took_s:.0f} s")  # fmt: skip


def _percentiles(ordered: Sequence[float]) -> dict[str, float]:
    return {
        "score_readable_p50_s": round(statistics.median(ordered), 2),
        "score_readable_p99_s": round(ordered[math.ceil(0.99 * len(ordered)) - 1], 2),
        "score_readable_worst_s": round(ordered[-1], 2),
    }


def _statistics(lags: list[float], where: str) -> dict[str, float]:
    return {
        f"first_task_s_{where}": round(statistics.median(lags), 2),
        f"first_task_best_s_{where}": round(min(lags), 2),
        f"first_task_worst_s_{where}": round(max(lags), 2),
    }


def _probe(bench: Bench, name: str) -> float:
    """Seconds until the first task of a run of ``intake`` starts; the request in it is refused."""
    asked = datetime.now(UTC)
    run_id = f"{name}-{asked:%H%M%S}"
    bench.api.trigger("intake", run_id, conf={"batch_id": name, "titles": []}, logical_date=asked)
    started: list[datetime] = []

    def has_started() -> bool:
        tasks = bench.api.task_instances("intake", run_id)
        starts = [task["start_date"] for task in tasks if task["task_id"] == "accept" and task["start_date"]]
        started.extend(map(datetime.fromisoformat, starts))
        return bool(started)

    bench.until(has_started, f"the first task of {run_id}", limit_s=LIMIT_S, every_s=0.2)
    return (started[0] - asked).total_seconds()


def _first_task(bench: Bench, name: str, clip: Path) -> float:
    """Seconds from the POST of a premium title to the start of its first task; returns when the title is settled.

    Of two titles of one value the second waits for a place in the window: that is not what is measured.
    """
    asked = datetime.now(UTC)
    _post(bench.client, name, clip, tier="premium", source={**SMALL, "duration_s": 4})
    bench.batches.append(name)
    request_id = f"{name}/{name}"
    bench.until(lambda: _started(bench.catalog, request_id) is not None, f"the first task of {name}", limit_s=LIMIT_S)
    bench.until(lambda: all(title.state.final for title in bench.title(name)), f"the end of {name}", limit_s=LIMIT_S)
    bench.check()
    started = _started(bench.catalog, request_id)
    assert started is not None
    return (started - asked).total_seconds()


def _readable(bench: Bench, name: str, clip: Path, *, wait: bool) -> float:
    """Seconds from the POST of a title to its score and verdict in the API; ``wait``: it is never released."""
    asked = time.monotonic()
    _post(bench.client, name, clip, tier="ugc", source=LARGE, **({"wait_until": FAR_AWAY} if wait else {}))

    def is_readable() -> bool:
        with suppress(DagUnknown):  # 404 until intake has entered it
            return bool(bench.client.api.request("GET", f"{BASE}/titles/{name}/{name}")["valuation"])
        return False

    bench.until(is_readable, f"the score of {name}", limit_s=LIMIT_S, every_s=0.2)
    return time.monotonic() - asked


def _post(cms: Client, name: str, clip: Path, **title: object) -> None:
    cms.submit({"batch_id": name, "titles": [{"title_id": name, "mezzanine": clip.as_uri(), **title}]}, wait=False)


def _started(catalog: Catalog, request_id: str) -> datetime | None:
    events = catalog.history.events(request_id=request_id)
    return next((event.at for event in events if event.kind == "task.started"), None)


def _enter(bench: Bench, batch_id: str, number: int, *, mezzanine: Path, source: dict[str, float]) -> None:
    """Put titles of little value into the catalog as intake would."""
    catalog, now = bench.catalog, datetime.now(UTC)
    common = {"mezzanine": mezzanine.as_uri(), "tier": "ugc", "source": source}
    titles = [{**common, "title_id": f"{batch_id}-{n}"} for n in range(number)]
    batch = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
    valued = value_batch(batch, catalog, bench.settings, now=now)
    version = current_pipelines()["vod"].version
    catalog.batches.accept(batch, pipeline_version=version, now=now, valued=valued)
    bench.batches.append(batch_id)


def _enter_all(bench: Bench, name: str, number: int, *, mezzanine: Path, source: dict[str, float]) -> None:
    for start in range(0, number, MAX_TITLES):
        _enter(bench, f"{name}{start}", min(MAX_TITLES, number - start), mezzanine=mezzanine, source=source)
        say(f"{min(start + MAX_TITLES, number)} of {number} titles wait")


def _until_window_is_full(bench: Bench) -> None:
    busy = {State.QUEUED, State.RUNNING, State.PLAYABLE}
    bench.until(
        lambda: len(bench.catalog.titles.find(states=busy)) >= bench.settings.release_window,
        "a full window",
        limit_s=LIMIT_S,
    )


def _at_least(number: int, bench: Bench) -> bool:
    """Whether Airflow has started so many runs of the batches."""
    params = {"state": "running", "limit": 1}
    paths = [f"/api/v2/dags/batch__{batch_id}/dagRuns" for batch_id in bench.batches]
    return sum(int(bench.api.request("GET", path, params=params)["total_entries"]) for path in paths) >= number


def _waiting(catalog: Catalog) -> int:
    return len(catalog.titles.find(states={State.WAITING}, limit=sys.maxsize))


def _encoded(catalog: Catalog) -> int:
    """Encodes that have ended, of titles that are at work or settled."""
    titles = catalog.titles.find(states=set(State) - {State.WAITING})
    events = [event for title in titles for event in catalog.history.events(request_id=title.request_id)]
    return sum(event.kind == "task.finished" and event.task == "encode" for event in events)


if __name__ == "__main__":
    sys.exit(main())
