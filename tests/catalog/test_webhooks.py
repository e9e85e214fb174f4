from __future__ import annotations

import json
import logging
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from include.adapters import webhooks
from include.adapters.catalog import Catalog
from include.adapters.webhooks import Delivered, deliver
from include.base.settings import Settings
from include.domain.telling.webhooks import verify
from include.domain.title.title import State
from tests.catalog.samples import NOW, accept, after, publish, start
from tests.receivers import Received, Receiver

SECRET = "a shared key"


@pytest.fixture
def settings(receiver: Receiver, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, webhook_secret=SecretStr(SECRET), allowed_origins=(receiver.origin,))


def to(receiver: Receiver) -> dict[str, Any]:
    return {"callback_url": f"{receiver.origin}/hooks?token=x"}


def send(catalog: Catalog, settings: Settings, now: datetime = NOW, **options: int) -> Delivered:
    return deliver(catalog, settings, now, **options)


def test_a_titles_webhooks_arrive_in_order_signed_and_with_what_happened(
    catalog: Catalog, settings: Settings, receiver: Receiver
) -> None:
    accept(catalog, **to(receiver))
    start(catalog, "spring/alpha")
    catalog.titles.note_task("spring/alpha", task="prepare", event="finished", progress=0.25, now=NOW)
    publish(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    assert send(catalog, settings) == Delivered(sent=5, failed=0)
    assert receiver.types == [f"title.{kind}" for kind in ("accepted", "started", "progress", "playable", "published")]
    assert {received.path for received in receiver.requests} == {"/hooks?token=x"}
    last = receiver.requests[-1]
    assert verify(keys=(SECRET.encode(),), headers=last.headers, body=last.body, now=NOW)
    assert not verify(keys=(b"another key",), headers=last.headers, body=last.body, now=NOW)
    assert last.json["id"] == last.headers["webhook-id"]
    assert last.json["created_at"] == NOW.isoformat()
    assert last.json["data"]["title_id"] == "alpha"
    assert last.json["data"]["hls"].endswith("/v1/hls.m3u8")
    assert send(catalog, settings) == Delivered(sent=0, failed=0)


def a_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What webhooks take for the seconds of the machine; the last one counts."""
    seconds = [0.0]
    monkeypatch.setattr(webhooks, "time", SimpleNamespace(monotonic=lambda: seconds[-1]))
    return seconds


def test_a_webhook_is_signed_with_the_time_of_its_own_sending(
    catalog: Catalog, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = a_clock(monkeypatch)
    monkeypatch.setattr(webhooks, "CLAIM", 1)
    accept(catalog, "spring", "alpha", "beta", **to(receiver))
    receiver.answer = lambda received, handler: seconds.append(seconds[-1] + 20) or 200  # type: ignore[func-returns-value]

    assert send(catalog, settings).sent == 2
    signed = [int(received.headers["webhook-timestamp"]) - int(NOW.timestamp()) for received in receiver.requests]
    assert signed == [0, 20]


def test_one_call_claims_no_more_webhooks_when_its_time_is_up(
    catalog: Catalog, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = a_clock(monkeypatch)
    monkeypatch.setattr(webhooks, "CLAIM", 1)
    accept(catalog, "spring", "alpha", "beta", "gamma", **to(receiver))
    receiver.answer = lambda received, handler: seconds.append(seconds[-1] + 20) or 200  # type: ignore[func-returns-value]

    assert send(catalog, settings) == Delivered(sent=2, failed=0)
    assert send(catalog, settings) == Delivered(sent=1, failed=0)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500])
def test_only_2xx_counts_and_another_attempt_carries_the_same_id_and_body(
    catalog: Catalog, settings: Settings, receiver: Receiver, status: int
) -> None:
    accept(catalog, **to(receiver))
    receiver.answer = lambda received, handler: status
    assert send(catalog, settings) == Delivered(sent=0, failed=1)
    (row,) = catalog.outbox.of_request("spring/alpha")
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, f"the receiver answered {status}")
    receiver.answer = lambda received, handler: 204
    assert send(catalog, settings, after(60)) == Delivered(sent=1, failed=0)
    first, second = receiver.requests
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert verify(keys=(SECRET.encode(),), headers=second.headers, body=second.body, now=after(60))


def test_a_redirect_is_not_followed(catalog: Catalog, settings: Settings, receiver: Receiver) -> None:
    accept(catalog, **to(receiver))

    def elsewhere(received: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()

    receiver.answer = elsewhere
    assert send(catalog, settings) == Delivered(sent=0, failed=1)
    assert [received.path for received in receiver.requests] == ["/hooks?token=x"]


def test_a_failed_webhook_holds_up_its_own_titles_webhooks_and_no_others(
    catalog: Catalog, settings: Settings, receiver: Receiver
) -> None:
    accept(catalog, "spring", "a", "b", **to(receiver))
    start(catalog, "spring/a")
    start(catalog, "spring/b")
    receiver.answer = lambda received, handler: 500 if received.json["data"]["title_id"] == "a" else 200
    assert send(catalog, settings) == Delivered(sent=2, failed=1)
    receiver.answer = lambda received, handler: 200
    receiver.requests.clear()
    assert send(catalog, settings, after(60)) == Delivered(sent=2, failed=0)
    assert receiver.types == ["title.accepted", "title.started"]


def test_an_address_that_the_policy_forbids_is_not_contacted(
    catalog: Catalog, settings: Settings, receiver: Receiver
) -> None:
    accept(catalog, **to(receiver))
    strict = settings.model_copy(update={"allowed_origins": ()})
    assert send(catalog, strict) == Delivered(sent=0, failed=1)
    assert receiver.requests == []
    error = catalog.outbox.of_request("spring/alpha")[0].last_error
    assert error is not None
    assert "CALLSHEET_ALLOWED_ORIGINS" in error
    assert "token" not in error


def test_nothing_is_sent_unsigned(catalog: Catalog, settings: Settings, receiver: Receiver) -> None:
    accept(catalog, **to(receiver))
    unsigned = settings.model_copy(update={"webhook_secret": SecretStr("")})
    assert send(catalog, unsigned) == Delivered(sent=0, failed=1)
    assert receiver.requests == []
    assert "CALLSHEET_WEBHOOK_SECRET" in (catalog.outbox.of_request("spring/alpha")[0].last_error or "")
    assert send(catalog, settings, after(60)) == Delivered(sent=1, failed=0)


def test_a_receiver_that_drips_its_answer_is_cut_off_and_not_asked_again_at_once(
    catalog: Catalog, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(webhooks, "AT_ONCE", 1)
    accept(catalog, "spring", "a", "b", "c", **to(receiver))

    def drip(received: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        try:
            # Each wait is shorter than the limit for one wait: only the limit for the whole ends this early.
            for _ in range(40):
                receiver.closing.wait(0.1)
                handler.wfile.write(b"X-Drip: 1\r\n")
            handler.wfile.write(b"Content-Length: 0\r\n\r\n")
        except OSError:
            return

    receiver.answer = drip
    assert send(catalog, settings) == Delivered(sent=0, failed=3)
    assert len(receiver.requests) == 1
    assert "a moment ago" in (catalog.outbox.of_request("spring/c")[0].last_error or "")


def test_a_receiver_that_is_down_is_a_failure_with_a_reason(
    catalog: Catalog, settings: Settings, receiver: Receiver
) -> None:
    accept(catalog, callback_url="http://127.0.0.1:1/hooks")
    open_port = settings.model_copy(update={"allowed_origins": ("http://127.0.0.1:1",)})
    assert send(catalog, open_port) == Delivered(sent=0, failed=1)
    assert "ConnectError" in (catalog.outbox.of_request("spring/alpha")[0].last_error or "")


def test_no_more_are_sent_than_asked_for(catalog: Catalog, settings: Settings, receiver: Receiver) -> None:
    accept(catalog, "spring", "a", "b", "c", **to(receiver))
    assert send(catalog, settings, limit=2) == Delivered(sent=2, failed=0)
    assert len(receiver.requests) == 2


def test_neither_the_answer_nor_the_secret_nor_the_callbacks_query_is_logged(
    catalog: Catalog, settings: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="include")
    accept(catalog, **to(receiver))

    def talkative(received: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.end_headers()
        handler.wfile.write(b"private words")

    receiver.answer = talkative
    send(catalog, settings)
    logged = caplog.text + json.dumps([row.last_error for row in catalog.outbox.of_request("spring/alpha")])
    assert "the receiver answered 500" in logged
    assert not any(secret in logged for secret in ("private words", SECRET, "token=x"))
