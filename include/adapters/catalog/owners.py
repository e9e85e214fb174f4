"""Whose a title id is: of the tenant that posted it first, until an operator gives it to another."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from include.adapters.catalog.database import Part
from include.adapters.catalog.journal import add_event
from include.adapters.catalog.schema import title_owners, titles
from include.base.faults import shown
from include.domain.title.request import ParsedBatch, Refusal
from include.domain.title.title import Origin

FOREIGN = (
    "this id belongs to another tenant; post the title under an id of your own, or have an operator give you this one "
    "(callsheet give)"
)


class Owners(Part):
    """Title ids and their tenants."""

    def of(self, title_id: str) -> str | None:
        """The tenant that a title id belongs to; None for one that was posted before ids had owners, or never."""
        with self._read() as connection:
            return connection.scalar(select(title_owners.c.tenant).where(title_owners.c.title_id == title_id))

    def without_owner(self) -> list[str]:
        """Ids of the titles that belong to nobody yet, by id."""
        query = select(titles.c.title_id).where(titles.c.title_id.not_in(select(title_owners.c.title_id))).distinct()
        with self._read() as connection:
            return sorted(connection.scalars(query))

    def give(self, title_ids: Collection[str], tenant: str, *, by: str, now: datetime) -> None:
        """Make a tenant the owner of titles that the catalog knows; another's are taken from it.

        Raises :class:`LookupError` for a title id that the catalog does not know, and then gives none.
        """
        with self._write() as connection:
            for title_id in title_ids:
                seq = select(func.max(titles.c.seq)).where(titles.c.title_id == title_id).scalar_subquery()
                newest = connection.execute(
                    select(titles.c.batch_id, titles.c.request_id).where(titles.c.seq == seq)
                ).one_or_none()
                if newest is None:
                    raise LookupError(f"the catalog has no title {title_id!r}")
                here = title_owners.c.title_id == title_id
                before = connection.scalar(select(title_owners.c.tenant).where(here))
                if before is None:
                    _own(connection, title_id, tenant, now)
                else:
                    connection.execute(update(title_owners).where(here).values(tenant=tenant, since=now))
                detail = {"by": by, "old": before, "new": tenant}
                add_event(
                    connection, "title.given", batch_id=newest.batch_id, request_id=newest.request_id, now=now,
                    detail=detail,
                )  # fmt: skip


def without_foreign(connection: Connection, batch: ParsedBatch, tenant: str | None) -> ParsedBatch:
    """The batch without the titles whose ids belong to another tenant, each refused by itself.

    A repeat is made by Callsheet, of a title that is there: it has its title's owner, whoever asked for it.

    Raises :class:`RequestRejected` where no title is left.
    """
    if batch.origin is not Origin.NEW:
        return batch
    owned = select(title_owners.c.title_id).where(
        title_owners.c.title_id.in_([title.title_id for title in batch.titles]),
        title_owners.c.tenant != (tenant or ""),
    )
    return batch.without(
        {
            title_id: Refusal(index=0, title_id=title_id, field="title_id", value=shown(title_id), reason=FOREIGN)
            for title_id in connection.scalars(owned)
        }
    )


def own_all(connection: Connection, batch: ParsedBatch, tenant: str | None, now: datetime) -> None:
    """Make the tenant the owner of the batch's titles that belong to nobody; the others are its own already."""
    if tenant is None or batch.origin is not Origin.NEW:
        return
    title_ids = [title.title_id for title in batch.titles]
    known = set(connection.scalars(select(title_owners.c.title_id).where(title_owners.c.title_id.in_(title_ids))))
    for title_id in title_ids:
        if title_id not in known:
            _own(connection, title_id, tenant, now)


def _own(connection: Connection, title_id: str, tenant: str, now: datetime) -> None:
    connection.execute(insert(title_owners).values(title_id=title_id, tenant=tenant, since=now))
