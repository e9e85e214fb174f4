"""What Callsheet itself costs: latencies from the request on, CPU and memory of the stack, 500 batches at once.

``python -m benchmarks.orchestration --json`` starts a stack of its own in a temporary home; takes about 15 minutes on
two cores. Run it on a quiet machine: latencies are wall time. CPU figures are sums over all processes of the stack;
what the workers used is subtracted, and so is what the idle stack uses in the same time.

``--only batch`` submits a batch of 100 very short titles instead, about 25 minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from include.adapters.airflow_api import DagUnknown
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.bench import run_jobs
from include.cli.client import Client
from include.cli.demo import fetch_clips
from include.domain.title.request import parse_batch
from include.domain.title.title import State
from include.local import stack

IDLE_S = 60.0
SETTLE_S = 15.0
"""After the start, and after a burst, the stack is left alone this long before its CPU is read."""
REPEATS = 5
MANY = 500
SAMPLE_EVERY_S = 1.0
LIMIT_S = 1200.0
BATCH = 100
BATCH_LIMIT_S = 5400.0
BATCH_ID = "hundred"
LOOK_EVERY_S = 5.0


class Bench:
    """A running stack with the means to look at it."""

    def __init__(self, settings: Settings, running: stack.Stack) -> None:
        self.settings = settings
        self.running = running
        self.api = running.api("callsheet")
        self.client = Client(running.api("cms"))
        self.catalog = Catalog(settings.catalog_url)

    def processes(self) -> list[psutil.Process]:
        """All processes of the stack."""
        leader = psutil.Process(self.running.pid)
        return [leader, *leader.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds that the stack has used so far, with those of its processes that have ended."""
        total = 0.0
        for process in self.processes():
            try:
                used = process.cpu_times()
            except psutil.Error:
                continue
            total += used.user + used.system + used.children_user + used.children_system
        return total

    def memory_mb(self) -> float:
        """Proportional set size of all processes without workers: what they share counts once."""
        total = 0.0
        for process in self.processes():
            try:
                if not _is_worker(process):
                    total += process.memory_full_info().pss
            except (psutil.Error, AttributeError):
                continue
        return total / 1024**2

    def submit(self, batch_id: str, clip: Path) -> tuple[float, TitleRecord]:
        """Send one title; seconds until its DAG is visible over REST, and the record of the settled title."""
        title = {"title_id": batch_id, "mezzanine": clip.as_uri(), "tier": "standard"}
        asked = time.monotonic()
        self.client.submit({"batch_id": batch_id, "titles": [title]}, wait=False)
        while not self.api.knows_dag(f"batch__{batch_id}"):
            _patience(asked)
            time.sleep(0.05)
        visible = time.monotonic() - asked
        while True:
            record = self.catalog.titles.get(f"{batch_id}/{batch_id}")
            if record is not None and record.state.final:
                break
            _patience(asked)
            time.sleep(0.5)
        if record.state is not State.PUBLISHED:
            raise SystemExit(f"{batch_id} ended as {record.state}: {record.message}")
        return visible, record

    def first_encode_s(self, record: TitleRecord, asked: datetime) -> float:
        """Seconds from the request to the start of the first encode."""
        started = [e.at for e in self.catalog.history.events(request_id=record.request_id)
                   if e.task == "encode" and e.kind == "task.started"]  # fmt: skip
        return (min(started) - asked).total_seconds()

    def worker_cpu_s(self, record: TitleRecord) -> float:
        """CPU seconds of all workers of a title."""
        events = self.catalog.history.events(request_id=record.request_id)
        return float(sum(event.detail.get("cpu_s", 0.0) for event in events if event.kind == "task.finished"))


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    parser.add_argument("--jobs", type=int, default=6, help="jobs of the classic report (default 6)")
    parser.add_argument("--only", choices=["batch"], help=f"one part: a batch of {BATCH} very short titles")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
        if arguments.only == "batch":
            result = measure_batch(Path(folder))
        else:
            result = measure(Path(folder), jobs=arguments.jobs)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result["metrics"].items():
            print(f"{name:45} {value}")
    return 0


def measure(home: Path, *, jobs: int) -> dict[str, Any]:
    """All figures, on a stack of its own in ``home``."""
    settings = Settings(home=home / "home", release_window=4)
    folder = settings.mezzanine_roots[0]
    short = fetch_clips(folder / "demo", say=_say)["bigbuckbunny.mp4"]
    long = folder / "minute.mp4"
    _loop(settings, short, long, seconds=60)
    metrics: dict[str, float] = {}
    with _up(settings, metrics, "start_s") as bench:
        _single_titles(bench, metrics, short, long)
        _say(f"the classic report: {jobs} jobs, 2 at once")
        report = run_jobs(bench.client, settings, video=short, jobs=jobs, concurrent=2, say=_say)
        metrics["jobs_success_rate"] = report["success_rate"]
        metrics["jobs_per_hour"] = report["throughput_jobs_per_hour"]
        _many_batches(bench, metrics, short)
    with _up(settings, metrics, f"start_with_{MANY}_batches_s") as bench:
        metrics[f"visible_with_{MANY}_batches_after_start_s"] = round(bench.submit("after-restart", short)[0], 2)
    return {"benchmark": "orchestration", "metrics": metrics, "report": report, "cores": psutil.cpu_count()}


def measure_batch(home: Path) -> dict[str, Any]:
    """A batch of BATCH titles of one second, on the default stack: does all of it end, and what does Airflow take."""
    settings = Settings(home=home / "home")
    clip = settings.mezzanine_roots[0] / "second.mp4"
    _second(settings, clip)
    metrics: dict[str, float] = {}
    with _up(settings, metrics, "start_s") as bench:
        time.sleep(SETTLE_S)
        before, began = bench.cpu_s(), time.monotonic()
        titles = [{"title_id": f"t{number:03d}", "mezzanine": clip.as_uri(), "tier": "ugc"} for number in range(BATCH)]
        with _peak(bench) as peak:
            bench.client.submit({"batch_id": BATCH_ID, "titles": titles})
            most_runs, ended = _until_final(bench)
            # The last run ends a moment after its title.
            time.sleep(SETTLE_S)
        used = bench.cpu_s() - before
        records = bench.catalog.titles.find(batch_id=BATCH_ID)
        workers = sum(bench.worker_cpu_s(record) for record in records)
        left_running = _active_runs(bench)
    metrics |= {
        f"batch_{BATCH}_wall_s": round(ended - began, 1),
        f"batch_{BATCH}_peak_memory_mb": round(peak[0], 0),
        f"batch_{BATCH}_cpu_s": round(used, 1),
        f"batch_{BATCH}_airflow_cpu_share": round((used - workers) / used, 3),
        f"batch_{BATCH}_airflow_cpu_s_per_title": round((used - workers) / BATCH, 2),
        f"batch_{BATCH}_published": float(sum(record.state is State.PUBLISHED for record in records)),
        f"batch_{BATCH}_not_final": float(sum(not record.state.final for record in records)),
        f"batch_{BATCH}_runs_left": float(left_running),
        f"batch_{BATCH}_most_active_runs": float(most_runs),
    }
    return {"benchmark": "orchestration", "metrics": metrics, "cores": psutil.cpu_count()}


def _until_final(bench: Bench) -> tuple[int, float]:
    """Wait for the batch's titles, at most BATCH_LIMIT_S; returns the most runs active at once, and the end's time."""
    began, most, said = time.monotonic(), 0, -1
    while time.monotonic() - began < BATCH_LIMIT_S:
        most = max(most, _active_runs(bench))
        final = sum(record.state.final for record in bench.catalog.titles.find(batch_id=BATCH_ID))
        if final == BATCH:
            break
        if final // 10 > said:
            said = final // 10
            _say(f"{final} of {BATCH} titles after {time.monotonic() - began:.0f} s")
        time.sleep(LOOK_EVERY_S)
    return most, time.monotonic()


def _active_runs(bench: Bench) -> int:
    path, params = f"/api/v2/dags/batch__{BATCH_ID}/dagRuns", {"state": ["queued", "running"], "limit": 1}
    try:
        return int(bench.api.request("GET", path, params=params)["total_entries"])
    except DagUnknown:  # not parsed yet
        return 0


def _single_titles(bench: Bench, metrics: dict[str, float], short: Path, long: Path) -> None:
    """Titles one at a time on an idle stack."""
    _say(f"idle for {IDLE_S:.0f} s")
    time.sleep(SETTLE_S)
    idle_rate = _rate(bench, IDLE_S)
    metrics["idle_stack_cpu_share"] = round(idle_rate, 4)
    visible, encodes, playable, cpu = [], [], [], []
    with _peak(bench) as peak:
        for number in range(REPEATS):
            asked, before, began = datetime.now(UTC), bench.cpu_s(), time.monotonic()
            seconds, record = bench.submit(f"short-{number}", short)
            visible.append(seconds)
            encodes.append(bench.first_encode_s(record, asked))
            playable.append(_playable_s(record, asked))
            time.sleep(SETTLE_S)
            used = bench.cpu_s() - before - idle_rate * (time.monotonic() - began)
            cpu.append(used - bench.worker_cpu_s(record))
            _say(f"short-{number}: visible {seconds:.1f} s, encode {encodes[-1]:.1f} s, playable {playable[-1]:.1f} s, "
                 f"stack {cpu[-1]:.1f} CPU s, workers {bench.worker_cpu_s(record):.1f} CPU s")  # fmt: skip
        asked = datetime.now(UTC)
        _, record = bench.submit("minute", long)
        metrics["request_to_playable_60s_clip_s"] = round(_playable_s(record, asked), 2)
    metrics |= {
        "request_to_dag_visible_s_median": round(statistics.median(visible), 2),
        "request_to_dag_visible_s_max": round(max(visible), 2),
        "request_to_first_encode_s_median": round(statistics.median(encodes), 2),
        "request_to_first_encode_s_max": round(max(encodes), 2),
        "request_to_playable_5s_clip_s_median": round(statistics.median(playable), 2),
        "stack_cpu_s_per_title_median": round(statistics.median(cpu), 2),
        "stack_cpu_s_per_title_max": round(max(cpu), 2),
        "stack_peak_memory_mb": round(peak[0], 0),
    }


def _many_batches(bench: Bench, metrics: dict[str, float], short: Path) -> None:
    """500 batches that have not retired: the first parse, the steady state, and a new request beside them."""
    _say(f"{MANY} active batches")
    before, began = bench.cpu_s(), time.monotonic()
    now = datetime.now(UTC)
    for number in range(MANY):
        batch_id = f"many-{number:04d}"
        titles = [{"title_id": batch_id, "mezzanine": short.as_uri(), "wait_until": "2100-01-01T00:00:00Z"}]
        parsed = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
        bench.catalog.batches.accept(parsed, pipeline_version=1, now=now)
        # Settled, not retired: what a busy day leaves until the night.
        bench.catalog.titles.settle(f"{batch_id}/{batch_id}", State.CANCELLED, now=now)
    while _known_batches(bench) < MANY:
        _patience(began)
        time.sleep(0.5)
    metrics[f"parse_{MANY}_batches_first_s"] = round(time.monotonic() - began, 2)
    metrics[f"parse_{MANY}_batches_first_cpu_s"] = round(bench.cpu_s() - before, 1)
    time.sleep(SETTLE_S)
    metrics[f"steady_{MANY}_batches_cpu_share"] = round(_rate(bench, IDLE_S), 4)
    metrics[f"visible_beside_{MANY}_batches_s"] = round(bench.submit("beside-many", short)[0], 2)
    errors = bench.api.request("GET", "/api/v2/importErrors")["total_entries"]
    metrics["import_errors"] = float(errors)


def _known_batches(bench: Bench) -> int:
    found = bench.api.request("GET", "/api/v2/dags", params={"dag_id_pattern": "batch__many-", "limit": 1})
    return int(found["total_entries"])


@contextmanager
def _up(settings: Settings, metrics: dict[str, float], metric: str) -> Iterator[Bench]:
    began = time.monotonic()
    running = stack.up(settings, say=_say)
    metrics[metric] = round(time.monotonic() - began, 1)
    try:
        yield Bench(settings, running)
    finally:
        stack.down(settings)


@contextmanager
def _peak(bench: Bench) -> Iterator[list[float]]:
    """The highest memory of the stack while the block runs, in MB."""
    highest = [0.0]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_EVERY_S):
            highest[0] = max(highest[0], bench.memory_mb())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield highest
    finally:
        over.set()
        sampler.join()


def _rate(bench: Bench, seconds: float) -> float:
    """CPU seconds per second of the stack, over a while."""
    before, began = bench.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (bench.cpu_s() - before) / (time.monotonic() - began)


def _is_worker(process: psutil.Process) -> bool:
    lineage = [process, *process.parents()]
    return any("include.worker" in each.cmdline() for each in lineage)


def _playable_s(record: TitleRecord, asked: datetime) -> float:
    if record.playable_at is None:
        raise SystemExit(f"{record.request_id} was published and has no time of it")
    return (record.playable_at - asked).total_seconds()


def _loop(settings: Settings, source: Path, target: Path, *, seconds: int) -> None:
    argv = [ffmpeg(settings), "-nostdin", "-loglevel", "error", "-y", "-stream_loop", "-1", "-i", str(source)]
    subprocess.run([*argv, "-t", str(seconds), "-c", "copy", str(target)], check=True)


def _second(settings: Settings, target: Path) -> None:
    """One second of moving picture with a tone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = [ffmpeg(settings), "-nostdin", "-loglevel", "error", "-y", *picture, *sound, "-t", "1", *codecs, str(target)]
    subprocess.run(argv, check=True)


def _patience(began: float) -> None:
    if time.monotonic() - began > LIMIT_S:
        raise SystemExit(f"nothing came of it within {LIMIT_S:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
