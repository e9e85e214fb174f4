"""Upgrades: under which pipeline version, and with documents of which format, a title's run was begun."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OLD_FORMAT = 1
"""Of the documents that every release before this migration wrote."""


def upgrade() -> None:
    """Add the columns; runs that are there were begun by an older release, under their batch's version."""
    op.add_column("batches", sa.Column("moved_at", sa.DateTime(timezone=True)))
    op.add_column("titles", sa.Column("run_pipeline_version", sa.Integer()))
    op.add_column("titles", sa.Column("run_format", sa.Integer()))
    op.execute(
        sa.text(
            "UPDATE titles SET run_format = :format, run_pipeline_version = "
            "(SELECT pipeline_version FROM batches WHERE batches.batch_id = titles.batch_id) "
            "WHERE released_at IS NOT NULL"
        ).bindparams(format=OLD_FORMAT)
    )


def downgrade() -> None:
    """Drop the columns: the release before knows neither moves nor formats."""
    op.drop_column("titles", "run_format")
    op.drop_column("titles", "run_pipeline_version")
    op.drop_column("batches", "moved_at")
