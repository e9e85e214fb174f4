from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from include.domain.telling.webhooks import REPLAY_WINDOW, body, signed_headers, verify
from tests.catalog.samples import NOW

KEYS = (b"key",)
BODY = body(event_id="evt_1", kind="title.published", created_at=NOW, data={"title_id": "älpha", "n": 1})
HEADERS = signed_headers(keys=KEYS, event_id="evt_1", timestamp=int(NOW.timestamp()), body=BODY)


def test_the_body_is_canonical_json_of_id_type_time_and_data() -> None:
    assert BODY.decode() == (
        '{"created_at":"2026-03-01T12:00:00+00:00","data":{"n":1,"title_id":"älpha"},'
        '"id":"evt_1","type":"title.published"}'
    )


def test_the_signature_is_an_hmac_over_id_timestamp_and_body() -> None:
    signed = f"evt_1.{int(NOW.timestamp())}.".encode() + BODY
    expected = "v1," + base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
    assert expected == HEADERS["webhook-signature"]
    assert str(int(NOW.timestamp())) == HEADERS["webhook-timestamp"]
    assert HEADERS["webhook-id"] == "evt_1"


def test_a_message_verifies_whatever_the_case_of_its_header_names() -> None:
    assert verify(keys=KEYS, headers=HEADERS, body=BODY, now=NOW)
    assert verify(keys=KEYS, headers={name.upper(): value for name, value in HEADERS.items()}, body=BODY, now=NOW)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (timedelta(0), True),
        (REPLAY_WINDOW, True),
        (REPLAY_WINDOW + timedelta(seconds=1), False),
        (-REPLAY_WINDOW, True),
        (-REPLAY_WINDOW - timedelta(seconds=1), False),
    ],
)
def test_a_message_is_good_for_some_minutes_only(offset: timedelta, expected: bool) -> None:
    assert verify(keys=KEYS, headers=HEADERS, body=BODY, now=NOW + offset) is expected


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-id": "evt_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "١٧٧٢٣٦٦٤٠٠"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-timestamp": "-1"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,ü\udcff"},
        {"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v0,")},
        {"webhook-signature": HEADERS["webhook-signature"][:-1]},
    ],
)
def test_a_message_with_another_header_does_not_verify(changed: dict[str, str]) -> None:
    assert not verify(keys=KEYS, headers={**HEADERS, **changed}, body=BODY, now=NOW)


def test_a_message_that_was_changed_or_signed_by_another_does_not_verify() -> None:
    assert not verify(keys=KEYS, headers=HEADERS, body=BODY + b" ", now=NOW)
    assert not verify(keys=(b"other",), headers=HEADERS, body=BODY, now=NOW)
    assert not verify(keys=KEYS, headers={}, body=BODY, now=NOW)


def test_without_a_secret_nothing_verifies() -> None:
    headers = signed_headers(keys=(), event_id="evt_1", timestamp=int(NOW.timestamp()), body=BODY)
    assert not verify(keys=(), headers=headers, body=BODY, now=NOW)


def test_the_library_of_a_receiver_takes_what_we_sign_and_nothing_else() -> None:
    headers = signed_headers(keys=KEYS, event_id="evt_1", timestamp=int(datetime.now(UTC).timestamp()), body=BODY)

    assert Webhook(base64.b64encode(b"key").decode()).verify(BODY, headers)["id"] == "evt_1"
    with pytest.raises(WebhookVerificationError):
        Webhook(b"other").verify(BODY, headers)


def test_while_a_key_is_exchanged_a_receiver_may_know_either() -> None:
    headers = signed_headers(keys=(b"new", b"old"), event_id="evt_1", timestamp=int(NOW.timestamp()), body=BODY)

    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verify(keys=(b"old",), headers=headers, body=BODY, now=NOW)
    assert verify(keys=(b"new",), headers=headers, body=BODY, now=NOW)
    assert not verify(keys=(b"older",), headers=headers, body=BODY, now=NOW)


def test_a_body_that_is_no_text_does_not_verify() -> None:
    assert not verify(keys=KEYS, headers=HEADERS, body=b"\xff", now=NOW)
