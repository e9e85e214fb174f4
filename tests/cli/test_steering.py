"""Steering through the API and the command line: who may, what follows, what is written down, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from include.adapters.catalog import Catalog
from include.api.queue import PAGE_FILES
from include.base.settings import load_settings
from include.cli import app as cli
from include.domain.title.title import State
from include.services.valuation import value_batch
from tests.catalog.samples import a_batch, find, publish
from tests.orchestration.airflow_server import AirflowServer
from tests.stack import wait_for

BASE = "/callsheet/api/v1"
NOW = datetime.now(UTC).replace(microsecond=0)
SOON = (NOW + timedelta(hours=1)).isoformat()


@pytest.fixture
def asked(server: str, airflow: AirflowServer, tokens: dict[str, str]) -> Any:
    """Asks as one of the users, or as nobody."""

    def ask(method: str, path: str, body: Any = None, *, user: str | None = "cms") -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[user]}"} if user else {}
        return httpx.request(method, f"{server}{BASE}/{path}", json=body, headers=headers)

    return ask


@pytest.fixture
def held(catalog: Catalog) -> Catalog:
    """Three titles that wait, one of them held so that no test's release takes it."""
    catalog.batches.accept(a_batch("spring", "alpha", "beta", "gamma"), pipeline_version=3, now=NOW)
    for name in ("alpha", "beta", "gamma"):
        steer(catalog, name, hold=True)
    return catalog


def steer(catalog: Catalog, name: str, **change: Any) -> None:
    from include.domain.title.steering import Steering

    catalog.queue.steer(f"spring/{name}", Steering(why="set up", **change), by="setup", now=NOW)


def run(catalog: Catalog, airflow: AirflowServer, name: str) -> None:
    """Give a title its run."""
    steer(catalog, name, hold=False)
    for title in catalog.titles.claim(window=100, now=NOW, claimant="test"):
        catalog.titles.mark_released(title.request_id, claimant="test", run_id=title.run_id or "", now=NOW)
        catalog.titles.begin(dag_id=title.dag_id, run_id=title.run_id or "", now=NOW)
        airflow.runs[title.dag_id, title.run_id or ""] = {"state": "running", "end_date": None}


def last_event(catalog: Catalog, kind: str) -> dict[str, Any]:
    return [event.detail for event in catalog.history.events() if event.kind == kind][-1]


CHANGES: list[tuple[str, str, Any]] = [
    ("PATCH", "titles/alpha", {"pin": True, "why": "the boss"}),
    ("PATCH", "titles/spring/alpha", {"pin": True, "why": "the boss"}),
    ("POST", "titles/alpha/signals", {"signals": {"views_last_hour": 9}}),
    ("POST", "titles/spring/alpha/signals", {"signals": {"views_last_hour": 9}}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_only_who_may_edit_the_dag_can_steer(method: str, path: str, body: Any, asked: Any, held: Catalog) -> None:
    before = len(held.history.events())

    assert asked(method, path, body, user=None).status_code == 401
    assert asked(method, path, body, user="viewer").status_code == 403
    assert len(held.history.events()) == before
    assert asked(method, path, body).status_code == 200
    assert asked(method, path.replace("alpha", "nobody"), body).status_code == 404


def test_new_signals_raise_score_and_place_and_say_who_and_why(asked: Any, held: Catalog) -> None:
    first = asked("POST", "titles/alpha/signals", {"signals": {"predicted_views_7d": 100}}).json()

    second = asked("POST", "titles/alpha/signals", {"signals": {"views_last_hour": 90_000}, "why": "viral"}).json()

    assert second["score"] > first["score"]
    assert second["priority"] > first["priority"]
    assert {term["name"] for term in second["valuation"]["score"]["terms"]} >= {"tier", "audience", "growth"}
    event = last_event(held, "title.revalued")
    assert event == {
        "by": "cms", "why": "viral",
        "old": {name: first[name] for name in ("score", "priority")},
        "new": {name: second[name] for name in ("score", "priority")},
    }  # fmt: skip
    assert [title.title_id for title in held.queue.in_order(limit=1)] == ["alpha"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"publish_at": SOON}, {"deadline": SOON}),
        ({"tier": "premium"}, {"tier": "premium"}),
        ({"pin": True}, {"pinned": True, "priority": 10_000}),
        ({"hold": True}, {"held": True}),
        ({"cancel": True}, {"state": "cancelled", "message": "by cms: the boss"}),
    ],
    ids=lambda each: "-".join(each),
)
def test_a_change_takes_effect_at_once_and_is_audited(
    change: dict[str, Any], shown: dict[str, Any], asked: Any, held: Catalog
) -> None:
    answer = asked("PATCH", "titles/spring/beta", {**change, "why": "the boss"})

    assert answer.json().items() >= shown.items()
    event = last_event(held, "title.steered")
    assert (event["by"], event["why"]) == ("cms", "the boss")
    assert event["new"].keys() == change.keys()


def test_a_title_that_is_let_go_is_started_at_once(asked: Any, held: Catalog, airflow: AirflowServer) -> None:
    asked("PATCH", "titles/beta", {"hold": False, "why": "go on"})

    wait_for(lambda: airflow.started == ["beta__1"], "the run", limit_s=20)
    wait_for(lambda: find(held, "spring/beta").state is State.QUEUED, "the release", limit_s=20)
    wait_for(lambda: ("batch__spring", "beta__1") in airflow.notes, "its note", limit_s=20)
    note = airflow.notes["batch__spring", "beta__1"]
    assert "score " in note
    assert "priority " in note
    assert len(note) <= 1000


def test_cancelling_a_running_title_stops_its_run_and_lets_the_next_one_go(
    asked: Any, held: Catalog, airflow: AirflowServer
) -> None:
    run(held, airflow, "alpha")

    answer = asked("PATCH", "titles/alpha", {"cancel": True, "why": "wrong cut"})

    assert answer.json()["state"] == "cancelled"
    assert airflow.runs["batch__spring", "alpha__1"]["state"] == "failed"


def test_a_cancelled_title_whose_run_cannot_be_stopped_now_is_cancelled_all_the_same(
    asked: Any, held: Catalog, airflow: AirflowServer
) -> None:
    from include.services.steering import stop_cancelled

    run(held, airflow, "alpha")
    airflow.fail("PATCH", "dagRuns/alpha__1", 400, times=1)
    answer = asked("PATCH", "titles/alpha", {"cancel": True, "why": "wrong cut"})
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert airflow.runs["batch__spring", "alpha__1"]["state"] == "running"

    with airflow.api() as api:
        assert stop_cancelled(held, api, now=datetime.now(UTC)) == ["spring/alpha"]
        assert stop_cancelled(held, api, now=datetime.now(UTC)) == []
    assert airflow.runs["batch__spring", "alpha__1"]["state"] == "failed"


def test_what_comes_too_late_is_409_and_says_so(asked: Any, held: Catalog, airflow: AirflowServer) -> None:
    run(held, airflow, "alpha")

    answer = asked("PATCH", "titles/alpha", {"hold": True, "why": "the boss"})
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "hold: spring/alpha is running already; cancel it, or let it end",
    )  # fmt: skip
    publish(held, "spring/alpha")
    held.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    for method, path, body in CHANGES:
        answer = asked(method, path, body)
        assert answer.status_code == 409
        assert "callsheet replay spring/alpha" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"why": "the boss"}, "nothing is changed: give publish_at, tier, hold, pin or cancel"),
        ({"pin": True}, "why: Field required (got nothing)"),
        ({"pin": True, "why": "x"}, "why: String should have at least 3 characters (got 'x')"),
        ({"pin": True, "why": "new\nline"}, "why: control characters are not allowed"),
        ({"tier": "gold", "why": "the boss"}, "tier: Input should be 'premium', 'standard' or 'ugc' (got 'gold')"),
        ({"publish_at": "2026-01-01T00:00:00", "why": "the boss"}, "publish_at: Input should have timezone info"),
        ({"cancel": True, "pin": True, "why": "the boss"}, "cancel stands alone"),
        ({"boost": 5, "why": "the boss"}, "boost: unknown field (got 5)"),
        ([], "got []"),
        ("text", "got 'text'"),
    ],
    ids=str,
)
def test_a_change_of_the_wrong_form_is_422_with_field_value_and_reason(
    body: Any, said: str, asked: Any, held: Catalog
) -> None:
    answer = asked("PATCH", "titles/alpha", body)

    assert answer.status_code == 422
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("signals", "said"),
    [({"views": 5}, "signals.views: unknown field"), ({"views_last_hour": -1}, "greater than or equal to 0 (got -1)")],
)
def test_signals_of_the_wrong_form_are_422(signals: Any, said: str, asked: Any, held: Catalog) -> None:
    answer = asked("POST", "titles/alpha/signals", {"signals": signals})

    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_weights_are_told_by_those_alone_who_may_edit_all_dags(
    asked: Any, held: Catalog, airflow: AirflowServer
) -> None:
    run(held, airflow, "alpha")

    assert asked("POST", "weights", user=None).status_code == 401
    for user in ("viewer", "spring_editor"):
        assert asked("POST", "weights", user=user).status_code == 403
    answer = asked("POST", "weights", user="admin")
    assert [(each["run_id"], each["found"]) for each in answer.json()] == [("alpha__1", False)]
    assert asked("POST", "weights", user="admin").json() == []


def test_a_run_that_cannot_be_told_now_is_told_later(
    asked: Any, held: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(held, airflow, "alpha")
    with monkeypatch.context() as broken:
        broken.setattr("airflow.settings.NonScopedSession", None)
        assert asked("POST", "weights", user="admin").json() == []
    assert [each["run_id"] for each in asked("POST", "weights", user="admin").json()] == ["alpha__1"]


def test_the_queue_shows_readable_titles_in_order_with_terms_and_counts(
    asked: Any, held: Catalog, airflow: AirflowServer
) -> None:
    asked("PATCH", "titles/gamma", {"publish_at": NOW.isoformat(), "why": "the boss"})
    asked("PATCH", "titles/beta", {"tier": "premium", "why": "the boss"})
    run(held, airflow, "alpha")

    found = asked("GET", "queue", user="viewer").json()

    assert asked("GET", "queue", user=None).status_code == 401
    assert [title["title_id"] for title in found["titles"]] == ["alpha", "beta", "gamma"], (
        "a deadline that has passed makes nobody else wait"
    )
    first, second, third = found["titles"]
    assert (first["place"], first["running"], first["score"], first["at_risk"]) == (1, True, None, False)
    assert (third["at_risk"], third["admission"]["verdict"], third["held"]) == (True, "infeasible", True)
    assert third["laxity_s"] < 0
    assert second["score"]["points"] == round(sum(term["points"] for term in second["score"]["terms"]))
    assert not any(title["may_edit"] for title in found["titles"])
    assert all(title["may_edit"] for title in asked("GET", "queue").json()["titles"])
    assert found["counts"] == {"open": 3, "waiting": 2, "queued": 0, "running": 1, "playable": 0}
    assert len(asked("GET", "queue?limit=2").json()["titles"]) == 2
    assert asked("GET", "queue?limit=0").status_code == 422


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_page_is_served_to_users_under_a_strict_policy(path: str, server: str, tokens: dict[str, str]) -> None:
    address = f"{server}/callsheet/{path}"
    assert httpx.get(address).status_code == 401

    answer = httpx.get(address, headers={"Authorization": f"Bearer {tokens['viewer']}"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == PAGE_FILES[path][1]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def batch(*titles: dict[str, Any], batch_id: str = "quoted", **fields: Any) -> dict[str, Any]:
    return {"batch_id": batch_id, "titles": list(titles), **fields}


def title(name: str, **fields: Any) -> dict[str, Any]:
    return {"title_id": name, "mezzanine": f"file:///media/{name}.mov", **fields}


def test_a_quote_says_what_a_batch_would_come_to_and_enters_nothing(asked: Any, catalog: Catalog) -> None:
    tight = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    source = {"duration_s": 600, "width": 1920, "height": 1080, "frame_rate": 25}
    body = batch(title("calm", source=source), title("tight", publish_at=tight, source=source), title("bad", tier="x"))

    quote = asked("POST", "quotes", body).json()

    calm, late = quote["titles"]
    assert (calm["valuation"]["admission"]["verdict"], late["valuation"]["admission"]["verdict"]) == (
        "feasible", "infeasible",
    )  # fmt: skip
    assert late["valuation"]["admission"]["miss_chance"] == 1.0
    assert calm["valuation"]["admission"]["work"]["p50_s"] > 60
    assert [(refusal["title_id"], refusal["field"]) for refusal in quote["refusals"]] == [("bad", "tier")]
    assert quote["displaced"] == []
    assert catalog.batches.newest() == []


def test_a_quote_names_those_whom_a_batch_would_push_back(asked: Any, catalog: Catalog) -> None:
    due = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
    conf = {"duration_s": 1200, "width": 1280, "height": 720, "frame_rate": 25}
    waiting = a_batch("spring", "modest", publish_at=due, tier="ugc", source=conf)
    catalog.batches.accept(waiting, pipeline_version=3, now=datetime.now(UTC))
    film = {"duration_s": 7200, "width": 3840, "height": 2160, "frame_rate": 25}

    quote = asked(
        "POST", "quotes", batch(*(title(f"film{n}", tier="premium", source=film, publish_at=due) for n in range(30)))
    )

    (pushed,) = quote.json()["displaced"]
    assert (pushed["request_id"], pushed["misses"]) == ("spring/modest", True)
    assert pushed["later_s"] > 3600


@pytest.mark.parametrize(
    ("body", "user", "status", "said"),
    [
        (batch(title("a")), None, 401, ""),
        (batch(title("a")), "viewer", 403, "permission to start runs of intake"),
        (batch(title("a"), pipeline="nope"), "cms", 422, "pipeline: no pipeline of this name"),
        (batch(title("a"), callback_url="https://cms.example/x"), "cms", 422, "CALLSHEET_WEBHOOK_SECRET"),
        (batch(), "cms", 422, "titles"),
        ([1], "cms", 422, "must be a JSON object"),
        (batch(title("other"), batch_id="spring"), "cms", 409, "known with other content"),
    ],
    ids=str,
)
def test_a_quote_is_refused_as_intake_would(
    body: Any, user: str | None, status: int, said: str, asked: Any, held: Catalog
) -> None:
    answer = asked("POST", "quotes", body, user=user)

    assert answer.status_code == status
    assert said in answer.json()["detail"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "100"})


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("reschedule", "alpha", "--publish-at", SOON), {"deadline": SOON}),
        (("reschedule", "spring/alpha", "--tier", "premium"), {"tier": "premium"}),
        (("hold", "alpha"), {"held": True}),
        (("resume", "alpha"), {"held": False}),
        (("pin", "alpha"), {"pinned": True}),
        (("pin", "alpha", "--off"), {"pinned": False}),
        (("cancel", "alpha"), {"state": "cancelled"}),
        (("signal", "alpha", "--views-7d", "5e6", "--views-last-hour", "1000", "--watch-minutes", "9e6"), {}),
    ],
    # Not the moment itself: names of tests must be the same in every process that runs them.
    ids=lambda each: " ".join(word for word in each if word != SOON),
)
def test_the_command_line_steers(
    arguments: tuple[str, ...], shown: dict[str, Any], server: str, airflow: AirflowServer, held: Catalog
) -> None:
    done = call(*arguments, "--why", "the boss", "--json")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout).items() >= shown.items()
    if arguments[0] == "signal":
        known = find(held, "spring/alpha").request.signals
        assert (known.predicted_views_7d, known.views_last_hour, known.watch_minutes_7d) == (5e6, 1000, 9e6)


def test_the_command_line_explains_value_and_place_in_words(server: str, airflow: AirflowServer, held: Catalog) -> None:
    done = call("reschedule", "alpha", "--publish-at", SOON, "--why", "the boss")

    assert "spring/alpha: waiting, held" in done.stderr
    for word in ("score", "tier", "audience", "priority", "promise", "finish", "verdict", "deadline", "to spare"):
        assert word in done.stdout, word
    status = call("status", "alpha")
    assert "no signal: typical for standard" in status.stdout
    assert all(len(line) <= 100 for line in status.stdout.splitlines())
    table = call("status", "spring").stdout
    assert "ETA p50–p90" in table
    assert all(len(line) <= 100 for line in table.splitlines())
    queue = call("queue")
    assert "spring/alpha" in queue.stdout
    assert "3 open: 3 waiting, 0 running, 0 playable" in queue.stdout
    assert all(len(line) <= 100 for line in queue.stdout.splitlines())
    assert json.loads(call("queue", "--json", "--limit", "2").stdout)["counts"]["open"] == 3
    assert "2 shown" in call("queue", "--limit", "2").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hold", "nobody", "--why", "the boss"), "no title has the id 'nobody'"),
        (("hold", "../x", "--why", "the boss"), "is not an id"),
        (("resume", "alpha", "--why", "x"), "why: String should have at least 3 characters"),
        (("reschedule", "alpha", "--why", "the boss"), "nothing is changed: give publish_at"),
        (("signal", "alpha"), "nothing is told: give --views-7d"),
    ],
)
def test_the_command_line_says_why_a_change_is_refused(
    arguments: tuple[str, ...], said: str, server: str, airflow: AirflowServer, held: Catalog
) -> None:
    done = call(*arguments)

    assert done.exit_code != 0
    assert said in str(done.exception)


def test_a_dry_run_quotes_and_submits_nothing(server: str, catalog: Catalog, tmp_path: Path) -> None:
    due = (datetime.now(UTC) + timedelta(hours=9)).isoformat()
    conf = {"duration_s": 1200, "width": 1280, "height": 720, "frame_rate": 25}
    waiting = a_batch("spring", "modest", publish_at=due, tier="ugc", source=conf)
    catalog.batches.accept(waiting, pipeline_version=3, now=datetime.now(UTC))
    film = {"duration_s": 7200, "width": 3840, "height": 2160, "frame_rate": 25}
    file = tmp_path / "batch.json"
    films = [title(f"film{n}", tier="premium", source=film, publish_at=due) for n in range(30)]
    file.write_text(json.dumps(batch(*films, title("bad", tier="x"))))

    done = call("submit", str(file), "--dry-run")

    assert done.exit_code == 0
    assert "refused bad: tier:" in done.stderr
    assert "Nothing was entered." in done.stdout
    assert "spring/modest would be finished" in done.stdout
    assert "and miss its deadline" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert len(json.loads(call("submit", str(file), "--dry-run", "--json").stdout)["titles"]) == 30
    file.write_text(json.dumps(batch(title("small"))))
    assert "infeasible" not in call("submit", str(file), "--dry-run").stdout
    assert [each.batch_id for each in catalog.batches.newest()] == ["spring"]


def test_no_finish_in_the_past_is_told_and_none_that_nobody_knows(asked: Any, catalog: Catalog) -> None:
    size = {"duration_s": 60, "width": 640, "height": 360}
    for batch_id, source in (("known", size), ("unknown", {"duration_s": 60})):
        request = a_batch(batch_id, batch_id, source=source)
        long_ago = datetime.now(UTC) - timedelta(days=2)
        valued = value_batch(request, catalog, load_settings(), now=long_ago)
        catalog.batches.accept(request, pipeline_version=3, now=long_ago, valued=valued)
    before = datetime.now(UTC)

    shown = {title["title_id"]: title for title in asked("GET", "queue").json()["titles"]}
    alone = asked("GET", "titles/known/known").json()

    assert {name: title["source_known"] for name, title in shown.items()} == {"known": True, "unknown": False}
    for quote in (shown["known"]["admission"], alone["valuation"]["admission"]):
        assert datetime.fromisoformat(quote["finish_p50"]) >= before
