"""Back-fills: what a title gave up for its deadline is queued beside the repairs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what is queued already is a repair."""
    op.add_column("repairs", sa.Column("kind", sa.String(length=20), nullable=False, server_default="repair"))


def downgrade() -> None:
    """Drop the column, and the back-fills that have not begun: the release before would repair them at once."""
    op.execute("DELETE FROM repairs WHERE kind = 'backfill' AND taken_at IS NULL")
    op.drop_column("repairs", "kind")
