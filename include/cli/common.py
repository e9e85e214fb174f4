"""What the commands share: options, reading a request, and saying what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from include.base.errors import RequestRejected
from include.cli.client import Client, all_good
from include.cli.console import follow, show_results
from include.domain.title.title import Tier

prose = Console(stderr=True)
"""For people; stdout is for what was asked."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of a table.")]
TitleId = Annotated[
    str, typer.Argument(metavar="ID", help="<batch>/<title>, or a title (its newest request).", show_default=False)
]
Why = Annotated[str, typer.Option("--why", help="For the record: who reads it later?", show_default=False)]
VideoFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A video on this machine.")]
TierOption = Annotated[Tier, typer.Option(help="How much the title matters.")]
PipelineOption = Annotated[str, typer.Option(help="A registered pipeline.")]
PUBLISH_AT = typer.Option(
    help="The deadline, with its offset, e.g. 2026-01-31T20:00:00+00:00.",
    formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
)


def watch_to_the_end(client: Client, name: str, *, as_json: bool) -> None:
    """Follow a batch or a title until it is settled; exit code 1 unless everything was published."""
    titles = follow(client.watch(name), prose)
    if as_json:
        print_json(titles)
    else:
        show_results(titles, prose)
    if not all_good(titles):
        raise typer.Exit(1)


def read_json(file: Path) -> Any:
    """A JSON file, or stdin where it is called ``-``; raises :class:`RequestRejected` where it is none."""
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise RequestRejected(f"{file}: not JSON: {error}") from error


def read_text(file: Path) -> str:
    """A text file, or stdin where it is called ``-``; raises :class:`RequestRejected` where it cannot be read."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise RequestRejected(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestRejected(f"{file}: not text: {error}") from error


def print_json(value: Any) -> None:
    """The one JSON document of a command."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """A line for people."""
    prose.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many bytes of how many are done, as the function that is given is told; nothing until it is."""
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=prose, transient=True,
    ) as shown:  # fmt: skip
        task = shown.add_task(what, visible=False)
        yield lambda done, size: shown.update(task, completed=done, total=size, visible=True)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Show that something takes a while."""
    with prose.status(f"waiting for {what}"):
        yield
