"""A webhook: its body, its signature, and when it is tried again.

It is signed as Standard Webhooks says (https://www.standardwebhooks.com), so that a receiver checks it with a library.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks import Webhook

from include.base.document import canonical_json

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)
HOLD_ORDER = timedelta(minutes=10)
"""How long a webhook that does not get through holds up the later ones of its title."""
REPLAY_WINDOW = timedelta(minutes=5)
"""How old a signed message may be when it arrives."""


def body(*, event_id: str, kind: str, created_at: datetime, data: Mapping[str, Any]) -> bytes:
    """What is posted: the same bytes at every attempt."""
    message = {"id": event_id, "type": kind, "created_at": created_at.isoformat(), "data": dict(data)}
    return canonical_json(message).encode()


def signed_headers(*, keys: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that go with ``body``.

    Args:
        keys: To sign with, each: while a key is exchanged a receiver may know the old one or the new one.
        event_id: The same at every attempt.
        timestamp: Of this attempt, in Unix seconds.
        body: What is posted.
    """
    return {
        "Content-Type": "application/json",
        ID_HEADER: event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(_signatures(keys, event_id, timestamp, body.decode())),
    }


def verify(*, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether a received message is Callsheet's, unchanged, and sent within the last minutes.

    Args:
        keys: Those that the receiver knows; one signature by one of them is enough.
        headers: The received headers.
        body: The received bytes, before any decoding.
        now: The receiver's time; a message from its future is refused like an old one.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = lowered.get(ID_HEADER, ""), lowered.get(TIMESTAMP_HEADER, "")
    # isdecimal alone would let other scripts' digits through, and int() an unbounded number.
    if not (event_id and timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 11):
        return False
    if abs(now.timestamp() - int(timestamp)) > REPLAY_WINDOW.total_seconds():
        return False
    try:
        expected = _signatures(keys, event_id, int(timestamp), body.decode())
    except UnicodeDecodeError:
        return False
    given = lowered.get(SIGNATURE_HEADER, "").split(" ")
    return any(
        hmac.compare_digest(ours.encode(), theirs.encode(errors="replace")) for ours in expected for theirs in given
    )


def _signatures(keys: Sequence[bytes], event_id: str, timestamp: int, text: str) -> list[str]:
    moment = datetime.fromtimestamp(timestamp, UTC)
    return [Webhook(key).sign(event_id, moment, text) for key in keys]
