"""How quickly value becomes order: lag by active runs, a premium title beside thousands, score and verdict readable.

``python -m benchmarks.order --json`` starts stacks of its own in a temporary home; takes about 30 minutes on two cores.
Run it on a quiet machine: all figures are wall time. ``--only lag`` (the release window follows from it) or
``--only waiting`` for one part.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include import stack
from include.adapters.airflow_api import AirflowApi, DagUnknown
from include.adapters.catalog import Catalog
from include.client import BASE, Client
from include.demo import fetch_clips
from include.domain.request import MAX_TITLES, parse_batch
from include.domain.title import State
from include.orchestration.valuation import value_batch
from include.settings import Settings

WINDOWS = (0, 4, 8, 16, 32, 64, 128, 200)
WAITING = 5_000
REQUESTS = 100
REPEATS = 7
LIMIT_S = 900.0


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    parser.add_argument("--only", choices=["lag", "waiting"], help="one part")
    parser.add_argument("--windows", default=",".join(map(str, WINDOWS)), help="numbers of active runs, growing")
    parser.add_argument("--waiting", type=int, default=WAITING, help="titles that wait")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="POSTs of which score and verdict are timed")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="measurements of each latency")
    arguments = parser.parse_args(argv)
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
        if arguments.only != "waiting":
            windows = [int(each) for each in arguments.windows.split(",")]
            measure_lag(Path(folder) / "lag", metrics, windows=windows, repeats=arguments.repeats)
        if arguments.only != "lag":
            measure_waiting(
                Path(folder) / "waiting", metrics,
                waiting=arguments.waiting, requests=arguments.requests, repeats=arguments.repeats,
            )  # fmt: skip
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
        catalog = Catalog(settings.catalog_url)
        active = 0
        for number in windows:
            if number > active:
                _enter(settings, f"active{number}", number - active, mezzanine=home / "nothing.mp4")
                _until(lambda number=number: _active(catalog) >= number, f"{number} active runs")
                active = number
                time.sleep(10)  # until the scheduler has seen them all
            lags = [_probe(api, f"probe{number}-{turn}") for turn in range(repeats)]
            metrics[f"first_task_s_beside_{number}_runs"] = round(statistics.median(lags), 2)
            metrics[f"first_task_worst_s_beside_{number}_runs"] = round(max(lags), 2)
            _say(f"{number} active runs: first task after {statistics.median(lags):.2f} s, at worst {max(lags):.2f} s")


def measure_waiting(home: Path, metrics: dict[str, float], *, waiting: int, requests: int, repeats: int) -> None:
    """A premium title's first task on an idle stack and beside thousands that wait; then score and verdict."""
    # More slots than the titles of the window can use: whether one is free is not what is measured.
    settings = Settings(home=home, release_window=4, encode_slots=10)
    with _stack(settings) as (running, _):
        clip = fetch_clips(settings.mezzanine_roots[0] / "demo", say=_say)["bigbuckbunny.mp4"]
        cms, catalog = Client(running.api("cms")), Catalog(settings.catalog_url)
        idle = [_first_task(cms, catalog, f"idle{turn}", clip, settle=True) for turn in range(repeats)]
        metrics["first_task_s_idle"] = round(statistics.median(idle), 2)
        _say(f"idle: a premium title's first task after {statistics.median(idle):.2f} s")
        for start in range(0, waiting, MAX_TITLES):
            _enter(settings, f"mass{start}", min(MAX_TITLES, waiting - start), mezzanine=clip)
        _until(lambda: _active(catalog) >= settings.release_window, "a full window")
        busy = [_first_task(cms, catalog, f"busy{turn}", clip, settle=False) for turn in range(repeats)]
        metrics["titles_waiting"] = waiting
        metrics["first_task_s_beside_waiting"] = round(statistics.median(busy), 2)
        metrics["first_task_worst_s_beside_waiting"] = round(max(busy), 2)
        _say(f"{waiting} waiting: a premium title's first task after {statistics.median(busy):.2f} s")
        readable = sorted(_readable(cms, f"quoted{turn}", clip) for turn in range(requests))
        metrics["requests"] = requests
        metrics["score_readable_p50_s"] = round(statistics.median(readable), 2)
        metrics["score_readable_p99_s"] = round(readable[min(len(readable) - 1, int(0.99 * len(readable)))], 2)
        _say(f"score and verdict readable after {metrics['score_readable_p50_s']} s (p50), "
             f"{metrics['score_readable_p99_s']} s (p99)")  # fmt: skip


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


def _first_task(cms: Client, catalog: Catalog, name: str, clip: Path, *, settle: bool) -> float:
    """Seconds from the POST of a premium title to the start of its first task."""
    asked = datetime.now(UTC)
    _post(cms, name, clip, tier="premium")
    request_id = f"{name}/{name}"
    _until(lambda: _started(catalog, request_id) is not None, f"the first task of {name}")
    if settle:
        _until(lambda: (title := catalog.title(request_id)) is not None and title.state.final, f"the end of {name}")
    started = _started(catalog, request_id)
    assert started is not None
    return (started - asked).total_seconds()


def _readable(cms: Client, name: str, clip: Path) -> float:
    """Seconds from the POST of a title to its score and verdict in the API."""
    asked = time.monotonic()
    _post(cms, name, clip, tier="ugc")
    while True:
        # 404 until intake has entered it.
        with suppress(DagUnknown):
            if cms.api.request("GET", f"{BASE}/titles/{name}/{name}")["valuation"]:
                return time.monotonic() - asked
        if time.monotonic() - asked > LIMIT_S:
            raise SystemExit(f"{name} is not readable after {LIMIT_S:.0f} s")
        time.sleep(0.1)


def _post(cms: Client, name: str, clip: Path, *, tier: str) -> None:
    title = {"title_id": name, "mezzanine": clip.as_uri(), "tier": tier}
    cms.submit({"batch_id": name, "titles": [title]}, wait=False)


def _started(catalog: Catalog, request_id: str) -> datetime | None:
    events = catalog.events(request_id=request_id)
    return next((event.at for event in events if event.kind == "task.started"), None)


def _enter(settings: Settings, batch_id: str, number: int, *, mezzanine: Path) -> None:
    """Put titles of little value into the catalog as intake would."""
    catalog, now = Catalog(settings.catalog_url), datetime.now(UTC)
    titles = [{"title_id": f"{batch_id}-{n}", "mezzanine": mezzanine.as_uri(), "tier": "ugc"} for n in range(number)]
    batch = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
    valued = value_batch(batch, catalog, settings, now=now)
    catalog.accept_batch(batch, pipeline_version=2, now=now, valued=valued)


def _active(catalog: Catalog) -> int:
    return len(catalog.titles(states={State.QUEUED, State.RUNNING, State.PLAYABLE}))


@contextmanager
def _stack(settings: Settings) -> Iterator[tuple[stack.Stack, AirflowApi]]:
    running = stack.up(settings, say=_say)
    try:
        with running.api("admin") as api:
            yield running, api
    finally:
        stack.down(settings)


def _until(reached: Any, what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not reached():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {LIMIT_S:.0f} s")
        time.sleep(0.1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
