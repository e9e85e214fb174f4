"""The one way into Airflow, against a server that fails in every way it can."""

from __future__ import annotations

from typing import Any

import pytest

from include.adapters import airflow_api
from include.adapters.airflow_api import AirflowApi, DagUnknown, RequestRefused
from include.base.errors import ConfigurationError, PlatformUnavailable
from tests.orchestration.airflow_server import HANG_UP, AirflowServer

DAG = "batch__spring"
RUNS = "/dagRuns$"


def test_a_run_is_started_once_and_a_repetition_is_as_good(airflow: AirflowServer, api: AirflowApi) -> None:
    assert api.trigger(DAG, "alpha__1", conf={"a": 1}) is True
    assert api.trigger(DAG, "alpha__1", conf={"a": 1}) is False
    assert airflow.runs[DAG, "alpha__1"]["conf"] == {"a": 1}
    assert airflow.logins == 1


@pytest.mark.parametrize("status", [500, 502, 503, 429, HANG_UP])
def test_what_airflow_did_not_answer_is_asked_again(status: int, airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("POST", RUNS, status, times=airflow_api.ATTEMPTS - 1)

    assert api.trigger(DAG, "alpha__1", conf={})
    assert airflow.started == ["alpha__1"]


def test_an_answer_that_was_lost_starts_no_second_run(airflow: AirflowServer, api: AirflowApi) -> None:
    """The run was created, the answer was 500: the next attempt meets 409."""
    airflow.answer("POST", f"/api/v2/dags/{DAG}/dagRuns", "token0", {"dag_run_id": "alpha__1", "conf": {}})
    airflow.fail("POST", RUNS, 500, times=1)

    assert api.trigger(DAG, "alpha__1", conf={}) is False


def test_an_expired_token_is_renewed(airflow: AirflowServer, api: AirflowApi) -> None:
    api.trigger(DAG, "one", conf={})
    airflow.expired.add("token1")

    assert api.trigger(DAG, "two", conf={})
    assert airflow.logins == 2


@pytest.mark.parametrize("status", [500, HANG_UP])
def test_an_airflow_that_stays_away_is_unavailable(status: int, airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("POST", RUNS, status)

    with pytest.raises(PlatformUnavailable, match=r"did not answer POST /api/v2/dags/batch__spring/dagRuns: "):
        api.trigger(DAG, "alpha__1", conf={})
    assert len([each for each in airflow.asked if each[1].endswith("/dagRuns")]) == airflow_api.ATTEMPTS


def test_a_login_that_fails_for_a_moment_is_tried_again(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("POST", "/auth/token", 503, times=2)

    assert api.trigger(DAG, "alpha__1", conf={})


def test_a_wrong_password_is_a_configuration_error_without_it(airflow: AirflowServer) -> None:
    with airflow.api("wrong-password") as api, pytest.raises(ConfigurationError, match="refused the account") as caught:
        api.knows_dag(DAG)

    assert "wrong-password" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"), [(400, RequestRefused), (422, RequestRefused), (403, ConfigurationError), (404, DagUnknown)]
)
def test_a_refusal_is_not_repeated(
    status: int, error: type[Exception], airflow: AirflowServer, api: AirflowApi
) -> None:
    airflow.fail("POST", RUNS, status, body=b'{"detail": "because"}')

    with pytest.raises(error, match="because") as caught:
        api.trigger(DAG, "alpha__1", conf={})
    assert type(caught.value) is error
    assert len(airflow.asked) == 2


@pytest.mark.parametrize("path", ["/auth/token", RUNS])
def test_a_server_that_is_not_airflow_is_named(path: str, airflow: AirflowServer, api: AirflowApi) -> None:
    """Airflow itself answers unknown paths with its UI and 200: so do a missing plugin's."""
    airflow.fail("POST", path, 200, body=b"<!doctype html><title>Airflow</title>")

    with pytest.raises(ConfigurationError, match="something that is not JSON"):
        api.trigger(DAG, "alpha__1", conf={})


def test_a_login_without_a_token_is_named(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("POST", "/auth/token", 200, body=b"[]")

    with pytest.raises(ConfigurationError, match="is not Airflow"):
        api.knows_dag(DAG)


def test_an_error_page_is_shown_in_short(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("POST", RUNS, 400, body=b"<html>" + b"x" * 5000)

    with pytest.raises(RequestRefused) as caught:
        api.trigger(DAG, "alpha__1", conf={})
    assert len(str(caught.value)) < 400


def test_an_empty_answer_is_one(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("DELETE", "/x", 204, body=b"")
    airflow.fail("PATCH", "/x", 200, body=b"")

    assert api.request("PATCH", "/x") == {}


def test_what_there_is_of_a_run(airflow: AirflowServer, api: AirflowApi) -> None:
    assert api.run(DAG, "alpha__1") is None
    assert api.run("batch__unknown", "alpha__1") is None
    assert not api.has_active_runs(DAG)
    assert not api.has_active_runs("batch__unknown")

    api.trigger(DAG, "alpha__1", conf={})
    api.note(DAG, "alpha__1", "**good**")

    found = api.run(DAG, "alpha__1")
    assert found is not None
    assert found["state"] == "running"
    assert api.has_active_runs(DAG)
    assert airflow.notes == {(DAG, "alpha__1"): "**good**"}


def test_which_dags_there_are(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("GET", "/dags/stale$", 200, body=b'{"is_stale": true}')

    assert [api.knows_dag(name) for name in (DAG, "batch__unknown", "stale")] == [True, False, False]


def test_all_tasks_of_a_run(airflow: AirflowServer, api: AirflowApi) -> None:
    airflow.fail("GET", "/taskInstances$", 200, body=b'{"task_instances": [{"task_id": "prepare"}]}')

    assert api.task_instances(DAG, "alpha__1") == [{"task_id": "prepare"}]


@pytest.mark.parametrize(
    ("connection", "base_url"),
    [
        ("http://callsheet:p%2Fw@airflow.example:8080/https", "https://airflow.example:8080"),
        ("http://callsheet:p%2Fw@airflow.example/http", "http://airflow.example"),
        ("http://callsheet:p%2Fw@airflow.example:8080", "http://airflow.example:8080"),
    ],
)
def test_address_and_account_come_from_the_connection(
    connection: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", connection)

    with AirflowApi.from_connection() as api:
        assert api.base_url == base_url
        credentials: dict[str, Any] = api._credentials
        assert credentials == {"username": "callsheet", "password": "p/w"}


def test_a_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CALLSHEET_AIRFLOW", raising=False)

    with pytest.raises(ConfigurationError, match=r"callsheet_airflow does not exist; .*airflow_settings.yaml"):
        AirflowApi.from_connection()
