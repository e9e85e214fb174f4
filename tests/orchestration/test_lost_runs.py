"""A run that was lost is concluded as its own last task would have concluded it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.document import Document
from include.base.errors import CallsheetError, EncoderCrashed, MezzanineRejected
from include.base.settings import Settings
from include.domain.title.title import Origin, State
from include.domain.title.work import result_key
from include.pipelines import core
from include.pipelines.runner import TaskJob
from include.services.lost_runs import LOST_AFTER, settle_lost_runs
from tests.catalog.samples import NOW, accept, find, given_up, packaged, publish, start
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.test_settle import ANALYSIS, ENCODED, PLAN, SOURCE, VERDICTS

LONG_AFTER = NOW + 2 * LOST_AFTER
REQUEST = "spring/alpha"


class Run:
    """The run of a title, which has made its renditions and will be lost."""

    def __init__(self, catalog: Catalog, store: LocalStore) -> None:
        accept(catalog, "spring", "alpha")
        self.title = start(catalog, REQUEST).job()
        self.catalog, self.store = catalog, store
        for stage, result in (("inspect", SOURCE), ("analyse", ANALYSIS), ("plan", PLAN), ("check", VERDICTS)):
            self.left(stage, result)
        for encoded in ENCODED:
            self.left("encode", encoded, encoded.rendition)

    def left(self, stage: str, result: Document, item: str | None = None) -> None:
        self.store.put_bytes(result_key(self.title, stage, item), result.to_json().encode())

    def failed(self, task: str, error: CallsheetError) -> None:
        job = TaskJob(task=task, title=self.title, time_limit_s=0)
        self.store.put_bytes(job.error_key, error.document().to_json().encode())

    @property
    def history(self) -> dict[str, float | None]:
        return {row.rendition: row.vmaf for row in self.catalog.history.of_request(REQUEST)}

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [(alert.level, alert.cause) for alert in self.catalog.alerts.claim_due(LONG_AFTER, 10, 0)]

    @property
    def letters(self) -> list[tuple[str | None, str]]:
        return [(letter.task, letter.error.type) for letter in self.catalog.history.dead_letters()]


@pytest.fixture
def run(catalog: Catalog, store: LocalStore, airflow: AirflowServer) -> Run:
    """Airflow knows nothing of it."""
    return Run(catalog, store)


RENDITIONS = {"h264_144p": 91, "h264_360p": None}


def test_a_degraded_title_whose_run_was_lost_has_its_history_its_repair_and_its_alert(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    publish(catalog, REQUEST, degraded=True)
    run.left("package", packaged(degraded=True))

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [REQUEST]

    assert (find(catalog, REQUEST).state, find(catalog, REQUEST).reason) == (State.DEGRADED, "rendition_missing")
    assert [repair.missing for repair in catalog.repairs.pending()] == [("h264_720p",)]
    assert run.alerts == [("degraded", "rendition_missing")]
    assert run.history == RENDITIONS
    assert run.letters == []


def test_a_lost_title_that_gave_something_up_for_its_deadline_is_told_and_queued_for_a_back_fill(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    publish(catalog, REQUEST, degraded=True)
    run.left("package", packaged(degraded=True).model_copy(update={"missing": (), "given_up": (given_up(),)}))

    settle_lost_runs(catalog, api, settings, now=LONG_AFTER)

    assert find(catalog, REQUEST).reason == "for_deadline"
    assert [repair.request_id for repair in catalog.repairs.pending(kind=Origin.BACKFILL)] == [REQUEST]
    assert run.alerts == [("degraded", "for_deadline")]


def test_a_lost_title_that_came_to_nothing_leaves_what_its_renditions_cost(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [REQUEST]

    assert (find(catalog, REQUEST).state, find(catalog, REQUEST).reason) == (State.FAILED, "run_lost")
    assert run.history == RENDITIONS
    assert run.alerts == [("failed", "run_lost")]
    assert [error for _, error in run.letters] == ["RunLost"]


@pytest.mark.parametrize(
    ("error", "state", "cause"),
    [
        (MezzanineRejected("the file is empty", reason="empty"), State.REJECTED, "source: empty"),
        (EncoderCrashed("x264 fell over", command="ffmpeg", stderr_tail=""), State.FAILED, "encoder: EncoderCrashed"),
    ],
)
def test_a_task_of_a_lost_run_that_has_said_why_explains_the_end(
    error: CallsheetError, state: State, cause: str,
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings,
) -> None:  # fmt: skip
    run.failed("finish", error)

    settle_lost_runs(catalog, api, settings, now=LONG_AFTER)

    assert find(catalog, REQUEST).state is state
    assert run.letters == [("finish", type(error).__name__)]
    assert run.alerts == [(state.value, cause)]


def test_a_lost_run_whose_results_cannot_be_read_is_settled_without_them(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    run.store.put_bytes(result_key(run.title, "plan"), b"{")

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [REQUEST]

    assert (find(catalog, REQUEST).state, run.history) == (State.FAILED, {})


def test_a_lost_run_of_a_pipeline_that_is_not_registered_any_more_is_settled(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.registry()
    monkeypatch.setattr(core, "_registry", {})

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [REQUEST]

    assert (find(catalog, REQUEST).reason, run.history) == ("run_lost", {})


def test_a_title_that_was_cancelled_while_the_sweep_looked_at_it_stays_cancelled(
    run: Run, catalog: Catalog, api: AirflowApi, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = api.run

    def cancelled_meanwhile(dag_id: str, run_id: str) -> object:
        catalog.titles.settle(REQUEST, State.CANCELLED, reason="by_hand", now=NOW + timedelta(seconds=1))
        return look(dag_id, run_id)

    monkeypatch.setattr(api, "run", cancelled_meanwhile)

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == []

    assert (find(catalog, REQUEST).state, run.alerts, run.letters) == (State.CANCELLED, [], [])
