"""Upgrades: under which pipeline version, and with documents of which format, a title's run was begun.

Besides, a request may have more than one version before its whole set.
"""

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
    with op.batch_alter_table("versions") as table:
        table.add_column(sa.Column("place", sa.Integer(), nullable=False, server_default="0"))
        table.drop_constraint("uq_versions_request_id", type_="unique")
        table.create_unique_constraint("uq_versions_request_id", ["request_id", "whole", "place"])
    op.execute(
        sa.text(
            "UPDATE titles SET run_format = :format, run_pipeline_version = "
            "(SELECT pipeline_version FROM batches WHERE batches.batch_id = titles.batch_id) "
            "WHERE released_at IS NOT NULL"
        ).bindparams(format=OLD_FORMAT)
    )


def downgrade() -> None:
    """Drop the columns: the release before knows neither moves nor formats.

    Raises where a request has two versions before its whole set: the release before has room for one.
    """
    later = op.get_bind().execute(
        sa.text("SELECT request_id FROM versions WHERE place > 0 ORDER BY request_id LIMIT 1")
    )
    request_id = later.scalar()
    if request_id is not None:
        raise ValueError(f"{request_id} has two versions before its whole set: the tables before have room for one")
    with op.batch_alter_table("versions") as table:
        table.drop_constraint("uq_versions_request_id", type_="unique")
        table.create_unique_constraint("uq_versions_request_id", ["request_id", "whole"])
        table.drop_column("place")
    op.drop_column("titles", "run_format")
    op.drop_column("titles", "run_pipeline_version")
    op.drop_column("batches", "moved_at")
