"""Proofs of what is published: queued with the conclusion, run slice by slice, and what they find followed up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, Event
from include.adapters.store.local import LocalStore
from include.base.errors import CallsheetError, EncoderCrashed, MissingInput
from include.base.settings import Settings
from include.domain.outcome.proof import Proof, RenditionProof, Tally
from include.domain.outcome.results import CheckOutcome, Cost
from include.domain.outcome.settlement import RunResults
from include.domain.title.title import Origin, State, Tier, TitleJob
from include.domain.title.work import result_key
from include.orchestration.names import PROOFS_DAG
from include.orchestration.runtimes.local import WorkerTask
from include.pipelines.runner import TaskJob
from include.recipes import load_tiers
from include.services import proofs
from include.services.housekeeping import clean
from include.services.proofs import FAILURES, TASK, WAITS_FOR, follow_proofs
from include.services.replay import take_repairs
from include.services.settling import conclude
from include.stages.core import ControlContext
from tests.catalog.samples import NOW, accept, after, find, packaged, publish, start
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.lab import context

REQUEST = "spring/alpha"
COST = Cost(wall_s=90, cpu_s=171.5, peak_memory_mb=64)
GOOD = RenditionProof(rendition="h264_144p", outcome=CheckOutcome.PASS)
WRONG = RenditionProof(
    rendition="h264_360p",
    outcome=CheckOutcome.FAIL,
    reasons=("looks worse than h264_144p at 2.40 s: VMAF 4 against 80",),
)


class Desk:
    """A title of a tier with a proof, published and settled, and the minute hand that follows its proof."""

    def __init__(self, catalog: Catalog, store: LocalStore, settings: Settings, api: AirflowApi) -> None:
        self.catalog, self.store, self.settings, self.api = catalog, store, settings, api

    def settled(self, request_id: str = REQUEST, *, tier: str = "premium", degraded: bool = False) -> TitleJob:
        batch_id, title_id = request_id.split("/")
        accept(self.catalog, batch_id, title_id, tier=tier)
        return self.conclude(request_id, degraded=degraded)

    def conclude(self, request_id: str, *, degraded: bool = False) -> TitleJob:
        title = start(self.catalog, request_id).job()
        publish(self.catalog, request_id, degraded=degraded)
        about = ControlContext(
            settings=self.settings, store=self.store, title=title, scratch=Path("unused"), catalog=self.catalog,
            clock=lambda: NOW,
        )  # fmt: skip
        conclude(about, RunResults(packaged=packaged(degraded=degraded)))
        return title

    def follow(self, now: datetime = NOW) -> dict[str, int]:
        return follow_proofs(self.catalog, self.api, self.settings, self.store, dag_id=PROOFS_DAG, now=now)

    def leaves(self, title: TitleJob, proof: Proof) -> None:
        self.store.put_bytes(result_key(title, TASK), proof.to_json().encode())

    def events(self, request_id: str = REQUEST) -> list[Event]:
        kinds = ("title.proved", "title.proved_wrong", "title.not_proved", "proof.")
        return [each for each in self.catalog.history.events(request_id=request_id) if each.kind.startswith(kinds)]

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [(alert.level, alert.message) for alert in self.catalog.alerts.claim_due(after(1e6), 10, 0)]


@pytest.fixture
def desk(catalog: Catalog, store: LocalStore, settings: Settings, api: AirflowApi, airflow: AirflowServer) -> Desk:
    airflow.dags.add(PROOFS_DAG)
    return Desk(catalog, store, settings, api)


def ends(airflow: AirflowServer, number: int = 1, state: str = "success", title: str = "alpha") -> None:
    airflow.end(PROOFS_DAG, f"{title}__spring__{number}", state, NOW.isoformat())


@pytest.mark.parametrize(("tier", "queued"), [("premium", [REQUEST]), ("standard", []), ("ugc", [])])
def test_a_published_set_is_proved_where_its_tier_asks_and_costs_no_other_anything(
    tier: str, queued: list[str], desk: Desk, airflow: AirflowServer
) -> None:
    desk.settled(tier=tier)

    assert [proof.request_id for proof in desk.catalog.proofs.open()] == queued
    assert desk.follow()["started"] == len(queued)
    assert len(airflow.started) == len(queued)
    assert find(desk.catalog, REQUEST).state is State.PUBLISHED


def test_a_proof_goes_on_in_slices_and_ends_with_its_scores_and_its_cost(desk: Desk, airflow: AirflowServer) -> None:
    title = desk.settled()

    assert desk.follow() == {"ended": 0, "under way": 0, "started": 1}
    assert desk.follow() == {"ended": 0, "under way": 1, "started": 0}
    ends(airflow)
    desk.leaves(title, Proof(tallies=(Tally(rendition="h264_144p", key="k", reached=500),), cost=COST))
    assert desk.follow() == {"ended": 0, "under way": 0, "started": 1}
    # What the slice before has left would make the next one's task look done.
    assert desk.store.size(result_key(title, TASK)) is None
    ends(airflow, 2)
    desk.leaves(title, Proof(done=True, renditions=(GOOD,), cost=COST))
    assert desk.follow() == {"ended": 1, "under way": 0, "started": 0}

    assert airflow.started == ["alpha__spring__1", "alpha__spring__2"]
    assert airflow.runs[PROOFS_DAG, "alpha__spring__1"]["conf"] == {"request_id": REQUEST}
    queued, proved = desk.events()
    assert (queued.kind, proved.kind) == ("proof.queued", "title.proved")
    assert (proved.detail["version"], proved.detail["cpu_s"]) == (1, COST.cpu_s)
    assert [each["rendition"] for each in proved.detail["renditions"]] == ["h264_144p"]
    assert desk.alerts == []
    assert desk.catalog.repairs.pending() == []
    assert desk.follow() == {"ended": 0, "under way": 0, "started": 0}


def test_a_wrong_rendition_starts_a_repair_and_an_alert_and_turns_no_state(desk: Desk, airflow: AirflowServer) -> None:
    title = desk.settled()
    desk.follow()
    ends(airflow)
    desk.leaves(title, Proof(done=True, renditions=(GOOD, WRONG), cost=COST))

    desk.follow()

    assert find(desk.catalog, REQUEST).state is State.PUBLISHED
    assert [repair.missing for repair in desk.catalog.repairs.pending()] == [("h264_360p",)]
    assert desk.alerts == [("proof", f"v1: h264_360p {WRONG.reasons[0]}")]
    assert desk.events()[-1].kind == "title.proved_wrong"
    (batch_id,) = take_repairs(desk.catalog, desk.settings, now=NOW, limit=5)
    again = find(desk.catalog, f"{batch_id}/alpha")
    assert (again.origin, again.origin_request_id) == (Origin.REPAIR, REQUEST)

    # The repair is published and proved itself: what is wrong with that one too is for a person.
    repaired = desk.conclude(again.request_id)
    desk.follow()
    airflow.end(PROOFS_DAG, f"alpha__{batch_id}__1", "success", NOW.isoformat())
    desk.leaves(repaired, Proof(done=True, renditions=(WRONG,), cost=COST))
    desk.follow()
    assert desk.catalog.repairs.pending() == []
    assert [level for level, _ in desk.alerts] == ["proof", "proof"]


def test_nobody_is_called_for_a_version_that_a_newer_one_has_replaced(desk: Desk, airflow: AirflowServer) -> None:
    title = desk.settled()
    desk.follow()
    accept(desk.catalog, "summer", "alpha", tier="standard")
    desk.conclude("summer/alpha")
    ends(airflow)
    desk.leaves(title, Proof(done=True, renditions=(WRONG,), cost=COST))

    desk.follow()

    assert desk.events()[-1].kind == "title.proved_wrong"
    assert (desk.alerts, desk.catalog.repairs.pending()) == ([], [])


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        ("superseded", "a newer version is published"),
        ("other release", "another release has encoded the title"),
        ("other tier", "the tier premium asks for no proof any more"),
        ("never a slot", "it did not come to its end within 7 days"),
    ],
)
def test_a_proof_that_is_not_needed_or_cannot_go_on_says_so_and_takes_no_slot(
    meanwhile: str, why: str, desk: Desk, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.settled()
    now = NOW
    if meanwhile == "superseded":
        accept(desk.catalog, "summer", "alpha", tier="standard")
        desk.conclude("summer/alpha")
    elif meanwhile == "other tier":
        policy = load_tiers()[Tier.PREMIUM].model_copy(update={"proof": None})
        monkeypatch.setattr(proofs, "load_tiers", lambda: {Tier.PREMIUM: policy})
    elif meanwhile == "other release":
        desk.catalog.titles.forget_beginnings([REQUEST])
    else:
        now = NOW + WAITS_FOR + timedelta(minutes=1)

    assert desk.follow(now) == {"ended": 1, "under way": 0, "started": 0}

    assert airflow.started == []
    last = desk.events()[-1]
    assert last.kind == "title.not_proved"
    assert last.detail["message"].startswith(why)
    assert (desk.alerts, find(desk.catalog, REQUEST).state) == ([], State.PUBLISHED)


CRASH = EncoderCrashed("ffmpeg fell over", command="ffmpeg", stderr_tail="")
GONE = MissingInput("h264_144p cannot be proved: it is not in the work folder any more", reason="gone")


@pytest.mark.parametrize(
    ("error", "slices", "message"),
    [(None, FAILURES, "3 runs in a row left no result"), (CRASH, FAILURES, CRASH.message), (GONE, 1, GONE.message)],
)
def test_slices_that_leave_nothing_are_tried_again_where_that_helps_and_then_given_up_with_their_reason(
    error: CallsheetError | None, slices: int, message: str, desk: Desk, airflow: AirflowServer
) -> None:
    title = desk.settled()
    key = TaskJob(task=TASK, title=title, time_limit_s=0).error_key
    for number in range(1, slices + 1):
        assert desk.follow()["started"] == 1
        ends(airflow, number, "failed")
        if error is not None:
            desk.store.put_bytes(key, error.document().to_json().encode())

    assert desk.follow() == {"ended": 1, "under way": 0, "started": 0}

    assert desk.events()[-1].kind == "title.not_proved"
    assert desk.events()[-1].detail["message"].startswith(message)
    assert find(desk.catalog, REQUEST).state is State.PUBLISHED
    assert desk.catalog.history.dead_letters() == []


def test_as_many_slices_run_at_once_as_there_are_slots_the_most_valuable_titles_first(
    desk: Desk, airflow: AirflowServer
) -> None:
    desk.settled()
    desk.settled("summer/beta")

    assert desk.follow() == {"ended": 0, "under way": 0, "started": 1}
    assert desk.follow() == {"ended": 0, "under way": 1, "started": 0}
    assert airflow.started == ["alpha__spring__1"]


def test_of_many_that_wait_those_are_looked_at_whose_turn_it_may_be_and_those_whose_time_is_over(
    desk: Desk, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alpha", "beta", "gamma", "delta"):
        desk.settled(f"{name}-batch/{name}")
    asked: list[str] = []
    found = desk.catalog.titles.get
    monkeypatch.setattr(desk.catalog.titles, "get", lambda request_id: asked.append(request_id) or found(request_id))

    assert desk.follow()["started"] == 1
    assert len(asked) == 1
    assert desk.follow(NOW + WAITS_FOR + timedelta(minutes=1))["ended"] == 3


def test_an_airflow_that_has_not_read_the_dag_yet_is_asked_again(desk: Desk, airflow: AirflowServer) -> None:
    desk.settled()
    airflow.dags.remove(PROOFS_DAG)

    assert desk.follow()["started"] == 0
    airflow.dags.add(PROOFS_DAG)
    assert desk.follow()["started"] == 1


def test_the_work_of_a_title_stays_until_its_proof_has_ended(desk: Desk) -> None:
    title = desk.settled()
    desk.store.put_bytes(f"{title.work}/renditions/x.mp4", b"x")

    assert clean(desk.catalog, desk.store, before=after(10)) == []
    desk.follow(NOW + WAITS_FOR + timedelta(minutes=1))
    assert clean(desk.catalog, desk.store, before=after(10)) == [title.work]


def operator(**arguments: Any) -> WorkerTask:
    return WorkerTask(task_id=TASK, pool="cpu_encode", **arguments)


def test_the_task_works_for_the_title_that_its_run_names_and_leaves_its_state_alone(desk: Desk) -> None:
    """Its work folder is empty here, so that it fails: whom it works for, and what it tells, is seen all the same."""
    desk.settled()
    before = find(desk.catalog, REQUEST)
    around = context(before, dag_id=PROOFS_DAG, run_id="alpha__spring__1")

    with pytest.raises(AirflowFailException, match="task prove needs the result of stage inspect"):
        operator().execute(around)

    assert find(desk.catalog, REQUEST) == before
    told = [(event.kind, event.task) for event in desk.catalog.history.events(request_id=REQUEST)]
    assert told[-2:] == [("task.started", TASK), ("task.failed", TASK)]


@pytest.mark.parametrize("conf", [None, {}, {"request_id": 7}, {"request_id": "spring/nobody"}])
def test_a_run_that_names_no_title_fails_at_once(conf: Any, desk: Desk) -> None:
    desk.settled()

    with pytest.raises(AirflowFailException, match="are started by the DAG dispatch"):
        operator().execute(context(find(desk.catalog, REQUEST), dag_id=PROOFS_DAG, conf=conf))
