"""The local stack: one Airflow on this machine, as `make up` starts it."""

from __future__ import annotations

import typer

from include.base.settings import load_settings
from include.cli.common import prose, say
from include.cli.demo import run_demo
from include.local import stack
from include.services.valuation import kept_calibration

app = typer.Typer()


@app.command()
def up() -> None:
    """Start the local stack: Airflow on SQLite with generated secrets, on a free port."""
    running = stack.up(load_settings(), say=say)
    say(f"{running.url}  login admin / {running.passwords['admin']}")
    if kept_calibration(load_settings()) is None:
        say("forecasts do not know this machine yet: `callsheet calibrate` measures it, in two minutes at most")


@app.command()
def down() -> None:
    """Stop every process of the local stack."""
    say("stopped" if stack.down(load_settings()) else "nothing was running")


@app.command()
def demo() -> None:
    """Three real clips through a real Airflow: start, submit, watch, show."""
    raise typer.Exit(run_demo(load_settings(), prose))
