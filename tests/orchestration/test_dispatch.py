"""What happens between Airflow's tasks: with the real catalog, and a server in the place of Airflow's API."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime, timedelta
from typing import Any

import pytest

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.catalog.titles import Titles
from include.adapters.catalog.versions import Versions
from include.adapters.store.local import LocalStore
from include.base.errors import ConfigurationError, PlatformUnavailable, RequestRejected
from include.base.settings import Settings, load_settings
from include.domain.title.steering import Steering
from include.domain.title.title import State
from include.domain.title.work import result_key
from include.orchestration.after_settling import after_settling
from include.orchestration.tick import tick
from include.services.arrivals import release_arrived
from include.services.lost_runs import LOST_AFTER, settle_lost_runs
from include.services.release import release, release_when_parsed
from include.services.replay import replay_title, take_repairs
from include.services.run_notes import run_note
from include.services.steering import steer_title, stop_cancelled
from include.services.valuation import revalue
from include.stages.core import ControlContext
from include.stages.publish import make_current
from tests.catalog.samples import NOW, a_batch, accept, after, find, packaged, publish, start
from tests.orchestration.airflow_server import AirflowServer
from tests.receivers import http_receiver

REFUSED = b'{"detail": "Dag with dag_id has import errors and cannot be triggered"}'
STEPS = [
    "moved batches", "moved runs",
    "lost runs", "repairs", "back-fills", "progress", "values", "weights", "cancelled", "release", "proofs", "overdue",
    "alerts", "webhooks", "arrivals", "headers",
]  # fmt: skip
LONG_AFTER = NOW + LOST_AFTER * 2


def states(catalog: Catalog, **which: Any) -> dict[str, str]:
    return {title.request_id: title.state.value for title in catalog.titles.find(**which)}


def unclaimed(catalog: Catalog, *, window: int = 100) -> list[str]:
    """What could be claimed at once by another."""
    return [title.request_id for title in catalog.titles.claim(window=window, now=NOW, claimant="another")]


def test_titles_are_released_in_order_of_arrival_up_to_the_window(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", *"abcde")

    done = release(catalog, api, settings, now=NOW)

    assert done.started == ("spring/a", "spring/b", "spring/c")
    assert airflow.started == ["a__1", "b__1", "c__1"]
    assert release(catalog, api, settings, now=NOW).started == ()
    catalog.titles.settle("spring/b", State.FAILED, now=NOW)
    assert release(catalog, api, settings, now=NOW).started == ("spring/d",)


def test_a_run_is_told_what_weight_and_deadline_are_read_from(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", publish_at="2026-03-02T00:00:00+01:00", tier="premium")
    release(catalog, api, settings, now=NOW)

    conf = {"request_id": "spring/a", "tier": "premium", "priority": 0, "slots": None,
            "publish_at": "2026-03-01T23:00:00+00:00"}  # fmt: skip
    assert airflow.runs["batch__spring", "a__1"]["conf"] == conf
    title = find(catalog, "spring/a")
    assert (title.state, title.run_id, title.released_at) == ("queued", "a__1", NOW)


def test_tasks_of_one_weight_go_in_the_order_of_arrival_whenever_their_titles_were_released(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", "b", tier="ugc")
    accept(catalog, "urgent", "c", tier="premium")
    airflow.dags.add("batch__urgent")
    revalue(catalog, settings, now=NOW)

    assert release(catalog, api, settings, now=NOW).started == ("urgent/c", "spring/a", "spring/b")

    posted = [body for method, path, body in airflow.bodies if method == "POST" and path.endswith("/dagRuns")]
    dates = {body["dag_run_id"]: datetime.fromisoformat(body["logical_date"]) for body in posted}
    assert sorted(dates, key=lambda run_id: dates[run_id]) == ["a__1", "b__1", "c__1"]
    assert len(set(dates.values())) == len(dates), "Airflow takes a date once"
    assert all(date - NOW < timedelta(seconds=1) for date in dates.values())


def test_a_run_has_a_note_from_its_release_on_and_starts_without_one_where_airflow_takes_none(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a", "b")
    revalue(catalog, settings, now=NOW)
    airflow.fail("PATCH", "dagRuns/b__1", 400)

    assert release(catalog, api, settings, now=NOW).started == ("spring/a", "spring/b")

    note = airflow.notes["batch__spring", "a__1"]
    assert note.startswith("**queued** `a`")
    assert "score " in note
    assert "audience" in note
    assert "priority " in note
    assert ("batch__spring", "b__1") not in airflow.notes
    assert find(catalog, "spring/b").state == "queued"


def test_a_note_never_grows_beyond_what_airflow_takes(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", "a", name="n" * 300)
    revalue(catalog, settings, now=NOW)
    title = find(catalog, "spring/a").model_copy(update={"message": "m" * 600})

    assert len(run_note(title)) <= 1000
    assert "priority" in run_note(title.model_copy(update={"message": None}))


def test_a_title_above_all_others_is_released_beyond_a_full_window(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", *"abcd", tier="ugc")
    revalue(catalog, settings, now=NOW)
    release(catalog, api, settings, now=NOW)
    accept(catalog, "urgent", "x", "y", tier="premium")
    airflow.dags.add("batch__urgent")
    assert len(airflow.started) == settings.release_window == 3
    revalue(catalog, settings, now=NOW)

    assert release(catalog, api, settings, now=NOW).started == ("urgent/x",)
    assert release(catalog, api, settings, now=NOW).started == ()


def test_the_runs_of_cancelled_titles_are_stopped_once_and_others_left_alone(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", *"abc")
    steer_title(catalog, settings, "spring/c", Steering(cancel=True, why="never started"), by="eve", now=NOW)
    release(catalog, api, settings, now=NOW)
    steer_title(catalog, settings, "spring/a", Steering(cancel=True, why="wrong cut"), by="eve", now=NOW)

    assert stop_cancelled(catalog, api, now=after(1)) == ["spring/a"]
    assert stop_cancelled(catalog, api, now=after(2)) == []
    assert airflow.runs["batch__spring", "b__1"]["state"] == "running"
    with pytest.raises(LookupError, match="nobody"):
        steer_title(catalog, settings, "spring/nobody", Steering(pin=True, why="the boss"), by="eve", now=NOW)


@pytest.mark.parametrize("status", [404, 400])
def test_a_batch_that_airflow_cannot_run_is_passed_over_and_holds_up_no_other(
    status: int, catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    """404: not parsed yet. 400: it was parsed once and cannot be any more, after a deploy say."""
    accept(catalog, "broken", *"abcd")
    accept(catalog, "spring", "e")
    airflow.dags.add("batch__broken")
    airflow.fail("POST", "/batch__broken/dagRuns", status, body=REFUSED)

    done = release(catalog, api, settings, now=NOW)

    assert done.started == ("spring/e",)
    assert set(done.not_ready) == {"broken/a", "broken/b", "broken/c"}
    assert unclaimed(catalog) == ["broken/a", "broken/b", "broken/c", "broken/d"]


def test_an_airflow_that_is_down_costs_no_title_its_place(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", *"abc")
    airflow.fail("POST", "dagRuns", 503)

    with pytest.raises(PlatformUnavailable):
        release(catalog, api, settings, now=NOW)

    assert unclaimed(catalog) == ["spring/a", "spring/b", "spring/c"]


def test_a_service_account_without_permission_is_said_and_not_passed_over(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a")
    airflow.fail("POST", "dagRuns", 403)

    with pytest.raises(ConfigurationError, match="403"):
        release(catalog, api, settings, now=NOW)
    assert unclaimed(catalog) == ["spring/a"]


def test_a_run_that_exists_already_counts_as_released(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "a")
    api.trigger("batch__spring", "a__1", conf={})

    assert release(catalog, api, settings, now=NOW).started == ("spring/a",)
    assert states(catalog) == {"spring/a": "queued"}


def test_a_title_waits_for_its_mezzanine_without_taking_a_place(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    late = settings.mezzanine_roots[0] / "late.mov"
    conf = a_batch("spring", "late", wait_until=after(600).isoformat())
    title = conf.titles[0].model_copy(update={"mezzanine": late.as_uri()})
    catalog.batches.accept(conf.model_copy(update={"titles": (title,)}), pipeline_version=1, now=NOW)
    accept(catalog, "spring2", "b", "c", "d")
    airflow.dags.add("batch__spring2")

    assert release(catalog, api, settings, now=NOW).started == ("spring2/b", "spring2/c", "spring2/d")
    for other in "bcd":
        catalog.titles.settle(f"spring2/{other}", State.FAILED, now=NOW)
    assert release(catalog, api, settings, now=after(1)).started == ()
    assert release_arrived(catalog, api, settings, clock=lambda: after(1)).started == ()
    assert not any(path.endswith("batch__spring/dagRuns") for _, path in airflow.asked)
    late.write_bytes(b"here")
    os.utime(late, (NOW.timestamp(), NOW.timestamp()))
    assert release(catalog, api, settings, now=after(60)).started == (), "it is for the looks to see it"
    assert release_arrived(catalog, api, settings, clock=lambda: after(60)).started == ("spring/late",)
    assert find(catalog, "spring/late").arrived_at == after(60)


def test_a_title_whose_mezzanine_never_came_is_released_when_its_time_is_up(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "spring", "late", wait_until=after(600).isoformat())

    assert release(catalog, api, settings, now=after(601)).started == ("spring/late",)


def test_intake_waits_until_the_new_dag_is_parsed(
    catalog: Catalog, api: AirflowApi, settings: Settings, airflow: AirflowServer
) -> None:
    accept(catalog, "fresh", "a")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            airflow.dags.add("batch__fresh")

    done = release_when_parsed(catalog, api, settings, patience_s=60, clock=lambda: NOW, pause=pause)

    assert (done.started, done.not_ready, len(pauses)) == (("fresh/a",), (), 2)


def test_intake_gives_up_after_its_patience_and_leaves_the_title_to_dispatch(
    catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    accept(catalog, "never", "a")

    done = release_when_parsed(catalog, api, settings, patience_s=0, clock=lambda: NOW, pause=lambda seconds: None)

    assert (done.started, done.not_ready) == ((), ("never/a",))
    assert unclaimed(catalog) == ["never/a"]


@pytest.fixture
def running(catalog: Catalog, api: AirflowApi, settings: Settings) -> str:
    """A title whose run is active."""
    accept(catalog, "spring", "alpha")
    release(catalog, api, settings, now=NOW)
    catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=NOW)
    return "spring/alpha"


def test_a_run_that_ended_without_settling_is_settled_as_failed_and_said_once(
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings
) -> None:
    airflow.end("batch__spring", "alpha__1", "failed", after(1).isoformat())

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]
    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == []
    title = find(catalog, running)
    assert (title.state, title.reason) == ("failed", "run_lost")
    assert "ended as failed without settling" in (title.message or "")
    (alert,) = catalog.alerts.claim_due(LONG_AFTER, 10, 60)
    assert (alert.level, alert.cause) == ("failed", "run_lost")


def test_a_sweep_that_dies_before_the_end_of_a_lost_run_loses_no_dead_letter_and_makes_no_second(
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    airflow.runs.clear()

    def dies(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Titles, "settle", dies)
        with pytest.raises(KeyboardInterrupt):
            settle_lost_runs(catalog, api, settings, now=LONG_AFTER)
    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]

    assert [letter.request_id for letter in catalog.history.dead_letters()] == [running]
    assert len(catalog.alerts.claim_due(LONG_AFTER, 10, 60)) == 1


def test_a_run_that_vanished_is_settled_too(
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings
) -> None:
    airflow.runs.clear()

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]
    assert "vanished" in (find(catalog, running).message or "")


@pytest.mark.parametrize(
    ("state", "ended", "now"),
    [
        ("running", None, LONG_AFTER),
        ("queued", None, LONG_AFTER),
        ("failed", LONG_AFTER - timedelta(seconds=1), LONG_AFTER),
        ("failed", after(1), after(2)),
    ],
)
def test_a_run_that_may_still_settle_is_left_alone(
    state: str, ended: Any, now: Any,
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings,
) -> None:  # fmt: skip
    airflow.end("batch__spring", "alpha__1", state, ended.isoformat() if ended else None)

    assert settle_lost_runs(catalog, api, settings, now=now) == []
    assert find(catalog, running).state is State.RUNNING


def publish_newer(catalog: Catalog) -> None:
    """A later request of the title is published and settled."""
    accept(catalog, "later", "alpha")
    start(catalog, "later/alpha")
    publish(catalog, "later/alpha")
    catalog.titles.settle("later/alpha", State.PUBLISHED, now=NOW)


@pytest.mark.parametrize(
    ("degraded", "newer", "state", "repairs"),
    [(False, False, "published", 0), (True, False, "degraded", 1), (True, True, "degraded", 0)],
)
def test_a_lost_run_does_not_unpublish_what_went_out(
    degraded: bool, newer: bool, state: str, repairs: int,
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings,
) -> None:  # fmt: skip
    publish(catalog, running, degraded=degraded)
    if newer:
        publish_newer(catalog)
    airflow.runs.clear()

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]
    assert find(catalog, running).state == state
    assert len(catalog.repairs.pending()) == repairs
    told = [(alert.level, alert.cause) for alert in catalog.alerts.claim_due(LONG_AFTER, 10, 60)]
    assert told == [("degraded", "rendition_missing")] * repairs


@pytest.mark.parametrize(("newer", "state", "repairs"), [(False, "degraded", 1), (True, "cancelled", 0)])
def test_a_lost_run_behind_a_first_version_ends_with_that(
    newer: bool, state: str, repairs: int,
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings,
) -> None:  # fmt: skip
    publish(catalog, running, whole=False)
    if newer:
        publish_newer(catalog)
    airflow.runs.clear()

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]
    title = find(catalog, running)
    assert (title.state, title.version) == (state, 1)
    assert [each.missing for each in catalog.repairs.pending()] == [("h264_720p",)] * repairs


@pytest.mark.parametrize("told", [False, True])
def test_a_lost_run_that_flipped_the_pointer_last_is_completed_with_what_players_see(
    told: bool,
    running: str, catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings, store: LocalStore,
) -> None:  # fmt: skip
    """Whether the catalog has heard of the first version or not: it is the pointer's word that counts."""
    job = find(catalog, running).job()
    context = ControlContext(
        settings=settings, store=store, title=job, scratch=settings.scratch, catalog=catalog, clock=lambda: NOW
    )
    for stage, whole in (("first_package", False), ("package", True)):
        store.put_bytes(f"{job.work}/{stage}/hls.m3u8", b"#EXTM3U")
        made = packaged(whole=whole).model_copy(update={"prefix": f"{job.work}/{stage}", "files": {"hls.m3u8": 7}})
        store.put_bytes(result_key(job, stage), made.to_json().encode())
        with pytest.MonkeyPatch.context() as patched:
            if whole or not told:
                patched.setattr(Versions, "publish", lambda *_, **__: 1 / 0)
            with contextlib.suppress(ZeroDivisionError):
                make_current(context, job, made)
        if not told:
            break
    airflow.runs.clear()

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [running]
    title = find(catalog, running)
    assert (title.state, title.version, title.playable_at) == (
        ("published", 2, NOW) if told else ("degraded", 1, NOW)
    )  # fmt: skip


def degraded_title(catalog: Catalog, request_id: str) -> None:
    start(catalog, request_id)
    publish(catalog, request_id, degraded=True)
    catalog.titles.settle(request_id, State.DEGRADED, now=NOW)


def test_a_repair_becomes_one_new_request_that_knows_its_origin(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha")
    degraded_title(catalog, "spring/alpha")
    catalog.repairs.queue("spring/alpha", ["h264_720p"], NOW)

    assert take_repairs(catalog, Settings(), now=NOW, limit=5) == ["spring-repair1"]
    assert take_repairs(catalog, Settings(), now=NOW, limit=5) == []
    repair = find(catalog, "spring-repair1/alpha")
    assert (repair.origin_request_id, repair.state) == ("spring/alpha", "waiting")


def test_a_repair_that_nobody_can_do_is_told_and_holds_up_no_other(catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old").model_copy(update={"pipeline": "gone"}), pipeline_version=1, now=NOW)
    accept(catalog, "spring", "beta")
    for request_id in ("old/alpha", "spring/beta"):
        degraded_title(catalog, request_id)
        catalog.repairs.queue(request_id, ["h264_720p"], NOW)

    assert take_repairs(catalog, Settings(), now=NOW, limit=5) == ["spring-repair1"]
    assert catalog.repairs.pending() == []
    (alert,) = catalog.alerts.claim_due(NOW, 10, 60)
    assert (alert.level, alert.request_id, alert.cause) == ("repair", "old/alpha", "unknown_pipeline")


@pytest.mark.parametrize(
    ("state", "taken"),
    [(None, []), (State.PUBLISHED, []), (State.FAILED, ["spring-repair1"]), (State.REJECTED, ["spring-repair1"])],
)
def test_a_newer_request_is_not_repaired_over(state: State | None, taken: list[str], catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha")
    degraded_title(catalog, "spring/alpha")
    catalog.repairs.queue("spring/alpha", ["h264_720p"], NOW)
    if state is State.PUBLISHED:
        publish_newer(catalog)
    else:
        accept(catalog, "later", "alpha")
        start(catalog, "later/alpha")
    if state in {State.FAILED, State.REJECTED}:
        catalog.titles.settle("later/alpha", state, now=NOW)

    assert take_repairs(catalog, Settings(), now=NOW, limit=5) == taken
    assert catalog.repairs.pending() == []


def test_repairs_are_taken_a_few_at_a_time(catalog: Catalog) -> None:
    accept(catalog, "spring", *"abc")
    for name in "abc":
        degraded_title(catalog, f"spring/{name}")
        catalog.repairs.queue(f"spring/{name}", ["h264_720p"], NOW)

    assert len(take_repairs(catalog, Settings(), now=NOW, limit=2)) == 2
    assert len(take_repairs(catalog, Settings(), now=NOW, limit=2)) == 1


def test_a_replay_repeats_the_request_under_a_new_id(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", tier="premium")
    catalog.titles.settle("spring/alpha", State.FAILED, now=NOW)

    assert replay_title(catalog, Settings(), "spring/alpha", now=NOW) == "spring-replay1"
    assert replay_title(catalog, Settings(), "spring-replay1/alpha", now=NOW) == "spring-replay2"
    replayed = find(catalog, "spring-replay2/alpha")
    assert replayed.request == find(catalog, "spring/alpha").request
    assert replayed.origin_request_id == "spring-replay1/alpha"


def test_a_title_whose_pipeline_is_gone_cannot_be_replayed_and_says_so(catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old").model_copy(update={"pipeline": "gone"}), pipeline_version=1, now=NOW)

    with pytest.raises(RequestRejected, match="'gone' is not registered any more"):
        replay_title(catalog, Settings(), "old/alpha", now=NOW)


def test_the_minute_hand_does_every_step(catalog: Catalog, airflow: AirflowServer) -> None:
    accept(catalog, "spring", "a", publish_at="2020-01-01T00:00:00Z")

    said = tick()

    assert list(said) == STEPS
    assert "spring/a" in said["release"]
    assert "spring/a" in said["overdue"]
    assert airflow.started == ["a__1"]


def test_a_step_that_fails_stops_no_other_and_is_told_at_the_end(
    catalog: Catalog, airflow: AirflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    accept(catalog, "spring", "a", publish_at="2020-01-01T00:00:00Z")
    airflow.fail("POST", "dagRuns", 500)

    with pytest.raises(PlatformUnavailable, match=r"tried again in a minute: release$"):
        tick()

    assert "release failed" in caplog.text
    assert "alert.missed" in [event.kind for event in catalog.history.events(request_id="spring/a")]


def test_after_a_title_is_settled_the_next_is_released_and_everybody_is_told(
    catalog: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as cms, http_receiver() as slack:
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", cms.origin)
        monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "signed")
        connection = {"conn_type": "slackwebhook", "password": f"{slack.origin}/services/T/B/x"}
        monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_SLACK", json.dumps(connection))
        catalog.batches.accept(
            a_batch("spring", "a", "b", callback_url=f"{cms.origin}/hook"), pipeline_version=1, now=NOW
        )
        title = start(catalog, "spring/a")
        airflow.runs["batch__spring", "a__1"] = {"state": "running"}
        catalog.titles.settle("spring/b", State.CANCELLED, now=NOW)
        accept(catalog, "summer", "c")
        airflow.dags.add("batch__summer")
        catalog.titles.settle("spring/a", State.FAILED, message="no `good`", now=NOW)
        catalog.alerts.enter(
            title_id="a", request_id="spring/a", level="failed", cause="encoder", message="it fell", now=NOW
        )

        after_settling(catalog, load_settings(), title.job())

        assert airflow.started == ["a__1", "c__1"]
        assert "title.failed" in cms.types
        assert len(slack.requests) == 1
        note = airflow.notes["batch__spring", "a__1"]
        assert "**failed**" in note
        assert "callsheet replay spring/a" in note


def test_nothing_that_follows_a_settlement_can_fail_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", raising=False)
    accept(catalog, "spring", "a", "b")
    title = start(catalog, "spring/a")
    broken = Catalog("sqlite:////nowhere/at/all.db")

    after_settling(catalog, load_settings(), title.job())
    after_settling(broken, load_settings(), title.job())

    assert "release after settling failed" in caplog.text
    assert "webhooks after settling failed" in caplog.text


def test_the_note_on_a_run_links_what_plays_and_lets_no_foreign_markup_live(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", name="[click](https://evil.example) `x`")
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")

    note = run_note(find(catalog, "spring/alpha"))

    assert "[Preview](https://cdn.example/titles/alpha/v1/preview.html)" in note
    assert "`[click](https://evil.example) 'x'`" in note
