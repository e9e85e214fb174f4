"""Arrivals and owners: when a mezzanine that may come later was looked for and seen; whose a title id is.

A batch that repeats a title also names the batch in which the title first came: rights on that one count for both.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; titles that wait for their mezzanine are looked for by the next run of ``dispatch``."""
    op.add_column("titles", sa.Column("looked_at", sa.DateTime(timezone=True)))
    op.add_column("titles", sa.Column("arrived_at", sa.DateTime(timezone=True)))
    op.create_table(
        "title_owners",
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("tenant", sa.String(length=250), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("title_id", name="pk_title_owners"),
    )
    op.add_column("batches", sa.Column("root_batch_id", sa.String(length=100)))
    _name_roots()


def _name_roots() -> None:
    """Say of the repeats that are there already which batch brought their title first."""
    titles = sa.table("titles", *(sa.column(name) for name in ("seq", "batch_id", "origin_request_id")))
    batches = sa.table("batches", *(sa.column(name) for name in ("batch_id", "root_batch_id")))
    connection = op.get_bind()
    repeats = sa.select(titles.c.batch_id, titles.c.origin_request_id).where(titles.c.origin_request_id.is_not(None))
    roots: dict[str, str] = {}
    # What a request repeats came before it, so that the root of that one is known already.
    for batch_id, repeated in connection.execute(repeats.order_by(titles.c.seq)).all():
        before = repeated.partition("/")[0]
        roots[batch_id] = roots.get(before, before)
        connection.execute(batches.update().where(batches.c.batch_id == batch_id).values(root_batch_id=roots[batch_id]))


def downgrade() -> None:
    """Drop the columns; the release before looks for mezzanines itself, when it claims their titles.

    Owners are forgotten: the release before lets everybody post every title id.
    """
    op.drop_column("batches", "root_batch_id")
    op.drop_table("title_owners")
    op.execute("UPDATE titles SET not_before = NULL WHERE state = 'waiting'")
    op.drop_column("titles", "arrived_at")
    op.drop_column("titles", "looked_at")
