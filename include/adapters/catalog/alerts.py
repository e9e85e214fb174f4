"""The alert ledger and the queue of titles to repair. An alert is sent once, a repair is made once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from include.adapters.catalog.database import Part, leased
from include.adapters.catalog.journal import Row, add_event, request_row
from include.adapters.catalog.schema import alerts, batches, dead_letters, titles
from include.domain.telling.alerts import FIRST_RETRY, LONGEST_RETRY, STORM_WINDOW, Alert, AlertLevel, due_at
from include.domain.telling.retries import retry_after


class Alerts(Part):
    """The alert ledger."""

    def enter(
        self, *, title_id: str, request_id: str, level: AlertLevel, cause: str, message: str, now: datetime
    ) -> bool:
        """Enter an alert to be sent; False where there is one already for this title, request and level."""
        with self._write() as connection:
            known = select(alerts.c.id).where(
                alerts.c.title_id == title_id, alerts.c.request_id == request_id, alerts.c.level == level
            )
            if connection.scalar(known) is not None:
                return False
            row = request_row(connection, request_id)
            connection.execute(
                insert(alerts).values(
                    title_id=title_id,
                    request_id=request_id,
                    level=level,
                    cause=cause,
                    message=message,
                    created_at=now,
                    due_at=_due_at(connection, level, cause, now),
                    attempts=0,
                )
            )
            add_event(
                connection,
                f"alert.{level}",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={"cause": cause, "message": message},
            )
            return True

    def claim_due(self, now: datetime, limit: int, ttl_s: float) -> list[Alert]:
        """Claim alerts that are due, oldest first."""
        unclaimed = or_(alerts.c.claimed_until.is_(None), ~leased(alerts.c.claimed_until, now=now, ttl_s=ttl_s))
        query = (
            select(
                alerts,
                batches.c.dag_id,
                titles.c.request,
                titles.c.run_id,
                titles.c.preview,
                titles.c.publish_at,
                dead_letters.c.error,
                dead_letters.c.replay_command,
            )
            .join(titles, titles.c.request_id == alerts.c.request_id)
            .join(batches, batches.c.batch_id == titles.c.batch_id)
            .outerjoin(dead_letters, dead_letters.c.request_id == alerts.c.request_id)
            .where(alerts.c.sent_at.is_(None), alerts.c.due_at <= now, unclaimed)
            .order_by(alerts.c.id)
            .limit(limit)
        )
        with self._write() as connection:
            rows = connection.execute(query).mappings().all()
            connection.execute(
                update(alerts)
                .where(alerts.c.id.in_([row["id"] for row in rows]))
                .values(claimed_until=now + timedelta(seconds=ttl_s))
            )
        return [_alert(row) for row in rows]

    def sent(self, ids: Collection[int], now: datetime) -> None:
        """The alerts have reached the channel."""
        with self._write() as connection:
            connection.execute(
                update(alerts)
                .where(alerts.c.id.in_(ids))
                .values(sent_at=now, claimed_until=None, attempts=alerts.c.attempts + 1, last_error=None)
            )

    def failed(self, ids: Collection[int], error: str, now: datetime) -> None:
        """The alerts have not reached the channel: they stay in the ledger and are tried again later."""
        with self._write() as connection:
            for row_id, attempts in connection.execute(
                select(alerts.c.id, alerts.c.attempts).where(alerts.c.id.in_(ids), alerts.c.sent_at.is_(None))
            ).all():
                connection.execute(
                    update(alerts)
                    .where(alerts.c.id == row_id)
                    .values(
                        attempts=attempts + 1,
                        due_at=now + retry_after(attempts + 1, first=FIRST_RETRY, longest=LONGEST_RETRY),
                        claimed_until=None,
                        last_error=error,
                    )
                )


def _due_at(connection: Connection, level: AlertLevel, cause: str, now: datetime) -> datetime:
    alike = and_(alerts.c.level == level, alerts.c.cause == cause, alerts.c.created_at > now - STORM_WINDOW)
    recent = connection.scalar(select(func.count()).select_from(alerts).where(alike)) or 0
    waiting = and_(alerts.c.sent_at.is_(None), alerts.c.due_at > now)
    return due_at(
        now=now,
        recent=recent,
        gathering_until=connection.scalar(select(func.min(alerts.c.due_at)).where(alike, waiting)),
    )


def _alert(row: Row) -> Alert:
    shown = {name: row[name] for name in Alert.model_fields if name in row}
    owner = row["error"]["owner"] if row["error"] else None
    return Alert(**shown, name=row["request"]["name"], owner=owner)
