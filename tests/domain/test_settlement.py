from __future__ import annotations

import pytest

from include.base.errors import (
    CallsheetError,
    CoreRungMissing,
    EncoderCrashed,
    MezzanineRejected,
    MezzanineUnreachable,
    MissingInput,
    StaleRequest,
    StorageError,
)
from include.domain.outcome.results import PackageResult
from include.domain.outcome.settlement import PublishedSet, TaskFailure, settlement
from include.domain.plan.degradation import Binding
from include.domain.title.title import FINAL_STATES, GOOD_STATES, State
from tests.catalog.samples import given_up, packaged

CRASH = EncoderCrashed("x264 fell over", command="ffmpeg -i x", stderr_tail="boom")
REJECTED = MezzanineRejected("the file is empty", reason="empty")
MISSING = MissingInput("no result of prepare", reason="upstream_failed")
CORE = CoreRungMissing("h264_360p is missing", reason="core_rung_missing")


def went_out(made: PackageResult, version: int) -> PublishedSet:
    """A packaged set after its publication."""
    return PublishedSet(version=version, degraded=made.degraded, missing=made.missing, given_up=made.given_up)


def failure(task: str, error: CallsheetError, item: str | None = None) -> TaskFailure:
    return TaskFailure(task=task, item=item, error=error.document())


def test_a_published_title_is_published_whatever_failed_on_the_way() -> None:
    verdict = settlement(whole=went_out(packaged(), 1), failures=[failure("encode", CRASH, "x")])

    assert (verdict.state, verdict.reason, verdict.failure) == (State.PUBLISHED, None, None)


def test_a_degraded_set_says_what_it_lacks() -> None:
    verdict = settlement(whole=went_out(packaged(degraded=True), 3), failures=[])

    assert (verdict.state, verdict.reason) == (State.DEGRADED, "rendition_missing")
    assert verdict.message == "published as v3 without h264_720p"


@pytest.mark.parametrize(
    ("gone", "given", "reason", "message"),
    [
        ((), [given_up()], "for_deadline", "to be in time: h264_360p veryfast instead of slow: costs 1.8 VMAF, "
         "saves 41 s"),
        (("a",), [given_up("drop", "a")], "for_deadline", "to be in time: a left out: costs 1.8 VMAF, saves 41 s"),
        (
            ("a", "b"),
            [given_up("drop", "a"), given_up()],
            "rendition_missing",
            "without b, and to be in time: a left out: costs 1.8 VMAF, saves 41 s; h264_360p veryfast instead of slow: "
            "costs 1.8 VMAF, saves 41 s",
        ),
        (("a",), [given_up()], "rendition_missing", "without a, and to be in time: h264_360p veryfast instead of slow: "
         "costs 1.8 VMAF, saves 41 s"),
    ],
)  # fmt: skip
def test_a_set_that_gave_something_up_says_what_and_how_much(
    gone: tuple[str, ...], given: list[Binding], reason: str, message: str
) -> None:
    made = packaged().model_copy(update={"degraded": True, "missing": gone, "given_up": tuple(given)})

    verdict = settlement(whole=went_out(made, 1), failures=[])

    assert (verdict.state, verdict.reason) == (State.DEGRADED, reason)
    assert verdict.message == f"published as v1 {message}"


@pytest.mark.parametrize(
    ("failures", "state", "reason", "task"),
    [
        ([failure("prepare", REJECTED)], State.REJECTED, "empty", "prepare"),
        # The source's fault explains what failed before it, too.
        ([failure("plan", CORE), failure("extras", REJECTED)], State.REJECTED, "empty", "extras"),
        ([failure("prepare", MezzanineUnreachable("gone"))], State.FAILED, "MezzanineUnreachable", "prepare"),
        ([failure("extras", StorageError("full", reason="enospc"))], State.FAILED, "enospc", "extras"),
        ([failure("encode", CRASH, "a"), failure("extras", REJECTED)], State.REJECTED, "empty", "extras"),
        ([failure("finish", MISSING), failure("publish", CRASH)], State.FAILED, "EncoderCrashed", "publish"),
        ([failure("finish", MISSING)], State.FAILED, "upstream_failed", "finish"),
        ([failure("encode", CRASH, "a"), failure("extras", StorageError("full"))], State.FAILED, "StorageError",
         "extras"),
        ([failure("encode", CRASH, "a")], State.FAILED, "EncoderCrashed", "encode"),
        ([failure("publish", StaleRequest("newer", reason="superseded"))], State.CANCELLED, "superseded", "publish"),
        ([], State.FAILED, "no_result", "settle"),
    ],
)  # fmt: skip
def test_the_cause_decides_how_a_title_ends(failures: list[TaskFailure], state: State, reason: str, task: str) -> None:
    verdict = settlement(whole=None, failures=failures)

    assert (verdict.state, verdict.reason) == (state, reason)
    assert verdict.failure is not None
    assert verdict.failure.task == task
    assert verdict.message


def test_a_missing_core_rung_is_told_with_the_words_of_its_encode() -> None:
    verdict = settlement(whole=None, failures=[failure("encode", CRASH, "h264_360p"), failure("finish", CORE)])

    assert verdict.reason == "core_rung_missing"
    assert verdict.message == "h264_360p is missing; h264_360p: x264 fell over"
    assert verdict.failure is not None
    assert (verdict.failure.error.command, verdict.failure.error.stderr_tail) == ("ffmpeg -i x", "boom")


def test_a_missing_core_rung_whose_encode_left_no_word_speaks_for_itself() -> None:
    verdict = settlement(whole=None, failures=[failure("finish", CORE)])

    assert (verdict.message, verdict.failure) == ("h264_360p is missing", failure("finish", CORE))


def test_states_are_under_way_or_final() -> None:
    assert {state for state in State if state.final} == FINAL_STATES
    assert GOOD_STATES < FINAL_STATES
    assert {state.value for state in State if not state.final} == {"waiting", "queued", "running", "playable"}


@pytest.mark.parametrize(
    ("failures", "state", "reason"),
    [
        ([failure("finish", CRASH)], State.DEGRADED, "rendition_missing"),
        ([failure("finish", REJECTED)], State.DEGRADED, "rendition_missing"),
        ([], State.DEGRADED, "rendition_missing"),
        ([failure("publish", StaleRequest("newer", reason="superseded"))], State.CANCELLED, "superseded"),
    ],
)
def test_a_title_whose_first_version_went_out_ends_with_it_whatever_became_of_the_rest(
    failures: list[TaskFailure], state: State, reason: str
) -> None:
    verdict = settlement(whole=None, early=went_out(packaged(whole=False), 1), failures=failures)

    assert (verdict.state, verdict.reason) == (state, reason)
    if state is State.DEGRADED:
        assert (verdict.message or "").startswith("published as v1 without h264_720p, which should have followed: ")


@pytest.mark.parametrize("failures", [[], [failure("finish", CRASH)]])
def test_a_first_version_that_a_newer_request_has_replaced_ends_superseded(failures: list[TaskFailure]) -> None:
    verdict = settlement(whole=None, early=went_out(packaged(whole=False), 1), failures=failures, superseded=True)

    assert (verdict.state, verdict.reason) == (State.CANCELLED, "superseded")
    assert "a newer request was quicker" in (verdict.message or "")


def test_what_a_run_left_unexplained_is_told_in_the_words_of_who_found_it() -> None:
    lost = TaskFailure(task="encode", error=CRASH.document())

    assert settlement(whole=None, failures=[], unexplained=lost).failure == lost
    assert settlement(whole=None, failures=[failure("finish", CORE)], unexplained=lost).reason == "core_rung_missing"


def test_a_whole_set_makes_nobody_ask_for_its_first_version() -> None:
    verdict = settlement(whole=went_out(packaged(), 2), failures=[failure("first_publish", CRASH)])

    assert verdict.state is State.PUBLISHED


def test_a_first_set_that_was_never_published_saves_nothing() -> None:
    verdict = settlement(whole=None, early=None, failures=[failure("first_publish", CRASH)])

    assert verdict.state is State.FAILED
