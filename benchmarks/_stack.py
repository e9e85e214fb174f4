"""A running stack as benchmarks see it: what it uses, how titles are sent, and whether it is still worth measuring."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks._report import Report, Stopped, say
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.opening import open_store
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.client import Client
from include.domain.outcome.report import Report as TitleReport
from include.domain.title.title import FINAL_STATES, State
from include.local import stack
from include.local.environment import ROOT

SAMPLE_EVERY_S = 1.0
LOOK_EVERY_S = 5.0
"""A look at Airflow costs it CPU that is none of a title's."""
LIMIT_S = 1200.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A title from its request to its end."""

    visible_s: float
    """From the request until its DAG is visible over REST."""
    encode_s: float
    """From the request to the start of the first encode."""
    playable_s: float
    """From the request to the first playable set."""
    workers_cpu_s: float
    checks_share: float
    """CPU of the checks by that of the encodes."""
    record: TitleRecord


class Bench:
    """A running stack with the means to look at it."""

    def __init__(self, settings: Settings, running: stack.Stack, *, shared: bool = False) -> None:
        self.settings = settings
        self.running = running
        self.api = running.api("admin")
        self.client = Client(running.api("cms"))
        self.catalog = Catalog(settings.catalog_url)
        self.batches: list[str] = []
        """Of the benchmark, each with titles that are all to be published."""
        # On a stack that others use too their errors are theirs.
        self._known_errors = {error["import_error_id"] for error in self._import_errors()} if shared else set()

    def close(self) -> None:
        """Close the connections."""
        self.api.close()
        self.client.api.close()

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

    def rate(self, seconds: float) -> float:
        """CPU seconds per second of the stack, over a while."""
        before, began = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_s() - before) / (time.monotonic() - began)

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

    @contextmanager
    def peak(self) -> Iterator[list[float]]:
        """The highest memory of the stack while the block runs, in MB."""
        highest = [0.0]
        over = threading.Event()

        def sample() -> None:
            while not over.wait(SAMPLE_EVERY_S):
                highest[0] = max(highest[0], self.memory_mb())

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield highest
        finally:
            over.set()
            sampler.join()

    def check(self) -> None:
        """Raise :class:`Stopped` where the stack has ended, a DAG cannot be imported or a title was not published."""
        if not psutil.pid_exists(self.running.pid):
            raise Stopped("the stack has ended; its log is airflow.log in its home")
        for error in self._import_errors():
            if error["import_error_id"] not in self._known_errors:
                last = str(error["stack_trace"]).strip().splitlines()[-1:]
                raise Stopped(f"Airflow cannot import {error['filename']}: {' '.join(last)}")
        for batch_id in self.batches:
            for record in self.catalog.titles.find(batch_id=batch_id, states=FINAL_STATES - {State.PUBLISHED}):
                raise Stopped(f"{record.request_id} ended as {record.state}: {record.message}")

    def records(self) -> list[TitleRecord]:
        """The benchmark's titles as the catalog has them."""
        return [record for batch_id in self.batches for record in self.catalog.titles.find(batch_id=batch_id)]

    def until(self, reached: Callable[[], bool], what: str, *, limit_s: float = LIMIT_S, every_s: float = 0.5) -> None:
        """Return as soon as ``reached`` says so; raises :class:`Stopped` after the limit, or as :meth:`check` does."""
        began = looked = time.monotonic()
        while not reached():
            now = time.monotonic()
            if now - looked > LOOK_EVERY_S:
                self.check()
                looked = time.monotonic()
            if now - began > limit_s:
                raise Stopped(f"{what} did not come within {limit_s:.0f} s")
            time.sleep(every_s)

    def send(self, batch_id: str, clip: Path, *, tier: str = "standard") -> Sent:
        """Send a batch of one title, and wait until it is published."""
        asked, visible_s = datetime.now(UTC), self.visible_s(batch_id, clip, tier=tier)
        self.batches.append(batch_id)
        self.until(lambda: all(record.state.final for record in self.title(batch_id)), f"the end of {batch_id}")
        self.check()
        (record,) = self.title(batch_id)
        events = self.catalog.history.events(request_id=record.request_id)
        encodes = [event.at for event in events if event.task == "encode" and event.kind == "task.started"]
        if record.playable_at is None or not encodes:
            raise Stopped(f"{record.request_id} was published and has no time of it, or no encode")
        return Sent(
            visible_s=visible_s,
            encode_s=(min(encodes) - asked).total_seconds(),
            playable_s=(record.playable_at - asked).total_seconds(),
            workers_cpu_s=self.worker_cpu_s(record),
            checks_share=self.report(record).check_share or 0.0,
            record=record,
        )

    def report(self, record: TitleRecord) -> TitleReport:
        """The report of the version that a title has."""
        key = f"titles/{record.title_id}/v{record.version}/report.json"
        return TitleReport.model_validate_json(open_store(self.settings).get_bytes(key))

    def visible_s(self, batch_id: str, clip: Path, **title: Any) -> float:
        """Send a batch of one title; returns the seconds until its DAG is visible over REST."""
        request = {"title_id": batch_id, "mezzanine": clip.as_uri(), **title}
        asked = time.monotonic()
        self.client.submit({"batch_id": batch_id, "titles": [request]}, wait=False)
        self.until(lambda: self.api.knows_dag(f"batch__{batch_id}"), f"the DAG of {batch_id}", every_s=0.05)
        return time.monotonic() - asked

    def title(self, batch_id: str) -> list[TitleRecord]:
        """The title of a batch that has one. Its row is there before its DAG is."""
        return self.catalog.titles.find(batch_id=batch_id)

    def cancel(self, batch_id: str) -> None:
        """Settle what waits in a batch: it stays alive until the night and costs what a batch costs."""
        for record in self.catalog.titles.find(batch_id=batch_id):
            self.catalog.titles.settle(record.request_id, State.CANCELLED, now=datetime.now(UTC))

    def worker_cpu_s(self, record: TitleRecord) -> float:
        """CPU seconds of all workers of a title."""
        events = self.catalog.history.events(request_id=record.request_id)
        return float(sum(event.detail.get("cpu_s", 0.0) for event in events if event.kind == "task.finished"))

    def _import_errors(self) -> list[dict[str, Any]]:
        found = self.api.request("GET", "/api/v2/importErrors", params={"order_by": "-timestamp", "limit": 20})
        return list(found["import_errors"])


@contextmanager
def running(
    settings: Settings, report: Report, *, metric: str = "", project: Path = ROOT, on: Settings | None = None
) -> Iterator[Bench]:
    """A stack of the benchmark's own, stopped at the end; with ``on`` the one that runs with these settings already.

    Args:
        settings: Of a stack of its own.
        report: Gets the seconds that the start takes, under ``metric``.
        metric: Its name; empty where nobody wants to know.
        project: The folder that has ``dags``, ``plugins`` and ``include``.
        on: Of a running stack. Raises :class:`Stopped` where it does not run.
    """
    if on is not None:
        found = stack.find(on)
        if found is None:
            raise Stopped(f"no stack runs in {on.home}")
        bench = Bench(on, found, shared=True)
        try:
            yield bench
        finally:
            bench.close()
        return
    began = time.monotonic()
    try:
        bench = Bench(settings, stack.up(settings, say=say, project=project))
        if metric:
            report.metrics[metric] = round(time.monotonic() - began, 1)
        yield bench
        bench.close()
    finally:
        stack.down(settings)


def tiny_clip(settings: Settings, name: str = "second.mp4") -> Path:
    """One second of moving picture with a tone, among the mezzanines."""
    target = settings.mezzanine_roots[0] / name
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    argv = [ffmpeg(settings), "-nostdin", "-loglevel", "error", "-y", *picture, *sound, "-t", "1", *codecs, str(target)]
    subprocess.run(argv, check=True)
    return target


def looped(settings: Settings, source: Path, target: Path, *, seconds: int) -> Path:
    """``source`` again and again until it has so many seconds, without encoding it anew."""
    argv = [ffmpeg(settings), "-nostdin", "-loglevel", "error", "-y", "-stream_loop", "-1", "-i", str(source)]
    subprocess.run([*argv, "-t", str(seconds), "-c", "copy", str(target)], check=True)
    return target


def _is_worker(process: psutil.Process) -> bool:
    lineage = [process, *process.parents()]
    return any("include.worker" in step.cmdline() for step in lineage)
