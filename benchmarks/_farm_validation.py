"""Real encodes against simulated ones: the same jobs, arrivals and order, with ffmpeg and in the simulator."""

from __future__ import annotations

import random
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from include.adapters.ffmpeg.commands import encode_argv
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.process import run
from include.adapters.tools import ffmpeg
from include.base.settings import Settings, load_settings
from include.domain.cost.forecast import NOTHING, spread
from include.domain.cost.work import TitleWork
from include.domain.media.media import VideoStream
from include.domain.order.priority import priority_points
from include.domain.plan.presets import Relative
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.request import Signals
from include.domain.title.title import Tier
from include.recipes import load_recipes
from include.simulation.farm import simulate
from include.simulation.figures import quantile
from include.simulation.model import Encode, Farm, Outcome, SimTitle
from include.simulation.orders import order
from include.simulation.scenarios import valued

SLOTS = 2
LOAD = 0.9
"""Of the slots, by service times under contention."""
SEED = 7
Clip = tuple[str, float]
CLIPS: tuple[Clip, ...] = (
    ("mandelbrot=size=480x270:rate=25", 1.0),
    ("testsrc2=size=640x360:rate=25,noise=alls=30:allf=t", 1.0),
    ("testsrc2=size=426x240:rate=25,noise=alls=12:allf=t", 2.0),
    ("testsrc2=size=320x180:rate=25,noise=alls=20:allf=t", 4.0),
    ("cellauto=size=480x270:rate=25,format=yuv420p", 2.0),
    ("testsrc2=size=854x480:rate=25,noise=alls=20:allf=t", 1.0),
)
"""lavfi sources with motion and noise, and their seconds."""
PRESETS = ("veryfast", "medium")
SIZES = ((320, 180), (480, 270))
LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one job encodes."""

    argv: tuple[str, ...]
    alone_s: float
    """Wall time while nothing else of this benchmark runs."""


@dataclass(kw_only=True)
class Job:
    """One real encode."""

    seq: int
    shape: Shape
    title: SimTitle
    arrival_s: float
    taken_s: float = 0.0
    """When a slot took it."""
    service_s: float = 0.0
    """Wall time of ffmpeg."""
    finished_s: float = 0.0


def validate(count: int, clips: Sequence[Clip], *, say: Callable[[str], None]) -> dict[str, float]:
    """Encode ``count`` times one of the clips for real, simulate it, compare makespan and p95 turnaround."""
    settings, rng = load_settings(), random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="callsheet-farm-") as folder:
        shapes = _shapes(settings, Path(folder), clips, say)
        contended_s = _contended(shapes)
        gap_s = contended_s * statistics.mean(shape.alone_s for shape in shapes) / (SLOTS * LOAD)
        jobs, now_s = [], 0.0
        for seq in range(count):
            now_s += rng.expovariate(1 / gap_s)
            jobs.append(_job(seq, rng.choice(shapes), now_s, rng))
        say(f"{count} encodes over about {now_s:.0f} s; side by side an encode takes {contended_s:.2f} times as long")
        _run_really(jobs)
    return _compared(jobs, contended_s)


def _shapes(settings: Settings, folder: Path, clips: Sequence[Clip], say: Callable[[str], None]) -> list[Shape]:
    program, shapes = ffmpeg(settings), []
    for number, (source, seconds) in enumerate(clips):
        clip = folder / f"{number}.mp4"
        made = [program, "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-t", f"{seconds}"]
        subprocess.run([*made, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(clip)], check=True)
        width, height = (int(part) for part in source.partition("size=")[2].partition(":")[0].split("x"))
        video = VideoStream(
            index=0, codec="h264", width=width, height=height, display_width=width, display_height=height,
            frame_rate="25", duration_s=seconds, pixel_format="yuv420p",
        )  # fmt: skip
        for preset in PRESETS:
            for size in SIZES:
                output = folder / f"{number}-{preset}-{size[1]}.mp4"
                argv = encode_argv(
                    program, OpenedMezzanine(address=str(clip)), video, _rendition(preset, size), str(output),
                    threads=1, frames=round(seconds * video.fps), held=2,
                )  # fmt: skip
                shapes.append(Shape(argv=tuple(argv), alone_s=_service_s(argv)))
        say(f"clip {number + 1} of {len(clips)}: {len(PRESETS) * len(SIZES)} encodes timed alone")
    return shapes


def _rendition(preset: str, size: tuple[int, int]) -> Rendition:
    return Rendition(
        name=f"h264_{size[1]}p", rung=f"{size[1]}p", codec="h264", encoder="libx264", width=size[0], height=size[1],
        frame_rate="25", frames=None, rate_control=CappedCrf(crf=23, maxrate_kbps=1500, bufsize_kbps=2250),
        treatment=SourceTreatment(), preset=preset, profile="high",
        gop_frames=50, core=True,
    )  # fmt: skip


def _service_s(argv: Sequence[str], output: str | None = None) -> float:
    # Two jobs of one shape may run at once: each has a file of its own.
    command = list(argv) if output is None else [*argv[:-1], output]
    assert argv[-1].endswith(".mp4"), argv
    folder = Path(command[-1].removeprefix("file:")).parent
    return run(command, timeout_s=LIMIT_S, folder=folder).cost.wall_s


def _contended(shapes: Sequence[Shape]) -> float:
    """How much longer encodes take when every slot is busy."""
    picked = sorted(shapes, key=lambda shape: shape.alone_s)[len(shapes) // 2 :][: 4 * SLOTS]
    ratios: list[float] = []

    def work(mine: Sequence[Shape], number: int) -> None:
        ratios.extend(_service_s(shape.argv, f"{shape.argv[-1]}.{number}.mp4") / shape.alone_s for shape in mine)

    threads = [threading.Thread(target=work, args=(picked[number::SLOTS], number)) for number in range(SLOTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.mean(ratios)


def _job(seq: int, shape: Shape, arrival_s: float, rng: random.Random) -> Job:
    tier = rng.choices(list(Tier), weights=(1, 3, 6))[0]
    expected = TitleWork(prepare=NOTHING, encodes=(spread(shape.alone_s, 0.2),), extras=NOTHING, finish=NOTHING)
    title = SimTitle(
        name=f"job {seq}",
        group=tier.value,
        arrival_s=arrival_s,
        tier=tier,
        kind=None,
        signals=Signals(predicted_views_7d=10 ** rng.uniform(2, 7)),
        value=0,
        deadline_s=None,
        expected=expected,
        least=expected,
        planned=expected,
        prepare_s=0.0,
        encodes=(
            Encode(
                true_s=shape.alone_s,
                forecast=expected.encodes[0],
                faster=(Relative(preset="medium", time=1.0, vmaf_loss=0.0),),
                may_lose=0.0,
            ),
        ),
        extras_s=0.0,
        finish_s=0.0,
    )
    return Job(seq=seq, shape=shape, title=valued(title, load_recipes()), arrival_s=arrival_s)


def _run_really(jobs: Sequence[Job]) -> None:
    """Through a pool of slots: a free one takes the job of the highest priority, ties in the order of arrival."""
    policy = load_recipes().policy.priority
    waiting: list[Job] = []
    changed, began = threading.Condition(), time.monotonic()
    left = len(jobs)

    def points(job: Job) -> tuple[int, int]:
        work_s = job.title.expected.total.p50_s
        return priority_points(score=job.title.value, work_s=work_s, standing=None, policy=policy), -job.seq

    def anything() -> bool:
        return bool(waiting) or left == 0

    def slot(number: int) -> None:
        nonlocal left
        while True:
            with changed:
                changed.wait_for(anything)
                if not waiting:
                    return
                job = max(waiting, key=points)
                waiting.remove(job)
                left -= 1
                if left == 0:
                    changed.notify_all()
                job.taken_s = time.monotonic() - began
            job.service_s = _service_s(job.shape.argv, f"{job.shape.argv[-1]}.slot{number}.mp4")
            job.finished_s = time.monotonic() - began

    slots = [threading.Thread(target=slot, args=(number,)) for number in range(SLOTS)]
    for thread in slots:
        thread.start()
    for job in jobs:
        time.sleep(max(0.0, began + job.arrival_s - time.monotonic()))
        with changed:
            waiting.append(job)
            changed.notify()
    for thread in slots:
        thread.join()


def _compared(jobs: Sequence[Job], contended: float) -> dict[str, float]:
    delay_s = statistics.median(job.finished_s - job.taken_s - job.service_s for job in jobs)
    farm = Farm(nodes=1, slots_per_node=SLOTS, start_delay_s=delay_s, control_s=0.0).without_window()
    policy = order("callsheet_uncut", load_recipes().policy)

    def simulated(service_s: Callable[[Job], float]) -> list[Outcome]:
        titles = []
        for job in jobs:
            encode = replace(job.title.encodes[0], true_s=service_s(job))
            titles.append(replace(job.title, encodes=(encode,)))
        return simulate(titles, farm, policy)

    real = {
        "makespan": max(job.finished_s for job in jobs) - jobs[0].arrival_s,
        "p95": quantile([job.finished_s - job.arrival_s for job in jobs], 0.95),
        "mean": statistics.mean(job.finished_s - job.arrival_s for job in jobs),
    }
    metrics = {
        "validation_jobs": float(len(jobs)),
        "validation_start_delay_s": round(delay_s, 4),
        "validation_contention": round(contended, 3),
        **{f"validation_real_{name}_s": round(value, 2) for name, value in real.items()},
    }
    table = Table("service times", "makespan", "p95 turnaround", "mean turnaround", title="simulated against real")
    table.add_row("real", *(f"{value:.1f} s" for value in real.values()))
    sources: dict[str, Callable[[Job], float]] = {
        "same_run": lambda job: job.service_s,
        "alone": lambda job: job.shape.alone_s,
        "alone_times_contention": lambda job: job.shape.alone_s * contended,
    }
    for name, service_s in sources.items():
        outcomes = simulated(service_s)
        found = {
            "makespan": max(each.finished_s or 0.0 for each in outcomes) - jobs[0].arrival_s,
            "p95": quantile([each.turnaround_s for each in outcomes], 0.95),
            "mean": statistics.mean(each.turnaround_s for each in outcomes),
        }
        errors = {key: found[key] / real[key] - 1 for key in real}
        metrics.update({f"validation_{name}_{key}_error": round(value, 4) for key, value in errors.items()})
        table.add_row(name.replace("_", " "), *(f"{found[key]:.1f} s ({errors[key]:+.1%})" for key in real))
    Console(stderr=True, width=110).print(table)
    return metrics
