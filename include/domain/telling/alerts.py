"""Alerts as people read them: one message each, and one for many that have the same cause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from include.base.document import Document

AlertLevel = Literal["failed", "missed", "at_risk", "degraded", "rejected", "repair", "proof"]

GROUP_FROM = 3
"""From this many on, alerts of one level and cause that are sent together become one message."""
STORM_WINDOW = timedelta(minutes=10)
"""Alerts of one level and cause that come within this time count as a storm."""
GATHER = timedelta(minutes=1)
"""How long alerts are gathered during a storm, before they are sent together."""

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(minutes=30)


class Alert(Document):
    """Something that a person has to know of one title."""

    id: int
    title_id: str
    request_id: str
    level: AlertLevel
    cause: str
    """A short word that alerts are grouped by, e.g. ``checksum_mismatch``."""
    message: str
    created_at: datetime
    name: str | None
    """The title's, as the CMS gave it."""
    dag_id: str
    run_id: str | None
    preview: str | None
    publish_at: datetime | None
    owner: str | None
    """Who has to act, where it is known."""
    replay_command: str | None


class Message(Document):
    """Alerts that are told in one message; all of one level and cause."""

    level: AlertLevel
    cause: str
    alerts: tuple[Alert, ...]


def group(alerts: Sequence[Alert]) -> list[Message]:
    """The messages for alerts that are sent together, in the order in which their first alert came."""
    alike: dict[tuple[AlertLevel, str], list[Alert]] = {}
    for alert in alerts:
        alike.setdefault((alert.level, alert.cause), []).append(alert)
    messages = []
    for (level, cause), members in alike.items():
        parts = [members] if len(members) >= GROUP_FROM else [[alert] for alert in members]
        messages += [Message(level=level, cause=cause, alerts=tuple(part)) for part in parts]
    return sorted(messages, key=lambda message: message.alerts[0].id)


def due_at(*, now: datetime, recent: int, gathering_until: datetime | None) -> datetime:
    """When a new alert is to be sent: at once, or during a storm together with the others of its cause.

    Args:
        now: The time.
        recent: Alerts of the same level and cause within :data:`STORM_WINDOW`.
        gathering_until: When those of them that are not sent yet will be; None where all are sent.
    """
    if recent < GROUP_FROM - 1:
        return now
    return gathering_until or now + GATHER
