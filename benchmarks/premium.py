"""The same titles really encoded, in the order of arrival and in the policy's: what the most valuable gain by it.

``python -m benchmarks.premium --json`` starts one stack after the other in a temporary home and sends each the same
short titles on the same schedule, over REST; takes about 18 minutes on two cores. Two fifths of the titles are there
from the beginning, so that a queue stands, and the others come as quickly as this machine can encode them (``--load``
times that). The order of arrival is a copy of this project whose ``policy.yaml`` gives no points for anything.

Run it on a quiet machine, with ``--rounds`` for the noise: turnarounds are wall time from the POST to the publication.
A *decile* is a tenth of the titles by their score when they arrive.

``--smallest`` takes a minute: one title in the policy's order, without warming up. It leaves out the order of arrival,
so that nothing is compared.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks._report import Report, Stopped, parser, run, say
from benchmarks._stack import Bench, running, tiny_clip
from include.adapters.catalog import TitleRecord
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.demo import fetch_clips
from include.domain.order.value import score
from include.domain.outcome.report import Report as TitleReport
from include.domain.title.request import TitleRequest
from include.local.environment import ROOT
from include.recipes import load_policy

TITLES = 40
STANDING = 0.4
"""Share of the titles that is there when the others begin to come."""
WARM_UP = 6
"""Titles that each stack encodes beforehand; the first stack's say how quickly this machine is."""
BUSY = 0.8
"""Share of the cores' time that a queue of titles keeps busy: between two tasks of a title there is some waiting."""
SEED = 20261121
PARTS = ("include", "dags", "plugins", "airflow_settings.yaml")
"""Of the project: what a stack runs."""
ARMS = ("fifo", "policy")
Cut = tuple[str, float, dict[str, float]]
CUTS: tuple[Cut, ...] = (
    ("bigbuckbunny.mp4", 0.0, {"duration_s": 2.0, "width": 640, "height": 360, "frame_rate": 25.0}),
    ("bigbuckbunny.mp4", 2.4, {"duration_s": 2.0, "width": 640, "height": 360, "frame_rate": 25.0}),
    ("bikes.mp4", 0.0, {"duration_s": 3.0, "width": 640, "height": 272, "frame_rate": 25.0}),
    ("bikes.mp4", 4.5, {"duration_s": 3.0, "width": 640, "height": 272, "frame_rate": 25.0}),
    ("carphone_pristine.mp4", 0.0, {"duration_s": 3.0, "width": 176, "height": 144, "frame_rate": 30000 / 1001}),
)
"""Clip, start in seconds, and what becomes of it: the CMS tells that too, or all would count as long as is typical."""
SHARES = {"premium": 0.15, "standard": 0.35, "ugc": 0.5}
"""Of the titles."""
AUDIENCES = {"premium": 6.0, "standard": 4.2, "ugc": 2.5}
"""Order of magnitude of the views that are predicted for a title."""
KINDS = {"premium": ("movie", "series", "live_event"), "standard": ("series", "news", "trailer"), "ugc": ("ugc",)}
LOOK_EVERY_S = 2.0
SETTLE_S = 10.0
LIMIT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A title and when it comes."""

    request: dict[str, Any]
    value: int
    """Its score in the project's policy when it arrives."""
    after: float
    """The time of its POST, in units of the mean time between two."""

    @property
    def title_id(self) -> str:
        """Of the request."""
        return str(self.request["title_id"])


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one stack made of the titles; by title id."""

    turnaround_s: dict[str, float]
    vmaf: dict[str, float]
    """Mean over the renditions' harmonic means."""
    recipes: dict[str, str]
    totals: dict[str, float]


def main(argv: Sequence[str] | None = None, *, on: Settings | None = None) -> int:
    """Run, the smallest form on the stack that runs with the settings ``on``; returns the exit code."""
    options = parser("premium", __doc__)
    options.add_argument("--titles", type=int, default=TITLES, help=f"how many (default {TITLES})")
    options.add_argument("--load", type=float, default=1.0, help="arrivals per title that the machine can encode")
    options.add_argument("--rounds", type=int, default=1, help="times that both orders are measured (default 1)")
    options.add_argument("--seed", type=int, default=SEED, help="of titles and schedule")

    def measure(arguments: Namespace, report: Report) -> None:
        with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
            if arguments.smallest:
                measure_one(Path(folder), report, seed=arguments.seed, on=on)
            else:
                measure_both(Path(folder), arguments, report)

    return run("premium", options.parse_args(argv), measure)


def measure_both(folder: Path, arguments: Namespace, report: Report) -> None:
    """Both orders, ``rounds`` times; means over the rounds, with the spread beside where there are several."""
    trees = {arm: copy_project(folder / f"tree-{arm}", blind=arm == "fifo") for arm in ARMS}
    clips = _cut(folder / "clips", fetch_clips(folder / "clips" / "whole", say=say))
    arrivals = schedule(clips, count=arguments.titles, seed=arguments.seed)
    gap_s: float | None = None
    found: list[dict[str, float]] = []
    for turn in range(arguments.rounds):
        arms: dict[str, Arm] = {}
        # Every other round the other way round: whatever changes on the machine meanwhile meets both.
        for arm in ARMS if turn % 2 == 0 else reversed(ARMS):
            say(f"round {turn + 1} of {arguments.rounds}: {arm}")
            home = folder / f"{arm}-{turn}"
            settings = Settings(home=home, mezzanine_roots=(clips[0].parent,))
            with running(settings, report, project=trees[arm]) as bench:
                title_s = _warm_up(bench, arrivals)
                gap_s = gap_s or title_s / arguments.load
                arms[arm] = _send(bench, arrivals, gap_s=gap_s)
                _check_order(bench, arm)
            report.details.setdefault("arms", []).append({"round": turn, "order": arm, **arms[arm].totals})
            shutil.rmtree(home)
        found.append(compared(arrivals, arms["fifo"], arms["policy"]))
        for name, value in found[-1].items():
            say(f"  {name:42} {value:.3f}")
        report.metrics |= {"titles": float(arguments.titles), "gap_s": round(gap_s or 0.0, 2)} | _over(found)


def _over(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means of the rounds so far."""
    metrics = {"rounds": float(len(rounds))}
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        metrics[name] = round(statistics.mean(values), 4)
        if len(rounds) > 1:
            metrics[f"{name}_spread"] = round(max(values) - min(values), 4)
    return metrics


def measure_one(folder: Path, report: Report, *, seed: int, on: Settings | None) -> None:
    """One title through a copy of the project, or through the stack ``on``."""
    settings = on or Settings(home=folder / "home")
    whole = tiny_clip(settings)
    (cut,) = _cut(settings.mezzanine_roots[0] / "cuts", {CUTS[-1][0]: whole}, CUTS[-1:])
    arrivals = schedule([cut], count=1, seed=seed)
    tree = copy_project(folder / "tree", blind=False)
    with running(settings, report, metric="start_s", project=tree, on=on) as bench:
        arm = _send(bench, arrivals, gap_s=0.0)
        _check_order(bench, "policy")
    (turnaround_s,), (vmaf,) = arm.turnaround_s.values(), arm.vmaf.values()
    report.metrics |= {"titles": 1.0, "turnaround_s_policy": turnaround_s, "vmaf_policy": vmaf}
    # One title is no load.
    report.metrics |= {f"{name}_policy": value for name, value in arm.totals.items() if name != "load"}


def schedule(clips: Sequence[Path], *, count: int, seed: int) -> list[Arrival]:
    """The titles in the order in which they come, those of each decile spread over all of the time."""
    chance, now, policy = random.Random(seed), datetime.now(UTC), load_policy().value
    tiers = [tier for tier, share in SHARES.items() for _ in range(math.ceil(share * count))][:count]
    made: list[tuple[int, dict[str, Any]]] = []
    for number, tier in enumerate(chance.sample(tiers, count)):
        signals: dict[str, float] = {}
        if chance.random() < 0.8:  # the platform does not know everything
            signals["predicted_views_7d"] = round(10 ** chance.gauss(AUDIENCES[tier], 0.6))
        if chance.random() < 0.2:
            signals["views_last_hour"] = round(10 ** chance.gauss(AUDIENCES[tier] - 2, 0.8))
        request = {
            "title_id": f"t{number:03d}",
            "mezzanine": clips[number % len(clips)].as_uri(),
            "source": CUTS[number % len(clips)][2],
            "tier": tier,
            "kind": chance.choice(KINDS[tier]),
            "signals": signals,
        }
        typed = TitleRequest.model_validate(request)
        worth = score(
            tier=typed.tier, kind=typed.kind, signals=typed.signals, created_at=now, publish_at=None, now=now,
            policy=policy,
        )  # fmt: skip
        made.append((worth.points, request))
    made.sort(key=lambda each: -each[0])
    # Each decile is dealt out over the whole schedule: that the best few come first or last by luck says nothing.
    places: list[tuple[float, int]] = []
    size = decile(count)
    for first in range(0, count, size):
        members = range(first, min(first + size, count))
        places += [((turn + chance.random()) / len(members), each) for turn, each in enumerate(_mixed(members, chance))]
    order = [made[position] for _, position in sorted(places)]
    standing = round(STANDING * count)
    gaps = [chance.expovariate(1.0) for _ in order[standing:]]
    # Chance decides how unevenly they come, not how many in all: the load is what was asked for.
    times = [0.0] * standing + [len(gaps) * each / sum(gaps) for each in itertools.accumulate(gaps)]
    return [
        Arrival(request=request, value=points, after=after)
        for (points, request), after in zip(order, times, strict=True)
    ]


def decile(count: int) -> int:
    """A tenth of the titles, at least one."""
    return max(1, round(count / 10))


def compared(arrivals: Sequence[Arrival], fifo: Arm, policy: Arm) -> dict[str, float]:
    """The figures of one round."""
    by_value = [each.title_id for each in sorted(arrivals, key=lambda each: -each.value)]
    size = decile(len(by_value))
    groups = {"top_decile": by_value[:size], "all": by_value, "bottom_decile": by_value[-size:]}
    metrics: dict[str, float] = {}
    for group, names in groups.items():
        for statistic, of in (("mean", statistics.mean), ("median", statistics.median)):
            before, after = (of([arm.turnaround_s[name] for name in names]) for arm in (fifo, policy))
            metrics[f"{group}_turnaround_{statistic}_s_fifo"] = before
            metrics[f"{group}_turnaround_{statistic}_s_policy"] = after
            metrics[f"{group}_turnaround_{statistic}_change"] = after / before - 1
    for group, names in groups.items():
        for label, arm in (("fifo", fifo), ("policy", policy)):
            metrics[f"{group}_vmaf_{label}"] = statistics.mean(arm.vmaf[name] for name in names)
    metrics["vmaf_most_lost_by_a_title"] = max(fifo.vmaf[name] - policy.vmaf[name] for name in by_value)
    metrics["recipes_that_differ"] = float(sum(fifo.recipes[name] != policy.recipes[name] for name in by_value))
    values = {each.title_id: each.value for each in arrivals}
    weighted = [sum(values[name] * arm.turnaround_s[name] for name in by_value) for arm in (fifo, policy)]
    metrics["value_weighted_turnaround_change"] = weighted[1] / weighted[0] - 1
    for name in fifo.totals:
        metrics[f"{name}_fifo"], metrics[f"{name}_policy"] = fifo.totals[name], policy.totals[name]
    for name in ("encode_cpu_s", "stack_cpu_s", "makespan_s"):
        metrics[f"{name}_change"] = policy.totals[name] / fifo.totals[name] - 1
    return metrics


def _warm_up(bench: Bench, arrivals: Sequence[Arrival]) -> float:
    """Encode a few of the titles; returns the seconds from one to the next that this machine keeps up with."""
    time.sleep(SETTLE_S)
    some = arrivals[:: max(1, len(arrivals) // WARM_UP)][:WARM_UP]
    titles = [{**each.request, "title_id": f"warm-{each.title_id}"} for each in some]
    before = bench.cpu_s()
    bench.client.submit({"batch_id": "warm", "titles": titles}, wait=False)
    _until_published(bench, {"warm": len(titles)})
    used = (bench.cpu_s() - before) / len(titles)
    workers = statistics.mean(bench.worker_cpu_s(each) for each in bench.catalog.titles.find(batch_id="warm"))
    title_s = used / bench.settings.encode_slots / BUSY
    say(f"warmed up: {used:.1f} CPU s a title, {workers:.1f} of them its workers'")
    say(f"so one title every {title_s:.1f} s")
    time.sleep(SETTLE_S)
    return title_s


def _send(bench: Bench, arrivals: Sequence[Arrival], *, gap_s: float) -> Arm:
    """Post the titles when they are due, wait for the last publication, gather what became of them."""
    before, began, batches = bench.cpu_s(), time.monotonic(), {}
    others = _busy_s()
    first_post = datetime.now(UTC)
    posted: dict[str, datetime] = {}
    latest_s = 0.0
    waves = _waves(arrivals)
    for number, (after, wave) in enumerate(waves):
        due_s = after * gap_s - (time.monotonic() - began)
        time.sleep(max(0.0, due_s))
        latest_s = max(latest_s, -due_s)
        batch_id = f"wave{number:03d}"
        asked = datetime.now(UTC)
        bench.client.submit({"batch_id": batch_id, "titles": [each.request for each in wave]}, wait=False)
        batches[batch_id] = len(wave)
        posted |= {each.title_id: asked for each in wave}
    arrived_s = time.monotonic() - began
    say(f"all {len(arrivals)} titles are posted after {arrived_s:.0f} s")
    _until_published(bench, batches)
    wall_s, used = time.monotonic() - began, bench.cpu_s() - before
    records = [each for batch_id in batches for each in bench.catalog.titles.find(batch_id=batch_id)]
    reports = {each.title_id: bench.report(each) for each in records}
    published = {each.title_id: _published_at(bench, each) for each in records}
    makespan_s = (max(published.values()) - first_post).total_seconds()
    late = [each for each in arrivals if each.after > 0]
    return Arm(
        turnaround_s={name: (published[name] - posted[name]).total_seconds() for name in posted},
        vmaf={name: _vmaf(report) for name, report in reports.items()},
        recipes={name: _recipes(report) for name, report in reports.items()},
        totals={
            "encode_cpu_s": sum(report.encode_cpu_s for report in reports.values()),
            "worker_cpu_s": sum(bench.worker_cpu_s(each) for each in records),
            "stack_cpu_s": used,
            "makespan_s": makespan_s,
            "load": (len(late) / arrived_s) * (makespan_s / len(arrivals)) if late else 0.0,
            "starts_out_of_order": float(_out_of_order(records)),
            "latest_post_s": latest_s,
            "others_cpu_share": max(0.0, _busy_s() - others - used) / wall_s / bench.settings.encode_slots,
        },
    )


def _waves(arrivals: Sequence[Arrival]) -> list[tuple[float, list[Arrival]]]:
    """What is posted together: the titles that are there from the beginning, then one at a time."""
    standing = [each for each in arrivals if each.after == 0]
    return [*([(0.0, standing)] if standing else []), *((each.after, [each]) for each in arrivals if each.after > 0)]


def _until_published(bench: Bench, batches: dict[str, int]) -> None:
    """Until all titles are published; raises :class:`Stopped` where one comes to another end."""
    bench.batches += batches
    said, wanted = 0, sum(batches.values())

    def all_final() -> bool:
        nonlocal said
        records = [title for batch_id in batches for title in bench.catalog.titles.find(batch_id=batch_id)]
        done = sum(title.state.final for title in records)
        if done >= said + 10:
            said = done
            say(f"{done} of {wanted} titles are published")
        return done == wanted

    bench.until(all_final, f"the publication of {wanted} titles", limit_s=LIMIT_S, every_s=LOOK_EVERY_S)
    bench.check()


def _check_order(bench: Bench, arm: str) -> None:
    """A stack that did not run its copy of the project has measured nothing."""
    priorities = {each.priority for each in bench.catalog.titles.find()}
    if (priorities == {0}) != (arm == "fifo"):
        raise Stopped(f"{arm}: the titles had the priorities {sorted(priorities)[:5]}…: not the policy that was meant")


def _out_of_order(records: Sequence[TitleRecord]) -> int:
    """Titles that were released after one that came later."""
    released = [each.released_at for each in sorted(records, key=lambda each: each.seq) if each.released_at]
    return sum(any(later < moment for later in released[place:]) for place, moment in enumerate(released))


def _vmaf(report: TitleReport) -> float:
    scores = [each.vmaf.harmonic_mean for each in report.renditions if each.vmaf is not None]
    if len(scores) < len(report.renditions) or not scores:
        raise Stopped(f"{report.title_id} has renditions without VMAF")
    return statistics.mean(scores)


def _recipes(report: TitleReport) -> str:
    return json.dumps([each.recipe.model_dump(mode="json") for each in report.renditions], sort_keys=True)


def _published_at(bench: Bench, record: TitleRecord) -> datetime:
    """When the whole set was published, whatever of it was to be had before."""
    version = bench.catalog.versions.current(record.title_id)
    if version is None:
        raise Stopped(f"{record.request_id} is published and has no version")
    return version.published_at


def _busy_s() -> float:
    """CPU seconds of everything on this machine, since its start."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def copy_project(tree: Path, *, blind: bool) -> Path:
    """A copy of the project, so that no edit meanwhile changes what is measured; ``blind``: all titles are alike."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, tree / part)
    if blind:
        path = tree / "include" / "recipes" / "policy.yaml"
        policy: dict[str, Any] = yaml.safe_load(path.read_text())
        value = policy["value"]
        value["tiers"] = dict.fromkeys(value["tiers"], 0)
        value["kinds"] = dict.fromkeys(value["kinds"], 0)
        value["audience"]["points"] = 1e-6  # some there must be; none is left when points are rounded
        value["time"]["points"] = 0
        path.write_text(yaml.safe_dump(policy))
    return tree


def _cut(folder: Path, whole: Mapping[str, Path], cuts: Sequence[Cut] = CUTS) -> list[Path]:
    """Mezzanines of a few seconds, of the clips in ``whole``."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, (name, start_s, source) in enumerate(cuts):
        cut = folder / f"cut{number}.mp4"
        argv = [ffmpeg(Settings()), "-nostdin", "-v", "error", "-y", "-ss", f"{start_s}", "-i", str(whole[name])]
        argv += ["-t", f"{source['duration_s']}", "-vf", f"scale={source['width']}:{source['height']}"]
        subprocess.run([*argv, "-c:v", "libx264", "-crf", "12", "-c:a", "aac", str(cut)], check=True)
        found.append(cut)
    return found


def _mixed(members: Sequence[int], chance: random.Random) -> list[int]:
    return chance.sample(members, len(members))


if __name__ == "__main__":
    sys.exit(main())
