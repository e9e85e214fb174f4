"""``callsheet``: submit titles, watch them, try them again, run the local stack.

Machine output goes to stdout, prose to stderr; the exit code is non-zero on any failure.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from include.base.errors import CallsheetError, RequestRejected
from include.base.settings import load_settings
from include.cli.client import Client, all_good
from include.cli.console import follow, show_calibration, show_queue, show_quote, show_results, show_valuation
from include.domain.title.request import batch_schema
from include.domain.title.title import Tier

app = typer.Typer(
    name="callsheet",
    help="Encodes titles in the order of their value and by their deadlines, on Apache Airflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
prose = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of a table.")]
TitleId = Annotated[
    str, typer.Argument(metavar="ID", help="<batch>/<title>, or a title (its newest request).", show_default=False)
]
Why = Annotated[str, typer.Option("--why", help="For the record: who reads it later?", show_default=False)]
PUBLISH_AT = typer.Option(
    help="The deadline, with its offset, e.g. 2026-01-31T20:00:00+00:00.",
    formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
)


def main() -> None:
    """Entry point: typed errors become one line and exit code 1."""
    try:
        app()
    except CallsheetError as error:
        prose.print(f"callsheet: {error.message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="A batch request as JSON; - reads stdin.", allow_dash=True)],
    watch: Annotated[bool, typer.Option("--watch", help="Stay until every title is settled.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Quote it: finish, verdict, cost. Enters nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Post a batch request; says what was accepted and what refused, and why."""
    request = _read_json(file)
    with Client.connect(load_settings()) as client:
        if dry_run:
            _quote(client, request, as_json=as_json)
        else:
            _submit(client, request, watch=watch, as_json=as_json)


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="ID", help="A batch, <batch>/<title>, or a title.")],
    as_json: JsonOption = False,
) -> None:
    """Where a batch or a title stands."""
    with Client.connect(load_settings()) as client:
        kind, found = client.find(name)
    if as_json:
        _print_json(found)
        return
    show_results(found["titles"] if kind == "batch" else [found], Console())
    if kind == "title":
        show_valuation(found, Console())


@app.command()
def queue(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Titles at most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Running and waiting titles in the policy's order."""
    with Client.connect(load_settings()) as client:
        found = client.queue(limit)
    if as_json:
        _print_json(found)
    else:
        show_queue(found, Console())


@app.command()
def reschedule(
    name: TitleId,
    why: Why,
    publish_at: Annotated[datetime | None, PUBLISH_AT] = None,
    tier: Annotated[Tier | None, typer.Option(help="A new tier.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a title another deadline, or another tier."""
    change = {"publish_at": publish_at.isoformat() if publish_at else None, "tier": tier.value if tier else None}
    _steer(name, {key: value for key, value in change.items() if value is not None}, why, as_json=as_json)


@app.command()
def hold(name: TitleId, why: Why, as_json: JsonOption = False) -> None:
    """Keep a waiting title from being started."""
    _steer(name, {"hold": True}, why, as_json=as_json)


@app.command()
def resume(name: TitleId, why: Why, as_json: JsonOption = False) -> None:
    """Let a held title go again."""
    _steer(name, {"hold": False}, why, as_json=as_json)


@app.command()
def pin(
    name: TitleId,
    why: Why,
    off: Annotated[bool, typer.Option("--off", help="Back to the place that it has by its value.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a title before every other."""
    _steer(name, {"pin": not off}, why, as_json=as_json)


@app.command()
def cancel(name: TitleId, why: Why, as_json: JsonOption = False) -> None:
    """Stop a title: running work ends, nothing half-made is published."""
    _steer(name, {"cancel": True}, why, as_json=as_json)


@app.command()
def signal(
    name: TitleId,
    views_7d: Annotated[float | None, typer.Option("--views-7d", help="Predicted views in seven days.")] = None,
    views_last_hour: Annotated[float | None, typer.Option(help="Views of the last hour.")] = None,
    watch_minutes: Annotated[float | None, typer.Option(help="Predicted watch minutes in seven days.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "new signals",
    as_json: JsonOption = False,
) -> None:
    """Tell how a title's audience develops: its value and place in the order change at once."""
    given = {
        "predicted_views_7d": views_7d,
        "views_last_hour": views_last_hour,
        "watch_minutes_7d": watch_minutes,
    }
    signals = {key: value for key, value in given.items() if value is not None}
    if not signals:
        raise RequestRejected("nothing is told: give --views-7d, --views-last-hour or --watch-minutes")
    with Client.connect(load_settings()) as client:
        _show_changed(client.signal(name, signals, why=why), as_json=as_json)


@app.command()
def watch(
    name: Annotated[str, typer.Argument(metavar="ID", help="A batch, <batch>/<title>, or a title.")],
    as_json: JsonOption = False,
) -> None:
    """Follow a batch or a title to its end; exit code 1 unless everything was published."""
    with Client.connect(load_settings()) as client:
        _watch(client, name, as_json=as_json)


@app.command()
def replay(
    name: Annotated[str, typer.Argument(metavar="ID", help="<batch>/<title>, or a title (its newest request).")],
    follow_it: Annotated[bool, typer.Option("--watch", help="Stay until it is settled.")] = False,
    as_json: JsonOption = False,
) -> None:
    """A dead letter or a settled title again, as a new request."""
    with Client.connect(load_settings()) as client:
        new = client.replay(name)
        prose.print(f"replayed as {new['request_id']}", highlight=False)
        if follow_it:
            _watch(client, new["request_id"], as_json=as_json)
        elif as_json:
            _print_json(new)


@app.command()
def resend(
    name: Annotated[str, typer.Argument(metavar="ID", help="<batch>/<title>, or a title (its newest request).")],
) -> None:
    """Send the webhooks of a title once more, with the ids that they had."""
    with Client.connect(load_settings()) as client:
        _say(f"{client.resend(name)} webhooks are queued; they leave within a minute")


@app.command()
def migrate() -> None:
    """Bring the catalog of CALLSHEET_CATALOG_URL to this version's tables; `make up` does it by itself."""
    from include.adapters.catalog import Catalog

    Catalog(load_settings().catalog_url).migrate()
    _say("the catalog is up to date")


@app.command()
def configure() -> None:
    """Load pools, connections and variables of airflow_settings.yaml into Airflow; again after each change of slots."""
    from include.local.stack import load_airflow_settings

    settings = load_settings()
    with Client.connect(settings) as client:
        load_airflow_settings(client.api, settings)
    _say(f"cpu_encode has {settings.encode_slots} slots, gpu_encode {settings.gpu_slots}")


@app.command()
def encode(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A video on this machine.")],
    tier: Annotated[Tier, typer.Option(help="How much the title matters.")] = Tier.STANDARD,
    publish_at: Annotated[datetime | None, PUBLISH_AT] = None,
    pipeline: Annotated[str, typer.Option(help="A registered pipeline.")] = "vod",
    as_json: JsonOption = False,
) -> None:
    """Encode one file on the local stack: a batch of one title, submitted and watched."""
    import re

    settings = load_settings()
    stamp = f"{datetime.now():%Y%m%d-%H%M%S-%f}"  # noqa: DTZ005 - a name for people on this machine
    title_id = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_")[:80] or "title"
    mezzanine = settings.mezzanine_roots[0] / f"{title_id}-{stamp}{file.suffix}"
    mezzanine.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, mezzanine)
    title: dict[str, Any] = {
        "title_id": title_id,
        "name": file.name[:300],
        "mezzanine": mezzanine.as_uri(),
        "tier": tier.value,
        "publish_at": publish_at.isoformat() if publish_at else None,
    }
    batch_id = f"encode-{stamp}"
    with Client.connect(settings) as client:
        client.submit({"batch_id": batch_id, "pipeline": pipeline, "titles": [title]})
        _watch(client, batch_id, as_json=as_json)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A video on this machine.")],
    tier: Annotated[Tier, typer.Option(help="How much the title matters.")] = Tier.STANDARD,
    publish_at: Annotated[datetime | None, PUBLISH_AT] = None,
    pipeline: Annotated[str, typer.Option(help="A registered pipeline.")] = "vod",
) -> None:
    """Inspect, analyse and plan one file without Airflow; the plan as JSON."""
    from include.cli.offline import plan_file

    with _patience("the sampled decodes"):
        found = plan_file(load_settings(), file, tier=tier, publish_at=publish_at, pipeline=pipeline)
    _print_json(found)


@app.command()
def schema() -> None:
    """JSON Schema of a batch request."""
    _print_json(batch_schema())


@app.command(name="dead-letters")
def dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """Titles that came to nothing: whose fault, which command, how to replay."""
    with Client.connect(load_settings()) as client:
        letters = client.dead_letters(limit)
    if as_json:
        _print_json(letters)
        return
    for letter in letters:
        error = letter["error"]
        prose.print(f"{letter['request_id']}  {error['type']} (owner: {error['owner']})", style="bold", highlight=False)
        prose.print(f"  {error['message']}", markup=False, highlight=False, soft_wrap=True)
        prose.print(f"  {letter['replay_command']}", style="cyan", markup=False, highlight=False)


@app.command()
def up() -> None:
    """Start the local stack: Airflow on SQLite with generated secrets, on a free port."""
    from include.local import stack
    from include.services.valuation import kept_calibration

    running = stack.up(load_settings(), say=_say)
    _say(f"{running.url}  login admin / {running.passwords['admin']}")
    if kept_calibration(load_settings()) is None:
        _say("forecasts do not know this machine yet: `callsheet calibrate` measures it, in two minutes at most")


@app.command()
def down() -> None:
    """Stop every process of the local stack."""
    from include.local import stack

    _say("stopped" if stack.down(load_settings()) else "nothing was running")


@app.command()
def demo() -> None:
    """Three real clips through a real Airflow: start, submit, watch, show."""
    from include.cli.demo import run_demo

    raise typer.Exit(run_demo(load_settings(), prose))


@app.command()
def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            help="usual, premium_release, viral_title, live_event, complex_animation, surge, node_failures, "
            "corrupt_sources or insufficient_capacity; any other word tells what happens in each."
        ),
    ],
    titles: Annotated[int, typer.Option(min=10, max=100_000, help="How many are drawn.")] = 1500,
    load: Annotated[
        float | None, typer.Option(min=0.05, max=5, help="Work per slot; not for --history. Default: the scenario's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same titles.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="Machines with two slots each.")] = 8,
    chart: Annotated[Path | None, typer.Option(help="Turnaround and lateness as a PNG.")] = None,
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
    from include.simulation import show
    from include.simulation.command import Asked, run_scenario

    asked = Asked(
        scenario=scenario, titles=titles, load=load, seed=seed, nodes=nodes, arrivals=arrivals, views=views,
        history=history,
    )  # fmt: skip
    answer = run_scenario(asked, _say)
    if chart is not None:
        show.chart(answer.runs, chart, title=answer.title)
        _say(f"chart written to {chart}")
    if as_json:
        _print_json(answer.document())
        return
    figures = [run.figures for run in answer.runs.values()]
    Console().print(show.table(figures, title=answer.title, focus=answer.scenario.focus))


@app.command()
def history(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Titles that settled in so many days up to now.")] = 30,
) -> None:
    """The farm's past jobs as CSV on stdout, for `callsheet simulate usual --history`; reads the catalog."""
    from include.adapters.catalog import Catalog
    from include.services.history import write_history

    now = datetime.now(UTC)
    written = write_history(
        Catalog(load_settings().catalog_url), sys.stdout, since=now - timedelta(days=days), until=now
    )
    _say(f"{written} titles")


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
    from include.cli import calibrate as calibration
    from include.recipes import load_cost_rates

    settings = load_settings()
    if measured is not None:
        if files:
            raise RequestRejected("--from: takes what was measured; clips are for a measurement here")
        found = calibration.read(_read_text(measured), where=str(measured))
    else:
        found = calibration.measure(settings, files or [], say=_say, now=datetime.now(UTC))
    where = calibration.keep(settings, found)
    if as_json:
        pairs = [
            {"encoder": encoder, "preset": preset, "factor": round(each.factor, 4), "lowest": round(each.lowest, 4),
             "highest": round(each.highest, 4), "samples": each.samples, "counts": each.counts}
            for (encoder, preset), each in found.spreads(load_cost_rates()).items()
        ]  # fmt: skip
        _print_json({"kept": where, "measured_at": found.measured_at.isoformat(),
                     "encoder_version": found.encoder_version, "pairs": pairs})  # fmt: skip
    else:
        show_calibration(found.spreads(load_cost_rates()), Console())
        _say(f"kept at {where}")


@app.command()
def bench(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The video that every job encodes.")],
    jobs: Annotated[int, typer.Option(min=1, max=10_000)] = 10,
    concurrent: Annotated[int, typer.Option(min=1, max=200, help="Jobs under way at once.")] = 2,
    output: Annotated[Path | None, typer.Option(help="Write the report here as JSON; default: stdout.")] = None,
) -> None:
    """The classic report: jobs, success rate, throughput, latencies of intake and of processing."""
    from include.cli.bench import run_jobs

    settings = load_settings()
    with Client.connect(settings) as client:
        report = run_jobs(client, settings, video=video, jobs=jobs, concurrent=concurrent, say=_say)
    text = json.dumps(report, indent=2)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text + "\n")
        _say(f"report written to {output}")
    if report["success_rate"] < 1:
        raise typer.Exit(1)


def _submit(client: Client, request: Any, *, watch: bool, as_json: bool) -> None:
    with _patience("intake"):
        batch = client.submit(request)
    _say_refusals(batch["refusals"])
    prose.print(f"batch {batch['batch_id']}: {len(batch['titles'])} titles accepted, {len(batch['refusals'])} refusals")
    if watch:
        _watch(client, batch["batch_id"], as_json=as_json)
    elif as_json:
        _print_json(batch)


def _say_refusals(refusals: list[dict[str, Any]]) -> None:
    for refusal in refusals:
        prose.print(
            f"refused {refusal['title_id'] or refusal['index']}: {refusal['field']}: {refusal['reason']} "
            f"(got {refusal['value']})",
            style="yellow", markup=False, highlight=False,
        )  # fmt: skip


def _quote(client: Client, request: Any, *, as_json: bool) -> None:
    quote = client.quote(request)
    _say_refusals(quote["refusals"])
    if as_json:
        _print_json(quote)
    else:
        show_quote(quote, Console())


def _steer(name: str, change: dict[str, Any], why: str, *, as_json: bool) -> None:
    with Client.connect(load_settings()) as client:
        _show_changed(client.steer(name, {**change, "why": why}), as_json=as_json)


def _show_changed(title: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(title)
        return
    _say(f"{title['request_id']}: {title['state']}{', held' if title['held'] else ''}"
         f"{', pinned' if title['pinned'] else ''}")  # fmt: skip
    show_valuation(title, Console())


def _watch(client: Client, name: str, *, as_json: bool) -> None:
    titles = follow(client.watch(name), prose)
    if as_json:
        _print_json(titles)
    else:
        show_results(titles, prose)
    if not all_good(titles):
        raise typer.Exit(1)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(_read_text(file))
    except ValueError as error:
        raise RequestRejected(f"{file}: not JSON: {error}") from error


def _read_text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise RequestRejected(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestRejected(f"{file}: not text: {error}") from error


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _say(line: str) -> None:
    prose.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _patience(what: str) -> Iterator[None]:
    with prose.status(f"waiting for {what}"):
        yield


if __name__ == "__main__":
    main()
