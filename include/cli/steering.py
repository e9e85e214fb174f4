"""The queue: see it, change its order, keep or stop a title; each change is recorded with its reason."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from include.base.errors import RequestRejected
from include.base.settings import load_settings
from include.cli.client import Client
from include.cli.common import PUBLISH_AT, JsonOption, TitleId, Why, print_json, say
from include.cli.console import show_queue, show_valuation
from include.domain.title.title import Tier

app = typer.Typer()


@app.command()
def queue(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Titles at most.")] = 50,
    wide: Annotated[bool, typer.Option("--wide", help="Also score, priority, tier, deadline and verdict.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Running and waiting titles in the policy's order.

    Airflow's UI has the same as a page: Queue, in the menu.
    """
    with Client.connect(load_settings()) as client:
        found = client.queue(limit)
    if as_json:
        print_json(found)
    else:
        show_queue(found, Console(), wide=wide)


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


def _steer(name: str, change: dict[str, Any], why: str, *, as_json: bool) -> None:
    with Client.connect(load_settings()) as client:
        _show_changed(client.steer(name, {**change, "why": why}), as_json=as_json)


def _show_changed(title: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(title)
        return
    say(f"{title['request_id']}: {title['state']}{', held' if title['held'] else ''}"
         f"{', pinned' if title['pinned'] else ''}")  # fmt: skip
    show_valuation(title, Console())
