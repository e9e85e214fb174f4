"""Sends what is due: alerts to Slack, webhooks to those who asked for them."""

from __future__ import annotations

from datetime import datetime

from include.adapters import slack, webhooks
from include.adapters.catalog import Catalog
from include.base.settings import Settings

WEBHOOKS_AT_ONCE = 200
"""How many one call delivers; the next minute's goes on."""


def send_alerts(catalog: Catalog, settings: Settings, *, now: datetime) -> int:
    """Send what stands in the alert ledger to Slack."""
    return slack.send_alerts(catalog, settings, now)


def send_webhooks(catalog: Catalog, settings: Settings, *, now: datetime) -> None:
    """Deliver what is due in the outbox."""
    webhooks.deliver(catalog, settings, now, limit=WEBHOOKS_AT_ONCE)
