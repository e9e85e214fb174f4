from __future__ import annotations

from datetime import timedelta

import pytest

from include.adapters.catalog import Catalog, HistoryRow
from include.adapters.catalog.records import TaskEvent
from include.base.errors import EncoderCrashed, NotReleased
from include.domain.title.title import State
from tests.catalog.samples import NOW, a_batch, accept, after, find, publish, start


def claimed(catalog: Catalog, window: int, *, now: float = 0, claimant: str = "one") -> list[str]:
    return [title.request_id for title in catalog.titles.claim(window=window, now=after(now), claimant=claimant)]


def test_titles_are_claimed_in_order_of_arrival_over_all_batches(catalog: Catalog) -> None:
    accept(catalog, "zebra", "b", "a")
    accept(catalog, "alpha", "c")
    assert claimed(catalog, 2) == ["zebra/b", "zebra/a"]
    assert claimed(catalog, 3, claimant="other") == ["alpha/c"]


def test_claimed_released_and_playable_titles_fill_the_window_and_settled_ones_leave_it(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b", "c", "d", "e")
    assert claimed(catalog, 3) == ["spring/a", "spring/b", "spring/c"]
    assert claimed(catalog, 3) == []
    catalog.titles.mark_released("spring/a", claimant="one", run_id="a__1", now=NOW)
    catalog.titles.mark_released("spring/b", claimant="one", run_id="b__1", now=NOW)
    catalog.titles.begin(dag_id="batch__spring", run_id="a__1", now=NOW)
    publish(catalog, "spring/a")
    assert find(catalog, "spring/a").state is State.PLAYABLE
    assert claimed(catalog, 3) == []
    catalog.titles.settle("spring/a", State.PUBLISHED, now=NOW)
    assert claimed(catalog, 3) == ["spring/d"]
    assert claimed(catalog, 3) == []
    assert claimed(catalog, 2) == [], "a window that shrank is no reason to claim"


def test_a_batch_that_cannot_be_released_right_now_does_not_hold_the_others_up(catalog: Catalog) -> None:
    accept(catalog, "stuck", "a", "b")
    accept(catalog, "free", "c")
    found = catalog.titles.claim(window=1, now=NOW, claimant="one", except_batches={"stuck"})
    assert [title.request_id for title in found] == ["free/c"]


def test_an_expired_claim_can_be_claimed_again_and_then_belongs_to_the_second(catalog: Catalog) -> None:
    accept(catalog)
    assert claimed(catalog, 1) == ["spring/alpha"]
    assert claimed(catalog, 1, now=59, claimant="two") == []
    assert claimed(catalog, 1, now=60, claimant="two") == ["spring/alpha"]
    assert not catalog.titles.mark_released("spring/alpha", claimant="one", run_id="alpha__1", now=after(61))
    assert find(catalog, "spring/alpha").state is State.WAITING
    assert catalog.titles.mark_released("spring/alpha", claimant="two", run_id="alpha__1", now=after(61))
    title = find(catalog, "spring/alpha")
    assert (title.state, title.run_id, title.released_at) == (State.QUEUED, "alpha__1", after(61))


def test_a_title_that_was_given_back_is_claimed_next_and_only_its_claimant_can_give_it_back(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    assert claimed(catalog, 1) == ["spring/a"]
    catalog.titles.unclaim("spring/a", claimant="two")
    assert claimed(catalog, 1) == []
    catalog.titles.unclaim("spring/a", claimant="one")
    assert claimed(catalog, 1) == ["spring/a"]


def test_a_postponed_title_takes_no_place_in_the_window_until_its_time_comes(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    assert claimed(catalog, 1) == ["spring/a"]
    catalog.titles.unclaim("spring/a", claimant="two", until=after(90))
    assert claimed(catalog, 1) == [], "only its claimant can postpone it"
    catalog.titles.unclaim("spring/a", claimant="one", until=after(90))
    assert claimed(catalog, 1) == ["spring/b"]
    assert claimed(catalog, 2, now=59) == []
    assert claimed(catalog, 2, now=90) == ["spring/a", "spring/b"]


def test_marking_a_release_twice_is_as_good_as_once(catalog: Catalog) -> None:
    accept(catalog)
    claimed(catalog, 1)
    for second in (1, 2):
        assert catalog.titles.mark_released("spring/alpha", claimant="one", run_id="alpha__1", now=after(second))
    assert find(catalog, "spring/alpha").released_at == after(1)


def test_the_first_task_of_a_released_run_makes_the_title_running_once(catalog: Catalog) -> None:
    accept(catalog)
    title = start(catalog, "spring/alpha", now=after(1))
    assert (title.state, title.started_at) == (State.RUNNING, after(1))
    again = catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=after(2))
    assert again == title
    assert [row.type for row in catalog.outbox.of_request("spring/alpha")] == ["title.accepted", "title.started"]


def test_a_run_may_begin_before_its_release_is_noted(catalog: Catalog) -> None:
    accept(catalog)
    claimed(catalog, 1)
    assert catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=after(1)).state is State.RUNNING
    assert catalog.titles.mark_released("spring/alpha", claimant="one", run_id="alpha__1", now=after(2))
    title = find(catalog, "spring/alpha")
    assert (title.state, title.released_at) == (State.RUNNING, after(1))


def test_a_run_whose_start_was_not_answered_may_begin_after_its_title_was_given_back(catalog: Catalog) -> None:
    accept(catalog)
    claimed(catalog, 1)
    catalog.titles.unclaim("spring/alpha", claimant="one")
    assert catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=NOW).state is State.RUNNING


@pytest.mark.parametrize(
    ("dag_id", "run_id"),
    [
        ("batch__spring", "manual__2026-03-01"),
        ("batch__spring", "alpha__1"),
        ("batch__winter", "alpha__1"),
        ("batch__spring", "alpha__2"),
    ],
)
def test_a_run_that_the_catalog_did_not_release_is_told_what_to_do(catalog: Catalog, dag_id: str, run_id: str) -> None:
    accept(catalog)
    with pytest.raises(NotReleased, match=r"not started by hand. Submit a batch .* callsheet replay ID"):
        catalog.titles.begin(dag_id=dag_id, run_id=run_id, now=NOW)
    assert find(catalog, "spring/alpha").state is State.WAITING


@pytest.mark.parametrize("verdict", [State.FAILED, State.REJECTED])
def test_clearing_a_settled_run_opens_the_title_again(catalog: Catalog, verdict: State) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", verdict, reason="truncated", message="the end is missing", now=after(1))
    error = EncoderCrashed("gone", command="ffmpeg", stderr_tail="").document()
    catalog.history.record_dead_letter("spring/alpha", error=error, task="encode", replay_command="again", now=after(1))

    title = catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=after(2))
    assert (title.state, title.settled_at, title.reason, title.message) == (State.RUNNING, None, None, None)
    assert catalog.history.dead_letters() == []
    reopened = next(event for event in catalog.history.events() if event.kind == "title.reopened")
    assert reopened.detail == {"was": verdict, "message": "the end is missing"}
    assert catalog.titles.settle("spring/alpha", State.FAILED, now=after(3))
    assert [row.type for row in catalog.outbox.of_request("spring/alpha")] == [
        "title.accepted",
        "title.started",
        f"title.{verdict}",
        "title.failed",
    ]


def test_clearing_a_published_run_leaves_the_title_published(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    assert catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=after(2)).state is State.PUBLISHED


def test_a_cancelled_title_and_one_of_a_retired_batch_do_not_begin_again(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    start(catalog, "spring/a")
    catalog.titles.settle("spring/a", State.CANCELLED, now=NOW)
    catalog.titles.settle("spring/b", State.FAILED, now=NOW)
    with pytest.raises(NotReleased, match=r"spring/a is cancelled.*callsheet replay spring/a"):
        catalog.titles.begin(dag_id="batch__spring", run_id="a__1", now=NOW)
    assert catalog.batches.retire("spring", NOW)
    with pytest.raises(NotReleased, match="spring/b belongs to a retired batch"):
        catalog.titles.begin(dag_id="batch__spring", run_id="b__1", now=NOW)


def test_progress_only_grows_and_is_told_when_a_task_has_finished(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    steps: list[tuple[str, TaskEvent, float | None]] = [
        ("prepare", "started", 0.0),
        ("prepare", "finished", 0.2),
        ("encode", "failed", 0.1),
        ("extras", "finished", None),
        ("encode", "finished", 0.15),
        ("encode", "finished", 1.7),
    ]
    seen = []
    for task, event, progress in steps:
        catalog.titles.note_task(
            "spring/alpha",
            task=task,
            item="h264_360p" if task == "encode" else None,
            event=event,
            progress=progress,
            now=NOW,
            detail={"attempt": 1},
        )
        title = find(catalog, "spring/alpha")
        seen.append((title.task, title.progress))
    assert seen == [
        ("prepare", 0.0),
        ("prepare", 0.2),
        ("encode", 0.2),
        ("extras", 0.2),
        ("encode", 0.2),
        ("encode", 1.0),
    ]
    told = [row.data["progress"] for row in catalog.outbox.of_request("spring/alpha") if row.type == "title.progress"]
    assert told == [0.2, 1.0]
    last = catalog.history.events(request_id="spring/alpha")[-1]
    assert (last.kind, last.task, last.item, last.detail) == ("task.finished", "encode", "h264_360p", {"attempt": 1})


def test_a_late_note_of_a_settled_title_is_an_event_and_nothing_else(catalog: Catalog) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", State.CANCELLED, now=NOW)
    before = (find(catalog, "spring/alpha"), catalog.outbox.of_request("spring/alpha"))
    catalog.titles.note_task("spring/alpha", task="extras", event="finished", progress=0.9, now=NOW)
    assert (find(catalog, "spring/alpha"), catalog.outbox.of_request("spring/alpha")) == before
    assert catalog.history.events(request_id="spring/alpha")[-1].kind == "task.finished"


@pytest.mark.parametrize("verdict", [State.FAILED, State.REJECTED, State.CANCELLED])
def test_a_verdict_is_told_once_with_its_reason(catalog: Catalog, verdict: State) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    assert catalog.titles.settle("spring/alpha", verdict, reason="too_large", message="File too large", now=after(5))
    assert not catalog.titles.settle("spring/alpha", verdict, reason="other", now=after(6))
    assert not catalog.titles.settle("spring/alpha", State.FAILED, reason="other", now=after(7))
    title = find(catalog, "spring/alpha")
    assert (title.state, title.reason, title.message, title.settled_at) == (
        verdict,
        "too_large",
        "File too large",
        after(5),
    )
    told = [row for row in catalog.outbox.of_request("spring/alpha") if row.type == f"title.{verdict}"]
    assert [(row.data["reason"], row.data["message"]) for row in told] == [("too_large", "File too large")]


def test_a_title_does_not_settle_as_something_that_is_not_an_end_or_as_published_without_a_version(
    catalog: Catalog,
) -> None:
    accept(catalog)
    with pytest.raises(ValueError, match="playable is not an end"):
        catalog.titles.settle("spring/alpha", State.PLAYABLE, now=NOW)
    with pytest.raises(ValueError, match="no published version"):
        catalog.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    assert find(catalog, "spring/alpha").state is State.WAITING


def test_a_message_may_hold_what_a_database_would_refuse(catalog: Catalog) -> None:
    accept(catalog)
    catalog.titles.settle("spring/alpha", State.FAILED, reason="x", message="a\0b \udcff ü 🎬", now=NOW)
    assert find(catalog, "spring/alpha").message == "a\ufffdb ? ü 🎬"
    assert catalog.history.events()[-1].detail["message"] == "a\0b \udcff ü 🎬"


def test_titles_are_found_by_batch_title_and_state(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    accept(catalog, "summer", "a")
    catalog.titles.settle("spring/b", State.CANCELLED, now=NOW)
    queries = {
        "all": catalog.titles.find(),
        "limit": catalog.titles.find(limit=1),
        "batch": catalog.titles.find(batch_id="spring"),
        "title": catalog.titles.find(title_id="a"),
        "state": catalog.titles.find(states={State.WAITING}),
        "no state": catalog.titles.find(states=()),
    }
    assert {name: [title.request_id for title in found] for name, found in queries.items()} == {
        "all": ["spring/a", "spring/b", "summer/a"],
        "limit": ["spring/a"],
        "batch": ["spring/a", "spring/b"],
        "title": ["spring/a", "summer/a"],
        "state": ["spring/a", "summer/a"],
        "no state": [],
    }
    assert catalog.titles.get("winter/a") is None


def test_overdue_are_unsettled_titles_past_their_deadline_released_or_not_until_it_is_noted(catalog: Catalog) -> None:
    due = (NOW + timedelta(hours=1)).isoformat()
    accept(catalog, "spring", "running", "waiting", "settled", publish_at=due)
    catalog.batches.accept(a_batch("late", "later", publish_at=after(9999).isoformat()), pipeline_version=1, now=NOW)
    accept(catalog, "free", "without")
    catalog.titles.claim(window=1, now=NOW, claimant="tests")
    catalog.titles.begin(dag_id="batch__spring", run_id="running__1", now=NOW)
    catalog.titles.settle("spring/settled", State.FAILED, now=NOW)
    assert catalog.titles.overdue(after(3599)) == []
    overdue = catalog.titles.overdue(after(3600))
    assert [title.request_id for title in overdue] == ["spring/running", "spring/waiting"]
    assert overdue[0].deadline == after(3600)
    catalog.alerts.enter(
        title_id="waiting", request_id="spring/waiting", level="missed", cause="deadline", message="late", now=NOW
    )
    assert [title.request_id for title in catalog.titles.overdue(after(3600))] == ["spring/running"]


def test_history_is_entered_once_per_rendition_however_often_the_task_runs(catalog: Catalog) -> None:
    accept(catalog)
    row = HistoryRow(
        rendition="h264_360p",
        recipe_hash="abc",
        encoder_version="libx264 165",
        features={"si_mean": 41.5, "kind": None},
        cpu_s=12.5,
        wall_s=7.0,
        peak_memory_mb=180.0,
        size_bytes=5_000_000_000,
        frames=240,
        duration_s=10.0,
        vmaf=94.0,
    )
    other = row.model_copy(update={"rendition": "h264_144p", "vmaf": None})
    catalog.history.record("spring/alpha", [row], [], now=NOW)
    catalog.history.record("spring/alpha", [row.model_copy(update={"cpu_s": 0.0}), other], [], now=after(1))
    assert catalog.history.of_request("spring/alpha") == [other, row]


def test_a_dead_letter_holds_what_a_person_needs_and_the_latest_failure_counts(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    error = EncoderCrashed("x264 fell over", command="ffmpeg -i x", stderr_tail="boom\0").document()
    for second, request_id in enumerate(("spring/a", "spring/b", "spring/a")):
        catalog.history.record_dead_letter(
            request_id,
            error=error.model_copy(update={"message": f"failure {second}"}),
            task="encode",
            replay_command=f"callsheet replay {request_id}",
            now=after(second),
        )
    letters = catalog.history.dead_letters()
    assert [(letter.request_id, letter.error.message) for letter in letters] == [
        ("spring/a", "failure 2"),
        ("spring/b", "failure 1"),
    ]
    assert letters[0].replay_command == "callsheet replay spring/a"
    assert (letters[0].error.owner, letters[0].error.command, letters[0].dag_id) == (
        "encoder",
        "ffmpeg -i x",
        "batch__spring",
    )
    assert catalog.history.dead_letters(limit=1) == letters[:1]


def test_the_newest_request_of_a_title_is_found_among_all(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b")
    accept(catalog, "summer", "a")
    newest = catalog.titles.newest("a")
    assert newest is not None
    assert newest.request_id == "summer/a"
    assert catalog.titles.newest("c") is None
