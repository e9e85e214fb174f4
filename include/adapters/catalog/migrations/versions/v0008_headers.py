"""Headers: what a look at a mezzanine's header says of its length and size, for the forecast before its inspection."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; the next runs of ``dispatch`` look at the mezzanines of the titles that are open."""
    op.add_column("titles", sa.Column("header", sa.JSON()))


def downgrade() -> None:
    """Drop the column: the release before takes what it does not know for typical."""
    op.drop_column("titles", "header")
