from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.base.errors import CallsheetError, RequestRejected
from include.cli import client as module
from include.cli.client import Client, NotFound, all_good

REQUEST: dict[str, Any] = {
    "batch_id": "spring",
    "titles": [{"title_id": "good", "mezzanine": "file:///folder-of-other-machines/a.mov"}],
}


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    with Client(AirflowApi(server, "admin", "right")) as connected:
        yield connected


def test_the_same_request_is_one_run_of_intake(client: Client, catalog: Catalog) -> None:
    first = client.submit(REQUEST, wait=False)

    assert client.submit(REQUEST, wait=False) == first
    assert first["dag_run_id"].startswith("cms__spring__")
    assert client.submit(REQUEST)["counts"] == {"published": 1}


def test_a_request_that_was_refused_can_be_asked_again_when_the_reason_is_gone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {**REQUEST, "batch_id": "later", "callback_url": "https://8.8.8.8/hook"}
    for _ in range(2):
        with pytest.raises(RequestRejected, match="CALLSHEET_WEBHOOK_SECRET"):
            client.submit(request)

    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "now there is one")

    assert client.submit(request)["batch_id"] == "later"


def test_an_intake_that_does_not_end_is_given_up_with_the_name_of_its_run(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTAKE_PATIENCE_S", 0.05)
    monkeypatch.setattr(client.api, "task_instances", lambda dag_id, run_id: [{"task_id": "accept", "state": None}])

    with pytest.raises(CallsheetError, match=r"intake run cms__other__[0-9a-f]{12} has not ended"):
        client.submit({**REQUEST, "batch_id": "other"})


def test_an_id_is_a_batch_or_a_title_and_nothing_else_is_asked_for(client: Client) -> None:
    client.submit({**REQUEST, "batch_id": "found"})

    assert [client.find(name)[0] for name in ("found", "good", "found/good")] == ["batch", "title", "title"]
    for name in ("", "a b", "../../api", "a/b/c", "a/", "?x", "good\n", "é"):
        with pytest.raises(NotFound, match="is not an id"):
            client.find(name)


@pytest.mark.parametrize(
    ("states", "good"),
    [([], False), (["published"], True), (["published", "degraded"], True), (["published", "failed"], False),
     (["running"], False)],
)  # fmt: skip
def test_all_is_good_when_every_title_was_published(states: list[str], good: bool) -> None:
    assert all_good([{"state": state} for state in states]) is good
