from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import pytest

from include.domain.telling.webhooks import REPLAY_WINDOW, body, signed_headers, verify
from tests.catalog.samples import NOW

SECRET = "key"
BODY = body(event_id="evt_1", kind="title.published", created_at=NOW, data={"title_id": "älpha", "n": 1})
HEADERS = signed_headers(secret=SECRET, event_id="evt_1", timestamp=int(NOW.timestamp()), body=BODY)


def test_the_body_is_canonical_json_of_id_type_time_and_data() -> None:
    assert BODY.decode() == (
        '{"created_at":"2026-03-01T12:00:00+00:00","data":{"n":1,"title_id":"älpha"},'
        '"id":"evt_1","type":"title.published"}'
    )


def test_the_signature_is_an_hmac_over_timestamp_and_body() -> None:
    signed = f"{int(NOW.timestamp())}.".encode() + BODY
    expected = "v1=" + hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert expected == HEADERS["Callsheet-Signature"]
    assert str(int(NOW.timestamp())) == HEADERS["Callsheet-Timestamp"]
    assert HEADERS["Callsheet-Id"] == "evt_1"


def test_a_message_verifies_whatever_the_case_of_its_header_names() -> None:
    assert verify(secret=SECRET, headers=HEADERS, body=BODY, now=NOW)
    assert verify(secret=SECRET, headers={name.upper(): value for name, value in HEADERS.items()}, body=BODY, now=NOW)


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
    assert verify(secret=SECRET, headers=HEADERS, body=BODY, now=NOW + offset) is expected


@pytest.mark.parametrize(
    "changed",
    [
        {"Callsheet-Timestamp": str(int(NOW.timestamp()) + 1)},
        {"Callsheet-Timestamp": ""},
        {"Callsheet-Timestamp": "soon"},
        {"Callsheet-Timestamp": "١٧٧٢٣٦٦٤٠٠"},
        {"Callsheet-Timestamp": "9" * 5000},
        {"Callsheet-Timestamp": "-1"},
        {"Callsheet-Signature": ""},
        {"Callsheet-Signature": "v1="},
        {"Callsheet-Signature": "v1=ü\udcff"},
        {"Callsheet-Signature": HEADERS["Callsheet-Signature"].replace("v1=", "v0=")},
        {"Callsheet-Signature": HEADERS["Callsheet-Signature"][:-1]},
    ],
)
def test_a_message_with_another_header_does_not_verify(changed: dict[str, str]) -> None:
    assert not verify(secret=SECRET, headers={**HEADERS, **changed}, body=BODY, now=NOW)


def test_a_message_that_was_changed_or_signed_by_another_does_not_verify() -> None:
    assert not verify(secret=SECRET, headers=HEADERS, body=BODY + b" ", now=NOW)
    assert not verify(secret="other", headers=HEADERS, body=BODY, now=NOW)
    assert not verify(secret=SECRET, headers={}, body=BODY, now=NOW)


def test_without_a_secret_nothing_verifies() -> None:
    headers = signed_headers(secret="", event_id="evt_1", timestamp=int(NOW.timestamp()), body=BODY)
    assert not verify(secret="", headers=headers, body=BODY, now=NOW)
