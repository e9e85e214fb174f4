"""A webhook: its body, its signature, and when it is tried again. Receivers may copy :func:`verify`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from include.base.document import canonical_json

ID_HEADER = "Callsheet-Id"
TIMESTAMP_HEADER = "Callsheet-Timestamp"
SIGNATURE_HEADER = "Callsheet-Signature"

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)
HOLD_ORDER = timedelta(minutes=10)
"""How long a webhook that does not get through holds up the later ones of its title."""
REPLAY_WINDOW = timedelta(minutes=5)
"""How old a signed message may be when it arrives."""


def retry_after(attempts: int) -> timedelta:
    """The pause after the given number of failed attempts: doubled each time, and capped."""
    return min(LONGEST_RETRY, FIRST_RETRY * (1 << min(attempts - 1, 20)))


def body(*, event_id: str, kind: str, created_at: datetime, data: Mapping[str, Any]) -> bytes:
    """What is posted: the same bytes at every attempt."""
    message = {"id": event_id, "type": kind, "created_at": created_at.isoformat(), "data": dict(data)}
    return canonical_json(message).encode()


def signed_headers(*, secret: str, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that go with ``body``, sent at ``timestamp`` (Unix seconds)."""
    return {
        "Content-Type": "application/json",
        ID_HEADER: event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: f"v1={_mac(secret, str(timestamp), body)}",
    }


def verify(*, secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether a received message is Callsheet's, unchanged, and sent within the last minutes.

    Args:
        secret: The shared key.
        headers: The received headers.
        body: The received bytes, before any decoding.
        now: The receiver's time; a message from its future is refused like an old one.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    timestamp = lowered.get(TIMESTAMP_HEADER.lower(), "")
    version, _, signature = lowered.get(SIGNATURE_HEADER.lower(), "").partition("=")
    # isdecimal alone would let other scripts' digits through, and int() an unbounded number.
    if not (secret and version == "v1" and timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    if abs(now.timestamp() - int(timestamp)) > REPLAY_WINDOW.total_seconds():
        return False
    expected = _mac(secret, timestamp, body)
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def _mac(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
