"""Versions of titles: allocated once, published once, and only ever followed by newer ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from include.adapters.catalog.database import Part
from include.adapters.catalog.journal import Row, add_event, enqueue, request_row
from include.adapters.catalog.records import UnderRights, VersionRecord
from include.adapters.catalog.schema import availability, batches, current_versions, renditions, titles, versions
from include.base.errors import StaleRequest
from include.domain.outcome.results import PackagedRendition, PackageResult, PublishResult
from include.domain.title.title import State

EVERYWHERE = "*"


class Versions(Part):
    """Published versions, and which of them is current."""

    def allocate(self, request_id: str, *, whole: bool = True, place: int = 0, now: datetime) -> int:
        """The version number of a request: unique for its title, and the same however often it is asked for.

        Args:
            request_id: The request.
            whole: False for an edition before its whole set, which has a number of its own.
            place: Which of these editions, counted from 0.
            now: The time.
        """
        with self._write() as connection:
            known = connection.scalar(select(versions.c.version).where(*_edition(request_id, whole, place)))
            if known is not None:
                return int(known)
            row = request_row(connection, request_id)
            last = connection.scalar(select(func.max(versions.c.version)).where(versions.c.title_id == row["title_id"]))
            number = (last or 0) + 1
            connection.execute(
                insert(versions).values(
                    title_id=row["title_id"],
                    version=number,
                    request_id=request_id,
                    whole=whole,
                    place=place,
                    seq=row["seq"],
                    allocated_at=now,
                )
            )
            return number

    def published_seq(self, title_id: str) -> int | None:
        """Sequence number of the request whose version is current, None where nothing is published."""
        with self._read() as connection:
            return connection.scalar(select(current_versions.c.seq).where(current_versions.c.title_id == title_id))

    def rights_dag_id(self, title_id: str, version: int) -> str | None:
        """The DAG whose rights count for a version: of the request that it was made for; None for an unknown one."""
        query = (
            select(batches.c.dag_id, batches.c.root_batch_id)
            .join(titles, titles.c.batch_id == batches.c.batch_id)
            .join(versions, versions.c.request_id == titles.c.request_id)
            .where(versions.c.title_id == title_id, versions.c.version == version)
        )
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            return UnderRights(**row).rights_dag_id if row else None

    def is_published(self, request_id: str, *, whole: bool, place: int = 0) -> bool:
        """Whether the request's whole set, or one of the editions before it, was published."""
        query = select(versions.c.published_at).where(*_edition(request_id, whole, place))
        with self._read() as connection:
            return connection.scalar(query) is not None

    def publish(self, request_id: str, *, result: PublishResult, package: PackageResult, now: datetime) -> None:
        """Make a version the current one, with its renditions, availability, event and webhooks.

        Again for the same version changes nothing, and neither does an edition behind a later one of its request.
        Raises :class:`StaleRequest` where a newer request is current.
        """
        with self._write() as connection:
            row = request_row(connection, request_id)
            this = (versions.c.title_id == row["title_id"]) & (versions.c.version == result.version)
            allocated = (
                connection.execute(select(versions).where(this, versions.c.request_id == request_id))
                .mappings()
                .one_or_none()
            )
            if allocated is None or (allocated["whole"], allocated["place"]) != (result.whole, result.place):
                raise ValueError(f"{request_id}: version {result.version} was not allocated to this request")
            if allocated["published_at"] is not None:
                return
            if not self._advance(connection, row["title_id"], row["seq"], result, now):
                return
            connection.execute(update(versions).where(this).values(_published_columns(result, package)))
            _list_renditions(connection, row, result.version, package)
            changes: dict[str, Any] = {
                "version": result.version,
                "hls": result.hls,
                "dash": result.dash,
                "preview": result.preview,
                "rungs": [rung.model_dump(mode="json") for rung in package.rungs],
                "playable_at": row["playable_at"] or result.playable_at,
            }
            if not State(row["state"]).final:
                changes["state"] = State.PLAYABLE
            connection.execute(update(titles).where(titles.c.request_id == request_id).values(changes))
            _announce(connection, row, result, package, now=now)

    def of_request(self, request_id: str, *, whole: bool, place: int = 0) -> VersionRecord | None:
        """The version that a request published as its whole set, or as an edition before it; None where it did not."""
        published = versions.c.published_at.is_not(None)
        query = select(versions).where(*_edition(request_id, whole, place), published)
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            return _record(connection, row) if row else None

    def current(self, title_id: str, territory: str | None = None) -> VersionRecord | None:
        """The version that plays now, anywhere or in one territory; None where there is none."""
        query = (
            select(versions)
            .join(
                current_versions,
                (current_versions.c.title_id == versions.c.title_id)
                & (current_versions.c.version == versions.c.version),
            )
            .where(versions.c.title_id == title_id)
        )
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            found = _record(connection, row) if row else None
        if found is None or (territory is not None and not {territory, EVERYWHERE} & set(found.territories)):
            return None
        return found

    def _advance(self, connection: Connection, title_id: str, seq: int, result: PublishResult, now: datetime) -> bool:
        """Move the title's current version, forward only; False where the same request is further already."""
        version = result.version
        current = connection.execute(
            select(versions.c.seq, versions.c.whole, versions.c.place)
            .join(
                current_versions,
                (current_versions.c.title_id == versions.c.title_id)
                & (current_versions.c.version == versions.c.version),
            )
            .where(versions.c.title_id == title_id)
        ).one_or_none()
        if current is None:
            connection.execute(
                insert(current_versions).values(title_id=title_id, version=version, seq=seq, changed_at=now)
            )
            return True
        if current.seq > seq:
            raise StaleRequest(
                f"title {title_id}: a newer request is published already; version {version} must not overwrite it",
                reason="superseded",
            )
        if (current.seq, current.whole, current.place) > (seq, result.whole, result.place):
            return False
        connection.execute(
            update(current_versions)
            .where(current_versions.c.title_id == title_id)
            .values(version=version, seq=seq, changed_at=now)
        )
        return True


def _edition(request_id: str, whole: bool, place: int) -> tuple[ColumnElement[bool], ...]:
    return versions.c.request_id == request_id, versions.c.whole == whole, versions.c.place == place


def _published_columns(result: PublishResult, package: PackageResult) -> dict[str, Any]:
    """What a publication writes into its version's row."""
    return {
        "published_at": result.published_at,
        "prefix": result.prefix,
        "hls": result.hls,
        "dash": result.dash,
        "preview": result.preview,
        "duration_s": package.duration_s,
        "degraded": result.degraded,
        "missing": list(package.missing),
        "deadline_met": result.deadline_met,
        "packager_version": package.packager_version,
    }


def _list_renditions(connection: Connection, row: Row, version: int, package: PackageResult) -> None:
    """Enter the version's renditions, and the version as the one that is available in the request's territories."""
    title_id = row["title_id"]
    for rung in package.rungs:
        connection.execute(insert(renditions).values(title_id=title_id, version=version, **rung.model_dump()))
    connection.execute(availability.delete().where(availability.c.title_id == title_id))
    for territory in row["request"]["territories"] or [EVERYWHERE]:
        connection.execute(insert(availability).values(title_id=title_id, territory=territory, version=version))


def _announce(
    connection: Connection, row: Row, result: PublishResult, package: PackageResult, *, now: datetime
) -> None:
    """The event and the webhooks of a publication; ``row`` is the title's as it was before."""
    is_first = row["playable_at"] is None
    missing = list(package.missing)
    manifests = {"version": result.version, "hls": result.hls, "dash": result.dash}
    add_event(
        connection,
        "title.playable" if is_first else "title.completed",
        batch_id=row["batch_id"],
        request_id=row["request_id"],
        now=now,
        detail={**manifests, "degraded": result.degraded, "whole": result.whole, "missing": missing},
    )
    told = {**manifests, "missing": missing, "deadline_met": result.deadline_met}
    if is_first:
        enqueue(connection, "playable", row, now=now, **told, whole=result.whole)
    if result.whole:
        enqueue(
            connection,
            "degraded" if result.degraded else "published",
            row,
            now=now,
            **told,
            preview=result.preview,
            published_at=result.published_at.isoformat(),
            duration_s=package.duration_s,
            rungs=[rung.model_dump(mode="json") for rung in package.rungs],
            given_up=[binding.model_dump(mode="json") for binding in package.given_up],
        )


def _record(connection: Connection, row: Row) -> VersionRecord:
    title_id, version = row["title_id"], row["version"]
    available = select(availability.c.territory).where(
        availability.c.title_id == title_id, availability.c.version == version
    )
    rungs = connection.execute(
        select(*(renditions.c[name] for name in PackagedRendition.model_fields))
        .where(renditions.c.title_id == title_id, renditions.c.version == version)
        .order_by(renditions.c.bandwidth, renditions.c.rendition)
    ).mappings()
    return VersionRecord(
        **{name: row[name] for name in VersionRecord.model_fields if name in row},
        rungs=tuple(PackagedRendition(**rung) for rung in rungs),
        territories=tuple(connection.scalars(available.order_by(availability.c.territory))),
    )
