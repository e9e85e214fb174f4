from __future__ import annotations

import contextlib
import itertools

import pytest

from include.adapters.catalog import Catalog
from include.base.errors import StaleRequest
from include.domain.title.title import State
from tests.catalog.samples import NOW, accept, after, find, packaged, publish, published, start


def test_versions_of_a_title_count_up_and_a_request_keeps_its_number(catalog: Catalog) -> None:
    for batch_id in ("one", "two"):
        accept(catalog, batch_id, "alpha", "beta")
    asked = ["two/alpha", "one/alpha", "two/alpha", "one/beta", "one/alpha"]
    assert [catalog.versions.allocate(request_id, now=NOW) for request_id in asked] == [1, 2, 1, 1, 2]


def test_a_published_version_is_the_titles_current_one_with_its_rungs(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", territories=["DE", "AT"])
    start(catalog, "spring/alpha")
    assert publish(catalog, "spring/alpha", now=after(9)) == 1
    version = catalog.versions.current("alpha")
    assert version is not None
    assert (version.version, version.request_id, version.published_at) == (1, "spring/alpha", after(9))
    assert (version.hls, version.dash) == (published(1).hls, published(1).dash)
    assert version.rungs == packaged().rungs
    assert version.territories == ("AT", "DE")
    title = find(catalog, "spring/alpha")
    assert (title.state, title.version, title.hls, title.playable_at) == (State.PLAYABLE, 1, version.hls, after(9))
    assert title.rungs == packaged().rungs
    assert catalog.versions.published_seq("alpha") == title.seq


def test_a_version_is_available_in_the_territories_of_its_request_or_everywhere(catalog: Catalog) -> None:
    accept(catalog, "one", "alpha", territories=["DE"])
    accept(catalog, "two", "alpha")
    accept(catalog, "three", "alpha", territories=["US"])

    def available() -> dict[str, int]:
        found = {territory: catalog.versions.current("alpha", territory) for territory in ("DE", "US")}
        return {territory: version.version for territory, version in found.items() if version}

    seen = [available()]
    for batch_id in ("one", "two", "three"):
        publish(catalog, f"{batch_id}/alpha")
        seen.append(available())
    assert seen == [{}, {"DE": 1}, {"DE": 2, "US": 2}, {"US": 3}]


@pytest.mark.parametrize(("degraded", "outcome"), [(False, "published"), (True, "degraded")])
def test_a_publication_is_told_as_playable_and_then_with_all_that_a_cms_shows(
    catalog: Catalog, degraded: bool, outcome: str
) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", now=after(7), degraded=degraded)
    assert catalog.titles.settle("spring/alpha", State(outcome), now=after(8))
    playable, final = catalog.outbox.of_request("spring/alpha")[2:]
    assert (playable.type, final.type) == ("title.playable", f"title.{outcome}")
    assert playable.data["hls"] == final.data["hls"] == published(1).hls
    assert final.data["missing"] == (["h264_720p"] if degraded else [])
    assert [rung["codec"] for rung in final.data["rungs"]] == ["avc1.640015"] * 2
    assert final.data["published_at"] == after(7).isoformat()
    title = find(catalog, "spring/alpha")
    assert (title.state, title.progress, title.settled_at) == (State(outcome), 1.0, after(8))


def test_publishing_again_changes_nothing(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", now=after(1))
    before = (find(catalog, "spring/alpha"), catalog.versions.current("alpha"), catalog.history.events())
    publish(catalog, "spring/alpha", now=after(2))
    assert (find(catalog, "spring/alpha"), catalog.versions.current("alpha"), catalog.history.events()) == before


def test_a_slow_old_run_never_overwrites_a_newer_version(catalog: Catalog) -> None:
    accept(catalog, "old", "alpha")
    accept(catalog, "new", "alpha")
    start(catalog, "old/alpha")
    catalog.versions.allocate("old/alpha", now=NOW)
    assert publish(catalog, "new/alpha") == 2
    with pytest.raises(StaleRequest, match="newer request is published already"):
        publish(catalog, "old/alpha")
    version = catalog.versions.current("alpha")
    assert version is not None
    assert version.request_id == "new/alpha"
    title = find(catalog, "old/alpha")
    assert (title.state, title.version) == (State.RUNNING, None)
    assert [row.type for row in catalog.outbox.of_request("old/alpha")] == ["title.accepted", "title.started"]


def test_a_newer_request_overwrites_whatever_its_version_number(catalog: Catalog) -> None:
    accept(catalog, "old", "alpha")
    accept(catalog, "new", "alpha")
    assert publish(catalog, "new/alpha") == 1
    assert catalog.versions.allocate("old/alpha", now=NOW) == 2
    accept(catalog, "newest", "alpha")
    assert publish(catalog, "newest/alpha") == 3
    assert catalog.versions.published_seq("alpha") == find(catalog, "newest/alpha").seq
    publish(catalog, "new/alpha", now=after(9))
    assert catalog.versions.published_seq("alpha") == find(catalog, "newest/alpha").seq, "a repeat is not a way back"


def test_a_version_that_was_not_allocated_is_not_published(catalog: Catalog) -> None:
    accept(catalog)
    with pytest.raises(ValueError, match="version 1 was not allocated"):
        catalog.versions.publish("spring/alpha", result=published(1), package=packaged(), now=NOW)
    catalog.versions.allocate("spring/alpha", now=NOW)
    with pytest.raises(ValueError, match="version 2 was not allocated"):
        catalog.versions.publish("spring/alpha", result=published(2), package=packaged(), now=NOW)
    assert catalog.versions.current("alpha") is None
    assert catalog.versions.published_seq("alpha") is None


def test_a_publication_that_fails_halfway_leaves_the_old_version_whole(catalog: Catalog) -> None:
    accept(catalog, "old", "alpha", territories=["DE"])
    accept(catalog, "new", "alpha")
    publish(catalog, "old/alpha")
    before = (catalog.versions.current("alpha", "DE"), find(catalog, "new/alpha"))
    version = catalog.versions.allocate("new/alpha", now=NOW)
    twice = packaged().model_copy(update={"rungs": packaged().rungs[:1] * 2})
    with pytest.raises(Exception, match=r"(?i)unique"):
        catalog.versions.publish("new/alpha", result=published(version), package=twice, now=NOW)
    assert (catalog.versions.current("alpha", "DE"), find(catalog, "new/alpha")) == before
    assert publish(catalog, "new/alpha") == version


@pytest.mark.parametrize("order", list(itertools.permutations(("old", "first", "whole"))), ids="-".join)
def test_whatever_is_published_in_whatever_order_the_newest_whole_set_is_current(
    order: tuple[str, ...], catalog: Catalog
) -> None:
    accept(catalog, "old", "alpha")
    accept(catalog, "new", "alpha")
    for second, name in enumerate(order):
        with contextlib.suppress(StaleRequest):
            request_id = "old/alpha" if name == "old" else "new/alpha"
            publish(catalog, request_id, whole=name != "first", now=after(second))

    current = catalog.versions.current("alpha")
    assert current is not None
    assert (current.request_id, current.whole, current.published_at) == ("new/alpha", True, after(order.index("whole")))
    assert catalog.versions.current("alpha", "DE") is not None
    title = find(catalog, "new/alpha")
    assert (title.version, title.rungs) == (current.version, current.rungs)
    late = order.index("first") > order.index("whole")
    assert catalog.versions.is_published("new/alpha", whole=False) is not late
    kinds = [event.kind for event in catalog.history.events(request_id="new/alpha")]
    assert kinds == ["title.accepted", "title.playable", *([] if late else ["title.completed"])]


def test_a_title_with_a_first_version_alone_does_not_settle_as_published(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", whole=False)

    with pytest.raises(ValueError, match="has a first version alone"):
        catalog.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    assert catalog.titles.settle("spring/alpha", State.DEGRADED, now=NOW)
