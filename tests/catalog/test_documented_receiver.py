"""The receiver that docs/webhooks.md shows, run as it stands there against messages that Callsheet has sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from include.adapters.catalog import Catalog
from include.adapters.webhooks import Delivered, deliver
from include.base.settings import Settings
from tests.catalog.samples import accept
from tests.receivers import Received, Receiver

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
OLD, NEW, FOREIGN = (f"whsec_{letter * 42}A=" for letter in "onf")

EventOf = Callable[[str, dict[str, str], bytes], dict[str, Any] | None]


@pytest.fixture
def event_of() -> EventOf:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, str(PAGE), "exec"), names)
    documented: EventOf = names["event_of"]
    return documented


def sent(
    catalog: Catalog, receiver: Receiver, tmp_path: Path, *, secret: str, ago: timedelta = timedelta(0)
) -> Received:
    """A message as the receiver got it: headers and bytes that came over HTTP."""
    settings = Settings(home=tmp_path, webhook_secret=SecretStr(secret), allowed_origins=(receiver.origin,))
    accept(catalog, callback_url=f"{receiver.origin}/hooks")
    assert deliver(catalog, settings, datetime.now(UTC) - ago) == Delivered(sent=1, failed=0)
    return receiver.requests[-1]


def test_it_takes_what_callsheet_sends(catalog: Catalog, receiver: Receiver, tmp_path: Path, event_of: EventOf) -> None:
    message = sent(catalog, receiver, tmp_path, secret=NEW)

    event = event_of(NEW, message.headers, message.body)

    assert event is not None
    assert event == message.json
    assert (event["id"], event["type"]) == (message.headers["webhook-id"], "title.accepted")


def test_it_takes_either_secret_while_one_is_exchanged(
    catalog: Catalog, receiver: Receiver, tmp_path: Path, event_of: EventOf
) -> None:
    message = sent(catalog, receiver, tmp_path, secret=f"{NEW},{OLD}")

    assert event_of(OLD, message.headers, message.body) == event_of(NEW, message.headers, message.body) == message.json


def test_it_refuses_what_was_changed_signed_by_another_or_sent_long_ago(
    catalog: Catalog, receiver: Receiver, tmp_path: Path, event_of: EventOf
) -> None:
    message = sent(catalog, receiver, tmp_path, secret=NEW)

    assert event_of(FOREIGN, message.headers, message.body) is None
    assert event_of(NEW, message.headers, message.body + b" ") is None
    assert event_of(NEW, {**message.headers, "webhook-id": "evt_other"}, message.body) is None
    assert event_of(NEW, {}, message.body) is None


def test_it_refuses_an_old_message(catalog: Catalog, receiver: Receiver, tmp_path: Path, event_of: EventOf) -> None:
    message = sent(catalog, receiver, tmp_path, secret=NEW, ago=timedelta(minutes=6))

    assert event_of(NEW, message.headers, message.body) is None
