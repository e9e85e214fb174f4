"""Task history: what the tasks beside the encodes have cost, for the forecasts of the next titles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table; it fills with the titles that are settled from now on."""
    op.create_table(
        "task_history",
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.String(length=100), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("peak_memory_mb", sa.Float(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_task_history_request_id"),
        sa.PrimaryKeyConstraint("request_id", "attempt", "task", name="pk_task_history"),
    )
    op.create_index("ix_task_history_recorded_at", "task_history", ["recorded_at"])


def downgrade() -> None:
    """Drop the table; the release before forecasts these tasks by the bare rates."""
    op.drop_table("task_history")
