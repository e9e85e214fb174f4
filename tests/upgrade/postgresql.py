"""How Airflow connects to PostgreSQL here, for stacks that would use SQLite; for the release of before as well."""

from __future__ import annotations

CONNECT_ARGS = {"connect_timeout": 30}
"""A stack of one machine names the connection's arguments of SQLite, which psycopg refuses."""
