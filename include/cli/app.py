"""``callsheet``: submit titles, watch them, try them again, run the local stack.

Machine output goes to stdout, prose to stderr; the exit code is non-zero on any failure. The commands are in the
modules beside this one, by what they are about.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from include.base.errors import CallsheetError
from include.base.release import VERSION
from include.cli import farm, stack, steering, titles, upgrade
from include.cli.common import prose

app = typer.Typer(
    name="callsheet",
    help="Encodes titles in the order of their value and by their deadlines, on Apache Airflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = (titles, steering, farm, upgrade, stack)
"""Modules of commands, in the order of the help text and of ``docs/commands.md``."""
for group in GROUPS:
    app.add_typer(group.app)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"callsheet {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Encodes titles in the order of their value and by their deadlines, on Apache Airflow."""


def main() -> None:
    """Entry point: typed errors become one line and exit code 1."""
    try:
        app()
    except CallsheetError as error:
        prose.print(f"callsheet: {error.message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
