"""What an operator wants to know before and after an upgrade: what is live, what is due, and what is not as tested.

Each look may fail by itself: what cannot be reached is a finding like any other, and the rest is looked at as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from include.adapters import sandbox, tools
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, Stub
from include.adapters.catalog.census import Counts
from include.adapters.store.opening import open_store
from include.base.document import Document
from include.base.errors import CallsheetError, ConfigurationError, PlatformUnavailable
from include.base.release import PACKAGES, POSTGRESQL, TOOLS, VERSION
from include.base.settings import Settings
from include.domain.title.work import FORMAT
from include.pipelines.core import current_pipelines
from include.services.upgrade import foreign_batches, outdated_batches

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
NAMES_SHOWN = 5
WHERE_THE_PLUGIN_IS_TOLD = 'docs/runbook.md, "The health check fails"'


class Level(StrEnum):
    """How a finding counts."""

    OK = "ok"
    WARNING = "warning"
    """It may well be meant so: a stack that is down, a media tool of the operator's own."""
    OPERATOR = "operator"
    """Somebody has to do something."""


class Finding(Document):
    """One thing that was looked at."""

    about: str
    level: Level
    said: str
    do: str = ""
    """What to do about it; empty where it is well."""


class Examination(Document):
    """All that was found."""

    version: str
    """Of this Callsheet."""
    format: int
    """Of the documents that it writes into work folders."""
    pipelines: dict[str, int]
    """Newest version of each pipeline."""
    revision: str | None
    """Of the catalog's tables; None where there are none, or where the catalog does not answer."""
    due: tuple[str, ...]
    """Revisions that a migration would bring."""
    live: Counts | None
    """None where the catalog cannot be read."""
    findings: tuple[Finding, ...]
    well: bool
    """Whether nothing needs an operator."""


def examine(settings: Settings, connect: Callable[[], AirflowApi]) -> Examination:
    """Look at packages, tools, catalog, store and Airflow.

    Nothing is changed but one small object in the store, which is written, read and deleted.

    Args:
        settings: Of this deployment.
        connect: Gives a client of its Airflow; may raise :class:`ConfigurationError` where there is none.
    """
    catalog = _Catalog(Catalog(settings.catalog_url))
    findings = (
        *_packages(),
        *_tools(settings),
        _sandbox(settings),
        *catalog.findings(),
        _store(settings),
        *_airflow(connect),
    )
    return Examination(
        version=VERSION,
        format=FORMAT,
        pipelines={name: pipeline.version for name, pipeline in current_pipelines().items()},
        revision=catalog.revision,
        due=catalog.due,
        live=catalog.live,
        findings=findings,
        well=all(finding.level is not Level.OPERATOR for finding in findings),
    )


def _packages() -> Iterator[Finding]:
    """Whether the packages are those that requirements.txt pins."""
    others = []
    for name, tested in PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found != tested:
            others.append(f"{name} {found}, tested with {tested}")
    if not others:
        yield _ok("packages", f"all {len(PACKAGES)} as tested, Airflow {PACKAGES['apache-airflow']} among them")
    for said in others:
        yield _for_operator("packages", said, "install requirements.txt of this version")


def _tools(settings: Settings) -> Iterator[Finding]:
    """Whether the media tools run, in a version that was tested."""
    looks = {"ffmpeg": tools.ffmpeg_version, "ffprobe": tools.ffprobe_version, "packager": tools.packager_version}
    for name, look in looks.items():
        try:
            found = look(settings)
        except CallsheetError as error:
            yield _for_operator(name, error.message, f"install requirements.txt, or set CALLSHEET_{name.upper()}")
            continue
        if found.startswith(TOOLS[name]):
            yield _ok(name, found)
        else:
            yield Finding(
                about=name, level=Level.WARNING, said=f"{found}, tested with {TOOLS[name]}",
                do="another build may be meant; renditions of the two are told apart",
            )  # fmt: skip


def _sandbox(settings: Settings) -> Finding:
    """Whether media tools run closed in, as strangers' files may take them over."""
    if settings.runtime == "kubernetes":
        return _ok("sandbox", "media tools run in pods: the container is their sandbox")
    if settings.worker_socket:
        return _ok("sandbox", "media tools run in the workers' container, which is their sandbox")
    said = sandbox.missing(settings)
    if not said:
        return _ok("sandbox", "media tools run in one (bubblewrap)")
    do = "unset CALLSHEET_SANDBOX" if settings.sandbox == "off" else sandbox.INSTALL
    return Finding(about="sandbox", level=Level.WARNING, said=f"media tools run without one: {said}", do=do)


class _Catalog:
    """What the catalog says, as far as it can be read."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.revision: str | None = None
        self.due: tuple[str, ...] = ()
        self.live: Counts | None = None

    def findings(self) -> Iterator[Finding]:
        """Each thing that was looked at, as far as the one before it allows."""
        try:
            yield from self._look()
        except (CallsheetError, SQLAlchemyError) as error:
            said = str(error).partition("\n")[0]
            yield _for_operator("database", said, "its address (CALLSHEET_CATALOG_URL), its server")

    def _look(self) -> Iterator[Finding]:
        name, number = self._catalog.database.server()
        too_old = name == "PostgreSQL" and int(number.partition(".")[0]) < POSTGRESQL
        yield (
            _for_operator("database", f"{name} {number}", f"PostgreSQL {POSTGRESQL} or newer is served")
            if too_old
            else _ok("database", f"{name} {number}")
        )
        self.revision = self._catalog.revisions.current()
        try:
            due = self._catalog.revisions.due()
        except ConfigurationError as error:
            yield _for_operator("schema", error.message, "the newer version, or its `callsheet migrate --back`")
            return
        self.due = tuple(migration.revision for migration in due)
        if self.revision is None:
            yield _for_operator("schema", "the catalog has no tables yet", "callsheet migrate; `make up` does it, too")
            return
        if due:
            said = f"at revision {self.revision}; due: {', '.join(self.due)}"
            yield _for_operator("schema", said, "callsheet migrate")
        else:
            yield _ok("schema", f"at revision {self.revision}, as this version has it")
        # From here on: what the tables of every release have.
        self.live = self._catalog.census.live()
        yield from self._batches()
        yield from self._runs(self.live)

    def _batches(self) -> Iterator[Finding]:
        outdated, foreign = outdated_batches(self._catalog), foreign_batches(self._catalog)
        if outdated:
            said = f"of a version that is gone: {_named(outdated)}"
            yield _for_operator("batches", said, "callsheet migrate; the DAG dispatch moves them within a minute, too")
        if foreign:
            said = f"of a pipeline or version that this release does not have: {_named(foreign)}"
            yield _for_operator("batches", said, "install the release that has it; their titles wait for it")
        if not outdated and not foreign:
            yield _ok("batches", "all live ones are of pipelines that this version has")

    def _runs(self, live: Counts) -> Iterator[Finding]:
        # Tables before a migration do not tell what a run was begun with: then an older release began it.
        others = sum(run.titles for run in live.runs) if self.due else len(self._catalog.titles.outdated())
        if others:
            said = f"{others} were begun by another version"
            do = "nothing: after the upgrade dispatch begins them again, and they find what is finished"
            yield Finding(about="runs", level=Level.WARNING, said=said, do=do)


def _store(settings: Settings) -> Finding:
    """Whether the store can be read and written: a small object under a key of its own comes and goes."""
    folder, written = f"work/callsheet-doctor-{uuid.uuid4().hex}", b"callsheet doctor"
    try:
        store = open_store(settings)
        try:
            store.put_bytes(f"{folder}/probe", written)
            read = store.get_bytes(f"{folder}/probe")
        finally:
            store.delete_tree(folder)
    except (CallsheetError, FileNotFoundError) as error:
        said = error.message if isinstance(error, CallsheetError) else "what was written was not there to be read"
        return _for_operator("store", said, "CALLSHEET_STORE_URI, its credentials, its disk")
    if read != written:
        return _for_operator("store", f"{store.uri}: other bytes came back than were written", "who else writes there?")
    return _ok("store", f"{store.uri}: written, read and deleted")


def _airflow(connect: Callable[[], AirflowApi]) -> Iterator[Finding]:
    """Whether Airflow answers, is of the tested version and well, and has Callsheet's plugin."""
    try:
        api = connect()
    except ConfigurationError as error:
        yield _not_reachable(error)
        return
    with api:
        try:
            found = str(api.request("GET", "/api/v2/version")["version"])
            health = api.request("GET", "/api/v2/monitor/health")
        except PlatformUnavailable as error:
            yield _not_reachable(error)
            return
        except (CallsheetError, KeyError) as error:
            yield _for_operator("airflow", str(error), "the address and the account that it is asked with")
            return
        tested = PACKAGES["apache-airflow"]
        yield (
            _ok("airflow", f"{found} at {api.base_url}")
            if found == tested
            else _for_operator("airflow", f"{found}, tested with {tested}", "Airflow's image, or its packages")
        )
        down = [name for name in COMPONENTS if (health.get(name) or {}).get("status") != "healthy"]
        if down:
            yield _for_operator("airflow", f"not healthy: {', '.join(down)}", "their logs")
        try:
            yield from _plugin(api.health())
        except CallsheetError as error:
            yield _for_operator("plugin", error.message, WHERE_THE_PLUGIN_IS_TOLD)


def _not_reachable(error: CallsheetError) -> Finding:
    said = f"not reachable: {error.message}"
    return Finding(about="airflow", level=Level.WARNING, said=said, do="nothing where it is meant to be down")


def _plugin(report: dict[str, Any]) -> Iterator[Finding]:
    wrong = {name: said for name, said in report.get("checks", {}).items() if said != "ok"}
    for name, said in wrong.items():
        yield _for_operator(f"plugin: {name}", str(said), WHERE_THE_PLUGIN_IS_TOLD)
    if not wrong:
        yield _ok("plugin", "loaded in Airflow, with hook, deadlines, bundle, catalog and store")


def _named(stubs: list[Stub]) -> str:
    shown = [f"{stub.batch_id} ({stub.pipeline} v{stub.pipeline_version})" for stub in stubs[:NAMES_SHOWN]]
    more = len(stubs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _ok(about: str, said: str) -> Finding:
    return Finding(about=about, level=Level.OK, said=said)


def _for_operator(about: str, said: str, do: str) -> Finding:
    return Finding(about=about, level=Level.OPERATOR, said=said, do=do)
