"""A title's share of the slots, as its encodes know it: who tells Airflow that one of them ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.adapters.airflow_api import ATTEMPTS
from include.base.settings import Settings
from include.orchestration.runtimes.task import let_the_next_in
from tests.orchestration.airflow_server import AirflowServer
from tests.policy.test_binding import planned

PLAN = planned()[0]
WEIGHTS = "/callsheet/api/v1/weights"


FARM = 10


def ended(slots: Any) -> None:
    """An encode is done whose run was told this share."""
    context: Any = {"dag_run": SimpleNamespace(conf={"slots": slots}), "ti": SimpleNamespace(id="an-instance")}
    let_the_next_in(context, lambda: PLAN, Settings(encode_slots=FARM))


def test_the_end_of_an_encode_is_told_where_others_of_its_title_wait_for_its_slot(airflow: AirflowServer) -> None:
    ended(len(PLAN.jobs) - 1)

    assert airflow.queries == [(WEIGHTS, "ended=an-instance")]


@pytest.mark.parametrize("slots", [len(PLAN.jobs), FARM, None, "1"])
def test_a_title_whose_encodes_all_have_slots_costs_no_request(slots: Any, airflow: AirflowServer) -> None:
    ended(slots)

    assert airflow.asked == []


def test_an_airflow_that_does_not_answer_fails_no_encode(
    airflow: AirflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    airflow.fail("POST", WEIGHTS, 503)

    ended(1)

    assert airflow.asked.count(("POST", WEIGHTS)) == ATTEMPTS
    assert "the title's next encode waits for dispatch" in caplog.text
