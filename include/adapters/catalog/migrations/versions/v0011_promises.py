"""Promises: a valuation says how a title stands among all deadlines; the release before reads none of that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

NEW = ("spare_s", "kept", "hurried")
"""Of a valuation."""


def upgrade() -> None:
    """Nothing: ``dispatch`` values the open titles anew, and what older valuations lack has a default."""


def downgrade() -> None:
    """Take out of each valuation what the release before would refuse."""
    titles = sa.table("titles", sa.column("request_id", sa.String()), sa.column("valuation", sa.JSON()))
    connection = op.get_bind()
    for row in connection.execute(sa.select(titles.c.request_id, titles.c.valuation)).all():
        if not row.valuation:
            continue
        kept = {name: value for name, value in row.valuation.items() if name not in NEW}
        kept["admission"] = {name: value for name, value in kept["admission"].items() if name != "displaces"}
        connection.execute(titles.update().where(titles.c.request_id == row.request_id).values(valuation=kept))
