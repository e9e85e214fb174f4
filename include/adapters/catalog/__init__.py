"""The catalog: what Callsheet knows of batches, titles and versions. Airflow and its tasks write it, pods never."""

from __future__ import annotations

from include.adapters.catalog.alerts import Alerts
from include.adapters.catalog.batches import Batches
from include.adapters.catalog.census import Census
from include.adapters.catalog.database import Database
from include.adapters.catalog.history import History
from include.adapters.catalog.outbox import Outbox
from include.adapters.catalog.owners import Owners
from include.adapters.catalog.proofs import Proofs
from include.adapters.catalog.queue import Queue
from include.adapters.catalog.records import (
    BatchRecord,
    DeadLetter,
    Event,
    HistoryRow,
    OpenTitle,
    OutboxRow,
    Repair,
    Stub,
    TaskRow,
    TitleRecord,
    VersionRecord,
    dag_id_of,
    run_id_of,
)
from include.adapters.catalog.repairs import Repairs
from include.adapters.catalog.revisions import Migration, Revisions
from include.adapters.catalog.titles import Titles
from include.adapters.catalog.versions import Versions

__all__ = [
    "BatchRecord",
    "Catalog",
    "DeadLetter",
    "Event",
    "HistoryRow",
    "Migration",
    "OpenTitle",
    "OutboxRow",
    "Repair",
    "Stub",
    "TaskRow",
    "TitleRecord",
    "VersionRecord",
    "dag_id_of",
    "run_id_of",
]


class Catalog:
    """The catalog at one SQLAlchemy URL, SQLite or PostgreSQL, by subject.

    Cheap to make and without a connection of its own: each method is one transaction. Safe in any number of processes
    at once.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql+psycopg://user@host/database``.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.batches = Batches(self.database)
        self.titles = Titles(self.database)
        self.owners = Owners(self.database)
        self.queue = Queue(self.database)
        self.versions = Versions(self.database)
        self.repairs = Repairs(self.database)
        self.proofs = Proofs(self.database)
        self.history = History(self.database)
        self.alerts = Alerts(self.database)
        self.outbox = Outbox(self.database)
        self.census = Census(self.database)
        self.revisions = Revisions(self.database)

    def migrate(self) -> list[Migration]:
        """Bring the tables to the newest revision; returns the migrations that this took.

        Several processes may do it at once: one does, the others wait. Raises :class:`ConfigurationError` where a newer
        release has migrated the catalog.
        """
        return self.revisions.migrate()
