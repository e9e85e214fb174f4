from __future__ import annotations

import pytest

from include.adapters.catalog import Catalog, Stub
from include.base.errors import BatchConflict
from include.domain.title.request import ID_PATTERN, parse_batch
from include.domain.title.title import Origin, State
from tests.catalog.samples import CALLBACK, NOW, a_batch, accept, after, find, publish, start

MIXED = {
    "batch_id": "mixed",
    "callback_url": CALLBACK,
    "titles": [
        {
            "title_id": "good",
            "mezzanine": "file:///media/good.mov",
            "territories": ["DE"],
            "metadata": {"k": "a\u0001b"},
        },
        {"title_id": "bad", "mezzanine": "ftp://media/bad.mov", "colour": "red"},
        {"title_id": "no id!", "mezzanine": "file:///media/x.mov"},
    ],
}


def test_an_accepted_batch_is_found_with_its_titles_waiting_and_its_refusals(catalog: Catalog) -> None:
    parsed = parse_batch(MIXED, pipelines=frozenset({"vod"}))
    assert catalog.batches.accept(parsed, pipeline_version=3, now=NOW)

    batch = catalog.batches.get("mixed")
    assert batch is not None
    assert (batch.dag_id, batch.pipeline, batch.pipeline_version) == ("batch__mixed", "vod", 3)
    assert (batch.callback_url, batch.content_hash, batch.created_at) == (CALLBACK, parsed.content_hash, NOW)
    assert batch.refusals == parsed.refusals
    assert batch.counts == {State.WAITING: 1}
    title = find(catalog, "mixed/good")
    assert title.request == parsed.titles[0]
    assert title.job().run_key == "mixed.1"
    assert title.job().territories == ("DE",)
    assert title.job().metadata == {"k": "a\u0001b"}


def test_webhooks_say_of_each_title_whether_it_was_accepted_and_of_each_refusal_why(catalog: Catalog) -> None:
    catalog.batches.accept(parse_batch(MIXED, pipelines=frozenset({"vod"})), pipeline_version=1, now=NOW)
    rows = catalog.outbox.claim_due(now=NOW, limit=10, ttl_s=60)
    assert [(row.type, row.request_id, row.data["title_id"]) for row in rows] == [
        ("title.accepted", "mixed/good", "good"),
        ("title.rejected", None, "bad"),
        ("title.rejected", None, None),
    ]
    faults = [fault for row in rows[1:] for fault in row.data["faults"]]
    assert {fault["field"] for fault in faults} == {"mezzanine", "colour", "title_id"}
    assert all(fault["reason"] and fault["value"] for fault in faults)
    assert all(row.data["reason"] == row.data["faults"][0]["reason"] for row in rows[1:])
    assert [event.kind for event in catalog.history.events(batch_id="mixed")] == [
        "batch.accepted",
        "title.accepted",
        *["title.refused"] * 3,
    ]


def test_a_batch_without_a_callback_makes_no_webhooks(catalog: Catalog) -> None:
    accept(catalog, callback_url=None)
    start(catalog, "spring/alpha")
    assert catalog.outbox.claim_due(now=NOW, limit=10, ttl_s=60) == []


def test_the_same_batch_again_changes_nothing(catalog: Catalog) -> None:
    accept(catalog)
    before = (
        catalog.batches.newest(),
        catalog.titles.find(),
        catalog.history.events(),
        catalog.outbox.of_request("spring/alpha"),
    )
    assert not catalog.batches.accept(a_batch(), pipeline_version=3, now=after(60))
    assert (
        catalog.batches.newest(),
        catalog.titles.find(),
        catalog.history.events(),
        catalog.outbox.of_request("spring/alpha"),
    ) == before


def test_the_same_batch_id_with_other_content_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    accept(catalog)
    with pytest.raises(BatchConflict, match="'spring' is known with other content"):
        catalog.batches.accept(a_batch("spring", "beta"), pipeline_version=1, now=NOW)
    assert [title.title_id for title in catalog.titles.find()] == ["alpha"]


def test_a_batch_that_cannot_be_entered_whole_is_not_entered_at_all(catalog: Catalog) -> None:
    twice = a_batch("spring", "alpha", "beta").model_copy(update={"titles": a_batch("spring", "alpha").titles * 2})
    with pytest.raises(Exception, match=r"(?i)unique"):
        catalog.batches.accept(twice, pipeline_version=1, now=NOW)
    assert (catalog.batches.newest(), catalog.titles.find(), catalog.history.events()) == ([], [], [])
    accept(catalog, "spring", "alpha", "beta")


def test_batches_are_listed_newest_first_with_the_number_of_titles_in_each_state(catalog: Catalog) -> None:
    for number, batch_id in enumerate(("one", "two", "three")):
        catalog.batches.accept(a_batch(batch_id, "alpha", "beta"), pipeline_version=1, now=after(number))
    catalog.titles.settle("two/alpha", State.CANCELLED, now=after(9))
    listed = catalog.batches.newest(limit=2)
    assert [batch.batch_id for batch in listed] == ["three", "two"]
    assert [batch.counts for batch in listed] == [{State.WAITING: 2}, {State.WAITING: 1, State.CANCELLED: 1}]
    assert catalog.batches.get("four") is None


def test_a_batch_retires_only_when_all_its_titles_are_settled(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    accept(catalog, "summer", "alpha")
    catalog.titles.settle("spring/alpha", State.REJECTED, now=NOW)
    assert (catalog.batches.retirable(NOW), catalog.batches.retire("spring", NOW)) == ([], False)
    start(catalog, "spring/beta")
    publish(catalog, "spring/beta")
    assert catalog.batches.retirable(NOW) == []
    catalog.titles.settle("spring/beta", State.PUBLISHED, now=NOW)
    assert catalog.batches.retirable(NOW) == ["spring"]
    assert catalog.batches.retire("spring", after(1))
    assert catalog.batches.retire("spring", after(2)), "retiring again is as good"
    batch = catalog.batches.get("spring")
    assert batch is not None
    assert batch.retired_at == after(1)
    assert catalog.batches.retirable(NOW) == []
    assert catalog.batches.stubs() == [Stub(batch_id="summer", pipeline="vod", pipeline_version=3)]
    assert catalog.versions.current("beta") is not None, "published titles are untouched"
    assert not catalog.batches.retire("winter", NOW)
    assert [event.kind for event in catalog.history.events(batch_id="spring")].count("batch.retired") == 1


def test_stubs_are_ordered_so_that_two_machines_write_the_same_folder(catalog: Catalog) -> None:
    for batch_id in ("beta", "alpha", "Gamma"):
        accept(catalog, batch_id)
    assert [stub.batch_id for stub in catalog.batches.stubs()] == sorted(["beta", "alpha", "Gamma"])
    assert catalog.batches.stubs()[0].dag_id == "batch__Gamma"


def test_a_replay_is_a_new_batch_of_one_title_that_says_what_it_repeats(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta", tier="premium", metadata={"k": 1})
    replay = catalog.batches.new_request_from("spring/beta", origin=Origin.REPLAY)
    assert replay.batch_id == "spring-replay1"
    assert [title.title_id for title in replay.titles] == ["beta"]
    assert replay.titles[0].metadata == {"k": 1}
    assert catalog.batches.accept(replay, pipeline_version=3, now=NOW)
    title = find(catalog, "spring-replay1/beta")
    assert (title.origin, title.origin_request_id) == (Origin.REPLAY, "spring/beta")
    assert title.seq > find(catalog, "spring/beta").seq
    assert title.pipeline_version == 3


def test_two_people_who_replay_the_same_title_at_once_make_one_batch(catalog: Catalog) -> None:
    accept(catalog)
    one, other = (catalog.batches.new_request_from("spring/alpha", origin=Origin.REPLAY) for _ in range(2))
    assert catalog.batches.accept(one, pipeline_version=1, now=NOW)
    assert not catalog.batches.accept(other, pipeline_version=1, now=NOW)


def test_a_replay_of_a_replay_is_numbered_on_from_the_first_batch(catalog: Catalog) -> None:
    accept(catalog)
    request_id = "spring/alpha"
    for expected in ("spring-replay1", "spring-replay2", "spring-replay3"):
        replay = catalog.batches.new_request_from(request_id, origin=Origin.REPLAY)
        assert replay.batch_id == expected
        catalog.batches.accept(replay, pipeline_version=1, now=NOW)
        request_id = f"{expected}/alpha"


def test_replays_of_batches_with_the_longest_ids_have_valid_ids_of_their_own(catalog: Catalog) -> None:
    ids = []
    for ending in "ab":
        long_id = "x" * 99 + ending
        accept(catalog, long_id)
        replay = catalog.batches.new_request_from(f"{long_id}/alpha", origin=Origin.REPLAY)
        catalog.batches.accept(replay, pipeline_version=1, now=NOW)
        ids.append(replay.batch_id)
    assert len(set(ids)) == 2
    assert all(parse_id(batch_id) for batch_id in ids)


def parse_id(batch_id: str) -> bool:
    import re

    return re.match(ID_PATTERN, batch_id) is not None


def test_a_request_of_the_cms_is_new_whatever_its_batch_is_called(catalog: Catalog) -> None:
    accept(catalog, "film-repair", publish_at=after(600).isoformat())
    replay = catalog.batches.new_request_from("film-repair/alpha", origin=Origin.REPLAY)
    catalog.batches.accept(replay, pipeline_version=1, now=NOW)

    for request_id, origin in (("film-repair/alpha", Origin.NEW), ("film-repair-replay1/alpha", Origin.REPLAY)):
        title = find(catalog, request_id)
        assert (title.origin, title.is_repair) == (origin, False)
        assert title.binding_deadline == title.deadline == after(600)


@pytest.mark.parametrize("origin", [Origin.REPAIR, Origin.BACKFILL])
def test_a_request_that_makes_something_good_is_bound_by_no_deadline(origin: Origin, catalog: Catalog) -> None:
    accept(catalog, publish_at=after(600).isoformat())
    again = catalog.batches.new_request_from("spring/alpha", origin=origin)
    catalog.batches.accept(again, pipeline_version=1, now=NOW)

    title = find(catalog, f"spring-{origin}1/alpha")
    assert (title.origin, title.is_repair, title.binding_deadline) == (origin, True, None)


def test_an_unknown_request_cannot_be_replayed(catalog: Catalog) -> None:
    with pytest.raises(LookupError, match="spring/alpha"):
        catalog.batches.new_request_from("spring/alpha", origin=Origin.REPLAY)


def test_events_are_read_on_from_where_a_reader_stopped(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    everything = catalog.history.events()
    assert [event.id for event in everything] == sorted(event.id for event in everything)
    assert catalog.history.events(after_id=everything[0].id, limit=1) == everything[1:2]
    assert {event.request_id for event in catalog.history.events(request_id="spring/beta")} == {"spring/beta"}


def test_a_time_without_a_zone_is_refused(catalog: Catalog) -> None:
    with pytest.raises(Exception, match="aware times"):
        catalog.batches.accept(a_batch(), pipeline_version=1, now=NOW.replace(tzinfo=None))
    assert catalog.batches.newest() == []
