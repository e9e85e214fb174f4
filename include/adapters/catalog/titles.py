"""One request of a title, from waiting to settled: states change here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, or_, select, update

from include.adapters.catalog.database import Part, leased
from include.adapters.catalog.journal import Row, add_event, enqueue, request_row
from include.adapters.catalog.records import TaskEvent, TitleRecord, run_id_of
from include.adapters.catalog.schema import alerts, batches, dead_letters, titles, versions
from include.base.errors import NotReleased
from include.domain.title.title import FINAL_STATES, GOOD_STATES, State
from include.domain.title.work import FORMAT

RELEASED_STATES = frozenset({State.QUEUED, State.RUNNING, State.PLAYABLE})
REOPENED_STATES = frozenset({State.FAILED, State.REJECTED})
"""Final states that an operator may undo by clearing the run."""


class Titles(Part):
    """The requests of titles, from waiting to settled."""

    def get(self, request_id: str) -> TitleRecord | None:
        """The request, None where there is none."""
        with self._read() as connection:
            row = connection.execute(select_titles().where(titles.c.request_id == request_id)).mappings().one_or_none()
        return title_record(row) if row else None

    def find(
        self,
        *,
        batch_id: str | None = None,
        title_id: str | None = None,
        states: Collection[State] | None = None,
        settled: tuple[datetime, datetime] | None = None,
        limit: int = 1000,
    ) -> list[TitleRecord]:
        """Requests in order of arrival; with ``settled``, those that settled from its first moment to its last."""
        query = select_titles().order_by(titles.c.seq).limit(limit)
        if batch_id is not None:
            query = query.where(titles.c.batch_id == batch_id)
        if title_id is not None:
            query = query.where(titles.c.title_id == title_id)
        if states is not None:
            query = query.where(titles.c.state.in_(states))
        if settled is not None:
            query = query.where(titles.c.settled_at >= settled[0], titles.c.settled_at < settled[1])
        with self._read() as connection:
            return [title_record(row) for row in connection.execute(query).mappings()]

    def newest(self, title_id: str, *, states: Collection[State] = tuple(State)) -> TitleRecord | None:
        """The newest request of a title, of those in ``states``; None where there is none."""
        wanted = and_(titles.c.title_id == title_id, titles.c.state.in_(states))
        query = select_titles().where(wanted).order_by(titles.c.seq.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return title_record(row) if row else None

    def claim(
        self,
        *,
        window: int,
        now: datetime,
        claimant: str,
        ttl_s: float = 60,
        except_batches: Collection[str] = (),
        express: int = 0,
    ) -> list[TitleRecord]:
        """Claim waiting titles for release: the highest priority first, ties in order of arrival.

        Titles that an operator holds are left out.

        Args:
            window: Titles that may be open at once: claimed, or released and not settled.
            express: Places beyond the window, for titles of a higher priority than all that are open: a new premium
                title does not wait for one of them to end.
            now: The time.
            claimant: Who claims; unique per call.
            ttl_s: The claim's life. Another may claim the title afterwards.
            except_batches: Batches whose titles cannot be released right now and must not hold the others up.
        """
        waiting = titles.c.state == State.WAITING
        claim_is_valid = leased(titles.c.claimed_until, now=now, ttl_s=ttl_s)
        claimed = and_(waiting, claim_is_valid)
        with self._write() as connection:
            is_open = or_(titles.c.state.in_(RELEASED_STATES), claimed)
            opened, best = connection.execute(
                select(func.count(), func.max(titles.c.priority)).select_from(titles).where(is_open)
            ).one()
            free = window - opened
            better = None
            if free <= 0:
                free, better = free + express, titles.c.priority > best
            if free <= 0:
                return []
            unclaimed = or_(titles.c.claimed_until.is_(None), ~claim_is_valid)
            arrived = or_(titles.c.not_before.is_(None), titles.c.not_before <= now)
            order = (titles.c.priority.desc(), titles.c.seq)
            query = select_titles().where(waiting, unclaimed, arrived, ~titles.c.held).order_by(*order).limit(free)
            if except_batches:
                query = query.where(titles.c.batch_id.not_in(except_batches))
            if better is not None:
                query = query.where(better)
            rows = [
                # The run's id is known from here on: the run may begin before the claimant has noted the release.
                {**row, "run_id": run_id_of(row["title_id"], row["attempt"])}
                for row in connection.execute(query).mappings()
            ]
            for row in rows:
                connection.execute(
                    update(titles)
                    .where(titles.c.seq == row["seq"])
                    .values(claimed_by=claimant, claimed_until=now + timedelta(seconds=ttl_s), run_id=row["run_id"])
                )
        return [title_record(row) for row in rows]

    def mark_released(self, request_id: str, *, claimant: str, run_id: str, now: datetime) -> bool:
        """The title has a run. False where the claim is no longer ours: another releases it."""
        with self._write() as connection:
            row = request_row(connection, request_id)
            if row["claimed_by"] != claimant:
                return False
            if row["state"] == State.WAITING:
                _release(connection, row, run_id=run_id, now=now)
            return True

    def unclaim(self, request_id: str, *, claimant: str, until: datetime | None = None) -> None:
        """Give a claimed title back. Its run id stays: the run may have started although Airflow's answer was lost.

        Args:
            request_id: The title.
            claimant: Who claimed it; another's claim stays.
            until: Not to be claimed again before, unless its mezzanine is seen.
        """
        with self._write() as connection:
            connection.execute(
                update(titles)
                .where(
                    titles.c.request_id == request_id,
                    titles.c.claimed_by == claimant,
                    titles.c.state == State.WAITING,
                )
                .values(claimed_by=None, claimed_until=None, not_before=until)
            )

    def awaited(self, now: datetime, *, limit: int) -> list[TitleRecord]:
        """Waiting titles whose mezzanine may still arrive, those that were looked for the longest time ago first."""
        unseen = and_(titles.c.state == State.WAITING, titles.c.not_before > now, titles.c.arrived_at.is_(None))
        # Databases do not agree on whether what is missing comes first.
        order = (titles.c.looked_at.is_not(None), titles.c.looked_at, titles.c.seq)
        with self._read() as connection:
            rows = connection.execute(select_titles().where(unseen).order_by(*order).limit(limit)).mappings()
            return [title_record(row) for row in rows]

    def note_looks(self, looked: Collection[str], *, arrived: Collection[str], now: datetime) -> None:
        """The mezzanines of these requests were looked for, and those of ``arrived`` seen: they may be released."""
        with self._write() as connection:
            connection.execute(update(titles).where(titles.c.request_id.in_(looked)).values(looked_at=now))
            connection.execute(
                update(titles).where(titles.c.request_id.in_(arrived)).values(arrived_at=now, not_before=None)
            )

    def begin(self, *, dag_id: str, run_id: str, now: datetime, reopens: bool = True) -> TitleRecord:
        """A task of a run begins: the title is running.

        The same run may begin again, by a retry or because an operator cleared it; a failed or rejected title is
        then open again. Raises :class:`NotReleased` for a run that the catalog does not know.

        Args:
            dag_id: Of the batch.
            run_id: Of the title.
            now: The time.
            reopens: False for the task that settles: repeated after it had died, it must find its own verdict.
        """
        with self._write() as connection:
            found = connection.scalar(
                select(titles.c.request_id)
                .join(batches, batches.c.batch_id == titles.c.batch_id)
                .where(batches.c.dag_id == dag_id, titles.c.run_id == run_id)
            )
            if found is None:
                raise NotReleased(
                    f"run {run_id} of {dag_id} was not released by the catalog: titles are not started by hand. "
                    "Submit a batch (callsheet submit FILE), or repeat a title with callsheet replay ID",
                    reason="not_released",
                )
            row = request_row(connection, found)
            if row["state"] == State.CANCELLED or row["retired_at"] is not None:
                why = "is cancelled" if row["state"] == State.CANCELLED else "belongs to a retired batch"
                raise NotReleased(f"{found} {why}: repeat it with callsheet replay {found}", reason="not_released")
            if row["state"] == State.WAITING:
                # The run was quicker than the note of its release.
                row = _release(connection, row, run_id=run_id, now=now)
            changes: dict[str, Any] = {}
            if row["state"] == State.QUEUED:
                changes = {"state": State.RUNNING}
            elif row["state"] in REOPENED_STATES and reopens:
                changes = {"state": State.RUNNING, "settled_at": None, "reason": None, "message": None}
                connection.execute(dead_letters.delete().where(dead_letters.c.request_id == found))
                add_event(
                    connection,
                    "title.reopened",
                    batch_id=row["batch_id"],
                    request_id=found,
                    now=now,
                    detail={"was": row["state"], "message": row["message"]},
                )
            if row["started_at"] is None:
                changes["started_at"] = now
                add_event(connection, "title.started", batch_id=row["batch_id"], request_id=found, now=now)
                enqueue(connection, "started", row, now=now)
            if changes:
                connection.execute(update(titles).where(titles.c.request_id == found).values(changes))
            return find_title(connection, found)

    def note_task(
        self,
        request_id: str,
        *,
        task: str,
        item: str | None = None,
        event: TaskEvent,
        progress: float | None,
        now: datetime,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Note what a task of a title's run did. Progress only grows, and none is reported of a settled title."""
        with self._write() as connection:
            row = request_row(connection, request_id)
            add_event(
                connection,
                f"task.{event}",
                batch_id=row["batch_id"],
                request_id=request_id,
                task=task,
                item=item,
                now=now,
                detail=detail,
            )
            if State(row["state"]).final:
                return
            known = row["progress"] or 0.0
            share = max(known, min(1.0, progress)) if progress is not None else row["progress"]
            connection.execute(
                update(titles).where(titles.c.request_id == request_id).values(task=task, progress=share)
            )
            # Nobody wants to hear of progress after "published".
            if event == "finished" and share is not None and share > known and row["playable_at"] is None:
                enqueue(connection, "progress", row, now=now, task=task, progress=share)

    def note_progress(self, shares: Mapping[str, float]) -> None:
        """Enter how far running titles are, by request id. It only grows; of settled titles nothing is entered."""
        with self._write() as connection:
            for request_id, share in shares.items():
                further = func.coalesce(titles.c.progress, 0.0) < share
                connection.execute(
                    update(titles)
                    .where(titles.c.request_id == request_id, titles.c.state.in_(RELEASED_STATES), further)
                    .values(progress=min(1.0, share))
                )

    def settle(
        self,
        request_id: str,
        state: State,
        *,
        reason: str | None = None,
        message: str | None = None,
        now: datetime,
    ) -> bool:
        """Bring a request to its end. False where it has come to one already: the first verdict stands."""
        if not state.final:
            raise ValueError(f"{state} is not an end")
        with self._write() as connection:
            row = request_row(connection, request_id)
            if State(row["state"]).final:
                return False
            if state in GOOD_STATES and row["version"] is None:
                raise ValueError(f"{request_id} has no published version and cannot settle as {state}")
            whole = whole_is_published(connection, request_id)
            if state is State.PUBLISHED and not whole:
                raise ValueError(f"{request_id} has a first version alone and cannot settle as {state}")
            settle_row(connection, row, state, reason=reason, message=message, now=now)
            if state in GOOD_STATES and not whole:
                _tell_of_first(connection, row, state, reason=reason, message=message, now=now)
            return True

    def outdated(self) -> list[TitleRecord]:
        """Released titles whose run was begun under another version of their pipeline, or with older documents.

        One with newer documents is the newer release's, beside which this one still runs for a while.
        """
        other = or_(
            titles.c.run_format.is_(None),
            titles.c.run_format < FORMAT,
            titles.c.run_pipeline_version != batches.c.pipeline_version,
        )
        query = select_titles().where(titles.c.state.in_(RELEASED_STATES), titles.c.run_id.is_not(None), other)
        with self._read() as connection:
            return [title_record(row) for row in connection.execute(query.order_by(titles.c.seq)).mappings()]

    def forget_beginnings(self, request_ids: Collection[str]) -> None:
        """Have the runs of these requests count as begun by another release, whichever looks at them next."""
        with self._write() as connection:
            connection.execute(update(titles).where(titles.c.request_id.in_(request_ids)).values(run_format=None))

    def forget_fields(self, fields: Mapping[str, Sequence[str]]) -> list[str]:
        """Remove fields from the requests that have them, by the part of the request; returns their ids.

        A part is an object, or a list of them.
        """
        changed: list[str] = []
        with self._write() as connection:
            for row in connection.execute(select(titles.c.request_id, titles.c.request).order_by(titles.c.seq)).all():
                left = {**row.request, **{name: _without(row.request.get(name), gone) for name, gone in fields.items()}}
                if left != row.request:
                    connection.execute(update(titles).where(titles.c.request_id == row.request_id).values(request=left))
                    changed.append(row.request_id)
        return changed

    def note_begun_again(self, request_id: str, *, now: datetime) -> None:
        """The title's run has begun again, as this release does it: what it had finished stays."""
        with self._write() as connection:
            row = request_row(connection, request_id)
            was = {"pipeline_version": row["run_pipeline_version"], "format": row["run_format"]}
            new = {"pipeline_version": row["pipeline_version"], "format": FORMAT}
            connection.execute(
                update(titles)
                .where(titles.c.request_id == request_id)
                .values(run_pipeline_version=new["pipeline_version"], run_format=FORMAT)
            )
            add_event(
                connection,
                "title.moved",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={"run_id": row["run_id"], "old": was, "new": new},
            )

    def endangered(self, now: datetime) -> list[TitleRecord]:
        """Unpublished titles with a deadline ahead that nobody has been told to be at risk, in order of arrival."""
        noted = exists().where(alerts.c.request_id == titles.c.request_id, alerts.c.level == "at_risk")
        unpublished = titles.c.state.in_({State.WAITING, State.QUEUED, State.RUNNING})
        query = select_titles().where(unpublished, titles.c.publish_at > now, ~noted).order_by(titles.c.seq)
        with self._read() as connection:
            return [title_record(row) for row in connection.execute(query).mappings()]

    def overdue(self, now: datetime) -> list[TitleRecord]:
        """Titles, released or not, whose deadline has passed, that are not settled, and of which no miss is noted."""
        noted = exists().where(alerts.c.request_id == titles.c.request_id, alerts.c.level == "missed")
        query = select_titles().where(titles.c.publish_at <= now, titles.c.state.not_in(FINAL_STATES), ~noted)
        with self._read() as connection:
            return [title_record(row) for row in connection.execute(query.order_by(titles.c.publish_at)).mappings()]


def _without(part: Any, gone: Sequence[str]) -> Any:
    """A part of a request, an object or a list of them, without some fields."""
    if isinstance(part, list):
        return [_without(each, gone) for each in part]
    return {name: value for name, value in part.items() if name not in gone}


def settle_row(
    connection: Connection, row: Row, state: State, *, reason: str | None, message: str | None, now: datetime
) -> None:
    """Bring an open request to its end, with event and webhook."""
    request_id = row["request_id"]
    connection.execute(
        update(titles)
        .where(titles.c.request_id == request_id)
        .values(
            state=state,
            reason=reason,
            message=message,
            settled_at=now,
            progress=1.0 if state in GOOD_STATES else row["progress"],
        )
    )
    add_event(
        connection,
        f"title.{state}",
        batch_id=row["batch_id"],
        request_id=request_id,
        now=now,
        detail={"reason": reason, "message": message},
    )
    if state not in GOOD_STATES:
        enqueue(connection, state, row, now=now, reason=reason, message=message)


def whole_is_published(connection: Connection, request_id: str) -> bool:
    """Whether the request's whole set was published, not just a first version, or nothing."""
    published = select(versions.c.published_at).where(versions.c.request_id == request_id, versions.c.whole)
    return connection.scalar(published) is not None


def _tell_of_first(
    connection: Connection, row: Row, state: State, *, reason: str | None, message: str | None, now: datetime
) -> None:
    """The webhook of a title that ends with its first version: nobody was told of a whole set."""
    query = select(versions).where(versions.c.title_id == row["title_id"], versions.c.version == row["version"])
    first = connection.execute(query).mappings().one()
    enqueue(
        connection,
        state,
        row,
        now=now,
        **{name: first[name] for name in ("version", "hls", "dash", "preview", "duration_s", "missing")},
        deadline_met=first["deadline_met"],
        published_at=first["published_at"].isoformat(),
        rungs=row["rungs"],
        given_up=[],
        reason=reason,
        message=message,
    )


def _release(connection: Connection, row: Row, *, run_id: str, now: datetime) -> Row:
    # Its conf carries the priority of the claim; whether that still holds is for the first telling of weights to see.
    begun_with = {"run_pipeline_version": row["pipeline_version"], "run_format": FORMAT}
    changes = {"state": State.QUEUED, "run_id": run_id, "released_at": now, **begun_with}
    connection.execute(update(titles).where(titles.c.request_id == row["request_id"]).values(changes))
    add_event(
        connection,
        "title.released",
        batch_id=row["batch_id"],
        request_id=row["request_id"],
        now=now,
        detail={"run_id": run_id},
    )
    return {**row, **changes}


_SHOWN = [titles.c[name] for name in TitleRecord.model_fields if name in titles.c]


def select_titles() -> Select[Any]:
    """All columns of :class:`TitleRecord`; the rows are for :func:`title_record`."""
    of_batch = (batches.c.dag_id, batches.c.root_batch_id, batches.c.pipeline, batches.c.pipeline_version)
    return select(*_SHOWN, *of_batch).join(batches, batches.c.batch_id == titles.c.batch_id)


def title_record(row: Row) -> TitleRecord:
    """A row of :func:`select_titles` as a document."""
    return TitleRecord(**row)


def find_title(connection: Connection, request_id: str) -> TitleRecord:
    """A request that is known to exist."""
    return title_record(connection.execute(select_titles().where(titles.c.request_id == request_id)).mappings().one())
