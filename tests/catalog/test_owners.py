"""Whose a title id is: of the tenant that posted it first."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from include.adapters.catalog import Catalog
from include.base.errors import RequestRejected
from include.domain.title.request import ParsedBatch
from include.domain.title.title import Origin, State
from tests.catalog.samples import CALLBACK, NOW, a_batch, after, publish, start
from tests.catalog.together import PROCESSES, Together


def post(catalog: Catalog, batch_id: str, *titles: str, tenant: str | None) -> bool:
    return catalog.batches.accept(a_batch(batch_id, *titles), pipeline_version=3, now=NOW, tenant=tenant)


def repeat(catalog: Catalog, request_id: str, origin: Origin) -> ParsedBatch:
    batch = catalog.batches.new_request_from(request_id, origin=origin)
    assert catalog.batches.accept(batch, pipeline_version=3, now=NOW)
    return batch


def titles_of(catalog: Catalog, batch_id: str) -> list[str]:
    return [title.title_id for title in catalog.titles.find(batch_id=batch_id)]


def test_an_id_belongs_to_whoever_posted_it_first_and_is_refused_alone_to_others(catalog: Catalog) -> None:
    post(catalog, "spring", "alpha", "beta", tenant="acme")
    asked_before = catalog.batches.as_accepted(a_batch("summer", "gamma", "alpha"), tenant="globex")

    assert post(catalog, "summer", "gamma", "alpha", tenant="globex")

    assert titles_of(catalog, "summer") == ["gamma"]
    record = catalog.batches.get("summer")
    assert record is not None
    (refusal,) = record.refusals
    assert (refusal.index, refusal.title_id, refusal.field, refusal.value) == (1, "alpha", "title_id", "'alpha'")
    assert "belongs to another tenant" in refusal.reason
    assert "callsheet give" in refusal.reason
    assert "acme" not in refusal.reason
    assert asked_before.refusals == record.refusals
    webhooks = catalog.outbox.claim_due(now=NOW, limit=99, ttl_s=60)
    assert [each.data["title_id"] for each in webhooks if each.type == "title.rejected"] == ["alpha"]
    assert {each.url for each in webhooks} == {CALLBACK}
    assert [catalog.owners.of(name) for name in ("alpha", "beta", "gamma")] == ["acme", "acme", "globex"]


def test_its_owner_posts_a_title_again_as_often_as_it_likes(catalog: Catalog) -> None:
    post(catalog, "spring", "alpha", tenant="acme")

    assert post(catalog, "summer", "alpha", tenant="acme")

    assert titles_of(catalog, "summer") == ["alpha"]


def test_a_batch_of_nothing_but_titles_of_others_is_refused_and_leaves_nothing(catalog: Catalog) -> None:
    post(catalog, "spring", "alpha", "beta", tenant="acme")

    with pytest.raises(RequestRejected, match="alpha: title_id: this id belongs to another tenant"):
        post(catalog, "summer", "alpha", "beta", tenant="globex")

    assert [batch.batch_id for batch in catalog.batches.newest()] == ["spring"]


@pytest.mark.parametrize("tenant", ["globex", None])
def test_the_same_batch_again_is_known_whoever_posts_it(catalog: Catalog, tenant: str | None) -> None:
    post(catalog, "spring", "alpha", tenant="acme")

    assert not post(catalog, "spring", "alpha", tenant=tenant)


def test_whoever_is_not_known_gets_what_belongs_to_nobody_and_owns_nothing(catalog: Catalog) -> None:
    post(catalog, "spring", "alpha", tenant="acme")

    post(catalog, "summer", "alpha", "beta", tenant=None)

    assert titles_of(catalog, "summer") == ["beta"]
    assert catalog.owners.without_owner() == ["beta"]


def test_a_title_without_an_owner_belongs_to_whoever_posts_it_next(catalog: Catalog) -> None:
    post(catalog, "old", "alpha", tenant=None)

    post(catalog, "spring", "alpha", tenant="acme")

    assert catalog.owners.of("alpha") == "acme"
    with pytest.raises(RequestRejected):
        post(catalog, "summer", "alpha", tenant="globex")


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.REPAIR, Origin.BACKFILL])
def test_a_repeat_keeps_the_owner_and_is_under_the_rights_of_the_batch_that_came_first(
    catalog: Catalog, origin: Origin
) -> None:
    post(catalog, "spring", "alpha", tenant="acme")
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", State.DEGRADED, now=NOW)

    first = repeat(catalog, "spring/alpha", origin)
    request_id = f"{first.batch_id}/alpha"
    start(catalog, request_id)
    version = publish(catalog, request_id, now=after(1))
    catalog.titles.settle(request_id, State.PUBLISHED, now=after(1))
    second = repeat(catalog, request_id, Origin.REPLAY)

    assert catalog.owners.of("alpha") == "acme"
    assert catalog.versions.rights_dag_id("alpha", version) == "batch__spring"
    for batch_id in (first.batch_id, second.batch_id):
        record, (title,) = catalog.batches.get(batch_id), catalog.titles.find(batch_id=batch_id)
        assert record is not None
        assert (record.dag_id, record.rights_dag_id) == (f"batch__{batch_id}", "batch__spring")
        assert title.rights_dag_id == "batch__spring"
    assert catalog.batches.roots() == {first.batch_id: "spring", second.batch_id: "spring"}


def test_an_operator_gives_a_title_to_another_tenant_and_that_is_on_record(catalog: Catalog) -> None:
    post(catalog, "spring", "alpha", "beta", tenant="acme")
    post(catalog, "old", "gamma", tenant=None)

    with pytest.raises(LookupError, match="no title 'nobody'"):
        catalog.owners.give(["alpha", "nobody"], "globex", by="root", now=NOW)
    assert catalog.owners.of("alpha") == "acme"
    catalog.owners.give(["alpha", "gamma"], "globex", by="root", now=NOW)

    assert [catalog.owners.of(name) for name in ("alpha", "beta", "gamma")] == ["globex", "acme", "globex"]
    given = [(each.request_id, each.detail) for each in catalog.history.events() if each.kind == "title.given"]
    assert given == [
        ("spring/alpha", {"by": "root", "old": "acme", "new": "globex"}),
        ("old/gamma", {"by": "root", "old": None, "new": "globex"}),
    ]
    assert post(catalog, "summer", "alpha", tenant="globex")


def _post(url: str, tenant: str) -> bool:
    return post(Catalog(url), f"of-{tenant}", "alpha", f"own-{tenant}", tenant=tenant)


def test_of_tenants_that_post_an_id_at_once_one_gets_it_and_all_get_their_own(url: str, together: Together) -> None:
    assert together(_post, *((url, f"t{number}") for number in range(PROCESSES))) == [True] * PROCESSES

    catalog = Catalog(url)
    (owned,) = [title.batch_id for title in catalog.titles.find(title_id="alpha")]
    assert owned == f"of-{catalog.owners.of('alpha')}"
    assert len(catalog.titles.find()) == PROCESSES + 1


def test_titles_of_the_release_before_belong_to_nobody_and_their_repeats_know_their_root(catalog: Catalog) -> None:
    from tests.catalog.test_migrations import downgrade

    post(catalog, "spring", "alpha", tenant="acme")
    catalog.titles.settle("spring/alpha", State.FAILED, now=NOW)
    first = repeat(catalog, "spring/alpha", Origin.REPLAY)
    catalog.titles.settle(f"{first.batch_id}/alpha", State.FAILED, now=NOW)
    repeat(catalog, f"{first.batch_id}/alpha", Origin.REPAIR)
    before = catalog.titles.find()

    downgrade(catalog.database.url, "0006")
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM titles")) == 3
    catalog.migrate()

    assert catalog.owners.without_owner() == ["alpha"]
    assert catalog.titles.find() == before
