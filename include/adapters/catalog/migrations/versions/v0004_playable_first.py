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
