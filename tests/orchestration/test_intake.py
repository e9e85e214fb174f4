from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.adapters.catalog import Catalog
from include.orchestration.intake import accept_request
from include.services import intake
from include.services.intake import release_batch
from tests.orchestration.airflow_server import AirflowServer
from tests.receivers import http_receiver

GOOD = {"title_id": "alpha", "mezzanine": "file:///media/alpha.mov"}


def request(batch_id: str = "spring", *titles: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"batch_id": batch_id, "titles": list(titles or (GOOD,)), **fields}


def test_a_request_is_entered_once_however_often_it_comes(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert accept_request(request()) == "spring"
        assert accept_request(request()) == "spring"

    assert len(catalog.titles.find()) == 1
    assert "nothing changes" in caplog.text
    assert [event.kind for event in catalog.history.events(batch_id="spring")].count("batch.accepted") == 1


def test_a_bad_title_is_refused_alone_and_the_log_says_why(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    accept_request(request("spring", GOOD, {"title_id": "beta", "mezzanine": "ftp://x/y"}))

    assert [title.title_id for title in catalog.titles.find()] == ["alpha"]
    assert "beta: mezzanine: must start with file:// or s3:// or https:// or http:// (got 'ftp://x/y')" in caplog.text


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({}, "batch_id: Field required"),
        (request(pipeline="os.system"), "no pipeline of this name is registered"),
        (request(titles=[]), "at least 1 item"),
        (request("../../etc"), "batch_id: an id is 1 to 100 letters"),
        (request("spring", {"title_id": "x"}), "mezzanine"),
        (request(surprise=1), "surprise: unknown field"),
        (request(callback_url="https://cms.example/hook"), "CALLSHEET_WEBHOOK_SECRET"),
    ],
)
def test_a_wholly_bad_request_fails_at_once_with_its_reason_and_leaves_nothing(
    conf: Any, reason: str, catalog: Catalog
) -> None:
    with pytest.raises(AirflowFailException, match=r"^batch request refused: ") as caught:
        accept_request(conf)

    assert reason in str(caught.value)
    assert catalog.batches.newest() == []


def test_another_batch_under_a_known_id_is_refused(catalog: Catalog) -> None:
    accept_request(request())

    with pytest.raises(AirflowFailException, match="'spring' is known with other content"):
        accept_request(request("spring", {**GOOD, "tier": "premium"}))
    assert [title.request.tier for title in catalog.titles.find()] == ["standard"]


@pytest.mark.parametrize(
    "address",
    ["https://127.0.0.1/hook", "https://10.1.2.3/", "https://[::1]/", "https://169.254.169.254/latest", "http://8.8.8.8/",
     "https://user:pw@8.8.8.8/"],
)  # fmt: skip
def test_a_callback_to_where_the_policy_forbids_is_refused(
    address: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "signed")

    with pytest.raises(AirflowFailException, match="batch request refused") as caught:
        accept_request(request(callback_url=address))
    assert "pw" not in str(caught.value)
    assert catalog.batches.newest() == []


@pytest.mark.parametrize(
    "metadata", [{"x": float("nan")}, {"x": [float("inf")]}, {"x": {"y": "\ud800"}}, {"x": "y" * 70_000}], ids=str
)
def test_metadata_that_cannot_be_kept_refuses_its_title_and_no_other(metadata: Any, catalog: Catalog) -> None:
    accept_request(request("spring", GOOD, {**GOOD, "title_id": "odd", "metadata": metadata}))

    assert [title.title_id for title in catalog.titles.find()] == ["alpha"]


def test_what_was_accepted_is_told_and_released(
    catalog: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as cms:
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", cms.origin)
        monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "signed")
        accept_request(request(callback_url=f"{cms.origin}/hook"))

        release_batch("spring")

        assert cms.types == ["title.accepted"]
    assert airflow.started == ["alpha__1"]


def test_a_dag_that_is_not_parsed_in_time_is_left_to_dispatch(
    catalog: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "PARSE_PATIENCE_S", -1)
    airflow.dags.clear()
    accept_request(request())

    release_batch("spring")

    assert "dispatch releases its titles when it is" in caplog.text
    assert [title.state for title in catalog.titles.find()] == ["waiting"]
