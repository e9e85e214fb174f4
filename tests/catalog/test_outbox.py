from __future__ import annotations

from datetime import timedelta

import pytest

from include.adapters.catalog import Catalog, OutboxRow
from include.domain.telling.retries import retry_after
from include.domain.telling.webhooks import FIRST_RETRY, GIVE_UP_AFTER, HOLD_ORDER, LONGEST_RETRY
from include.domain.title.title import State
from tests.catalog.samples import NOW, accept, after, start


def claim(catalog: Catalog, seconds: float = 0, limit: int = 100) -> list[OutboxRow]:
    return catalog.outbox.claim_due(now=after(seconds), limit=limit, ttl_s=60)


def types(rows: list[OutboxRow]) -> list[tuple[str | None, str]]:
    return [(row.request_id, row.type) for row in rows]


def test_of_each_request_only_the_first_undelivered_webhook_is_claimed(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    first = claim(catalog)
    assert types(first) == [("spring/a", "title.accepted"), ("spring/b", "title.accepted")]
    assert claim(catalog) == [], "what is claimed is not claimed again, nor what stands behind it"
    catalog.outbox.delivered(first[0].id, NOW)
    assert types(claim(catalog)) == [("spring/a", "title.started")]


def test_an_expired_claim_is_claimed_again_with_the_same_id(catalog: Catalog) -> None:
    accept(catalog)
    first = claim(catalog)
    assert claim(catalog, 59) == []
    assert [row.event_id for row in claim(catalog, 60)] == [first[0].event_id]


def test_a_failed_webhook_is_tried_again_later_and_later_and_holds_up_its_successors(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    (row,) = claim(catalog)
    catalog.outbox.failed(row.id, "the receiver answered 503", NOW)
    assert claim(catalog, 9) == []
    (again,) = claim(catalog, 10)
    assert (again.event_id, again.attempts, again.last_error) == (row.event_id, 1, "the receiver answered 503")
    catalog.outbox.failed(row.id, "again", after(10))
    assert claim(catalog, 29) == []
    assert [each.id for each in claim(catalog, 30)] == [row.id]


def test_a_webhook_that_never_gets_through_does_not_hold_up_the_publication_for_ever(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    (stuck,) = claim(catalog)
    moment = 0.0
    for _ in range(7):
        catalog.outbox.failed(stuck.id, "400", after(moment))
        moment = (catalog.outbox.of_request("spring/alpha")[0].due_at - NOW).total_seconds()
        if moment > HOLD_ORDER.total_seconds():
            break
        claim(catalog, moment)
    assert types(claim(catalog, HOLD_ORDER.total_seconds() - 1)) == []
    assert types(claim(catalog, HOLD_ORDER.total_seconds())) == [("spring/alpha", "title.started")]


def test_a_webhook_is_given_up_after_a_day_and_no_longer_stands_in_the_way(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    day = GIVE_UP_AFTER.total_seconds()
    (row,) = claim(catalog)
    catalog.outbox.failed(row.id, "last", after(day - 1))
    assert catalog.outbox.of_request("spring/alpha")[0].state == "pending"
    catalog.outbox.failed(row.id, "last", after(day))
    dead, behind = catalog.outbox.of_request("spring/alpha")
    assert (dead.state, dead.last_error) == ("dead", "last")
    assert [each.id for each in claim(catalog, day)] == [behind.id]


def test_the_pauses_double_up_to_an_hour() -> None:
    pauses = [
        retry_after(attempts, first=FIRST_RETRY, longest=LONGEST_RETRY).total_seconds()
        for attempts in (1, 2, 3, 9, 10, 500)
    ]
    assert pauses == [10, 20, 40, 2560, 3600, 3600]


def test_a_delivered_webhook_stays_delivered_when_a_slower_sender_failed(catalog: Catalog) -> None:
    accept(catalog)
    (row,) = claim(catalog)
    claim(catalog, 60)
    catalog.outbox.delivered(row.id, after(61))
    catalog.outbox.failed(row.id, "timeout", after(62))
    assert catalog.outbox.of_request("spring/alpha")[0].state == "delivered"
    assert claim(catalog, 9999) == []


@pytest.mark.parametrize("by", ["request", "event"])
def test_a_replay_sends_again_under_the_same_id_and_from_fresh(catalog: Catalog, by: str) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    sent = []
    for _ in range(2):
        (row,) = claim(catalog)
        catalog.outbox.delivered(row.id, NOW)
        sent.append(row)
    later = timedelta(days=3).total_seconds()
    identifier = "spring/alpha" if by == "request" else sent[1].event_id
    assert catalog.outbox.replay(identifier, after(later)) == (2 if by == "request" else 1)
    assert catalog.outbox.replay("nothing", after(later)) == 0
    (again,) = claim(catalog, later)
    expected = sent[0] if by == "request" else sent[1]
    assert (again.event_id, again.data, again.created_at) == (expected.event_id, expected.data, expected.created_at)
    catalog.outbox.failed(again.id, "down", after(later + 1))
    assert next(each for each in catalog.outbox.of_request("spring/alpha") if each.id == again.id).state == "pending"


def test_every_webhook_has_an_id_of_its_own(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    catalog.titles.settle("spring/a", State.CANCELLED, now=NOW)
    rows = catalog.outbox.of_request("spring/a") + catalog.outbox.of_request("spring/b")
    assert len({row.event_id for row in rows}) == 3
