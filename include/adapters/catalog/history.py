"""What happened: events, what each encode cost and how good it became, and titles that came to nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import and_, func, insert, select

from include.adapters.catalog.database import Part, first_shown
from include.adapters.catalog.journal import add_event, request_row
from include.adapters.catalog.records import DeadLetter, Event, HistoryRow, TaskRow, under_rights
from include.adapters.catalog.schema import batches, dead_letters, events, history, task_history, titles
from include.base.errors import ErrorDocument


class History(Part):
    """What happened to titles. Nothing in it is ever changed; of dead letters the latest counts."""

    def events(
        self, *, request_id: str | None = None, batch_id: str | None = None, after_id: int = 0, limit: int = 500
    ) -> list[Event]:
        """Events in the order in which they happened, of one request or batch, or of all."""
        query = select(events).where(events.c.id > after_id).order_by(events.c.id).limit(limit)
        if request_id is not None:
            query = query.where(events.c.request_id == request_id)
        if batch_id is not None:
            query = query.where(events.c.batch_id == batch_id)
        with self._read() as connection:
            return [Event(**row) for row in connection.execute(query).mappings()]

    def record(self, request_id: str, rows: Sequence[HistoryRow], tasks: Sequence[TaskRow], *, now: datetime) -> None:
        """Enter what the renditions and the tasks of this attempt cost; what is entered already stays as it is."""
        with self._write() as connection:
            attempt = request_row(connection, request_id)["attempt"]
            for table, name, found in ((history, "rendition", rows), (task_history, "task", tasks)):
                here = and_(table.c.request_id == request_id, table.c.attempt == attempt)
                known = set(connection.scalars(select(table.c[name]).where(here)))
                for row in found:
                    if getattr(row, name) not in known:
                        values = {"request_id": request_id, "attempt": attempt, "recorded_at": now}
                        connection.execute(insert(table).values(**values, **row.model_dump(mode="json")))

    def of_request(self, request_id: str) -> list[HistoryRow]:
        """What the renditions of a request cost."""
        query = select(*(history.c[name] for name in HistoryRow.model_fields)).where(history.c.request_id == request_id)
        with self._read() as connection:
            return [HistoryRow(**row) for row in connection.execute(query.order_by(history.c.rendition)).mappings()]

    def recent(self, *, limit: int) -> list[HistoryRow]:
        """What the newest encodes of all titles cost, newest first."""
        query = select(*(history.c[name] for name in HistoryRow.model_fields)).order_by(history.c.recorded_at.desc())
        with self._read() as connection:
            return [HistoryRow(**row) for row in connection.execute(query.limit(limit)).mappings()]

    def recent_tasks(self, *, limit: int) -> list[TaskRow]:
        """What the newest tasks of all titles cost, newest first; encodes are no such tasks."""
        columns = (task_history.c[name] for name in TaskRow.model_fields)
        query = select(*columns).order_by(task_history.c.recorded_at.desc()).limit(limit)
        with self._read() as connection:
            return [TaskRow(**row) for row in connection.execute(query).mappings()]

    def encode_cpu_s(self, since: datetime, until: datetime) -> float:
        """CPU seconds of the encodes that were recorded from ``since`` to ``until``."""
        within = and_(history.c.recorded_at >= since, history.c.recorded_at < until)
        with self._read() as connection:
            return float(connection.scalar(select(func.sum(history.c.cpu_s)).where(within)) or 0.0)

    def record_dead_letter(
        self, request_id: str, *, error: ErrorDocument, task: str | None, replay_command: str, now: datetime
    ) -> None:
        """Keep a title's failure for a person; the latest one counts, and the same one again changes nothing."""
        with self._write() as connection:
            row = request_row(connection, request_id)
            known = connection.execute(
                select(dead_letters.c.task, dead_letters.c.error).where(dead_letters.c.request_id == request_id)
            ).one_or_none()
            if known is not None and tuple(known) == (task, error.model_dump(mode="json")):
                return
            connection.execute(dead_letters.delete().where(dead_letters.c.request_id == request_id))
            connection.execute(
                insert(dead_letters).values(
                    request_id=request_id,
                    task=task,
                    error=error.model_dump(mode="json"),
                    replay_command=replay_command,
                    created_at=now,
                )
            )
            add_event(
                connection,
                "dead_letter",
                batch_id=row["batch_id"],
                request_id=request_id,
                task=task,
                now=now,
                detail={"type": error.type, "owner": error.owner, "reason": error.reason, "message": error.message},
            )

    def dead_letters(
        self, limit: int = 100, *, readable: Callable[[str], bool] = lambda dag_id: True
    ) -> list[DeadLetter]:
        """Dead letters, newest first; arguments as of :meth:`include.adapters.catalog.batches.Batches.newest`."""
        query = (
            select(dead_letters, titles.c.title_id, titles.c.run_id, batches.c.dag_id, batches.c.root_batch_id)
            .join(titles, titles.c.request_id == dead_letters.c.request_id)
            .join(batches, batches.c.batch_id == titles.c.batch_id)
            .order_by(dead_letters.c.created_at.desc(), titles.c.seq.desc())
        )
        with self._read() as connection:
            rows = first_shown(connection, query, limit=limit, shown=under_rights(readable))
            return [DeadLetter(**row) for row in rows]
