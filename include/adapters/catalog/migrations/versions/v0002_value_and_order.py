"""Value and order: what a title is worth, its place in the queue, and what an operator did about it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; open titles are valued by the next run of ``dispatch``."""
    op.add_column("titles", sa.Column("score", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("titles", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("titles", sa.Column("valuation", sa.JSON()))
    op.add_column("titles", sa.Column("work", sa.JSON()))
    op.add_column("titles", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("titles", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("titles", sa.Column("told_priority", sa.Integer()))


def downgrade() -> None:
    """Drop the columns."""
    for name in ("told_priority", "pinned", "held", "work", "valuation", "priority", "score"):
        op.drop_column("titles", name)
