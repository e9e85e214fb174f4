"""How quickly value becomes order: lag by active runs, a premium title beside thousands, score and verdict readable.

``python -m benchmarks.order --json`` starts stacks of its own in a temporary home; takes about 35 minutes on two cores.
Run it on a quiet machine: all figures are wall time. ``--only`` measures one part, each within a quarter of an hour:

- ``lag``: a run of the highest weight beside N active runs; the release window follows from it.
- ``waiting``: a new premium title's first task on an idle stack, on one that works, and on one where thousands wait.
- ``readable``: from the POST to score and verdict in the API, while the slots encode and thousands wait.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from include.adapters.airflow_api import AirflowApi, DagUnknown
from include.adapters.catalog import Catalog
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.client import BASE, Client
from include.cli.demo import fetch_clips
from include.domain.title.request import MAX_TITLES, parse_batch
from include.domain.title.title import State
from include.local import stack
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
SMALL = {"width": 176, "height": 144, "frame_rate": 30000 / 1001}
LARGE = {"duration_s": 5.3, "width": 1280, "height": 720, "frame_rate": 25.0}
"""The CMS tells of its files what it knows: without it all titles count as long as is typical, whatever they are."""


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--windows", default=",".join(map(str, WINDOWS)), help="numbers of active runs, growing")
    parser.add_argument("--waiting", type=int, default=WAITING, help="titles that wait")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="POSTs of which score and verdict are timed")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="measurements of each latency")
    arguments = parser.parse_args(argv)
    parts = [arguments.only] if arguments.only else PARTS
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
        home = Path(folder)
        if "lag" in parts:
            windows = [int(each) for each in arguments.windows.split(",")]
            measure_lag(home / "lag", metrics, windows=windows, repeats=arguments.repeats)
        if "waiting" in parts:
            measure_waiting(home / "waiting", metrics, waiting=arguments.waiting, repeats=arguments.repeats)
        if "readable" in parts:
            measure_readable(home / "readable", metrics, waiting=arguments.waiting, requests=arguments.requests)
    if arguments.json:
        print(json.dumps({"benchmark": "order", "metrics": metrics}))
    else:
        for name, value in metrics.items():
            print(f"{name:45} {value}")
    return 0


def measure_lag(home: Path, metrics: dict[str, float], *, windows: list[int], repeats: int) -> None:
    """From the trigger of a run of the highest weight with free slots to its first task, beside N active runs.

    The active runs are titles whose first task waits for a slot that never comes.
    """
    settings = Settings(home=home, release_window=200)
    with _stack(settings) as (_, api):
        pool = {"pool": "cpu_encode", "slots": 0, "include_deferred": True}
        api.request("PATCH", "/api/v2/pools/cpu_encode", json=pool, params={"update_mask": "slots"})
        batches: list[str] = []
        active = 0
        for number in windows:
            if number > active:
                batches.append(f"active{number}")
                _enter(settings, batches[-1], number - active, mezzanine=home / "nothing.mp4", source=LARGE)
                _until(lambda: api.knows_dag(f"batch__{batches[-1]}"), f"the DAG of {batches[-1]}")
                # It comes each minute anyway, which is long for a benchmark.
                api.trigger("dispatch", batches[-1], conf={}, logical_date=datetime.now(UTC))
                _until(partial(_at_least, number, api, batches), f"{number} active runs")
                active = number
                time.sleep(10)  # until the scheduler has seen them all
            lags = [_probe(api, f"probe{number}-{turn}") for turn in range(repeats)]
            metrics |= _statistics(lags, f"beside_{number}_runs")
            _say(f"{number} active runs: first task after {statistics.median(lags):.2f} s, at worst {max(lags):.2f} s")


def measure_waiting(home: Path, metrics: dict[str, float], *, waiting: int, repeats: int) -> None:
    """A premium title's first task: on an idle stack, on one at work, and beside thousands that wait.

    The stack at work with few that wait tells what the work costs from what the waiting costs.
    """
    # More slots than the titles of the window can use: whether one is free is not what is measured.
    settings = Settings(home=home, release_window=4, encode_slots=10)
    with _stack(settings) as (running, _):
        clip = fetch_clips(settings.mezzanine_roots[0] / "demo", say=_say)["carphone_pristine.mp4"]
        # One rung: such a title never uses more than two slots.
        minute = _loop(settings, clip, settings.mezzanine_roots[0] / "minute.mp4", seconds=60)
        cms, catalog = Client(running.api("cms")), Catalog(settings.catalog_url)
        time.sleep(10)
        for name, mass in (("idle", 0), ("at_work", FEW), ("beside_waiting", waiting)):
            _enter_all(settings, name.replace("_", ""), mass, mezzanine=minute, source={**SMALL, "duration_s": 60})
            if mass:
                _until(lambda: _active(catalog) >= settings.release_window, "a full window")
            lags = [_first_task(cms, catalog, f"{name}{turn}", clip) for turn in range(repeats)]
            metrics |= _statistics(lags, name)
            _say(f"{name}: a premium title's first task after {statistics.median(lags):.2f} s, "
                 f"at worst {max(lags):.2f} s")  # fmt: skip
        metrics["titles_waiting"] = _waiting(catalog)


def measure_readable(home: Path, metrics: dict[str, float], *, waiting: int, requests: int) -> None:
    """From the POST of a title to its score and verdict in the API, while all slots encode and thousands wait."""
    settings = Settings(home=home)
    with _stack(settings) as (running, _):
        clip = fetch_clips(settings.mezzanine_roots[0] / "demo", say=_say)["bigbuckbunny.mp4"]
        cms, catalog = Client(running.api("cms")), Catalog(settings.catalog_url)
        _enter_all(settings, "mass", waiting, mezzanine=clip, source=LARGE)
        _until(lambda: _active(catalog) >= settings.release_window, "a full window")
        _until(lambda: _encoded(catalog) > 0, "the first encode")
        before, began = _encoded(catalog), time.monotonic()
        readable = []
        for turn in range(requests):
            readable.append(_readable(cms, f"quoted{turn}", clip))
            if (turn + 1) % 20 == 0:
                _say(f"{turn + 1} of {requests} requests, the last {readable[-1]:.1f} s")
        readable.sort()
        took_s = time.monotonic() - began
        metrics["requests"] = requests
        metrics["titles_waiting_meanwhile"] = _waiting(catalog)
        metrics["encodes_meanwhile"] = _encoded(catalog) - before
        metrics["score_readable_p50_s"] = round(statistics.median(readable), 2)
        metrics["score_readable_p99_s"] = round(readable[math.ceil(0.99 * len(readable)) - 1], 2)
        metrics["score_readable_worst_s"] = round(readable[-1], 2)
        _say(f"score and verdict readable after {metrics['score_readable_p50_s']} s (p50), "
             f"{metrics['score_readable_p99_s']} s (p99); {metrics['encodes_meanwhile']:.0f} encodes in the "
             f"{took_s:.0f} s")  # fmt: skip


def _statistics(lags: list[float], where: str) -> dict[str, float]:
    return {
        f"first_task_s_{where}": round(statistics.median(lags), 2),
        f"first_task_best_s_{where}": round(min(lags), 2),
        f"first_task_worst_s_{where}": round(max(lags), 2),
    }


def _probe(api: AirflowApi, run_id: str) -> float:
    """Seconds until the first task of a run of ``intake`` starts; the request in it is refused."""
    asked = datetime.now(UTC)
    api.trigger("intake", run_id, conf={"batch_id": run_id, "titles": []}, logical_date=asked)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        for each in api.task_instances("intake", run_id):
            if each["task_id"] == "accept" and each["start_date"]:
                return (datetime.fromisoformat(each["start_date"]) - asked).total_seconds()
        time.sleep(0.2)
    return LIMIT_S


def _first_task(cms: Client, catalog: Catalog, name: str, clip: Path) -> float:
    """Seconds from the POST of a premium title to the start of its first task; returns when the title is settled.

    Of two titles of one value the second waits for a place in the window: that is not what is measured.
    """
    asked = datetime.now(UTC)
    _post(cms, name, clip, tier="premium", source={**SMALL, "duration_s": 4})
    request_id = f"{name}/{name}"
    _until(lambda: _started(catalog, request_id) is not None, f"the first task of {name}")
    _until(lambda: (title := catalog.titles.get(request_id)) is not None and title.state.final, f"the end of {name}")
    started = _started(catalog, request_id)
    assert started is not None
    return (started - asked).total_seconds()


def _readable(cms: Client, name: str, clip: Path) -> float:
    """Seconds from the POST of a title to its score and verdict in the API."""
    asked = time.monotonic()
    _post(cms, name, clip, tier="ugc", source=LARGE)
    while True:
        # 404 until intake has entered it.
        with suppress(DagUnknown):
            if cms.api.request("GET", f"{BASE}/titles/{name}/{name}")["valuation"]:
                return time.monotonic() - asked
        if time.monotonic() - asked > LIMIT_S:
            raise SystemExit(f"{name} is not readable after {LIMIT_S:.0f} s")
        time.sleep(0.2)


def _post(cms: Client, name: str, clip: Path, *, tier: str, source: dict[str, float]) -> None:
    title = {"title_id": name, "mezzanine": clip.as_uri(), "tier": tier, "source": source}
    cms.submit({"batch_id": name, "titles": [title]}, wait=False)


def _started(catalog: Catalog, request_id: str) -> datetime | None:
    events = catalog.history.events(request_id=request_id)
    return next((event.at for event in events if event.kind == "task.started"), None)


def _enter(settings: Settings, batch_id: str, number: int, *, mezzanine: Path, source: dict[str, float]) -> None:
    """Put titles of little value into the catalog as intake would."""
    catalog, now = Catalog(settings.catalog_url), datetime.now(UTC)
    each = {"mezzanine": mezzanine.as_uri(), "tier": "ugc", "source": source}
    titles = [{**each, "title_id": f"{batch_id}-{n}"} for n in range(number)]
    batch = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
    valued = value_batch(batch, catalog, settings, now=now)
    version = current_pipelines()["vod"].version
    catalog.batches.accept(batch, pipeline_version=version, now=now, valued=valued)


def _enter_all(settings: Settings, name: str, number: int, *, mezzanine: Path, source: dict[str, float]) -> None:
    for start in range(0, number, MAX_TITLES):
        _enter(settings, f"{name}{start}", min(MAX_TITLES, number - start), mezzanine=mezzanine, source=source)
        _say(f"{min(start + MAX_TITLES, number)} of {number} titles wait")


def _active(catalog: Catalog) -> int:
    return len(catalog.titles.find(states={State.QUEUED, State.RUNNING, State.PLAYABLE}))


def _at_least(number: int, api: AirflowApi, batches: list[str]) -> bool:
    """Whether Airflow has started so many runs of the batches."""
    params = {"state": "running", "limit": 1}
    paths = [f"/api/v2/dags/batch__{batch_id}/dagRuns" for batch_id in batches]
    return sum(int(api.request("GET", path, params=params)["total_entries"]) for path in paths) >= number


def _waiting(catalog: Catalog) -> int:
    return len(catalog.titles.find(states={State.WAITING}, limit=sys.maxsize))


def _encoded(catalog: Catalog) -> int:
    """Encodes that have ended, of titles that are at work or settled."""
    titles = catalog.titles.find(states=set(State) - {State.WAITING})
    events = [event for each in titles for event in catalog.history.events(request_id=each.request_id)]
    return sum(event.kind == "task.finished" and event.task == "encode" for event in events)


def _loop(settings: Settings, source: Path, target: Path, *, seconds: int) -> Path:
    argv = [ffmpeg(settings), "-nostdin", "-v", "error", "-y", "-stream_loop", "-1", "-i", str(source)]
    subprocess.run([*argv, "-t", str(seconds), "-c", "copy", str(target)], check=True)
    return target


@contextmanager
def _stack(settings: Settings) -> Iterator[tuple[stack.Stack, AirflowApi]]:
    running = stack.up(settings, say=_say)
    try:
        with running.api("admin") as api:
            yield running, api
    finally:
        stack.down(settings)


def _until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not reached():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {LIMIT_S:.0f} s")
        time.sleep(0.2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
