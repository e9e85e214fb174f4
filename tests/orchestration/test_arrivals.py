"""Mezzanines that may come later: who looks for them, what waits for a look, and what does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters import arrival
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.base.parallel import answers_in_time
from include.base.settings import Settings, load_settings
from include.domain.title.request import parse_batch
from include.orchestration import tick as ticking
from include.services import arrivals
from include.services.arrivals import look_for_arrivals, release_arrived
from include.services.release import release
from tests.catalog.samples import NOW, after, find
from tests.orchestration.airflow_server import AirflowServer


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An origin that takes every connection and never says a word."""
    monkeypatch.setattr(arrival, "LOOK_LIMIT_S", 0.4)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", origin)
        yield origin


def wait_for(catalog: Catalog, batch_id: str, *mezzanines: str, until: float = 600) -> None:
    """A batch whose titles, numbered from 0, wait for their mezzanines."""
    titles = [
        {"title_id": f"{batch_id}{number}", "mezzanine": uri, "wait_until": after(until).isoformat()}
        for number, uri in enumerate(mezzanines)
    ]
    batch = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
    catalog.batches.accept(batch, pipeline_version=1, now=NOW)


def here(settings: Settings) -> str:
    """The address of a mezzanine that is there."""
    path: Path = settings.mezzanine_roots[0] / "here.mov"
    path.write_bytes(b"x")
    return path.as_uri()


def test_a_silent_origin_holds_no_release_up_and_is_asked_once_for_all_its_titles(
    catalog: Catalog, api: AirflowApi, airflow: AirflowServer, silent: str
) -> None:
    settings = load_settings()
    wait_for(catalog, "slow", *(f"{silent}/{number}.mov" for number in range(40)))
    wait_for(catalog, "spring", here(settings))

    began = time.monotonic()
    assert release(catalog, api, settings, now=NOW).started == ()
    assert time.monotonic() - began < 0.3

    assert release_arrived(catalog, api, settings, clock=lambda: after(30)).started == ("spring/spring0",)
    assert time.monotonic() - began < 4 * arrival.LOOK_LIMIT_S
    assert find(catalog, "slow/slow39").arrived_at is None


def test_looks_that_never_end_leave_the_call_in_time_and_those_left_out_come_first_the_next_time(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(catalog, "slow", "https://a.example/", "https://b.example/", "https://c.example/")
    monkeypatch.setattr(arrivals, "LOOKS_LIMIT_S", 0.3)
    monkeypatch.setattr(arrivals, "LOOKS_AT_ONCE", 2)
    asked: list[str] = []

    def hangs(uri: str, *_: object, **__: object) -> None:
        asked.append(uri)
        time.sleep(5)

    monkeypatch.setattr(arrivals, "look_at", hangs)
    for _ in range(2):
        began = time.monotonic()
        assert look_for_arrivals(catalog, settings, now=NOW) == ()
        assert time.monotonic() - began < 1
    assert asked[:3] == ["https://a.example/", "https://b.example/", "https://c.example/"]


def test_a_title_is_seen_once_and_released_when_its_time_is_up_though_it_never_came(
    catalog: Catalog, settings: Settings, api: AirflowApi, airflow: AirflowServer
) -> None:
    wait_for(catalog, "spring", here(settings), (settings.mezzanine_roots[0] / "never.mov").as_uri())

    assert look_for_arrivals(catalog, settings, now=after(30)) == ("spring/spring0",)
    assert [title.request_id for title in catalog.titles.awaited(after(31), limit=9)] == ["spring/spring1"]
    assert release(catalog, api, settings, now=after(31)).started == ("spring/spring0",)
    assert release(catalog, api, settings, now=after(601)).started == ("spring/spring1",)


def test_a_title_that_an_older_release_has_entered_is_looked_for_as_well(
    catalog: Catalog, settings: Settings, api: AirflowApi, airflow: AirflowServer
) -> None:
    wait_for(catalog, "spring", here(settings))
    with catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE titles SET not_before = NULL")

    assert release(catalog, api, settings, now=after(1)).started == ()
    assert release_arrived(catalog, api, settings, clock=lambda: after(30)).started == ("spring/spring0",)


def test_alerts_and_webhooks_of_a_tick_do_not_wait_for_a_look(
    catalog: Catalog, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("send_alerts", "send_webhooks", "release_arrived", "release"):
        monkeypatch.setattr(ticking, name, lambda *_, name=name, **__: order.append(name))

    ticking.tick()

    assert order == ["release", "send_alerts", "send_webhooks", "release_arrived"]


def test_of_calls_at_once_one_that_raises_and_one_that_hangs_are_missing() -> None:
    calls = {"good": lambda: 1, "bad": lambda: 1 // 0, "hangs": lambda: time.sleep(5), "later": lambda: 2}

    began = time.monotonic()
    assert answers_in_time(calls, at_once=2, limit_s=0.3) == {"good": 1, "later": 2}
    assert time.monotonic() - began < 1
    assert answers_in_time({}, at_once=2, limit_s=0.3) == {}
