"""What another process did between a list and what is done by it: whoever is second changes and says nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.deadline import Deadline
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils import session as airflow_session
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.catalog.database import Database
from include.adapters.catalog.titles import Titles
from include.adapters.store.local import LocalStore
from include.base.errors import PlatformUnavailable
from include.base.settings import Settings
from include.domain.title.title import State
from include.domain.title.work import result_key
from include.orchestration.after_settling import after_settling
from include.orchestration.live_runs import move_deadline, tell_runs
from include.orchestration.tick import tick
from include.services.lost_runs import LOST_AFTER, settle_lost_runs
from include.services.planning import note_planned
from include.services.release import release
from include.services.replay import take_repairs
from include.services.risks import note_at_risk
from include.services.valuation import revalue
from tests.catalog.samples import NOW, accept, after, find, publish, start
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.lab import released
from tests.orchestration.test_settle import SOURCE
from tests.policy.test_binding import planned as a_plan
from tests.predictions import prior_share

LONG_AFTER = NOW + LOST_AFTER * 2


class Raced(Catalog):
    """A catalog in which another process acts right after something was listed."""

    def __init__(self, url: str, act: Callable[[], object]) -> None:
        super().__init__(url)
        self.titles = RacedTitles(self.database, act)


class RacedTitles(Titles):
    """The titles of such a catalog."""

    def __init__(self, database: Database, act: Callable[[], object]) -> None:
        super().__init__(database)
        self.act = act

    def find(self, **which: Any) -> list[TitleRecord]:
        found = super().find(**which)
        self.act()
        return found

    def endangered(self, now: datetime) -> list[TitleRecord]:
        found = super().endangered(now)
        self.act()
        return found


@pytest.fixture
def lost(catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings) -> str:
    """A title whose run has vanished."""
    accept(catalog, "spring", "alpha")
    release(catalog, api, settings, now=NOW)
    catalog.titles.begin(dag_id="batch__spring", run_id="alpha__1", now=NOW)
    airflow.runs.clear()
    return "spring/alpha"


@pytest.mark.parametrize(("went_out", "state"), [(False, State.CANCELLED), (True, State.PUBLISHED)])
def test_a_lost_run_that_settles_itself_after_all_keeps_its_own_word(
    went_out: bool, state: State, lost: str, catalog: Catalog, api: AirflowApi, settings: Settings
) -> None:
    if went_out:
        publish(catalog, lost)
    raced = Raced(settings.catalog_url, lambda: catalog.titles.settle(lost, state, now=NOW))

    assert settle_lost_runs(raced, api, settings, now=LONG_AFTER) == []
    assert find(catalog, lost).state is state


def test_of_two_sweeps_at_once_one_tells_of_a_title_at_risk(catalog: Catalog, settings: Settings) -> None:
    source = {"duration_s": 600, "width": 1920, "height": 1080, "frame_rate": 25}
    accept(catalog, "spring", "hopeless", publish_at=after(120).isoformat(), source=source)
    valued = revalue(catalog, settings, now=NOW)
    others: list[str] = []
    raced = Raced(settings.catalog_url, lambda: others.extend(note_at_risk(catalog, valued, now=NOW)))

    assert note_at_risk(raced, valued, now=NOW) == []
    assert others == ["spring/hopeless"]


def test_a_lost_run_of_a_repair_asks_for_no_other_repair(
    catalog: Catalog, api: AirflowApi, airflow: AirflowServer, settings: Settings
) -> None:
    accept(catalog, "spring", "alpha")
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", degraded=True)
    catalog.repairs.queue("spring/alpha", ("h264_360p",), NOW)
    catalog.titles.settle("spring/alpha", State.DEGRADED, now=NOW)
    (batch_id,) = take_repairs(catalog, settings, now=NOW, limit=1)
    repair = f"{batch_id}/alpha"
    start(catalog, repair)
    publish(catalog, repair, degraded=True)
    airflow.runs.clear()

    assert settle_lost_runs(catalog, api, settings, now=LONG_AFTER) == [repair]
    assert find(catalog, repair).state is State.DEGRADED
    assert catalog.repairs.pending() == []


def test_a_title_that_never_had_a_run_gets_no_note(
    catalog: Catalog, airflow: AirflowServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    accept(catalog, "spring", "alpha")
    catalog.titles.settle("spring/alpha", State.CANCELLED, now=NOW)

    after_settling(catalog, settings, find(catalog, "spring/alpha").job())

    assert "note after settling failed" not in caplog.text
    assert airflow.runs == {}


def test_a_title_that_is_settled_while_it_is_planned_stays_as_it_is(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    title = released(catalog, pipeline="vod")
    store.put_bytes(result_key(title.job(), "inspect"), SOURCE.to_json().encode())
    store.put_bytes(result_key(title.job(), "plan"), a_plan()[0].to_json().encode())
    catalog.titles.settle(title.request_id, State.CANCELLED, now=datetime.now(UTC))
    before = find(catalog, title.request_id)

    note_planned(catalog, settings, title.job(), store, farm_share=prior_share, now=datetime.now(UTC))

    assert find(catalog, title.request_id) == before


def test_runs_that_cannot_be_told_stay_untold(
    lost: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(**_: object) -> None:
        raise OperationalError("UPDATE dag_run", {}, Exception("database is locked"))

    monkeypatch.setattr(airflow_session, "create_session", locked)
    untold = [title.request_id for title in catalog.queue.untold()]

    assert tell_runs(catalog) == []
    assert untold == [lost] == [title.request_id for title in catalog.queue.untold()]
    assert f"{lost}: its run could not be told its priority" in caplog.text


def test_the_deadline_of_a_run_whose_dag_is_gone_is_nobodys(tmp_path: Any) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Deadline.metadata.create_all(engine, [Deadline.__table__, SerializedDagModel.__table__])
    run: Any = SimpleNamespace(id=1, created_dag_version_id=None)

    with Session(engine) as session:
        move_deadline(session, run, NOW + timedelta(hours=1))

        assert session.scalar(select(func.count()).select_from(Deadline)) == 0


def test_on_kubernetes_the_minute_hand_sweeps_pods_too(
    catalog: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RUNTIME": "kubernetes", "WORKER_IMAGE": "worker:1", "STORE_URI": "s3://bucket/store"}.items():
        monkeypatch.setenv(f"CALLSHEET_{name}", value)
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", '{"conn_type": "kubernetes", "extra": {"in_cluster": true}}')

    # No cluster is here: that it was asked for is what shows.
    with pytest.raises(PlatformUnavailable, match="tried again in a minute: pods"):
        tick()
