"""A rolling deploy: Airflow's side is of this release while pods are still of another, and do not try its jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from include.base.errors import EXIT_CODES, Retry
from include.domain.title.work import FORMAT, result_key
from include.orchestration.runtimes.kubernetes import task as pods
from include.orchestration.runtimes.kubernetes.endings import PodEnd, format_read_by
from include.pipelines.runner import TaskJob
from tests.kube.conftest import soon
from tests.pods.bench import Bench

LATER, TRANSIENT = EXIT_CODES[Retry.LATER], EXIT_CODES[Retry.TRANSIENT]


class NewerJob(TaskJob):
    """The job document of a release that has added a field."""

    brand_new: str = "x"


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[TaskJob], TaskJob]], None]:
    """Has Airflow's side write its job documents as another release would."""
    shape = pods.PodTask._shape
    monkeypatch.setattr(pods, "FIRST_PAUSE_S", 0.1)

    def write(change: Callable[[TaskJob], TaskJob]) -> None:
        monkeypatch.setattr(pods.PodTask, "_shape", lambda self, *given: change(shape(self, *given)))

    return write


def newer(job: TaskJob) -> TaskJob:
    return job.model_copy(update={"format": FORMAT + 1})


def same(job: TaskJob) -> TaskJob:
    return job


def gone(bench: Bench) -> None:
    soon(lambda: bench.pods() == [] and bench.kube.processes() == [], "the end of the last pod")


def test_a_pod_of_an_older_release_costs_no_attempt_and_another_is_asked_for_until_one_can_read_the_job(
    bench: Bench, control: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    control(newer)
    before = bench.kube.counts["create", "pods"]
    rounds: list[str] = []

    def deploy() -> None:
        rounds.append(deferred.method_name)
        if bench.kube.counts["create", "pods"] == before + 2:
            control(same)

    with caplog.at_level(logging.WARNING):
        deferred = bench.start()
        assert bench.finish(deferred, before_resuming=deploy) is None

    assert bench.kube.counts["create", "pods"] == before + 3
    assert bench.told() == ["task.started", "task.finished"]
    assert f"the job is of format {FORMAT + 1}, the worker reads format {FORMAT}" in caplog.text
    assert bench.store.size(bench.document().error_key) is None
    assert bench.store.size(result_key(bench.title.job(), "look"))
    gone(bench)


def test_a_worker_that_knows_no_formats_is_waited_for_as_well(
    bench: Bench, control: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    control(lambda job: NewerJob(**dict(job)))
    monkeypatch.setattr(pods, "TaskJob", NewerJob)

    with caplog.at_level(logging.WARNING):
        assert bench.finish(bench.start(), before_resuming=lambda: deploy_after_a_refusal(caplog, control)) is None

    assert f"the job is of format {FORMAT}, the worker reads format 1" in caplog.text
    assert bench.told() == ["task.started", "task.finished"]


def deploy_after_a_refusal(caplog: pytest.LogCaptureFixture, control: Callable[..., None]) -> None:
    if "of another release" in caplog.text:
        control(same)


def test_a_job_document_that_airflows_side_cannot_read_either_is_no_matter_of_releases(
    bench: Bench, control: Callable[..., None]
) -> None:
    control(lambda job: NewerJob(**dict(job)))

    with pytest.raises(
        AirflowException, match=r"PlatformUnavailable: .*exit code 75 and left no word: .*no whole Task"
    ):
        bench.attempt()


def test_waiting_for_one_release_ends_with_the_limit_of_an_outage_and_says_so(
    bench: Bench, control: Callable[..., None]
) -> None:
    control(newer)
    long_ago = {"attempt": 1, "since": time.time() - pods.OUTAGE_S, "asked": 9}
    bench.state["look-around"] = {pods.OTHER_RELEASE_KEY: long_ago}

    with pytest.raises(AirflowException, match=f"OtherRelease: the worker of look-around .* reads format {FORMAT}"):
        bench.attempt()

    # The next attempt has the whole time again.
    deferred = bench.start()
    rounds: list[Any] = []

    def look() -> None:
        rounds.append(dict(bench.state["look-around"].get(pods.OTHER_RELEASE_KEY, {})))
        if rounds[-1]["attempt"] == 2:
            control(same)

    assert bench.finish(deferred, before_resuming=look) is None
    assert (rounds[-1]["attempt"], rounds[-1]["asked"]) == (2, 1)
    assert bench.told() == ["task.started", "task.failed", "task.started", "task.finished"]


@pytest.mark.parametrize(
    ("exit_code", "message", "reads"),
    [
        (LATER, "OtherRelease: s3://b/j.json is a job of format 3; this release reads format 12: it",
         "12"),
        (LATER, "", "unknown"),
        (TRANSIENT, "CorruptDocument: s3://b/j.json (900 bytes) is no whole TaskJob: format: Extra "
         "inputs are not permitted", "1"),
        (TRANSIENT, "CorruptDocument: s3://b/plan.json (9 bytes) is no whole Plan: jobs", ""),
        (TRANSIENT, "EncoderCrashed", ""),
        (64, "is no whole TaskJob", ""),
        (0, "this release reads format 2", ""),
        (None, "", ""),
    ],
)  # fmt: skip
def test_what_a_worker_says_tells_which_format_it_reads(exit_code: int | None, message: str, reads: str) -> None:
    assert format_read_by(PodEnd(phase="Failed", exit_code=exit_code, message=message)) == reads
