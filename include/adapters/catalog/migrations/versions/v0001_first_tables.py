"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


# long: one list of tables, written once and never changed.
def upgrade() -> None:
    """Create them."""
    op.create_table(
        "availability",
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("territory", sa.String(length=2), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("title_id", "territory", name="pk_availability"),
    )
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.String(length=100), nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("pipeline", sa.String(length=100), nullable=False),
        sa.Column("pipeline_version", sa.Integer(), nullable=False),
        sa.Column("callback_url", sa.Text()),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("refusals", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("retired_at", MOMENT),
        sa.PrimaryKeyConstraint("batch_id", name="pk_batches"),
        sa.UniqueConstraint("dag_id", name="uq_batches_dag_id"),
    )
    op.create_index("ix_batches_retired_at", "batches", ["retired_at"])

    op.create_table(
        "current_versions",
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("title_id", name="pk_current_versions"),
    )
    op.create_table(
        "events",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("batch_id", sa.String(length=100), nullable=False),
        sa.Column("request_id", sa.String(length=201)),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("task", sa.String(length=250)),
        sa.Column("item", sa.String(length=250)),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_batch_id", "events", ["batch_id"])
    op.create_index("ix_events_request_id", "events", ["request_id"])

    op.create_table(
        "outbox",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("batch_id", sa.String(length=100), nullable=False),
        sa.Column("request_id", sa.String(length=201)),
        sa.Column("type", sa.String(length=50), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("queued_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_until", MOMENT),
        sa.Column("delivered_at", MOMENT),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_request_id_id", "outbox", ["request_id", "id"])
    op.create_index("ix_outbox_state_id", "outbox", ["state", "id"])

    op.create_table(
        "renditions",
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rendition", sa.String(length=100), nullable=False),
        sa.Column("codec", sa.String(length=100), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("bandwidth", sa.BigInteger(), nullable=False),
        sa.Column("average_bandwidth", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("vmaf", sa.Float()),
        sa.PrimaryKeyConstraint("title_id", "version", "rendition", name="pk_renditions"),
    )
    op.create_table(
        "titles",
        sa.Column("seq", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("batch_id", sa.String(length=100), nullable=False),
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("origin_request_id", sa.String(length=201)),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=250)),
        sa.Column("claimed_by", sa.String(length=250)),
        sa.Column("claimed_until", MOMENT),
        sa.Column("not_before", MOMENT),
        sa.Column("publish_at", MOMENT),
        sa.Column("task", sa.String(length=250)),
        sa.Column("progress", sa.Float()),
        sa.Column("reason", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("version", sa.Integer()),
        sa.Column("hls", sa.Text()),
        sa.Column("dash", sa.Text()),
        sa.Column("preview", sa.Text()),
        sa.Column("rungs", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("released_at", MOMENT),
        sa.Column("started_at", MOMENT),
        sa.Column("playable_at", MOMENT),
        sa.Column("settled_at", MOMENT),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name="fk_titles_batch_id"),
        sa.PrimaryKeyConstraint("seq", name="pk_titles"),
        sa.UniqueConstraint("request_id", name="uq_titles_request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_titles_batch_id", "titles", ["batch_id"])
    op.create_index("ix_titles_publish_at", "titles", ["publish_at"])
    op.create_index("ix_titles_state", "titles", ["state"])
    op.create_index("ix_titles_title_id", "titles", ["title_id"])

    op.create_table(
        "alerts",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("level", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_until", MOMENT),
        sa.Column("sent_at", MOMENT),
        sa.Column("last_error", sa.Text()),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_alerts_request_id"),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("title_id", "request_id", "level", name="uq_alerts_title_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alerts_sent_at_due_at", "alerts", ["sent_at", "due_at"])

    op.create_table(
        "dead_letters",
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("task", sa.String(length=250)),
        sa.Column("error", sa.JSON(), nullable=False),
        sa.Column("replay_command", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_dead_letters_request_id"),
        sa.PrimaryKeyConstraint("request_id", name="pk_dead_letters"),
    )
    op.create_index("ix_dead_letters_created_at", "dead_letters", ["created_at"])

    op.create_table(
        "history",
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rendition", sa.String(length=100), nullable=False),
        sa.Column("recipe_hash", sa.String(length=64), nullable=False),
        sa.Column("encoder_version", sa.Text(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("peak_memory_mb", sa.Float(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("vmaf", sa.Float()),
        sa.Column("vmaf_p1", sa.Float()),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_history_request_id"),
        sa.PrimaryKeyConstraint("request_id", "attempt", "rendition", name="pk_history"),
    )
    op.create_index("ix_history_recorded_at", "history", ["recorded_at"])

    op.create_table(
        "repairs",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("queued_at", MOMENT, nullable=False),
        sa.Column("taken_at", MOMENT),
        sa.Column("new_request_id", sa.String(length=201)),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_repairs_request_id"),
        sa.PrimaryKeyConstraint("id", name="pk_repairs"),
        sa.UniqueConstraint("request_id", name="uq_repairs_request_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "versions",
        sa.Column("title_id", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.String(length=201), nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("allocated_at", MOMENT, nullable=False),
        sa.Column("published_at", MOMENT),
        sa.Column("prefix", sa.Text()),
        sa.Column("hls", sa.Text()),
        sa.Column("dash", sa.Text()),
        sa.Column("preview", sa.Text()),
        sa.Column("duration_s", sa.Float()),
        sa.Column("degraded", sa.Boolean()),
        sa.Column("missing", sa.JSON()),
        sa.Column("deadline_met", sa.Boolean()),
        sa.Column("packager_version", sa.Text()),
        sa.ForeignKeyConstraint(["request_id"], ["titles.request_id"], name="fk_versions_request_id"),
        sa.PrimaryKeyConstraint("title_id", "version", name="pk_versions"),
        sa.UniqueConstraint("request_id", name="uq_versions_request_id"),
    )


def downgrade() -> None:
    """Drop them, those first that refer to others."""
    for name in (
        "versions",
        "repairs",
        "history",
        "dead_letters",
        "alerts",
        "titles",
        "availability",
        "batches",
        "current_versions",
        "events",
        "outbox",
        "renditions",
    ):
        op.drop_table(name)
