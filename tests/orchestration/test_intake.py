from __future__ import annotations

import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.orchestration.intake import accept_request
from include.services import intake
from include.services.intake import release_batch
from tests.orchestration.airflow_server import AirflowServer
from tests.receivers import http_receiver

ELSEWHERE = "/folder-of-other-machines"
"""Where mezzanines lie that this machine does not see."""
GOOD = {"title_id": "alpha", "mezzanine": f"file://{ELSEWHERE}/alpha.mov"}


@pytest.fixture(autouse=True)
def _elsewhere(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", f"{ELSEWHERE},{settings.mezzanine_roots[0]}")


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
    ["https://127.0.0.1/hook", "https://10.1.2.3/", "https://[::1]/", "https://169.254.169.254/latest",
     "http://8.8.8.8/pw?pw", "https://[::1/pw", "https:///pw", "https://user:pw@8.8.8.8/", "https://10.1.2.3/pw",
     "ftp://cms.example/pw", "pw", "https://cms.example/pw\n", "https://cms.example/" + "pw" * 2000],
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


def test_a_mezzanine_that_cannot_be_had_refuses_its_title_alone_with_field_value_and_reason(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = settings.mezzanine_roots[0]
    (root / "here.mov").write_bytes(b"x")
    (root / "folder").mkdir()
    monkeypatch.setenv("CALLSHEET_MAX_FILE_SIZE", "3")
    (root / "large.mov").write_bytes(b"xxxx")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    missing = (root / "missing.mov").as_uri()
    asked = {
        "here": {"mezzanine": (root / "here.mov").as_uri()},
        "outside": {"mezzanine": "file:///etc/passwd", "wait_until": later},
        "inward": {"mezzanine": "https://127.0.0.1/a.mov?signature=secret"},
        "bucket": {"mezzanine": "s3://another/a.mov"},
        "missing": {"mezzanine": missing},
        "too-late": {"mezzanine": missing, "wait_until": past},
        "folder": {"mezzanine": (root / "folder").as_uri()},
        "large": {"mezzanine": (root / "large.mov").as_uri()},
        "to-come": {"mezzanine": missing, "wait_until": later},
        "elsewhere": GOOD | {"title_id": "elsewhere"},
    }

    accept_request(request("spring", *({"title_id": name, **title} for name, title in asked.items())))

    batch = catalog.batches.get("spring")
    assert batch is not None
    said = {refusal.title_id: refusal for refusal in batch.refusals}
    assert {title.title_id for title in catalog.titles.find()} == {"here", "to-come", "elsewhere"}
    assert set(said) == set(asked) - {"here", "to-come", "elsewhere"}
    assert {refusal.field for refusal in batch.refusals} == {"mezzanine"}
    assert [refusal.index for refusal in batch.refusals] == [list(asked).index(str(name)) for name in said]
    words = {
        "outside": "does not lie beneath a folder of CALLSHEET_MEZZANINE_ROOTS",
        "inward": "127.0.0.1, which is not a public address",
        "bucket": "does not lie in a bucket of CALLSHEET_MEZZANINE_BUCKETS",
        "missing": "is missing: No such file or directory",
        "too-late": "is missing",
        "folder": "is not a plain file",
        "large": "CALLSHEET_MAX_FILE_SIZE",
    }
    for name, words_of in words.items():
        assert words_of in said[name].reason, name
    assert "secret" not in str(batch.refusals)


def test_a_request_whose_mezzanines_are_all_missing_is_refused_and_accepted_once_one_is_there(
    catalog: Catalog, settings: Settings
) -> None:
    late = settings.mezzanine_roots[0] / "late.mov"
    conf = request("spring", {"title_id": "late", "mezzanine": late.as_uri()})

    with pytest.raises(AirflowFailException, match=r"late: mezzanine: .*is missing.*\(got 'file:///.*late.mov'\)"):
        accept_request(conf)
    assert catalog.batches.newest() == []
    late.write_bytes(b"x")
    accept_request(conf)
    late.unlink()
    assert accept_request(conf) == "spring", "the same request again changes nothing"
    assert [title.state for title in catalog.titles.find()] == ["waiting"]


def test_an_origin_that_says_no_is_believed_and_one_that_does_not_answer_delays_nobody(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LOOKS_LIMIT_S", 0.5)

    class Origin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404 if self.path == "/gone" else 503)

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin, nobody = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (server.socket, silent))
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", f"{origin},{nobody}")
        addresses = {"gone": f"{origin}/gone", "busy": f"{origin}/busy", "silent": f"{nobody}/a"}
        began = time.monotonic()

        accept_request(request("spring", *({"title_id": name, "mezzanine": uri} for name, uri in addresses.items())))

        assert time.monotonic() - began < 3
        server.shutdown()
    assert {title.title_id for title in catalog.titles.find()} == {"busy", "silent"}


def test_a_title_whose_mezzanine_is_there_already_waits_for_none(
    catalog: Catalog, settings: Settings, airflow: AirflowServer
) -> None:
    path = settings.mezzanine_roots[0] / "here.mov"
    path.write_bytes(b"x")
    os.utime(path, (1, 1))
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    accept_request(request("spring", {"title_id": "here", "mezzanine": path.as_uri(), "wait_until": later}))

    release_batch("spring")

    assert airflow.started == ["here__1"]


def test_what_a_user_posts_belongs_to_its_tenant(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow says who started the run: nobody can say it of themselves."""
    monkeypatch.setenv("CALLSHEET_TENANTS", "cms=acme, night-shift=acme")
    accept = import_module("dags.intake").intake().get_task("accept")

    def post(batch_id: str, user: str | None, *titles: dict[str, Any]) -> None:
        run = SimpleNamespace(conf=request(batch_id, *titles), triggering_user_name=user)
        assert accept.python_callable(dag_run=run) == batch_id

    post("spring", "cms")
    post("summer", "night-shift")
    post("foreign", "rival", GOOD, {**GOOD, "title_id": "theirs"})
    post("odd", None, GOOD, {**GOOD, "title_id": "nobodys"})

    assert [catalog.owners.of(name) for name in ("alpha", "theirs", "nobodys")] == ["acme", "rival", None]
    assert [title.request_id for title in catalog.titles.find(title_id="alpha")] == ["spring/alpha", "summer/alpha"]
    assert "refused alpha: title_id: this id belongs to another tenant" in caplog.text
