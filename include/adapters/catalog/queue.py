"""The order of the queue: valuations, new signals, and what operators change about a title."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from include.adapters.catalog.database import Database
from include.adapters.catalog.journal import add_event, enqueue, request_row
from include.adapters.catalog.records import TitleRecord, valued_columns
from include.adapters.catalog.schema import titles
from include.adapters.catalog.titles import RELEASED_STATES, Titles
from include.domain.request import Signals, TitleRequest
from include.domain.steering import Steering, updated
from include.domain.title import FINAL_STATES, State
from include.domain.valuation import Valuation, Work
from include.errors import SteeringRefused

EVERY = 100_000


class Queue(Titles, Database):
    """The part of the catalog that knows the order of open titles."""

    def open_titles(self) -> list[TitleRecord]:
        """All titles that are not settled, in order of arrival."""
        return self.titles(states=set(State) - FINAL_STATES, limit=EVERY)

    def queue(self, *, limit: int) -> list[TitleRecord]:
        """Open titles in the policy's order: running ones first, then the waiting ones by priority, held ones last."""
        known = sorted(
            self.open_titles(), key=lambda title: (title.released_at is None, title.held, -title.priority, title.seq)
        )
        return known[:limit]

    def value(self, valued: Mapping[str, tuple[Work, Valuation]], *, now: datetime) -> None:
        """Enter valuations by request id; settled titles keep their last one. A changed verdict is told."""
        with self._write() as connection:
            known = {
                row["request_id"]: row
                for row in connection.execute(
                    select(titles.c.request_id, titles.c.valuation).where(titles.c.state.not_in(FINAL_STATES))
                ).mappings()
            }
            changes = [
                {"key": request_id, **valued_columns(work, valuation)}
                for request_id, (work, valuation) in valued.items()
                if request_id in known
            ]
            if not changes:
                return
            connection.execute(
                update(titles)
                .where(titles.c.request_id == bindparam("key"))
                .values({name: bindparam(name) for name in ("work", "score", "priority", "valuation")}),
                changes,
            )
            for change in changes:
                before = (known[change["key"]]["valuation"] or {}).get("admission", {}).get("verdict")
                valuation = valued[change["key"]][1]
                if before is not None and before != valuation.admission.verdict:
                    _tell_verdict(connection, change["key"], before, valuation, now=now)

    def signal(self, request_id: str, signals: Signals, *, by: str, why: str, now: datetime) -> Signals:
        """Enter new signals of an open title; returns all that are known now.

        Raises :class:`SteeringRefused` for a settled title, :class:`LookupError` for an unknown one.
        """
        with self._write() as connection:
            row = request_row(connection, request_id)
            _must_be_open(request_id, row["state"])
            request = TitleRequest.model_validate(row["request"])
            after = updated(request.signals, signals)
            changed = request.model_copy(update={"signals": after})
            _set(connection, request_id, request=changed.model_dump(mode="json"))
            add_event(
                connection,
                "title.signals",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={
                    "old": request.signals.model_dump(mode="json"),
                    "new": after.model_dump(mode="json"),
                    "by": by,
                    "why": why,
                },
            )
            return after

    def steer(self, request_id: str, steering: Steering, *, by: str, now: datetime) -> TitleRecord:
        """Change an open title as an operator asks, and write down who, what and why.

        A cancelled title that waits is settled here; of one that runs the caller stops the run as well.

        Raises :class:`SteeringRefused` for what is too late, :class:`LookupError` for an unknown title.
        """
        with self._write() as connection:
            row = request_row(connection, request_id)
            _must_be_open(request_id, row["state"])
            request = TitleRequest.model_validate(row["request"])
            asked = steering.model_dump(mode="json", exclude={"why"}, exclude_none=True, exclude_defaults=True)
            if steering.hold and row["state"] != State.WAITING:
                raise SteeringRefused(f"hold: {request_id} is {row['state']} already; cancel it, or let it end")
            if steering.cancel and row["version"] is not None:
                raise SteeringRefused(f"cancel: {request_id} is published already as v{row['version']}")
            fields = {name: asked[name] for name in ("publish_at", "tier") if name in asked}
            changes: dict[str, Any] = {}
            if fields:
                changed = TitleRequest.model_validate({**row["request"], **fields})
                changes |= {"request": changed.model_dump(mode="json"), "publish_at": changed.publish_at}
            if steering.hold is not None:
                changes["held"] = steering.hold
            if steering.pin is not None:
                changes["pinned"] = steering.pin
            if changes:
                _set(connection, request_id, **changes)
            old = {
                "publish_at": request.publish_at.isoformat() if request.publish_at else None,
                "tier": request.tier.value,
                "hold": row["held"],
                "pin": row["pinned"],
                "cancel": False,
            }
            add_event(
                connection,
                "title.steered",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={"by": by, "why": steering.why, "new": asked, "old": {name: old[name] for name in asked}},
            )
        if steering.cancel:
            reason = f"by {by}: {steering.why}"
            self.settle(request_id, State.CANCELLED, reason="cancelled", message=reason, now=now)
        record = self.title(request_id)
        assert record is not None  # titles are never deleted
        return record

    def untold_priorities(self) -> list[TitleRecord]:
        """Titles with a run in Airflow whose priority is not the one that the run was last told."""
        stale = or_(titles.c.told_priority.is_(None), titles.c.told_priority != titles.c.priority)
        with self._read() as connection:
            names = connection.scalars(
                select(titles.c.request_id)
                .where(titles.c.state.in_(RELEASED_STATES), titles.c.run_id.is_not(None), stale)
                .order_by(titles.c.seq)
            ).all()
        return [record for name in names if (record := self.title(name)) is not None]

    def priority_told(self, request_id: str, priority: int) -> None:
        """Airflow has acknowledged a run's priority."""
        with self._write() as connection:
            _set(connection, request_id, told_priority=priority)


def _must_be_open(request_id: str, state: str) -> None:
    if State(state).final:
        raise SteeringRefused(f"{request_id} is settled as {state}: callsheet replay {request_id} makes a new request")


def _set(connection: Connection, request_id: str, **changes: Any) -> None:
    connection.execute(update(titles).where(titles.c.request_id == request_id).values(changes))


def _tell_verdict(connection: Connection, request_id: str, before: str, valuation: Valuation, *, now: datetime) -> None:
    row = request_row(connection, request_id)
    admission = valuation.admission.model_dump(mode="json")
    add_event(
        connection,
        "title.admission",
        batch_id=row["batch_id"],
        request_id=request_id,
        now=now,
        detail={"old": before, "new": admission["verdict"], "miss_chance": admission["miss_chance"]},
    )
    enqueue(connection, "admission", row, now=now, was=before, admission=admission)
