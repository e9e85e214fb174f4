"""Sends what is due in the outbox to the receivers that the requests named.

A receiver is as hostile as any input: only addresses that the policy allows, no redirects, no byte of its answer is
read beyond the status, and one that does not answer holds nobody else up.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from include.adapters.addresses import AddressRefused, cut_off, pinned_client
from include.adapters.catalog import Catalog, OutboxRow
from include.base.settings import Settings
from include.domain.telling.webhooks import body, signed_headers

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""For each wait on a receiver, and for the whole exchange."""
AT_ONCE = 8
CLAIM = 40
CLAIM_TTL_S = 2 * TIMEOUT_S * CLAIM / AT_ONCE
BUDGET_S = 30.0
"""No new webhooks are claimed after this time: the next call goes on."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What one call of :func:`deliver` did."""

    sent: int
    failed: int


def deliver(catalog: Catalog, settings: Settings, now: datetime, *, limit: int = 200) -> Delivered:
    """Send webhooks that are due, at most about ``limit``, in parallel for different titles and in order for each.

    Any number of processes may do so at once. A webhook may arrive twice, under the same id.
    """
    courier = _Courier(catalog=catalog, settings=settings, now=now)
    outcomes: list[bool] = []
    with pinned_client(settings, timeout_s=TIMEOUT_S) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        while len(outcomes) < limit and courier.elapsed_s < BUDGET_S:
            rows = catalog.outbox.claim_due(
                now=courier.time, limit=min(CLAIM, limit - len(outcomes)), ttl_s=CLAIM_TTL_S
            )
            if not rows:
                break
            outcomes += threads.map(lambda row: courier.send(client, row), rows)
    return Delivered(sent=sum(outcomes), failed=len(outcomes) - sum(outcomes))


class _Courier:
    """One call's sending: its clock, and which receivers it has found silent."""

    def __init__(self, *, catalog: Catalog, settings: Settings, now: datetime) -> None:
        self._catalog = catalog
        self._keys = settings.webhook_keys
        self._now = now
        self._started = time.monotonic()
        self._silent: dict[tuple[str, str, int | None], str] = {}

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def time(self) -> datetime:
        """The caller's time, carried on: a signature is as old as its message."""
        return self._now + timedelta(seconds=self.elapsed_s)

    def send(self, client: httpx.Client, row: OutboxRow) -> bool:
        """Send one webhook and note how it went; whether the receiver took it."""
        problem = self._problem(client, row)
        if problem is None:
            self._catalog.outbox.delivered(row.id, self.time)
            return True
        log.warning("webhook %s (%s of %s): %s", row.event_id, row.type, row.request_id or row.batch_id, problem)
        self._catalog.outbox.failed(row.id, problem, self.time)
        return False

    def _problem(self, client: httpx.Client, row: OutboxRow) -> str | None:
        if not self._keys:
            return "CALLSHEET_WEBHOOK_SECRET is not set: nothing is sent unsigned"
        url = httpx.URL(row.url)
        receiver = (url.scheme, url.host, url.port)
        if receiver in self._silent:
            return f"not tried, the receiver was silent a moment ago: {self._silent[receiver]}"
        content = body(event_id=row.event_id, kind=row.type, created_at=row.created_at, data=row.data)
        headers = signed_headers(
            keys=self._keys, event_id=row.event_id, timestamp=int(self.time.timestamp()), body=content
        )
        try:
            with (
                cut_off(TIMEOUT_S) as extensions,
                client.stream(
                    "POST", url, content=content, headers=headers, follow_redirects=False, extensions=extensions
                ) as answer,
            ):
                return None if answer.is_success else f"the receiver answered {answer.status_code}"
        except AddressRefused as error:
            return error.message
        except httpx.TransportError as error:
            self._silent[receiver] = f"{type(error).__name__}: {error}"
            return self._silent[receiver]
