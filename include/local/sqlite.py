"""How long each process of the local stack waits for SQLite's one write lock; Airflow imports it by its configuration.

Airflow's API server notes every change in its audit log on the thread that serves all requests. Where another request
holds the lock at that moment it cannot give it back, for its end is served by that thread as well: both stand still
until the wait is over, and everybody else with them. That is rare (one request in fifty, on a busy machine), and with
SQLite's usual five seconds it was the slowest answer of all. So the API server gives up early, its callers repeat the
request; the others wait longer than it does, because the end of a wait ends what they were about to do.
PostgreSQL locks rows and knows none of this.
"""

from __future__ import annotations

import sys
from typing import Any

API_SERVER_S = 2.0
OTHERS_S = 30.0

CONNECT_ARGS: dict[str, Any] = {"timeout": API_SERVER_S if "api-server" in sys.argv else OTHERS_S}
"""For ``[database] sql_alchemy_connect_args``."""
