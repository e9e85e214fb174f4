"""Proofs: published sets whose every frame is to be compared with the mezzanine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table; what is published before this has no proof."""
    op.create_table(
        "proofs",
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("slices", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("run_id", sa.String(length=250)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.String(length=20)),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_proofs_request_id_titles"),
        sa.PrimaryKeyConstraint("request_id", name="pk_proofs"),
    )
    op.create_index("ix_proofs_ended_at", "proofs", ["ended_at"])


def downgrade() -> None:
    """Drop the table: proofs under way are given up without a word."""
    op.drop_index("ix_proofs_ended_at", table_name="proofs")
    op.drop_table("proofs")
