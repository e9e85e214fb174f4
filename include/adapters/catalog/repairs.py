"""Titles to make good: each is queued once, and taken once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import insert, select, update

from include.adapters.catalog.database import Part
from include.adapters.catalog.journal import add_event, request_row
from include.adapters.catalog.records import Repair, RepairKind
from include.adapters.catalog.schema import repairs, titles
from include.domain.title.title import Origin


class Repairs(Part):
    """Degraded titles that lack a rendition (repairs), or what they gave up for their deadline (back-fills)."""

    def queue(
        self, request_id: str, missing: Collection[str], now: datetime, *, kind: RepairKind = Origin.REPAIR
    ) -> bool:
        """Note that a degraded title is to be made good. False where that is noted already."""
        with self._write() as connection:
            if connection.scalar(select(repairs.c.id).where(repairs.c.request_id == request_id)) is not None:
                return False
            row = request_row(connection, request_id)
            connection.execute(
                insert(repairs).values(request_id=request_id, missing=list(missing), queued_at=now, kind=kind)
            )
            add_event(
                connection,
                f"{kind}.queued",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={"missing": list(missing)},
            )
            return True

    def pending(self, limit: int = 100, *, kind: RepairKind = Origin.REPAIR) -> list[Repair]:
        """Repairs or back-fills that nobody has taken, oldest first."""
        query = (
            select(*(repairs.c[name] for name in Repair.model_fields if name != "title_id"), titles.c.title_id)
            .join(titles, titles.c.request_id == repairs.c.request_id)
            .where(repairs.c.taken_at.is_(None), repairs.c.kind == kind)
            .order_by(repairs.c.id)
            .limit(limit)
        )
        with self._read() as connection:
            return [Repair(**row) for row in connection.execute(query).mappings()]

    def taken(self, repair_id: int, new_request_id: str | None, now: datetime) -> bool:
        """A new request does the repair, or None can. False where another one does it already."""
        with self._write() as connection:
            taken = connection.execute(
                update(repairs)
                .where(repairs.c.id == repair_id, repairs.c.taken_at.is_(None))
                .values(taken_at=now, new_request_id=new_request_id)
            )
            return taken.rowcount == 1
