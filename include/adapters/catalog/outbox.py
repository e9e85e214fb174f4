"""The outbox: webhooks that were decided with the change they tell of, and are sent afterwards, at least once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from include.adapters.catalog.database import Part, leased
from include.adapters.catalog.records import OutboxRow
from include.adapters.catalog.schema import outbox
from include.domain.telling.retries import retry_after
from include.domain.telling.webhooks import FIRST_RETRY, GIVE_UP_AFTER, HOLD_ORDER, LONGEST_RETRY


class Outbox(Part):
    """Webhooks on their way."""

    def claim_due(self, *, now: datetime, limit: int, ttl_s: float) -> list[OutboxRow]:
        """Claim webhooks that are due, oldest first, and of each request only the first that is still to go.

        A webhook that waits for another attempt holds the later ones of its request up, but not for longer than
        ``HOLD_ORDER``: a receiver that refuses one kind of event for ever must still hear of the publication.
        """
        pending = outbox.c.state == "pending"
        # What was never tried is due whatever clock entered it.
        ripe = or_(outbox.c.due_at <= now, outbox.c.attempts == 0)
        claimed = leased(outbox.c.claimed_until, now=now, ttl_s=ttl_s)
        holds = or_(ripe, claimed, outbox.c.queued_at > now - HOLD_ORDER)
        # A refusal has no request and stands for itself.
        stream = func.coalesce(outbox.c.request_id, outbox.c.event_id)
        # One pass with a window, not a look at the earlier ones for each: a database that has no statistics of a table
        # yet (one large batch fills this one) does the latter in quadratic time, and writers wait.
        first = func.min(outbox.c.id).over(partition_by=stream).label("first")
        free = and_(ripe, or_(outbox.c.claimed_until.is_(None), ~claimed)).label("free")
        waiting = select(outbox, first, free).where(pending, holds).subquery()
        due = select(waiting).where(waiting.c.id == waiting.c.first, waiting.c.free)
        with self._write() as connection:
            rows = connection.execute(due.order_by(waiting.c.id).limit(limit)).mappings().all()
            connection.execute(
                update(outbox)
                .where(outbox.c.id.in_([row["id"] for row in rows]))
                .values(claimed_until=now + timedelta(seconds=ttl_s))
            )
        return [_record(row) for row in rows]

    def delivered(self, row_id: int, now: datetime) -> None:
        """The receiver has taken it."""
        with self._write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.id == row_id)
                .values(
                    state="delivered",
                    delivered_at=now,
                    claimed_until=None,
                    attempts=outbox.c.attempts + 1,
                    last_error=None,
                )
            )

    def failed(self, row_id: int, error: str, now: datetime) -> None:
        """The receiver has not taken it: try again later, and give up after a day."""
        with self._write() as connection:
            row = connection.execute(select(outbox).where(outbox.c.id == row_id)).mappings().one()
            if row["state"] != "pending":
                # Delivered meanwhile, by one who took over an expired claim.
                return
            attempts = row["attempts"] + 1
            gives_up = now - row["queued_at"] >= GIVE_UP_AFTER
            connection.execute(
                update(outbox)
                .where(outbox.c.id == row_id)
                .values(
                    state="dead" if gives_up else "pending",
                    attempts=attempts,
                    due_at=now + retry_after(attempts, first=FIRST_RETRY, longest=LONGEST_RETRY),
                    claimed_until=None,
                    last_error=error,
                )
            )

    def replay(self, id: str, now: datetime) -> int:  # noqa: A002 - a request's id or an event's
        """Send the webhooks of a request, or one by its event id, again under the same ids; how many."""
        with self._write() as connection:
            return connection.execute(
                update(outbox)
                .where(or_(outbox.c.event_id == id, outbox.c.request_id == id))
                .values(state="pending", queued_at=now, due_at=now, attempts=0, claimed_until=None, delivered_at=None)
            ).rowcount

    def of_request(self, request_id: str) -> list[OutboxRow]:
        """The webhooks of a request, sent or not, in order."""
        with self._read() as connection:
            query = select(outbox).where(outbox.c.request_id == request_id).order_by(outbox.c.id)
            return [_record(row) for row in connection.execute(query).mappings()]


def _record(row: Any) -> OutboxRow:
    return OutboxRow(**{name: row[name] for name in OutboxRow.model_fields})
