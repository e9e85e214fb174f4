from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.domain.title.title import State
from include.orchestration.deadlines import TitleDeadline, deadline_of, title_missed_its_deadline
from include.services.risks import note_missed, note_overdue
from tests.catalog.samples import NOW, accept, after, find, publish, start

DUE = {"publish_at": after(60).isoformat()}
LATE = after(120)


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"publish_at": "2026-03-01T12:00:00+00:00"}, NOW),
        ({"publish_at": "2026-03-01T12:00:00Z"}, NOW),
        ({"publish_at": "2026-03-01T13:30:00+01:30"}, NOW),
        ({"publish_at": "2026-03-01T12:00:00"}, None),
        ({"publish_at": "tomorrow"}, None),
        ({"publish_at": ""}, None),
        ({"publish_at": None}, None),
        ({"publish_at": 1772366400}, None),
        ({"publish_at": "0001-01-01T00:00:00+14:00"}, None),
        ({"publish_at": "9999-12-31T23:59:59-14:00"}, None),
        ({}, None),
        (None, None),
        ("publish_at", None),
        ([{"publish_at": "2026-03-01T12:00:00Z"}], None),
    ],
    ids=repr,
)
def test_the_deadline_of_a_conf(conf: Any, expected: datetime | None) -> None:
    assert deadline_of(conf) == expected


def test_a_deadline_is_utc_whatever_zone_it_was_written_in() -> None:
    written = datetime(2026, 3, 1, 20, 0, tzinfo=timezone(timedelta(hours=-8)))

    found = deadline_of({"publish_at": written.isoformat()})

    assert found is not None
    assert (found, found.tzinfo) == (written, UTC)


def test_airflow_reads_the_deadline_from_the_conf_of_the_run(tmp_path: Path) -> None:
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    import_all_models()
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine, tables=[Base.metadata.tables["dag_run"], Base.metadata.tables["log_template"]])
    reference = TitleDeadline()
    with Session(engine) as session:
        for run_id, conf in (("due", {"publish_at": NOW.isoformat()}), ("free", {}), ("odd", {"publish_at": 7})):
            run = DagRun(dag_id="batch__spring", run_id=run_id, run_type=DagRunType.MANUAL, conf=conf, run_after=NOW)
            session.add(run)
        session.flush()

        def evaluated(run_id: str) -> datetime | None:
            return reference._evaluate_with(session=session, dag_id="batch__spring", run_id=run_id, interval=None)

        assert [evaluated(run_id) for run_id in ("due", "free", "odd", "unknown")] == [NOW, None, None, None]


def test_airflow_knows_what_the_reference_needs() -> None:
    assert TitleDeadline.required_kwargs == {"dag_id", "run_id"}
    restored = TitleDeadline.deserialize_reference(TitleDeadline().serialize_reference())
    assert type(restored) is TitleDeadline


def test_a_title_that_is_not_out_by_its_deadline_has_missed_it_once(catalog: Catalog) -> None:
    accept(catalog, **DUE)

    assert not note_missed(catalog, find(catalog, "spring/alpha"), now=NOW)
    assert note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)
    assert not note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)
    (alert,) = catalog.alerts.claim_due(LATE, 10, 60)
    assert (alert.level, alert.cause) == ("missed", "deadline")
    assert "was due at 2026-03-01 12:01:00 UTC and is not published: still waiting" in alert.message


def test_the_alert_says_which_task_a_late_title_is_in(catalog: Catalog) -> None:
    accept(catalog, **DUE)
    start(catalog, "spring/alpha")
    catalog.titles.note_task("spring/alpha", task="encode", event="started", progress=None, now=NOW)

    assert note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)
    (alert,) = catalog.alerts.claim_due(LATE, 10, 60)
    assert alert.message.endswith("in task encode")


def test_a_title_that_was_published_in_time_has_missed_nothing(catalog: Catalog) -> None:
    accept(catalog, **DUE)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", now=after(59))

    assert not note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)


def test_a_title_that_was_published_too_late_has_missed_its_deadline(catalog: Catalog) -> None:
    accept(catalog, **DUE)
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha", now=after(61))
    catalog.titles.settle("spring/alpha", State.PUBLISHED, now=after(62))

    assert note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED, State.CANCELLED])
def test_a_title_that_came_to_nothing_is_not_late_besides(catalog: Catalog, state: State) -> None:
    accept(catalog, **DUE)
    catalog.titles.settle("spring/alpha", state, now=NOW)

    assert not note_missed(catalog, find(catalog, "spring/alpha"), now=LATE)


def test_a_title_without_a_deadline_is_never_late(catalog: Catalog) -> None:
    accept(catalog)

    assert not note_missed(catalog, find(catalog, "spring/alpha"), now=after(10**6))


def test_the_sweep_finds_late_titles_with_and_without_a_run(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", **DUE)
    start(catalog, "spring/alpha")
    accept(catalog, "summer", "beta", **DUE)
    accept(catalog, "autumn", "gamma")

    assert sorted(note_overdue(catalog, now=LATE)) == ["spring/alpha", "summer/beta"]
    assert note_overdue(catalog, now=LATE) == []


@pytest.mark.parametrize(
    "context",
    [None, {}, {"dag_run": None}, {"dag_run": {}}, {"dag_run": {"conf": None}},
     {"dag_run": {"conf": {"request_id": 5}}}, {"dag_run": {"conf": {"request_id": "nobody/knows"}}}],
    ids=repr,
)  # fmt: skip
def test_airflows_callback_stands_any_run(context: Any, catalog: Catalog) -> None:
    asyncio.run(title_missed_its_deadline(context))

    assert catalog.alerts.claim_due(LATE, 10, 60) == []


def test_airflows_callback_notes_the_miss_of_its_title(catalog: Catalog) -> None:
    past = {"publish_at": "2020-01-01T00:00:00+00:00"}
    accept(catalog, **past)
    run = {"dag_run_id": "alpha__1", "conf": {"request_id": "spring/alpha"}, "state": "running"}

    asyncio.run(title_missed_its_deadline({"dag_run": run, "deadline": {}}))

    assert [event.kind for event in catalog.history.events(request_id="spring/alpha")][-1] == "alert.missed"
    asyncio.run(title_missed_its_deadline({"dag_run": run}))
    assert [event.kind for event in catalog.history.events(request_id="spring/alpha")].count("alert.missed") == 1
