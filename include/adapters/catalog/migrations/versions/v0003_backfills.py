"""Back-fills: what a title gave up for its deadline is queued beside the repairs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what is queued already is a repair."""
    op.add_column("repairs", sa.Column("kind", sa.String(length=20), nullable=False, server_default="repair"))
