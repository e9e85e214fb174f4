"""What every change writes beside itself, in the same transaction: its event, and its webhook."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from include.adapters.catalog.schema import batches, events, outbox, titles

Row = Mapping[Any, Any]


def request_row(connection: Connection, request_id: str) -> Row:
    """The title's row beside its batch's; raises :class:`LookupError` for a request that does not exist."""
    found = (
        connection.execute(
            select(
                titles,
                batches.c.dag_id,
                batches.c.root_batch_id,
                batches.c.pipeline,
                batches.c.pipeline_version,
                batches.c.callback_url,
                batches.c.retired_at,
            )
            .join(batches, batches.c.batch_id == titles.c.batch_id)
            .where(titles.c.request_id == request_id)
        )
        .mappings()
        .one_or_none()
    )
    if found is None:
        raise LookupError(f"the catalog has no request {request_id!r}")
    return dict(found)


def add_event(
    connection: Connection,
    kind: str,
    *,
    batch_id: str,
    now: datetime,
    request_id: str | None = None,
    task: str | None = None,
    item: str | None = None,
    detail: Row | None = None,
) -> None:
    """Append an event."""
    connection.execute(
        insert(events).values(
            at=now, batch_id=batch_id, request_id=request_id, kind=kind, task=task, item=item, detail=dict(detail or {})
        )
    )


def enqueue(connection: Connection, kind: str, row: Row, *, now: datetime, **data: Any) -> None:
    """Put the webhook ``title.<kind>`` of a request (its row and its batch's) into the outbox, where anyone listens."""
    if row["callback_url"] is None:
        return
    subject = {name: row.get(name) for name in ("batch_id", "title_id", "request_id")}
    connection.execute(
        insert(outbox).values(
            event_id=f"evt_{uuid.uuid4().hex}",
            batch_id=row["batch_id"],
            request_id=row.get("request_id"),
            type=f"title.{kind}",
            url=row["callback_url"],
            data={**subject, **data},
            created_at=now,
            state="pending",
            queued_at=now,
            due_at=now,
            attempts=0,
        )
    )
