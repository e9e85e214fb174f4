"""Batches: accepted once, retired when all their titles are settled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from include.adapters.catalog.database import Part, first_shown
from include.adapters.catalog.journal import Row, add_event, enqueue, request_row
from include.adapters.catalog.owners import own_all, without_foreign
from include.adapters.catalog.records import BatchRecord, Stub, dag_id_of, under_rights, valued_columns
from include.adapters.catalog.schema import batches, titles
from include.base.document import digest
from include.base.errors import BatchConflict
from include.domain.order.valuation import Valuation, Work
from include.domain.title.request import ParsedBatch, TitleRequest
from include.domain.title.title import FINAL_STATES, Origin, State

MAX_ID = 100


class Batches(Part):
    """Batches, from accepted to retired."""

    def accept(
        self,
        batch: ParsedBatch,
        *,
        pipeline_version: int,
        now: datetime,
        valued: Mapping[str, tuple[Work, Valuation]] | None = None,
        arrived: Collection[str] = (),
        tenant: str | None = None,
    ) -> bool:
        """Enter a batch with its titles, refusals, events and webhooks.

        Args:
            batch: What was asked for.
            pipeline_version: Of the batch's pipeline.
            now: The time.
            valued: Predicted work and valuation by title id, so that no title is ever released unvalued.
            arrived: Ids of the titles whose mezzanine was seen: they wait for none.
            tenant: Who posts it. Titles whose ids belong to another are refused; the others are this tenant's from now
                on. None where nobody can say: such a batch gets ids that belong to nobody, and leaves them so.

        Returns:
            True for a new batch, False for one that is known with the same content: then nothing changes.

        Raises :class:`BatchConflict` where the id is known with other content, and :class:`RequestRejected` where every
        title belongs to another tenant.
        """
        with self._write() as connection:
            if not _is_new(connection, batch):
                return False
            batch = without_foreign(connection, batch, tenant)
            own_all(connection, batch, tenant, now)
            repeated = batch.origin_request_id and request_row(connection, batch.origin_request_id)
            envelope: dict[str, Any] = {
                "batch_id": batch.batch_id,
                "dag_id": dag_id_of(batch.batch_id),
                "pipeline": batch.pipeline,
                "pipeline_version": pipeline_version,
                "callback_url": batch.callback_url,
                "content_hash": batch.content_hash,
                "refusals": [each.model_dump(mode="json") for each in batch.refusals],
                "root_batch_id": _root(connection, repeated) if repeated else None,
                "created_at": now,
            }
            connection.execute(insert(batches).values(envelope))
            add_event(
                connection,
                "batch.accepted",
                batch_id=batch.batch_id,
                now=now,
                detail={"titles": len(batch.titles), "refused": len({each.index for each in batch.refusals})},
            )
            for title in batch.titles:
                known = (valued or {}).get(title.title_id)
                seen = title.title_id in arrived
                _insert_title(connection, title, envelope, batch, valued=known, seen=seen, now=now)
            _tell_refusals(connection, envelope, batch, now=now)
            return True

    def check_new(self, batch: ParsedBatch) -> bool:
        """Whether :meth:`accept` would enter the batch; raises as it does for its id. Changes nothing."""
        with self._read() as connection:
            return _is_new(connection, batch)

    def as_accepted(self, batch: ParsedBatch, *, tenant: str | None) -> ParsedBatch:
        """The batch as :meth:`accept` would enter it for this tenant; raises as it does. Changes nothing."""
        with self._read() as connection:
            return without_foreign(connection, batch, tenant) if _is_new(connection, batch) else batch

    def roots(self) -> dict[str, str]:
        """Of the live batches that repeat a title: in which batch it first came."""
        query = select(batches.c.batch_id, batches.c.root_batch_id)
        query = query.where(batches.c.root_batch_id.is_not(None), batches.c.retired_at.is_(None))
        with self._read() as connection:
            return {row.batch_id: row.root_batch_id for row in connection.execute(query)}

    def get(self, batch_id: str) -> BatchRecord | None:
        """The batch, None where there is none."""
        with self._read() as connection:
            rows = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).mappings().all()
            return next(iter(_records(connection, rows)), None)

    def newest(self, *, limit: int = 100, readable: Callable[[str], bool] = lambda dag_id: True) -> list[BatchRecord]:
        """Batches, newest first.

        Args:
            limit: At most so many.
            readable: Says of the DAG whose rights count whether its batches may be shown.
        """
        newest = select(batches).order_by(batches.c.created_at.desc(), batches.c.batch_id.desc())
        with self._read() as connection:
            return _records(connection, first_shown(connection, newest, limit=limit, shown=under_rights(readable)))

    def stubs(self) -> list[Stub]:
        """What the DAG bundle writes: batches that have not retired, by id."""
        query = select(batches.c.batch_id, batches.c.pipeline, batches.c.pipeline_version).where(
            batches.c.retired_at.is_(None)
        )
        with self._read() as connection:
            stubs = [Stub(**row) for row in connection.execute(query).mappings()]
        # Here and not in the query: databases order by their own collation.
        return sorted(stubs, key=lambda stub: stub.batch_id)

    def move(self, batch_id: str, pipeline_version: int, *, now: datetime) -> bool:
        """Put a live batch under another version of its pipeline.

        Returns:
            False where it has that version already, or is not live any more.
        """
        with self._write() as connection:
            live = (batches.c.batch_id == batch_id, batches.c.retired_at.is_(None))
            was = connection.scalar(select(batches.c.pipeline_version).where(*live))
            if was is None or was == pipeline_version:
                return False
            connection.execute(update(batches).where(*live).values(pipeline_version=pipeline_version, moved_at=now))
            add_event(
                connection, "batch.moved", batch_id=batch_id, now=now, detail={"old": was, "new": pipeline_version}
            )
            return True

    def retirable(self, now: datetime) -> list[str]:
        """Unretired batches all of whose titles are settled, as of ``now``."""
        query = (
            select(batches.c.batch_id)
            .where(batches.c.retired_at.is_(None), batches.c.created_at <= now, ~_has_open_titles())
            .order_by(batches.c.batch_id)
        )
        with self._read() as connection:
            return list(connection.scalars(query))

    def retire(self, batch_id: str, now: datetime) -> bool:
        """Retire a batch. False, and nothing changes, while one of its titles is not settled."""
        with self._write() as connection:
            if connection.scalar(
                select(batches.c.batch_id).where(batches.c.batch_id == batch_id, _has_open_titles() | _retired())
            ):
                return bool(connection.scalar(select(_retired()).where(batches.c.batch_id == batch_id)))
            changed = connection.execute(
                update(batches).where(batches.c.batch_id == batch_id).values(retired_at=now)
            ).rowcount
            if changed:
                add_event(connection, "batch.retired", batch_id=batch_id, now=now)
            return changed == 1

    def new_request_from(self, request_id: str, *, origin: Origin) -> ParsedBatch:
        """One title of an old batch as a batch of its own, for a replay or a repair: to be accepted like any other.

        Its id is the original batch's with ``-<origin><n>``, for the first ``n`` that is free. Two callers at once get
        the same id and the same content, hence one batch. A back-fill has no deadline: it waits for an idle farm.
        """
        with self._read() as connection:
            row = request_row(connection, request_id)
            root = _root(connection, row)
            # The id must stay one: a long one gives way to the suffix, and a digest keeps it apart from its neighbours.
            stem = root if len(root) <= MAX_ID - 20 else f"{root[: MAX_ID - 30]}-{digest(root)[:8]}"
            number = 1
            while connection.scalar(select(batches.c.batch_id).where(batches.c.batch_id == f"{stem}-{origin}{number}")):
                number += 1
        title = TitleRequest.model_validate(row["request"])
        if origin is Origin.BACKFILL:
            title = title.model_copy(update={"publish_at": None})
        batch_id = f"{stem}-{origin}{number}"
        return ParsedBatch(
            batch_id=batch_id,
            pipeline=row["pipeline"],
            callback_url=row["callback_url"],
            content_hash=digest([batch_id, request_id, title.stored()]),
            titles=(title,),
            refusals=(),
            origin=origin,
            origin_request_id=request_id,
        )


def _is_new(connection: Connection, batch: ParsedBatch) -> bool:
    known = connection.scalar(select(batches.c.content_hash).where(batches.c.batch_id == batch.batch_id))
    if known is not None and known != batch.content_hash:
        raise BatchConflict(
            f"batch_id: {batch.batch_id!r} is known with other content; a changed batch needs an id of its own",
            reason="batch_conflict",
        )
    return known is None


def _tell_refusals(connection: Connection, envelope: Row, batch: ParsedBatch, *, now: datetime) -> None:
    for _, group in groupby(batch.refusals, key=lambda refusal: refusal.index):
        faults = [refusal.model_dump(mode="json") for refusal in group]
        for fault in faults:
            add_event(connection, "title.refused", batch_id=batch.batch_id, now=now, detail=fault)
        # One webhook a title: its first fault in the fields that every rejection has, all of them beside.
        first = {name: faults[0][name] for name in ("index", "field", "value", "reason")}
        shown = [{name: fault[name] for name in ("field", "value", "reason")} for fault in faults]
        row = {**envelope, "title_id": faults[0]["title_id"]}
        enqueue(connection, "rejected", row, now=now, **first, faults=shown)


def _insert_title(
    connection: Connection,
    title: TitleRequest,
    envelope: Row,
    batch: ParsedBatch,
    *,
    valued: tuple[Work, Valuation] | None,
    seen: bool,
    now: datetime,
) -> None:
    row = {**envelope, "title_id": title.title_id, "request_id": f"{envelope['batch_id']}/{title.title_id}"}
    connection.execute(
        insert(titles).values(
            request_id=row["request_id"],
            batch_id=row["batch_id"],
            title_id=title.title_id,
            request=title.stored(),
            origin=batch.origin,
            origin_request_id=batch.origin_request_id,
            state=State.WAITING,
            attempt=1,
            publish_at=title.publish_at,
            not_before=None if seen else title.wait_until,
            arrived_at=now if seen and title.wait_until else None,
            rungs=[],
            created_at=now,
            **(valued_columns(*valued) if valued else {}),
        )
    )
    add_event(connection, "title.accepted", batch_id=row["batch_id"], request_id=row["request_id"], now=now)
    quote: dict[str, Any] = {"source_known": title.source.known}
    if valued:
        score, admission = valued[1].score, valued[1].admission
        quote |= {"score": score.model_dump(mode="json"), "admission": admission.told(source_known=title.source.known)}
    enqueue(connection, "accepted", row, now=now, origin_request_id=batch.origin_request_id, **quote)


def _has_open_titles() -> Any:
    return exists().where(titles.c.batch_id == batches.c.batch_id, titles.c.state.not_in(FINAL_STATES))


def _retired() -> Any:
    return batches.c.retired_at.is_not(None)


def _root(connection: Connection, row: Row) -> str:
    """Id of the batch that brought the title first, before all replays and repairs of it."""
    origin = row["origin_request_id"]
    while origin is not None:
        row = request_row(connection, origin)
        origin = row["origin_request_id"]
    batch_id: str = row["batch_id"]
    return batch_id


def _records(connection: Connection, rows: Sequence[Row]) -> list[BatchRecord]:
    counts: dict[str, dict[State, int]] = {row["batch_id"]: {} for row in rows}
    tally = (
        select(titles.c.batch_id, titles.c.state, func.count())
        .where(titles.c.batch_id.in_(list(counts)))
        .group_by(titles.c.batch_id, titles.c.state)
    )
    for batch_id, state, number in connection.execute(tally):
        counts[batch_id][State(state)] = number
    return [BatchRecord(**row, counts=counts[row["batch_id"]]) for row in rows]
