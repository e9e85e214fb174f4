"""Arrivals: when a mezzanine that may come later was last looked for, and when it was seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; titles that wait for their mezzanine are looked for by the next run of ``dispatch``."""
    op.add_column("titles", sa.Column("looked_at", sa.DateTime(timezone=True)))
    op.add_column("titles", sa.Column("arrived_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop the columns; the release before looks for mezzanines itself, when it claims their titles."""
    op.execute("UPDATE titles SET not_before = NULL WHERE state = 'waiting'")
    op.drop_column("titles", "arrived_at")
    op.drop_column("titles", "looked_at")
