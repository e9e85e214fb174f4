"""The catalog's tables. A change here needs a migration beside it: a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    true,
)


class Moment(TypeDecorator[datetime]):
    """An aware time, kept and handed back as UTC. SQLite has no zones, PostgreSQL answers in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say later what it meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the catalog takes aware times (got {value!r})")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """The same moment, aware, in UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Prose(TypeDecorator[str]):
    """Text from outside, a tool's stderr say: PostgreSQL takes neither NUL nor half a surrogate pair."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Put a replacement character where a database would refuse."""
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


IDENTIFIER = String(100)
REQUEST_ID = String(201)
"""Batch id, slash, title id."""
NAME = String(250)
ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is INTEGER."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", IDENTIFIER, primary_key=True),
    Column("dag_id", NAME, nullable=False, unique=True),
    Column("pipeline", IDENTIFIER, nullable=False),
    Column("pipeline_version", Integer, nullable=False),
    Column("callback_url", Prose),
    Column("content_hash", String(64), nullable=False),
    Column("refusals", JSON, nullable=False),
    # Of a batch that repeats a title: the batch in which it first came. Whoever has rights on that one has them here.
    Column("root_batch_id", IDENTIFIER),
    Column("created_at", Moment, nullable=False),
    # When an upgrade last gave it another version of its pipeline.
    Column("moved_at", Moment),
    Column("retired_at", Moment, index=True),
)

title_owners = Table(
    "title_owners",
    metadata,
    Column("title_id", IDENTIFIER, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("since", Moment, nullable=False),
)

titles = Table(
    "titles",
    metadata,
    # The order of arrival. AUTOINCREMENT: a number is never given twice, even after its row is gone.
    Column("seq", ROW_ID, primary_key=True, autoincrement=True),
    Column("request_id", REQUEST_ID, nullable=False, unique=True),
    Column("batch_id", IDENTIFIER, ForeignKey("batches.batch_id"), nullable=False, index=True),
    Column("title_id", IDENTIFIER, nullable=False, index=True),
    Column("request", JSON, nullable=False),
    Column("origin", String(20), nullable=False, server_default="new"),
    Column("origin_request_id", REQUEST_ID),
    Column("state", String(20), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("run_id", NAME),
    # What its run was begun with: the version of its pipeline, and the format of documents in its work folder.
    Column("run_pipeline_version", Integer),
    Column("run_format", Integer),
    Column("claimed_by", NAME),
    Column("claimed_until", Moment),
    # Waits for its mezzanine: not to be released before this, unless it was seen.
    Column("not_before", Moment),
    # When its mezzanine was last looked for, and when it was seen.
    Column("looked_at", Moment),
    Column("arrived_at", Moment),
    Column("publish_at", Moment, index=True),
    Column("task", NAME),
    Column("progress", Float),
    Column("reason", Prose),
    Column("message", Prose),
    Column("version", Integer),
    Column("hls", Prose),
    Column("dash", Prose),
    Column("preview", Prose),
    Column("rungs", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("released_at", Moment),
    Column("started_at", Moment),
    Column("playable_at", Moment),
    Column("settled_at", Moment),
    # Value and place in the order, as of the last valuation.
    Column("score", Integer, nullable=False, server_default="0"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("valuation", JSON),
    Column("work", JSON),
    # What the mezzanine's header says of length and size, for the first forecast; NULL until somebody has looked.
    Column("header", JSON),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    # The priority that the title's run in Airflow was last told.
    Column("told_priority", Integer),
    sqlite_autoincrement=True,
)

versions = Table(
    "versions",
    metadata,
    Column("title_id", IDENTIFIER, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), nullable=False),
    Column("seq", ROW_ID, nullable=False),
    # False for an edition that goes out before the whole set; place counts those of a request, from 0.
    Column("whole", Boolean, nullable=False, server_default=true()),
    Column("place", Integer, nullable=False, server_default="0"),
    Column("allocated_at", Moment, nullable=False),
    Column("published_at", Moment),
    Column("prefix", Prose),
    Column("hls", Prose),
    Column("dash", Prose),
    Column("preview", Prose),
    Column("duration_s", Float),
    Column("degraded", Boolean),
    Column("missing", JSON),
    Column("deadline_met", Boolean),
    Column("packager_version", Prose),
    UniqueConstraint("request_id", "whole", "place"),
)

current_versions = Table(
    "current_versions",
    metadata,
    # What a title's pointer in the store says; moves to newer requests only.
    Column("title_id", IDENTIFIER, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("seq", ROW_ID, nullable=False),
    Column("changed_at", Moment, nullable=False),
)

availability = Table(
    "availability",
    metadata,
    Column("title_id", IDENTIFIER, primary_key=True),
    Column("territory", String(2), primary_key=True),
    Column("version", Integer, nullable=False),
)

renditions = Table(
    "renditions",
    metadata,
    Column("title_id", IDENTIFIER, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rendition", IDENTIFIER, primary_key=True),
    Column("codec", String(100), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("bandwidth", BigInteger, nullable=False),
    Column("average_bandwidth", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("vmaf", Float),
)

history = Table(
    "history",
    metadata,
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("rendition", IDENTIFIER, primary_key=True),
    Column("recipe_hash", String(64), nullable=False),
    Column("encoder_version", Prose, nullable=False),
    Column("features", JSON, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("peak_memory_mb", Float, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("vmaf", Float),
    Column("vmaf_p1", Float),
    Column("recorded_at", Moment, nullable=False, index=True),
)

task_history = Table(
    "task_history",
    metadata,
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("task", IDENTIFIER, primary_key=True),
    Column("features", JSON, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("peak_memory_mb", Float, nullable=False),
    Column("recorded_at", Moment, nullable=False, index=True),
)

events = Table(
    "events",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("batch_id", IDENTIFIER, nullable=False, index=True),
    Column("request_id", REQUEST_ID, index=True),
    Column("kind", String(50), nullable=False),
    Column("task", NAME),
    Column("item", NAME),
    Column("detail", JSON, nullable=False),
    sqlite_autoincrement=True,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), primary_key=True),
    Column("task", NAME),
    Column("error", JSON, nullable=False),
    Column("replay_command", Prose, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
)

outbox = Table(
    "outbox",
    metadata,
    # The order in which one request's events go out.
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("event_id", String(40), nullable=False, unique=True),
    Column("batch_id", IDENTIFIER, nullable=False),
    Column("request_id", REQUEST_ID),
    Column("type", String(50), nullable=False),
    Column("url", Prose, nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("state", String(20), nullable=False),
    # Since when it is being tried: a replay starts the clock again, the event's own time stays.
    Column("queued_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_until", Moment),
    Column("delivered_at", Moment),
    Column("last_error", Prose),
    Index("ix_outbox_state_id", "state", "id"),
    Index("ix_outbox_request_id_id", "request_id", "id"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("title_id", IDENTIFIER, nullable=False),
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), nullable=False),
    Column("level", String(20), nullable=False),
    Column("cause", Prose, nullable=False),
    Column("message", Prose, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_until", Moment),
    Column("sent_at", Moment),
    Column("last_error", Prose),
    UniqueConstraint("title_id", "request_id", "level"),
    Index("ix_alerts_sent_at_due_at", "sent_at", "due_at"),
    sqlite_autoincrement=True,
)

repairs = Table(
    "repairs",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), nullable=False, unique=True),
    Column("missing", JSON, nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("taken_at", Moment),
    Column("new_request_id", REQUEST_ID),
    # A repair is done at once, a back-fill when the farm is idle.
    Column("kind", String(20), nullable=False, server_default="repair"),
    sqlite_autoincrement=True,
)

proofs = Table(
    "proofs",
    metadata,
    Column("request_id", REQUEST_ID, ForeignKey("titles.request_id"), primary_key=True),
    # The published version whose renditions are compared.
    Column("version", Integer, nullable=False),
    Column("queued_at", Moment, nullable=False),
    # Slices so far, and those of them in a row that left nothing.
    Column("slices", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    # Of the slice under way.
    Column("run_id", NAME),
    Column("ended_at", Moment, index=True),
    Column("outcome", String(20)),
)
