"""Playable first: a request may have a first version beside its whole set."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; what is published already is whole."""
    with op.batch_alter_table("versions") as table:
        table.add_column(sa.Column("whole", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.drop_constraint("uq_versions_request_id", type_="unique")
        table.create_unique_constraint("uq_versions_request_id", ["request_id", "whole"])


def downgrade() -> None:
    """Drop the column.

    Raises where a request has two versions: the release before has room for one, and each of them may be playing.
    """
    twice = op.get_bind().execute(
        sa.text("SELECT request_id FROM versions GROUP BY request_id HAVING count(*) > 1 ORDER BY request_id LIMIT 1")
    )
    request_id = twice.scalar()
    if request_id is not None:
        raise ValueError(f"{request_id} has a first version beside its whole set: the tables before have room for one")
    with op.batch_alter_table("versions") as table:
        table.drop_constraint("uq_versions_request_id", type_="unique")
        table.create_unique_constraint("uq_versions_request_id", ["request_id"])
        table.drop_column("whole")
