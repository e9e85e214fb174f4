"""What Callsheet itself costs: latencies from the request on, CPU and memory of the stack, 500 batches at once.

``python -m benchmarks.orchestration --json`` starts a stack of its own in a temporary home; takes about 15 minutes on
two cores. Run it on a quiet machine: latencies are wall time. CPU figures are sums over all processes of the stack;
what the workers used is subtracted, and so is what the idle stack uses in the same time.

``--only titles`` sends short titles one after the other and nothing else (``--repeats``: how many): whether a title
costs more the more titles there were. ``--only batch`` submits a batch of 100 very short titles instead, about
25 minutes. ``--smallest`` takes a minute: one title of a second and three batches. It leaves out the longer clip, the
classic report and the start beside many batches, and its idle stack is looked at for a second only.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._report import Report, Stopped, parser, run, say
from benchmarks._stack import LIMIT_S, Bench, Sent, looped, running, tiny_clip
from include.adapters.airflow_api import DagUnknown
from include.base.settings import Settings
from include.cli.bench import run_jobs
from include.cli.demo import fetch_clips
from include.domain.title.request import parse_batch
from include.domain.title.title import State
from include.pipelines.core import current_pipelines

PARTS = ("titles", "batch")
BATCH_LIMIT_S = 5400.0
BATCH_ID = "hundred"
LOOK_EVERY_S = 5.0
FAR_AWAY = "2100-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    repeats: int = 5
    """Titles one after the other."""
    many: int = 500
    """Batches that are active at once."""
    batch: int = 100
    """Titles of the one large batch."""
    jobs: int = 6
    """Of the classic report."""
    clip: str = "5s"
    """How long the clip of the short titles is, as the figures' names say it."""
    idle_s: float = 60.0
    """How long the idle stack is looked at."""
    settle_s: float = 15.0
    """After the start, and after a burst, the stack is left alone this long before its CPU is read."""
    whole: bool = True
    """Whether there is a longer clip, the classic report and a start beside many batches."""


SMALLEST = Size(repeats=1, many=3, batch=2, jobs=0, clip="1s", idle_s=1.0, settle_s=1.0, whole=False)


def main(argv: Sequence[str] | None = None, *, on: Settings | None = None) -> int:
    """Run, on a stack of its own or on the one that runs with the settings ``on``; returns the exit code."""
    options = parser("orchestration", __doc__)
    options.add_argument("--jobs", type=int, help="jobs of the classic report (default 6)")
    options.add_argument("--repeats", type=int, help="titles one after the other (default 5)")
    options.add_argument("--only", choices=PARTS, help="one part: titles one after the other, or one large batch")

    def measure(arguments: Namespace, report: Report) -> None:
        size = _size(arguments)
        with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
            if arguments.only == "batch":
                measure_batch(Path(folder), size, report, on=on)
            else:
                measure_titles(Path(folder), size, report, on=on, only=arguments.only == "titles")

    return run("orchestration", options.parse_args(argv), measure)


def measure_titles(home: Path, size: Size, report: Report, *, on: Settings | None, only: bool) -> None:
    """Titles one after the other; unless nothing else is wanted, many batches and a start beside them too."""
    settings = on or Settings(home=home / "home", release_window=4)
    folder = settings.mezzanine_roots[0]
    short = fetch_clips(folder / "demo", say=say)["bigbuckbunny.mp4"] if size.whole else tiny_clip(settings)
    with running(settings, report, metric="start_s", on=on) as bench:
        _single_titles(bench, size, report, short)
        if only:
            return
        if size.whole:
            minute = bench.send("minute", looped(settings, short, folder / "minute.mp4", seconds=60))
            report.metrics["request_to_playable_60s_clip_s"] = round(minute.playable_s, 2)
            report.metrics["checks_share_of_encodes_60s_clip"] = round(minute.checks_share, 3)
            _classic(bench, size, report, short)
        _many_batches(bench, size, report, short)
    if size.whole:
        with running(settings, report, metric=f"start_with_{size.many}_batches_s") as bench:
            seconds = bench.visible_s("after-restart", short, wait_until=FAR_AWAY)
            report.metrics[f"visible_with_{size.many}_batches_after_start_s"] = round(seconds, 2)


def measure_batch(home: Path, size: Size, report: Report, *, on: Settings | None) -> None:
    """One batch of very short titles, on the default stack: does all of it end, and what does Airflow take."""
    settings = on or Settings(home=home / "home")
    clip, name = tiny_clip(settings), f"batch_{size.batch}"
    with running(settings, report, metric="start_s", on=on) as bench:
        time.sleep(size.settle_s)
        before, began = bench.cpu_s(), time.monotonic()
        titles = [
            {"title_id": f"t{number:03d}", "mezzanine": clip.as_uri(), "tier": "ugc"} for number in range(size.batch)
        ]
        with bench.peak() as peak:
            bench.client.submit({"batch_id": BATCH_ID, "titles": titles})
            bench.batches.append(BATCH_ID)
            try:
                most_runs = _until_final(bench, size)
            finally:
                final = sum(record.state.final for record in bench.records())
                report.metrics[f"{name}_not_final"] = float(size.batch - final)
                report.metrics[f"{name}_wall_s"] = round(time.monotonic() - began, 1)
            # The last run ends a moment after its title.
            time.sleep(size.settle_s)
        used, records = bench.cpu_s() - before, bench.records()
        workers = sum(bench.worker_cpu_s(record) for record in records)
        report.metrics |= {
            f"{name}_peak_memory_mb": round(peak[0], 0),
            f"{name}_cpu_s": round(used, 1),
            f"{name}_airflow_cpu_share": round((used - workers) / used, 3),
            f"{name}_airflow_cpu_s_per_title": round((used - workers) / size.batch, 2),
            f"{name}_published": float(sum(record.state is State.PUBLISHED for record in records)),
            f"{name}_runs_left": float(_active_runs(bench)),
            f"{name}_most_active_runs": float(most_runs),
        }


def _size(arguments: Namespace) -> Size:
    wanted = SMALLEST if arguments.smallest else Size()
    given = {name: getattr(arguments, name) for name in ("jobs", "repeats") if getattr(arguments, name) is not None}
    return Size(**{**vars(wanted), **given})


def _until_final(bench: Bench, size: Size) -> int:
    """Wait for the batch's titles; returns the most runs that were active at once."""
    began, most, said = time.monotonic(), 0, 0

    def all_final() -> bool:
        nonlocal most, said
        most = max(most, _active_runs(bench))
        final = sum(record.state.final for record in bench.records())
        if final // 10 > said:
            said = final // 10
            say(f"{final} of {size.batch} titles after {time.monotonic() - began:.0f} s")
        return final == size.batch

    bench.until(all_final, "the end of the batch", limit_s=BATCH_LIMIT_S, every_s=LOOK_EVERY_S)
    bench.check()
    return most


def _active_runs(bench: Bench) -> int:
    path, params = f"/api/v2/dags/batch__{BATCH_ID}/dagRuns", {"state": ["queued", "running"], "limit": 1}
    with suppress(DagUnknown):  # not parsed yet
        return int(bench.api.request("GET", path, params=params)["total_entries"])
    return 0


def _single_titles(bench: Bench, size: Size, report: Report, clip: Path) -> None:
    """Titles one at a time on an idle stack; the figures are there after each."""
    say(f"idle for {size.idle_s:.0f} s")
    time.sleep(size.settle_s)
    idle_rate = bench.rate(size.idle_s)
    report.metrics["idle_stack_cpu_share"] = round(idle_rate, 4)
    sent: list[Sent] = []
    stack_cpu_s: list[float] = []
    with bench.peak() as peak:
        for number in range(size.repeats):
            before, began = bench.cpu_s(), time.monotonic()
            sent.append(bench.send(f"short-{number}", clip))
            time.sleep(size.settle_s)
            used = bench.cpu_s() - before - idle_rate * (time.monotonic() - began)
            stack_cpu_s.append(used - sent[-1].workers_cpu_s)
            say(f"short-{number}: visible {sent[-1].visible_s:.1f} s, encode {sent[-1].encode_s:.1f} s, playable "
                f"{sent[-1].playable_s:.1f} s, stack {stack_cpu_s[-1]:.1f} CPU s, "
                f"workers {sent[-1].workers_cpu_s:.1f} CPU s")  # fmt: skip
            report.metrics |= _summary(sent, stack_cpu_s, clip=size.clip)
            report.metrics["stack_peak_memory_mb"] = round(peak[0], 0)
            report.details["stack_cpu_s_by_title"] = [round(seconds, 2) for seconds in stack_cpu_s]
    # What a title is charged with is what the stack used beyond its idle rate: a rate that has risen looks like dearer
    # titles.
    say(f"idle for {size.idle_s:.0f} s once more")
    report.metrics["idle_stack_cpu_share_after_titles"] = round(bench.rate(size.idle_s), 4)


def _summary(sent: Sequence[Sent], stack_cpu_s: Sequence[float], *, clip: str) -> dict[str, float]:
    visible, encodes = [title.visible_s for title in sent], [title.encode_s for title in sent]
    third = max(1, len(sent) // 3)
    return {
        "request_to_dag_visible_s_median": round(statistics.median(visible), 2),
        "request_to_dag_visible_s_max": round(max(visible), 2),
        "request_to_first_encode_s_median": round(statistics.median(encodes), 2),
        "request_to_first_encode_s_max": round(max(encodes), 2),
        f"request_to_playable_{clip}_clip_s_median": round(statistics.median(title.playable_s for title in sent), 2),
        f"checks_share_of_encodes_{clip}_clip_mean": round(statistics.mean(title.checks_share for title in sent), 3),
        "stack_cpu_s_per_title_median": round(statistics.median(stack_cpu_s), 2),
        "stack_cpu_s_per_title_max": round(max(stack_cpu_s), 2),
        "stack_cpu_s_per_title_first_third": round(statistics.mean(stack_cpu_s[:third]), 2),
        "stack_cpu_s_per_title_last_third": round(statistics.mean(stack_cpu_s[-third:]), 2),
    }


def _classic(bench: Bench, size: Size, report: Report, clip: Path) -> None:
    """The report that users of encoding farms know."""
    say(f"the classic report: {size.jobs} jobs, 2 at once")
    done: list[dict[str, Any]] = []

    def follow() -> None:
        done.append(run_jobs(bench.client, bench.settings, video=clip, jobs=size.jobs, concurrent=2, say=say))

    # It waits for its titles without an end: whether they can still come to one is looked at from here.
    following = threading.Thread(target=follow, daemon=True)
    following.start()
    bench.until(lambda: not following.is_alive(), "the classic report")
    if not done:
        raise Stopped("the classic report came to nothing: its error stands above")
    (classic,) = done
    report.metrics["jobs_success_rate"] = classic["success_rate"]
    report.metrics["jobs_per_hour"] = classic["throughput_jobs_per_hour"]
    report.details["report"] = classic
    if classic["success_rate"] < 1:
        raise Stopped(f"{classic['jobs'] - classic['succeeded']} of the classic report's titles were not published")


def _many_batches(bench: Bench, size: Size, report: Report, clip: Path) -> None:
    """Batches that have not retired: the first parse, the steady state, and a new request beside them."""
    say(f"{size.many} active batches")
    before, began = bench.cpu_s(), time.monotonic()
    prefix = f"many-{datetime.now(UTC):%H%M%S}"
    _enter(bench, [f"{prefix}-{number:04d}" for number in range(size.many)], clip)
    bench.until(lambda: _known_batches(bench, prefix) >= size.many, f"all of {size.many} batches", limit_s=LIMIT_S)
    metrics, name = report.metrics, f"{size.many}_batches"
    metrics[f"parse_{name}_first_s"] = round(time.monotonic() - began, 2)
    metrics[f"parse_{name}_first_cpu_s"] = round(bench.cpu_s() - before, 1)
    time.sleep(size.settle_s)
    metrics[f"steady_{name}_cpu_share"] = round(bench.rate(size.idle_s), 4)
    metrics[f"visible_beside_{name}_s"] = round(bench.visible_s("beside-many", clip, wait_until=FAR_AWAY), 2)
    bench.cancel("beside-many")
    bench.check()
    metrics["import_errors"] = 0.0


def _enter(bench: Bench, batch_ids: Sequence[str], clip: Path) -> None:
    """Batches whose titles are settled but which have not retired: what a busy day leaves until the night."""
    known, now = current_pipelines(), datetime.now(UTC)
    for batch_id in batch_ids:
        titles = [{"title_id": batch_id, "mezzanine": clip.as_uri(), "wait_until": FAR_AWAY}]
        parsed = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset(known))
        bench.catalog.batches.accept(parsed, pipeline_version=known[parsed.pipeline].version, now=now)
        bench.cancel(batch_id)


def _known_batches(bench: Bench, prefix: str) -> int:
    found = bench.api.request("GET", "/api/v2/dags", params={"dag_id_pattern": f"batch__{prefix}", "limit": 1})
    return int(found["total_entries"])


if __name__ == "__main__":
    sys.exit(main())
