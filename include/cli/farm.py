"""The farm: set it up, measure it, try its policies."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from include.adapters.catalog import Catalog
from include.base.errors import RequestRejected
from include.base.pools import worker_pools
from include.base.settings import load_settings
from include.cli import calibrate as calibration
from include.cli.bench import run_jobs
from include.cli.client import Client
from include.cli.common import (
    PUBLISH_AT,
    JsonOption,
    PipelineOption,
    TierOption,
    VideoFile,
    print_json,
    read_text,
    say,
    waiting_for,
)
from include.cli.console import show_calibration
from include.cli.offline import plan_file
from include.domain.title.title import Tier
from include.local.airflow_settings import load_airflow_settings
from include.recipes import load_cost_rates
from include.services.history import write_history
from include.simulation import show
from include.simulation.command import Asked, run_scenario

app = typer.Typer()


@app.command()
def configure() -> None:
    """Load pools, connections and variables of airflow_settings.yaml into Airflow; again after each change of slots."""
    settings = load_settings()
    with Client.connect(settings) as client:
        load_airflow_settings(client.api, settings)
    first, *others = worker_pools(settings)
    say(", ".join([f"{first.name} has {first.slots} slots", *(f"{pool.name} {pool.slots}" for pool in others)]))


@app.command()
def plan(
    file: VideoFile,
    tier: TierOption = Tier.STANDARD,
    publish_at: Annotated[datetime | None, PUBLISH_AT] = None,
    pipeline: PipelineOption = "vod",
) -> None:
    """Inspect, analyse and plan one file without Airflow; the plan as JSON."""
    with waiting_for("the sampled decodes"):
        found = plan_file(load_settings(), file, tier=tier, publish_at=publish_at, pipeline=pipeline)
    print_json(found)


@app.command()
def history(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Titles that settled in so many days up to now.")] = 30,
) -> None:
    """The farm's past jobs as CSV on stdout, for `callsheet simulate usual --history`; reads the catalog."""
    now = datetime.now(UTC)
    written = write_history(
        Catalog(load_settings().catalog_url), sys.stdout, since=now - timedelta(days=days), until=now
    )
    say(f"{written} titles")


@app.command()
def calibrate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
            help="Clips that are like the farm's titles; without any ffmpeg makes pictures.",
        ),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Keep what `python -m include.cli.calibrate` has printed elsewhere; - reads stdin.",
            allow_dash=True,
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn this machine's speed by sample encodes, for the forecasts; two minutes at most."""
    settings = load_settings()
    if measured is not None:
        if files:
            raise RequestRejected("--from: takes what was measured; clips are for a measurement here")
        found = calibration.read(read_text(measured), where=str(measured))
    else:
        found = calibration.measure(settings, files or [], say=say, now=datetime.now(UTC))
    where = calibration.keep(settings, found)
    if as_json:
        pairs = [
            {"encoder": encoder, "preset": preset, "factor": round(each.factor, 4), "lowest": round(each.lowest, 4),
             "highest": round(each.highest, 4), "samples": each.samples, "counts": each.counts}
            for (encoder, preset), each in found.spreads(load_cost_rates()).items()
        ]  # fmt: skip
        print_json({"kept": where, "measured_at": found.measured_at.isoformat(),
                     "encoder_version": found.encoder_version, "pairs": pairs})  # fmt: skip
    else:
        show_calibration(found.spreads(load_cost_rates()), Console())
        say(f"kept at {where}")


@app.command()
def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            help="usual, premium_release, viral_title, live_event, complex_animation, surge, node_failures, "
            "zone_outages, corrupt_sources or insufficient_capacity; any other word tells what happens in each."
        ),
    ],
    titles: Annotated[int, typer.Option(min=10, max=100_000, help="How many are drawn.")] = 1500,
    load: Annotated[
        float | None, typer.Option(min=0.05, max=5, help="Work per slot; not for --history. Default: the scenario's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same titles.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="Machines with two slots each.")] = 8,
    chart: Annotated[Path | None, typer.Option(help="Turnaround and lateness as a PNG.")] = None,
    even: Annotated[bool, typer.Option("--even", help="Titles come evenly, instead of in bursts.")] = False,
    arrivals: Annotated[Path | None, typer.Option(help="CSV with `submit` in seconds: when titles come.")] = None,
    views: Annotated[
        Path | None, typer.Option(help="CSV with `video_id`, `views`, `date` (day.month): how popularity grows.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="CSV of past jobs instead of drawn titles, as `callsheet history` writes it (docs/simulator.md)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try the policies on a simulated farm, against FIFO, strict tiers, EDF and an oracle.

    The same titles, drawn from the seed or read from --history, go through the farm once for each order. Prints a table
    (--json: one document): turnaround in hours, premium titles in time, what was given up for that.
    """
    asked = Asked(
        scenario=scenario, titles=titles, load=load, seed=seed, nodes=nodes, even=even, arrivals=arrivals,
        views=views, history=history,
    )  # fmt: skip
    answer = run_scenario(asked, say)
    if chart is not None:
        show.chart(answer.runs, chart, title=answer.title)
        say(f"chart written to {chart}")
    if as_json:
        print_json(answer.document())
        return
    figures = [run.figures for run in answer.runs.values()]
    Console().print(show.table(figures, title=answer.title, focus=answer.scenario.focus))


@app.command()
def bench(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The video that every job encodes.")],
    jobs: Annotated[int, typer.Option(min=1, max=10_000)] = 10,
    concurrent: Annotated[int, typer.Option(min=1, max=200, help="Jobs under way at once.")] = 2,
    output: Annotated[Path | None, typer.Option(help="Write the report here as JSON; default: stdout.")] = None,
) -> None:
    """The classic report: jobs, success rate, throughput, latencies of intake and of processing."""
    settings = load_settings()
    with Client.connect(settings) as client:
        report = run_jobs(client, settings, video=video, jobs=jobs, concurrent=concurrent, say=say)
    text = json.dumps(report, indent=2)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text + "\n")
        say(f"report written to {output}")
    if report["success_rate"] < 1:
        raise typer.Exit(1)
