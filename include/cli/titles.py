"""Titles and batches: send them, see where they stand, try them again."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from include.base.settings import load_settings
from include.cli.client import Client
from include.cli.common import (
    PUBLISH_AT,
    JsonOption,
    PipelineOption,
    TierOption,
    VideoFile,
    print_json,
    progress_of,
    prose,
    read_json,
    say,
    waiting_for,
    watch_to_the_end,
)
from include.cli.console import show_batch, show_quote, show_results, show_valuation
from include.domain.title.request import batch_schema
from include.domain.title.title import Tier
from include.services import copies

app = typer.Typer()


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
    request = read_json(file)
    with Client.connect(load_settings()) as client:
        if dry_run:
            _quote(client, request, as_json=as_json)
        else:
            _submit(client, request, watch=watch, as_json=as_json)


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="ID", help="A batch, <batch>/<title>, or a title.")],
    wide: Annotated[bool, typer.Option("--wide", help="Of a batch also rungs, addresses and scores.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Where a batch or a title stands.

    A title's own view has its rungs, its addresses and how its place in the order comes about; with --json also its
    events.
    """
    with Client.connect(load_settings()) as client:
        kind, found = client.find(name)
    if as_json:
        print_json(found)
        return
    if kind == "batch" and not wide:
        show_batch(found["titles"], Console())
        return
    show_results(found["titles"] if kind == "batch" else [found], Console())
    if kind == "title":
        show_valuation(found, Console())


@app.command()
def watch(
    name: Annotated[str, typer.Argument(metavar="ID", help="A batch, <batch>/<title>, or a title.")],
    as_json: JsonOption = False,
) -> None:
    """Follow a batch or a title to its end; exit code 1 unless everything was published."""
    with Client.connect(load_settings()) as client:
        watch_to_the_end(client, name, as_json=as_json)


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
            watch_to_the_end(client, new["request_id"], as_json=as_json)
        elif as_json:
            print_json(new)


@app.command()
def resend(
    name: Annotated[str, typer.Argument(metavar="ID", help="<batch>/<title>, or a title (its newest request).")],
) -> None:
    """Send the webhooks of a title once more, with the ids that they had."""
    with Client.connect(load_settings()) as client:
        say(f"{client.resend(name)} webhooks are queued; they leave within a minute")


@app.command()
def encode(
    file: VideoFile,
    tier: TierOption = Tier.STANDARD,
    publish_at: Annotated[datetime | None, PUBLISH_AT] = None,
    pipeline: PipelineOption = "vod",
    as_json: JsonOption = False,
) -> None:
    """Encode one file on the local stack: a batch of one title, submitted and watched.

    A file beneath a mezzanine root is read where it lies; of any other a link or a copy is made in the first root,
    which `housekeeping` removes when the title is settled for good.
    """
    settings = load_settings()
    stamp = f"{datetime.now():%Y%m%d-%H%M%S-%f}"  # noqa: DTZ005 - a name for people on this machine
    title_id = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_")[:80] or "title"
    with progress_of(f"copying {file.name}") as told:
        mezzanine = copies.placed(file, f"{title_id}-{stamp}", settings, told)
    title: dict[str, Any] = {
        "title_id": title_id,
        "name": file.name[:300],
        "mezzanine": mezzanine.as_uri(),
        "tier": tier.value,
        "publish_at": publish_at.isoformat() if publish_at else None,
    }
    batch_id = f"encode-{stamp}"
    with Client.connect(settings) as client:
        try:
            accepted = client.submit({"batch_id": batch_id, "pipeline": pipeline, "titles": [title]})["titles"]
        except BaseException:
            copies.forget(mezzanine, settings)
            raise
        if not accepted:
            copies.forget(mezzanine, settings)
        watch_to_the_end(client, batch_id, as_json=as_json)


@app.command(name="dead-letters")
def dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """Titles that came to nothing: whose fault, which command, how to replay."""
    with Client.connect(load_settings()) as client:
        letters = client.dead_letters(limit)
    if as_json:
        print_json(letters)
        return
    for letter in letters:
        error = letter["error"]
        prose.print(f"{letter['request_id']}  {error['type']} (owner: {error['owner']})", style="bold", highlight=False)
        prose.print(f"  {error['message']}", markup=False, highlight=False, soft_wrap=True)
        prose.print(f"  {letter['replay_command']}", style="cyan", markup=False, highlight=False)


@app.command()
def schema() -> None:
    """JSON Schema of a batch request."""
    print_json(batch_schema())


def _submit(client: Client, request: Any, *, watch: bool, as_json: bool) -> None:
    with waiting_for("intake"):
        batch = client.submit(request)
    _say_refusals(batch["refusals"])
    prose.print(f"batch {batch['batch_id']}: {len(batch['titles'])} titles accepted, {len(batch['refusals'])} refusals")
    if watch:
        watch_to_the_end(client, batch["batch_id"], as_json=as_json)
    elif as_json:
        print_json(batch)


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
        print_json(quote)
    else:
        show_quote(quote, Console())
