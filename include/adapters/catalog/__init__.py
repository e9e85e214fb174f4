"""The catalog: what Callsheet knows of batches, titles and versions. Airflow and its tasks write it, pods never."""

from __future__ import annotations

from include.adapters.catalog.batches import Batches
from include.adapters.catalog.ledger import Ledger
from include.adapters.catalog.outbox import Outbox
from include.adapters.catalog.publication import Publication
from include.adapters.catalog.queue import Queue
from include.adapters.catalog.records import (
    BACKFILL_SUFFIX,
    REPAIR_SUFFIX,
    BatchRecord,
    DeadLetter,
    Event,
    HistoryRow,
    OpenTitle,
    OutboxRow,
    Repair,
    Stub,
    TitleRecord,
    VersionRecord,
    dag_id_of,
    run_id_of,
)

__all__ = [
    "BACKFILL_SUFFIX",
    "REPAIR_SUFFIX",
    "BatchRecord",
    "Catalog",
    "DeadLetter",
    "Event",
    "HistoryRow",
    "OpenTitle",
    "OutboxRow",
    "Repair",
    "Stub",
    "TitleRecord",
    "VersionRecord",
    "dag_id_of",
    "run_id_of",
]


class Catalog(Batches, Queue, Publication, Outbox, Ledger):
    """The catalog at one SQLAlchemy URL, SQLite or PostgreSQL.

    Cheap to make and without a connection of its own: each method is one transaction. Safe in any number of processes
    at once.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql+psycopg://user@host/database``.
    """
