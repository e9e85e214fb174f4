"""Origin: why a request was made is a column, and not read from the id of its batch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; a request that is there already gets what its batch's id and its origin say.

    Every batch that repeats a title was called ``<batch>-<origin><n>``, after the batch in which the title first came.
    A request without an origin of its own is new, whatever its batch is called.
    """
    op.add_column("titles", sa.Column("origin", sa.String(length=20), nullable=False, server_default="new"))
    titles = sa.table("titles", *(sa.column(name) for name in ("seq", "batch_id", "origin_request_id", "origin")))
    connection = op.get_bind()
    repeated = sa.select(titles.c.seq, titles.c.batch_id).where(titles.c.origin_request_id.is_not(None))
    for seq, batch_id in connection.execute(repeated).all():
        name = batch_id.rpartition("-")[2].rstrip("0123456789")
        origin = name if name in {"repair", "backfill"} else "replay"
        connection.execute(titles.update().where(titles.c.seq == seq).values(origin=origin))


def downgrade() -> None:
    """Drop the column: batch ids still say it."""
    op.drop_column("titles", "origin")
