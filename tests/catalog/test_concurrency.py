"""Real processes on one catalog, started together."""

from __future__ import annotations

import os
import signal
from multiprocessing import get_context

from include.adapters.catalog import Catalog
from include.adapters.catalog import versions as publication
from include.base.errors import StaleRequest
from include.domain.title.title import State
from tests.catalog.samples import NOW, a_batch, accept, after, find, packaged, publish, published
from tests.catalog.together import PROCESSES, Together


def _claim(url: str, claimant: str) -> list[str]:
    catalog = Catalog(url)
    claimed = []
    while catalog.titles.find(states={State.WAITING}):
        for title in catalog.titles.claim(window=2, now=NOW, claimant=claimant):
            claimed.append(title.request_id)
            assert catalog.titles.mark_released(title.request_id, claimant=claimant, run_id=title.run_id or "", now=NOW)
            assert len(catalog.titles.find(states={State.QUEUED})) <= 2
            catalog.titles.settle(title.request_id, State.CANCELLED, now=NOW)
    return claimed


def test_claimers_never_get_the_same_title_and_never_exceed_the_window(url: str, together: Together) -> None:
    accept(Catalog(url), "spring", *(f"t{number}" for number in range(12)))
    claimed = together(_claim, *((url, f"claimant {number}") for number in range(PROCESSES)))
    everything = [request_id for each in claimed for request_id in each]
    assert len(everything) == len(set(everything)) == 12


def _accept(url: str, title: str) -> bool | str:
    try:
        return Catalog(url).batches.accept(a_batch("spring", title), pipeline_version=1, now=NOW)
    except Exception as error:
        return type(error).__name__


def test_of_the_same_batch_posted_at_once_one_is_new_and_of_others_of_its_id_none_gets_in(
    url: str, together: Together
) -> None:
    outcomes = together(_accept, (url, "alpha"), (url, "alpha"), (url, "beta"), (url, "beta"))
    assert sorted(map(str, outcomes)) == ["BatchConflict", "BatchConflict", "False", "True"]
    assert len(Catalog(url).titles.find()) == 1


def _publish(url: str, request_id: str) -> str:
    catalog = Catalog(url)
    version = catalog.versions.allocate(request_id, now=NOW)
    seen = catalog.versions.published_seq("alpha") or 0
    try:
        catalog.versions.publish(request_id, result=published(version), package=packaged(), now=NOW)
    except StaleRequest:
        return "stale"
    assert (catalog.versions.published_seq("alpha") or 0) >= max(seen, find(catalog, request_id).seq)
    return "published"


def test_publishers_at_once_end_with_the_newest_request_and_versions_are_never_given_twice(
    url: str, together: Together
) -> None:
    catalog = Catalog(url)
    for number in range(PROCESSES):
        accept(catalog, f"batch{number}", "alpha")
    outcomes = together(_publish, *((url, f"batch{number}/alpha") for number in range(PROCESSES)))
    newest = catalog.versions.current("alpha")
    assert newest is not None
    assert newest.request_id == f"batch{PROCESSES - 1}/alpha"
    assert outcomes[-1] == "published"
    versions = [catalog.versions.allocate(f"batch{number}/alpha", now=NOW) for number in range(PROCESSES)]
    assert sorted(versions) == list(range(1, PROCESSES + 1))


def _alert_and_settle(url: str, _: int) -> tuple[bool, bool, list[str]]:
    catalog = Catalog(url)
    settled = catalog.titles.settle("spring/alpha", State.FAILED, now=NOW)
    alerted = catalog.alerts.enter(
        title_id="alpha", request_id="spring/alpha", level="failed", cause="x", message="m", now=NOW
    )
    return settled, alerted, [row.event_id for row in catalog.outbox.claim_due(now=after(1), limit=10, ttl_s=60)]


def test_a_verdict_an_alert_and_a_webhook_belong_to_one_process_each(url: str, together: Together) -> None:
    accept(Catalog(url))
    outcomes = together(_alert_and_settle, *((url, number) for number in range(PROCESSES)))
    settled, alerted, webhooks = zip(*outcomes, strict=True)
    assert (sum(settled), sum(alerted), sum(map(len, webhooks))) == (1, 1, 1)


def _die_in_the_middle(url: str) -> None:
    # Its event is among the last things that a publication writes.
    vars(publication)["add_event"] = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    publish(Catalog(url), "spring/alpha")


def test_a_process_that_is_killed_in_the_middle_leaves_nothing_half_done_and_no_lock(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog)
    before = find(catalog, "spring/alpha")
    process = get_context("spawn").Process(target=_die_in_the_middle, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert catalog.versions.current("alpha") is None
    assert find(catalog, "spring/alpha") == before
    assert publish(catalog, "spring/alpha") == 1


def test_a_catalog_that_was_used_before_a_fork_serves_parent_and_child(url: str) -> None:
    catalog = Catalog(url)
    accept(catalog)
    child = os.fork()
    if child == 0:
        # No assertion may leave this branch: it would run the rest of the tests twice.
        try:
            settled = catalog.titles.settle("spring/alpha", State.CANCELLED, now=NOW)
            os._exit(0 if settled else 1)
        except BaseException:
            os._exit(2)
    assert len(catalog.titles.find()) == 1
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert find(catalog, "spring/alpha").state is State.CANCELLED
