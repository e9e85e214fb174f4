"""Callsheet's own endpoints, with Airflow's real authorisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.api.views import deadline_kept, title_views
from include.base.settings import Settings
from include.domain.title.title import State
from include.domain.title.work import progress_key
from include.pipelines.runner import Progress
from tests.catalog.samples import NOW, a_batch, accept, after, find, publish, start

BASE = "/callsheet/api/v1"


@pytest.fixture
def asked(server: str, tokens: dict[str, str]) -> Any:
    """Asks as one of the users, or as nobody."""

    def ask(path: str, *, user: str | None = "admin", method: str = "GET") -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[user]}"} if user else {}
        return httpx.request(method, f"{server}{path}", headers=headers)

    return ask


@pytest.fixture
def published(catalog: Catalog, settings: Settings) -> LocalStore:
    """A published title with its files."""
    accept(catalog, "spring", "alpha", publish_at=after(60).isoformat(), metadata={"cms": 7})
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")
    catalog.titles.settle("spring/alpha", State.PUBLISHED, now=NOW)
    store = LocalStore(settings.home / "store")
    for name in ("v1/hls.m3u8", "v1/video/1.mp4", "v1/preview.html", "v1/odd.bin", "current.json"):
        store.put_bytes(f"titles/alpha/{name}", b'{"version":1}' if name == "current.json" else name.encode())
    return store


PATHS = [
    f"{BASE}/health", f"{BASE}/batches", f"{BASE}/batches/spring", f"{BASE}/titles/alpha",
    f"{BASE}/titles/spring/alpha", f"{BASE}/dead-letters", "/callsheet/media/titles/alpha/v1/hls.m3u8",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_anything_without_a_login(path: str, asked: Any, published: LocalStore) -> None:
    assert asked(path, user=None).status_code == 401


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize("user", ["viewer", "cms", "admin"])
def test_whoever_may_read_the_dag_may_read_its_batch(path: str, user: str, asked: Any, published: LocalStore) -> None:
    assert asked(path, user=user).status_code == 200


def test_a_forged_token_is_none(server: str) -> None:
    answer = httpx.get(f"{server}{BASE}/batches", headers={"Authorization": "Bearer forged"})

    assert answer.status_code == 403


def test_a_batch_is_shown_with_its_titles_and_refusals(asked: Any, catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    accept(catalog, "summer", "gamma")

    assert [each["batch_id"] for each in asked(f"{BASE}/batches").json()] == ["summer", "spring"]
    assert len(asked(f"{BASE}/batches?limit=1").json()) == 1
    found = asked(f"{BASE}/batches/spring").json()
    assert found["counts"] == {"waiting": 2}
    assert [each["title_id"] for each in found["titles"]] == ["alpha", "beta"]


@pytest.mark.parametrize("path", ["batches", "dead-letters"])
@pytest.mark.parametrize("limit", ["-1", "0", "1001", "all"])
def test_a_page_has_a_sensible_size(path: str, limit: str, asked: Any) -> None:
    assert asked(f"{BASE}/{path}?limit={limit}").status_code == 422


@pytest.mark.parametrize(
    "path",
    ["batches/nope", "titles/nope", "titles/spring/nope", "batches/..%2f..", "titles/%00"],
)
def test_what_there_is_not_is_not_found(path: str, asked: Any, published: LocalStore) -> None:
    assert asked(f"{BASE}/{path}").status_code == 404


def test_a_title_is_shown_by_its_newest_request_with_its_events(
    asked: Any, catalog: Catalog, published: LocalStore
) -> None:
    accept(catalog, "summer", "alpha")

    newest = asked(f"{BASE}/titles/alpha").json()
    assert (newest["request_id"], newest["state"], newest["deadline_kept"]) == ("summer/alpha", "waiting", None)
    first = asked(f"{BASE}/titles/spring/alpha").json()
    assert (first["state"], first["deadline_kept"], first["metadata"]) == ("published", True, {"cms": 7})
    kinds = [event["kind"] for event in first["events"]]
    assert kinds[0] == "title.accepted"
    assert "title.playable" in kinds
    assert "request" not in first


def test_only_who_may_edit_can_replay_and_only_what_is_settled(
    asked: Any, catalog: Catalog, published: LocalStore
) -> None:
    path = f"{BASE}/titles/spring/alpha/replay"

    assert asked(path, user=None, method="POST").status_code == 401
    assert asked(path, user="viewer", method="POST").status_code == 403
    assert len(catalog.batches.newest()) == 1
    answer = asked(path, method="POST")
    assert (answer.status_code, answer.json()["request_id"]) == (202, "spring-replay1/alpha")
    again = asked(f"{BASE}/titles/spring-replay1/alpha/replay", method="POST")
    assert again.status_code == 409
    assert "only a settled title can be replayed" in again.json()["detail"]
    assert asked(f"{BASE}/titles/no/body/replay", method="POST").status_code == 404


def test_a_title_whose_pipeline_is_gone_is_not_replayed_and_the_answer_says_why(asked: Any, catalog: Catalog) -> None:
    catalog.batches.accept(a_batch("old").model_copy(update={"pipeline": "gone"}), pipeline_version=1, now=NOW)
    catalog.titles.settle("old/alpha", State.FAILED, now=NOW)

    answer = asked(f"{BASE}/titles/old/alpha/replay", method="POST")

    assert answer.status_code == 422
    assert answer.json()["reason"] == "unknown_pipeline"


def test_a_catalog_that_does_not_answer_is_503(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_CATALOG_URL", "sqlite:////nowhere/at/all.db")

    answer = asked(f"{BASE}/batches")

    assert answer.status_code == 503
    assert "the catalog" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "kind", "cache"),
    [
        ("v1/hls.m3u8", "application/vnd.apple.mpegurl", "private, max-age=31536000, immutable"),
        ("v1/video/1.mp4", "video/mp4", "private, max-age=31536000, immutable"),
        ("v1/preview.html", "text/html; charset=utf-8", "private, max-age=31536000, immutable"),
        ("v1/odd.bin", "application/octet-stream", "private, max-age=31536000, immutable"),
        ("current.json", "application/json", "no-store"),
    ],
)
def test_published_files_are_served_with_their_types(
    name: str, kind: str, cache: str, asked: Any, published: LocalStore
) -> None:
    answer = asked(f"/callsheet/media/titles/alpha/{name}", user="viewer")

    assert answer.status_code == 200
    assert answer.content == published.get_bytes(f"titles/alpha/{name}")
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == cache
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["v1/nope.mp4", "v1", "", "..%2f..%2f..%2fcatalog.db", "%2e%2e/%2e%2e/catalog.db", "v1/%2e%2e/current.json",
     "v1/.current.json.lock", "v1/a%00b", "v1/a%0a", "a" * 300, "a/" * 600 + "a", "v1%5c..%5c"],
    ids=lambda path: path[:20],
)  # fmt: skip
def test_nothing_but_published_files_is_served(path: str, asked: Any, published: LocalStore) -> None:
    assert asked(f"/callsheet/media/titles/alpha/{path}").status_code == 404


def test_files_of_a_title_that_the_catalog_does_not_know_are_not_served(asked: Any, published: LocalStore) -> None:
    published.put_bytes("titles/stranger/v1/x.mp4", b"x")

    assert asked("/callsheet/media/titles/stranger/v1/x.mp4").status_code == 404


def test_the_health_report_names_what_is_missing_and_the_way_out(asked: Any) -> None:
    """This process is no deployment: it has neither plugin nor hook."""
    answer = asked(f"{BASE}/health")

    assert answer.status_code == 503
    report = answer.json()
    assert report["healthy"] is False
    checks = report["checks"]
    assert (checks["catalog"], checks["store"]) == ("ok", "ok")
    assert "weigh" in checks["mutation_hook"]
    assert "TitleDeadline" in checks["deadline_reference"]
    assert "CatalogDagBundle" in checks["bundle"]


def test_the_health_report_names_a_catalog_and_a_store_that_do_not_answer(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_CATALOG_URL", "sqlite:////nowhere/at/all.db?password=topsecret")
    monkeypatch.setenv("CALLSHEET_STORE_URI", "ftp://nowhere")

    answer = asked(f"{BASE}/health")

    assert "does not answer" in answer.json()["checks"]["catalog"]
    assert "does not answer" in answer.json()["checks"]["store"]


def test_what_runs_now_is_shown_as_the_workers_last_said(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", "alpha")
    title = start(catalog, "spring/alpha")
    store = LocalStore(settings.home / "store")
    for task, item, share in (("encode", "h264_144p", 0.4), ("encode", "h264_360p", 1.0), ("extras", None, 0.2)):
        progress = Progress(task=task, item=item, stage=task, share=share, message="", at=NOW)
        store.put_bytes(progress_key(title.job(), task, item), progress.to_json().encode())

    now = title_views([find(catalog, "spring/alpha")], settings)[0]["now"]

    assert [(each["stage"], each["item"], each["share"]) for each in now] == [
        ("encode", "h264_144p", 0.4),
        ("extras", None, 0.2),
    ]


def test_a_deadline_is_kept_missed_or_open(catalog: Catalog, tmp_path: Path) -> None:
    accept(catalog, "spring", *"abcd", publish_at=after(60).isoformat())
    accept(catalog, "free", "e")
    for name, late in (("a", 0), ("b", 61)):
        start(catalog, f"spring/{name}")
        publish(catalog, f"spring/{name}", now=after(late))
    catalog.titles.settle("spring/c", State.FAILED, now=NOW)

    kept = {name: deadline_kept(find(catalog, f"spring/{name}")) for name in "abcd"}

    assert kept == {"a": True, "b": False, "c": False, "d": None}
    assert deadline_kept(find(catalog, "free/e")) is None
