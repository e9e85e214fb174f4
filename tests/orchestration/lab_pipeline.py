"""A user's own pipeline in one file. Its first stage does what the title's metadata says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from include.adapters.process import run
from include.base.document import Document
from include.base.errors import EncoderCrashed, MezzanineRejected, OutOfMemory
from include.domain.cost.forecast import Forecast
from include.domain.cost.predictor import Prediction, Quantiles
from include.domain.plan.degradation import Option
from include.domain.plan.plan import EncodeJob, EncodeOption, Plan
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import TitleJob
from include.pipelines.core import pipeline, task
from include.stages.core import ControlContext, Handle, StageContext, stage

PREDICTION = Prediction(
    cpu_s=Forecast(p50_s=1, p90_s=1), memory_mb=Quantiles(p50=64, p90=64), size_bytes=Quantiles(p50=1, p90=1),
    limit_s=77, source="lab",
)  # fmt: skip


class Seen(Document):
    """What a worker saw."""

    environment: dict[str, str]
    niceness: int


class Made(Document):
    """What was made of one job."""

    name: str


class Bill(Document):
    """What was made in all."""

    names: tuple[str, ...]
    seen: bool


@stage
def look(ctx: StageContext, title: TitleJob) -> Seen:
    """Looks around, or fails as it is told."""
    match title.metadata.get("do"):
        case "reject":
            raise MezzanineRejected("the file is empty", reason="empty")
        case "crash":
            raise EncoderCrashed("x264 fell over", command="ffmpeg -i x", stderr_tail="boom")
        case "starve":
            raise OutOfMemory("no more", command="ffmpeg", stderr_tail="")
        case "foreign":
            raise ZeroDivisionError("division by zero")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "quit" | "forget" as how:
            os._exit(64 if how == "quit" else 0)
        case "hang":
            Path(str(title.metadata["pid_file"])).write_text(str(os.getpid()))
            run([sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=600)
        case "linger":
            # Until somebody removes the file.
            (path := Path(str(title.metadata["pid_file"]))).touch()
            while path.exists():
                time.sleep(0.05)
        case "burn":
            run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], timeout_s=600)
        case "disobey":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.run(["touch", str(title.metadata["pid_file"])], check=True)
            signal.pause()
    ctx.report(0.5, "half way")
    return Seen(environment=dict(os.environ), niceness=os.nice(0))


@stage(place="airflow")
def decide(ctx: ControlContext, title: TitleJob, seen: Seen) -> Plan:
    """Two jobs, or as many as the metadata says."""
    names = [f"h264_{number}p" for number in range(title.metadata.get("jobs", 2))]
    pools, options = title.metadata.get("pools", {}), title.metadata.get("options", [])
    jobs = tuple(
        EncodeJob(
            name=name, rendition=_rendition(name), pool=pools.get(name, "cpu_encode"), prediction=PREDICTION,
            time_limit_s=77, options=tuple(_option(name, each) for each in options),
        )
        for name in names
    )  # fmt: skip
    return Plan(jobs=jobs, segment_frames=50, frame_rate="25")


@stage
def make(ctx: StageContext, title: TitleJob, decision: Plan, job: EncodeJob) -> Made:
    """Makes one."""
    return Made(name=job.name)


@stage
def bill(ctx: StageContext, title: TitleJob, seen: Seen | None, made: tuple[Made, ...]) -> Bill:
    """Counts what there is."""
    return Bill(names=tuple(each.name for each in made), seen=seen is not None)


def _rendition(name: str) -> Rendition:
    return Rendition(
        name=name, rung="144p", codec="h264", encoder="libx264", width=256, height=144, frame_rate="25", frames=50,
        rate_control=CappedCrf(crf=23, maxrate_kbps=100, bufsize_kbps=200),
        treatment=SourceTreatment(), preset="ultrafast", gop_frames=50, core=name == "h264_0p",
    )  # fmt: skip


def _option(name: str, given: dict[str, Any]) -> EncodeOption:
    option = Option(**given)
    return EncodeOption(option=option, rendition=_rendition(name).model_copy(update={"preset": option.name}))


@pipeline(version=1)
def lab(title: Handle) -> None:
    """A pipeline of a user's own."""
    with task("look-around"):
        seen = look(title)
    with task("make-up-your-mind"):
        decision = decide(title, seen)
    with task("make-them", each_job_of=decision) as job:
        made = make(title, decision, job)
    with task("add-up", trigger_rule="all_done"):
        bill(title, seen, made)
