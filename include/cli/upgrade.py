"""An upgrade, and going back: look before and after, bring the catalog along, say whose the titles are."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.errors import ConfigurationError, RequestRejected
from include.base.settings import load_settings
from include.cli.client import Client
from include.cli.common import JsonOption, print_json, say
from include.cli.console import show_examination
from include.local import stack
from include.services.doctor import examine
from include.services.upgrade import take_catalog_back, upgrade_catalog

app = typer.Typer()


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at everything that an upgrade touches; before it, and after it. Changes nothing.

    What is live and under which versions, which migrations are due, and whether packages, media tools, catalog, store
    and Airflow are those that this version is tested with. Exit code 1 where something needs an operator. An Airflow
    that does not run is no fault.
    """
    settings = load_settings()
    found = examine(settings, lambda: Client.connect(settings).api)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_examination(found, Console())
    if not found.well:
        raise typer.Exit(1)


@app.command()
def migrate(
    back: Annotated[
        bool, typer.Option("--back", help="To the release before, with all that is in it; stop Airflow first.")
    ] = False,
) -> None:
    """Bring the catalog of CALLSHEET_CATALOG_URL to this version's tables, and live batches to its pipelines.

    `make up` does it by itself.
    """
    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    if not back:
        stack.told(upgrade_catalog(catalog, now=datetime.now(UTC)), say)
        say("the catalog is up to date")
        return
    if stack.find(settings) is not None:
        raise ConfigurationError("the local stack runs on this catalog: `callsheet down` first")
    done = take_catalog_back(catalog, open_store(settings))
    for migration in done.undone:
        say(f"migration {migration.revision} undone: {migration.what}")
    say(f"the catalog is at revision {done.revision}, as Callsheet {done.release} has it")
    if done.simplified:
        say("without what the old version does not know of source and subtitles: " + ", ".join(done.simplified))
    if done.under_way and done.by_themselves:
        say("once the old version is up, these begin again within a minute or two: " + ", ".join(done.under_way))
    elif done.under_way:
        say(
            "once the old version is up, clear their runs in Airflow, whole, so that they begin again: "
            + ", ".join(done.under_way)
        )


@app.command()
def give(
    tenant: Annotated[str, typer.Argument(help="A user that posts batches, or a tenant of CALLSHEET_TENANTS.")],
    title_ids: Annotated[list[str] | None, typer.Argument(metavar="[TITLE_ID]...", help="Ids of titles.")] = None,
    without_owner: Annotated[
        bool, typer.Option("--without-owner", help="All titles that were posted before ids had owners.")
    ] = False,
) -> None:
    """Make a tenant the owner of title ids: it alone posts them from now on.

    An id belongs to whoever posted it first. Works on the catalog itself, as `migrate` does.
    """
    catalog = Catalog(load_settings().catalog_url)
    given = sorted({*(title_ids or ()), *(catalog.owners.without_owner() if without_owner else ())})
    if not given and not without_owner:
        raise RequestRejected("nothing is given: name title ids, or --without-owner", reason="invalid_request")
    try:
        catalog.owners.give(given, tenant, by=getpass.getuser(), now=datetime.now(UTC))
    except LookupError as error:
        raise RequestRejected(str(error.args[0]), reason="unknown_title") from error
    say(f"{len(given)} titles belong to {tenant} now")
