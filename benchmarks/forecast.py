"""What the tasks beside the encodes are forecast to cost, and what they cost: by length, tracks of sound and size.

``python -m benchmarks.forecast --json`` takes titles of different shapes through the real workers of their tasks, one
after the other and without Airflow, and holds the CPU seconds of ``prepare``, ``extras`` and ``finish`` against the
forecast of the plan. Renditions are encoded by the quickest preset: this is not about encodes. Takes about 25 minutes
on two quiet cores; ``--only`` names the titles.

``--smallest`` takes a single title of a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import Report, Stopped, parser, run, say
from include.adapters.catalog import Catalog
from include.adapters.store.documents import load_document
from include.adapters.store.opening import open_store
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.demo import fetch_clips
from include.domain.cost.features import TaskName, title_features
from include.domain.cost.predictor import Predictor, TitleTasks
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import WorkerUsage
from include.domain.plan.binding import features_of
from include.domain.plan.plan import Plan
from include.domain.title.title import Tier, TitleJob
from include.domain.title.work import result_key
from include.local.environment import ROOT
from include.pipelines.core import current_pipelines
from include.pipelines.runner import TaskJob
from include.recipes import load_recipes, load_tiers
from include.stages.core import ControlContext
from include.stages.plan import plan

TASKS: tuple[TaskName, ...] = ("prepare", "extras", "finish")
LIMIT_S = 7200.0
QUICKEST = "ultrafast"
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
LANGUAGES = ("eng", "ger", "fre")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A title of the benchmark."""

    name: str
    seconds: int
    clip: str = ""
    """Of the demo, repeated until the title is as long as it has to be; a test picture where there is none."""
    tier: Tier = Tier.UGC
    size: str = ""
    """Width and height as ffmpeg writes them, where they differ from the clip's."""
    fps: int = 0
    """Where it differs from the clip's."""
    sounds: tuple[int, ...] = ()
    """Channels of each track."""


SHAPES = (
    Shape(name="5s_stereo", clip="bigbuckbunny.mp4", seconds=5, sounds=(2,)),
    Shape(name="10min_three_surround", clip="bigbuckbunny.mp4", seconds=600, sounds=(6, 6, 6)),
    Shape(name="2h_5fps_mono", clip="bikes.mp4", seconds=7200, size="320x180", fps=5, sounds=(1,)),
    Shape(name="10min_silent", clip="bikes.mp4", seconds=600),
    Shape(name="20s_1080p", clip="bikes.mp4", seconds=20, tier=Tier.PREMIUM, size="1920x1080", sounds=(2,)),
    Shape(name="6s_2160p", clip="bigbuckbunny.mp4", seconds=6, tier=Tier.PREMIUM, size="3840x2160", sounds=(6,)),
)
"""The rates of prior.yaml were fitted to these on 2026-11-28."""
OTHERS = (
    Shape(name="30s_standard", clip="bikes.mp4", seconds=30, tier=Tier.STANDARD, size="1280x720", fps=30, sounds=(2,)),
    Shape(name="5min_two_stereo", clip="bigbuckbunny.mp4", seconds=300, size="640x360", sounds=(2, 2)),
    Shape(name="1h_10fps_surround", clip="bigbuckbunny.mp4", seconds=3600, size="256x144", fps=10, sounds=(6,)),
    Shape(name="20min_silent", clip="bigbuckbunny.mp4", seconds=1200, size="426x240", fps=12),
)
"""Nothing was fitted to these: they judge the rates."""


SMALLEST = Shape(name="1s", seconds=1, size="192x108", sounds=(2,))


def measure(arguments: Namespace, report: Report) -> None:
    """Each title through its tasks."""
    wanted = [SMALLEST] if arguments.smallest else [each for each in (*SHAPES, *OTHERS) if each.name in arguments.only]
    worst: dict[TaskName, float] = dict.fromkeys(TASKS, 0.0)
    with tempfile.TemporaryDirectory(prefix="callsheet-forecast-") as name:
        clips = fetch_clips(ROOT / ".callsheet" / "clips", say=say) if not arguments.smallest else {}
        for shape in wanted:
            folder = Path(name) / shape.name
            title = _Title(shape, folder, clips.get(shape.clip))
            for task, forecast_s, real_s in title.costs():
                difference = real_s / forecast_s - 1
                worst[task] = max(worst[task], abs(difference))
                report.metrics[f"{shape.name}_{task}_forecast_cpu_s"] = round(forecast_s, 2)
                report.metrics[f"{shape.name}_{task}_cpu_s"] = round(real_s, 2)
                report.metrics[f"{shape.name}_{task}_off_by_percent"] = round(100 * difference, 1)
                say(f"{shape.name} {task}: forecast {forecast_s:.1f} CPU s, took {real_s:.1f} ({difference:+.0%})")
    for task, share in worst.items():
        report.metrics[f"{task}_off_by_percent_at_most"] = round(100 * share, 1)


class _Title:
    """One title and its work folder."""

    def __init__(self, shape: Shape, folder: Path, clip: Path | None) -> None:
        mezzanines = folder / "mezzanines"
        mezzanines.mkdir(parents=True)
        self.settings = Settings(home=folder, mezzanine_roots=(mezzanines,), store_uri=(folder / "store").as_uri())
        self.store = open_store(self.settings)
        self.shape = shape
        mezzanine = mezzanines / f"{shape.name}.mkv"
        say(f"{shape.name}: making the mezzanine")
        _make(ffmpeg(self.settings), shape, clip, mezzanine, folder)
        self.title = TitleJob(
            request_id=f"forecast/{shape.name}",
            batch_id="forecast",
            title_id=shape.name,
            run_key="forecast.1",
            pipeline="vod",
            pipeline_version=current_pipelines()["vod"].version,
            mezzanine=mezzanine.as_uri(),
            tier=shape.tier,
        )

    def costs(self) -> list[tuple[TaskName, float, float]]:
        """Forecast and real CPU seconds of each task."""
        real = {"prepare": self._worker("prepare")}
        decision = self._planned()
        for job in decision.jobs:
            self._worker("encode", job.name)
        real["extras"], real["finish"] = self._worker("extras"), self._worker("finish")
        forecast = self._forecast(decision, load_recipes().prior)
        return [(task, getattr(forecast, task).cpu_s.p50_s, real[task]) for task in TASKS]

    def _planned(self) -> Plan:
        """The stage ``plan``, and its plan with the quickest preset."""
        context = ControlContext(
            settings=self.settings,
            store=self.store,
            title=self.title,
            scratch=self.settings.scratch,
            catalog=Catalog(self.settings.catalog_url),
        )
        made = plan.function(context, self.title, *self._known(), codecs=("h264",))
        assert isinstance(made, Plan)
        quick = {"preset": QUICKEST, "profile": None, "tune": None}
        jobs = tuple(job.model_copy(update={"rendition": job.rendition.model_copy(update=quick)}) for job in made.jobs)
        made = made.model_copy(update={"jobs": jobs})
        self.store.put_bytes(result_key(self.title, "plan"), made.to_json().encode())
        return made

    def _known(self) -> tuple[Inspection, Analysis]:
        return (
            load_document(self.store, result_key(self.title, "inspect"), Inspection),
            load_document(self.store, result_key(self.title, "analyse"), Analysis),
        )

    def _forecast(self, decision: Plan, predictor: Predictor) -> TitleTasks:
        known = title_features(self.title, *self._known())
        (tasks,) = predictor.predict_tasks([features_of(decision, known, load_tiers()[self.title.tier])])
        return tasks

    def _worker(self, task: str, item: str | None = None) -> float:
        """Run a task's worker; returns its CPU seconds, those of its tools included."""
        job = TaskJob(task=task, title=self.title, item=item, time_limit_s=LIMIT_S)
        self.store.put_bytes(job.key, job.to_json().encode())
        say(f"{self.shape.name}: {job.label}")
        argv = [sys.executable, "-m", "include.worker", task, "--job", f"{self.store.uri}/{job.key}"]
        done = subprocess.run(argv, env=_environment(self.settings), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Stopped(f"{self.shape.name}: {job.label} ended with {done.returncode}: {done.stderr[-500:]}")
        return load_document(self.store, job.usage_key, WorkerUsage).cpu_s


def _environment(settings: Settings) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    return {
        **own,
        "CALLSHEET_HOME": str(settings.home),
        "CALLSHEET_STORE_URI": settings.store_uri,
        "CALLSHEET_MEZZANINE_ROOTS": ",".join(map(str, settings.mezzanine_roots)),
    }


def _make(program: str, shape: Shape, clip: Path | None, mezzanine: Path, folder: Path) -> None:
    """The mezzanine: a piece of picture and a piece of sound, each repeated as they are until the title is full."""
    argv = [program, "-nostdin", "-loglevel", "error", "-y"]
    picture = folder / "piece.mkv"
    changed = [*(["-s", shape.size] if shape.size else []), *(["-r", str(shape.fps)] if shape.fps else [])]
    codec = (
        ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", *changed]
        if changed
        else ["-c:v", "copy"]
    )
    source = ["-i", str(clip)] if clip else ["-f", "lavfi", "-i", "testsrc2=rate=25:duration=1"]
    subprocess.run([*argv, *source, "-map", "0:v:0", *codec, str(picture)], check=True)
    inputs, mapped = ["-stream_loop", "-1", "-i", str(picture)], ["-map", "0:v"]
    for number, channels in enumerate(shape.sounds, start=1):
        sound, layout = folder / f"piece{number}.mka", LAYOUTS[channels]
        noise = f"anoisesrc=color=pink:duration=60:amplitude=0.3:seed={number},tremolo=f=0.5:d=0.7"
        made = ["-f", "lavfi", "-i", f"{noise},aformat=channel_layouts={layout}", "-c:a", "ac3", str(sound)]
        subprocess.run([*argv, *made], check=True)
        inputs += ["-stream_loop", "-1", "-i", str(sound)]
        language = LANGUAGES[number - 1]
        mapped += ["-map", f"{number}:a", f"-metadata:s:a:{number - 1}", f"language={language}"]
    subprocess.run([*argv, *inputs, *mapped, "-t", str(shape.seconds), "-c", "copy", str(mezzanine)], check=True)


if __name__ == "__main__":
    options = parser("forecast", __doc__)
    names = [shape.name for shape in (*SHAPES, *OTHERS)]
    options.add_argument("--only", nargs="+", choices=names, default=names, help="titles to take; all by default")
    sys.exit(run("forecast", options.parse_args(), measure))
