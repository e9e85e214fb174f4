"""Published files of an S3 store through Callsheet's own endpoint, with Airflow's real authorisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.settings import load_settings
from include.stages.publish import public_base
from tests.catalog.samples import accept, publish, start
from tests.s3 import S3, Fault, s3_server

Ask = Callable[..., httpx.Response]
MEDIA = "/callsheet/media/titles/alpha"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with s3_server() as running:
        for name, value in {**running.environment, "CALLSHEET_STORE_URI": running.uri}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def ask(s3: S3, server: str, tokens: dict[str, str], catalog: Catalog) -> Ask:
    """Asks for a file of a published title that lies on S3."""
    accept(catalog, "spring", "alpha")
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")
    store = open_store(load_settings())
    files = {"v1/hls.m3u8": b"#EXTM3U", "v1/1.m4s": bytes(range(100)), "current.json": b'{"version": 1}'}
    for name, data in files.items():
        store.put_bytes(f"titles/alpha/{name}", data)

    def asked(name: str, *, user: str | None = "viewer", byte_range: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[user]}"} if user else {}
        return httpx.get(f"{server}{MEDIA}/{name}", headers=headers | ({"Range": byte_range} if byte_range else {}))

    return asked


def test_a_file_comes_with_its_type_whole_or_in_the_range_that_was_asked_for(ask: Ask) -> None:
    whole, part, beyond = (ask("v1/1.m4s", byte_range=each) for each in (None, "bytes=10-19", "bytes=500-"))

    assert (whole.status_code, whole.content) == (200, bytes(range(100)))
    assert whole.headers["content-type"] == "video/iso.segment"
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    assert (beyond.status_code, len(beyond.content)) == (200, 100)
    assert ask("current.json").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["v1/nope.mp4", "v1", "", "..%2f..%2fwork/x", "v1/a%00b", "a" * 300])
def test_nothing_but_published_files_is_served(name: str, ask: Ask) -> None:
    assert ask(name).status_code == 404


def test_nobody_gets_anything_without_a_login(ask: Ask, s3: S3) -> None:
    before = len(s3.asked)

    assert ask("v1/1.m4s", user=None).status_code == 401
    assert len(s3.asked) == before


def test_a_store_that_refuses_is_said_with_the_way_out(ask: Ask, s3: S3) -> None:
    s3.decide = lambda asked: (400, "ExpiredToken")

    answer = ask("v1/1.m4s")

    assert answer.status_code == 503
    assert answer.json()["reason"] == "credentials"


def test_a_fault_of_s3_is_not_the_players(ask: Ask, s3: S3) -> None:
    s3.decide = lambda asked: Fault.SLOW_DOWN if s3.count("GET") == 1 else None
    s3.asked.clear()

    assert ask("v1/1.m4s").content == bytes(range(100))


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"CALLSHEET_PUBLIC_BASE_URL": "https://cdn.example/x/"}, "https://cdn.example/x"),
        ({"CALLSHEET_AIRFLOW_BASE_URL": "https://airflow.example"}, "https://airflow.example/callsheet/media"),
    ],
    ids=["cdn", "airflow"],
)
def test_players_go_to_the_cdn_where_there_is_one(
    environment: dict[str, str], base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_STORE_URI", "s3://bucket/farm")
    monkeypatch.delenv("CALLSHEET_AIRFLOW_BASE_URL", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert public_base(load_settings()) == base
