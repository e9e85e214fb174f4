"""The order of the queue: valuations, new signals, and what operators change about a title."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, Select, bindparam, func, or_, select, update

from include.adapters.catalog.database import Part
from include.adapters.catalog.journal import add_event, enqueue, request_row
from include.adapters.catalog.records import OpenTitle, TitleRecord, valued_columns
from include.adapters.catalog.schema import batches, titles
from include.adapters.catalog.titles import (
    RELEASED_STATES,
    find_title,
    select_titles,
    settle_row,
    title_record,
    whole_is_published,
)
from include.base.errors import SteeringRefused
from include.domain.order.valuation import Valuation, Work
from include.domain.title.request import Signals, SourceExtent, TitleRequest
from include.domain.title.steering import Steering, updated
from include.domain.title.title import FINAL_STATES, State


class Queue(Part):
    """The order of open titles."""

    def open_titles(self) -> list[OpenTitle]:
        """All titles that are not settled, in order of arrival."""
        with self._read() as connection:
            return [OpenTitle(**row) for row in connection.execute(_open_titles()).mappings()]

    def in_order(self, *, limit: int, batch_ids: Collection[str] | None = None) -> list[TitleRecord]:
        """Open titles in the policy's order: running ones first, then the waiting ones by priority, held ones last.

        Args:
            limit: At most so many.
            batch_ids: Of these batches alone; None means all.
        """
        is_waiting = titles.c.released_at.is_(None)
        order = (is_waiting, titles.c.held, titles.c.priority.desc(), titles.c.seq)
        query = select_titles().where(titles.c.state.not_in(FINAL_STATES)).order_by(*order).limit(limit)
        if batch_ids is not None:
            query = query.where(titles.c.batch_id.in_(batch_ids))
        with self._read() as connection:
            return [title_record(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, dict[State, int]]:
        """Number of open titles by batch and state."""
        query = (
            select(titles.c.batch_id, titles.c.state, func.count())
            .where(titles.c.state.not_in(FINAL_STATES))
            .group_by(titles.c.batch_id, titles.c.state)
        )
        counts: dict[str, dict[State, int]] = {}
        with self._read() as connection:
            for batch_id, state, number in connection.execute(query):
                counts.setdefault(batch_id, {})[State(state)] = number
        return counts

    def value(self, valued: Mapping[str, tuple[Work, Valuation]], *, now: datetime) -> None:
        """Enter valuations by request id; settled titles keep their last one. A changed verdict is told.

        The work is entered where the title has none yet: what a plan or a header has said meanwhile stays.
        """
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
                .values({name: bindparam(name) for name in ("score", "priority", "valuation")})
                .values(work=func.coalesce(titles.c.work, bindparam("work", type_=JSON))),
                changes,
            )
            for change in changes:
                before = (known[change["key"]]["valuation"] or {}).get("admission", {}).get("verdict")
                valuation = valued[change["key"]][1]
                if before is not None and before != valuation.admission.verdict:
                    _tell_verdict(connection, change["key"], before, valuation, now=now)

    def unseen(self, now: datetime, *, limit: int, batch_id: str | None = None) -> list[OpenTitle]:
        """Open titles whose mezzanine should be there and whose header nobody has looked at, in order of arrival.

        Args:
            now: The time; titles that may wait for their mezzanine are left out until it was seen.
            limit: At most so many.
            batch_id: Of this batch alone; None means all.
        """
        there = or_(titles.c.not_before.is_(None), titles.c.not_before <= now)
        query = _open_titles().where(titles.c.header.is_(None), there).limit(limit)
        if batch_id is not None:
            query = query.where(titles.c.batch_id == batch_id)
        with self._read() as connection:
            return [OpenTitle(**row) for row in connection.execute(query).mappings()]

    def note_headers(self, seen: Mapping[str, tuple[SourceExtent, Work | None]]) -> None:
        """Enter what headers say, by request id, each with the work to be expected now, None where it stays.

        What a plan has said of a title's work meanwhile stays as well.
        """
        with self._write() as connection:
            rows = connection.execute(select(titles.c.request_id, titles.c.work).where(titles.c.request_id.in_(seen)))
            planned = {row.request_id for row in rows if row.work and row.work["planned"]}
            for request_id, (header, work) in seen.items():
                changes: dict[str, Any] = {"header": header.without_defaults()}
                if work is not None and request_id not in planned:
                    changes["work"] = work.model_dump(mode="json")
                _set(connection, request_id, **changes)

    def note_work(self, request_id: str, work: Work) -> None:
        """Enter what an open title will take, as its plan says."""
        with self._write() as connection:
            is_open = titles.c.state.not_in(FINAL_STATES)
            connection.execute(
                update(titles)
                .where(titles.c.request_id == request_id, is_open)
                .values(work=work.model_dump(mode="json"))
            )

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
            _set(connection, request_id, request=changed.stored())
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
            if steering.hold and row["claimed_by"] and row["claimed_until"] and row["claimed_until"] > now:
                raise SteeringRefused(f"hold: {request_id} is being started this moment; cancel it, or let it end")
            if steering.cancel and whole_is_published(connection, request_id):
                raise SteeringRefused(f"cancel: {request_id} is published already as v{row['version']}")
            fields = {name: asked[name] for name in ("publish_at", "tier") if name in asked}
            changes: dict[str, Any] = {}
            if fields:
                changed = TitleRequest.model_validate({**row["request"], **fields})
                changes |= {"request": changed.stored(), "publish_at": changed.publish_at}
                # The run's deadline has to be told even where its priority stays what it is.
                changes["told_priority"] = None
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
                # In the same transaction: a publication comes before all of this, or after and then finds it settled.
                stays = "" if row["version"] is None else f" (v{row['version']} stays published)"
                message = f"by {by}: {steering.why}{stays}"
                settle_row(connection, row, State.CANCELLED, reason="cancelled", message=message, now=now)
            return find_title(connection, request_id)

    def note_revalued(self, before: TitleRecord, *, by: str, why: str, now: datetime) -> TitleRecord:
        """Write down how a change moved a title's score and priority; returns the title as it is now."""
        with self._write() as connection:
            after = find_title(connection, before.request_id)
            add_event(
                connection,
                "title.revalued",
                batch_id=before.batch_id,
                request_id=before.request_id,
                now=now,
                detail={
                    "by": by,
                    "why": why,
                    "old": {"score": before.score, "priority": before.priority},
                    "new": {"score": after.score, "priority": after.priority},
                },
            )
            return after

    def untold(self) -> list[TitleRecord]:
        """Titles with a run in Airflow whose priority is not the one that the run was last told."""
        stale = or_(titles.c.told_priority.is_(None), titles.c.told_priority != titles.c.priority)
        with self._read() as connection:
            query = select_titles().where(titles.c.state.in_(RELEASED_STATES), titles.c.run_id.is_not(None), stale)
            return [title_record(row) for row in connection.execute(query.order_by(titles.c.seq)).mappings()]

    def told(self, told: TitleRecord) -> None:
        """A title's run has in Airflow what ``told`` says: its priority and its deadline.

        Where the deadline has changed since, the run is still to be told.
        """
        same_deadline = titles.c.publish_at.is_(None) if told.deadline is None else titles.c.publish_at == told.deadline
        with self._write() as connection:
            connection.execute(
                update(titles)
                .where(titles.c.request_id == told.request_id, same_deadline)
                .values(told_priority=told.priority)
            )


def _open_titles() -> Select[Any]:
    columns = [titles.c[name] for name in OpenTitle.model_fields if name in titles.c]
    return (
        select(*columns, batches.c.pipeline)
        .join(batches, batches.c.batch_id == titles.c.batch_id)
        .where(titles.c.state.not_in(FINAL_STATES))
        .order_by(titles.c.seq)
    )


def _must_be_open(request_id: str, state: str) -> None:
    if State(state).final:
        raise SteeringRefused(f"{request_id} is settled as {state}: callsheet replay {request_id} makes a new request")


def _set(connection: Connection, request_id: str, **changes: Any) -> None:
    connection.execute(update(titles).where(titles.c.request_id == request_id).values(changes))


def _tell_verdict(connection: Connection, request_id: str, before: str, valuation: Valuation, *, now: datetime) -> None:
    row = request_row(connection, request_id)
    known = find_title(connection, request_id).source_known
    admission = valuation.admission.told(source_known=known)
    add_event(
        connection,
        "title.admission",
        batch_id=row["batch_id"],
        request_id=request_id,
        now=now,
        detail={"old": before, "new": admission["verdict"], "miss_chance": admission["miss_chance"]},
    )
    enqueue(connection, "admission", row, now=now, was=before, admission=admission, source_known=known)
