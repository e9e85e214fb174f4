"""The queue as a person sees it: Callsheet's real API, Airflow's real authorisation, a real Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.domain.title.request import parse_batch
from include.domain.title.steering import Steering
from include.domain.title.title import State
from include.services.valuation import revalue, value_batch
from tests.catalog.samples import find
from tests.orchestration.airflow_server import AirflowServer
from tests.playback.conftest import chromium  # noqa: F401 - a fixture
from tests.stack import wait_for

HOSTILE = '<img src=x onerror="document.title=1"><b>Night</b> & </textarea><script>document.title=2</script>'
WAIT_MS = 30_000
Open = Callable[..., Page]


def request(title_id: str, *, hours: float | None = None, tier: str = "standard", **fields: Any) -> dict[str, Any]:
    due = (datetime.now(UTC) + timedelta(hours=hours)).isoformat() if hours is not None else None
    return {
        "title_id": title_id,
        "mezzanine": f"file:///media/{title_id}.mov",
        "tier": tier,
        "publish_at": due,
        **fields,
    }


@pytest.fixture
def queue(catalog: Catalog, settings: Settings, airflow: AirflowServer) -> Catalog:
    """Two titles run, one of the others cannot be in time, one is on hold."""
    film = {"duration_s": 6000, "width": 1920, "height": 1080, "frame_rate": 24}
    short = {"duration_s": 90, "width": 1280, "height": 720, "frame_rate": 25}
    titles = [
        request("harbour", name="The Harbour", tier="premium", kind="movie", hours=30, source=film,
                signals={"predicted_views_7d": 2.1e6, "views_last_hour": 52_000}),
        request("dawn", name="Dawn Chorus, episode 4", kind="series", hours=20, source={**film, "duration_s": 2700}),
        request("flood", name="Flood warning for the coast", tier="premium", kind="news", hours=0.01, source=short),
        request("hostile", name=HOSTILE, kind="trailer", hours=50, source=short),
        request("clip-7", name="my holiday", tier="ugc", kind="ugc", source=short),
        request("clip-8", tier="ugc", kind="ugc", source=short, signals={"views_last_hour": 4000}),
    ]  # fmt: skip
    batch = parse_batch({"batch_id": "spring", "titles": titles}, pipelines=frozenset({"vod"}))
    now = datetime.now(UTC)
    valued = value_batch(batch, catalog, settings, now=now)
    catalog.batches.accept(batch, pipeline_version=3, now=now, valued=valued)
    waiting = {"flood", "hostile", "clip-7", "clip-8"}
    for name in waiting:
        steer(catalog, name, hold=True)
    for title in catalog.titles.claim(window=10, now=now, claimant="test"):
        catalog.titles.mark_released(title.request_id, claimant="test", run_id=title.run_id or "", now=now)
        catalog.titles.begin(dag_id=title.dag_id, run_id=title.run_id or "", now=now)
        airflow.runs[title.dag_id, title.run_id or ""] = {"state": "running", "end_date": None}
    catalog.titles.note_task("spring/harbour", task="encode_cpu", event="finished", progress=0.62, now=now)
    for name in waiting - {"clip-8"}:
        steer(catalog, name, hold=False)
    revalue(catalog, settings, now=now)
    return catalog


@pytest.fixture
def opened(
    chromium: Browser,  # noqa: F811 - the fixture
    server: str,
    tokens: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Open]:
    """Opens the page as one of the users; it must end without an error in its console."""
    # Nothing is started behind a test's back.
    monkeypatch.setenv("CALLSHEET_RELEASE_WINDOW", "1")
    contexts: list[Any] = []
    errors: list[str] = []

    def show(user: str = "cms", scheme: Any = "light") -> Page:
        context = chromium.new_context(viewport={"width": 1400, "height": 1000}, color_scheme=scheme)
        contexts.append(context)
        context.add_cookies([{"name": "_token", "value": tokens[user], "url": server, "httpOnly": True}])
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server}/callsheet/queue")
        page.locator("tbody[data-request]").first.wait_for()
        return page

    yield show
    for context in contexts:
        context.close()
    assert [each for each in errors if "409" not in each] == []


def steer(catalog: Catalog, name: str, **change: Any) -> None:
    catalog.queue.steer(f"spring/{name}", Steering(why="set up", **change), by="setup", now=datetime.now(UTC))


def listed(page: Page, section: str) -> list[str | None]:
    rows = page.locator(f"#{section} tbody")
    return [rows.nth(index).get_attribute("data-request") for index in range(rows.count())]


def act(page: Page, name: str, action: str, why: str = "the test says so") -> None:
    page.locator(f'tbody[data-request="spring/{name}"] [data-act="{action}"]').click()
    page.locator("#ask-why").fill(why)
    page.locator("#ask-yes").click()


def shot(page: Page, name: str) -> None:
    """For people who want to look at it: CALLSHEET_SHOTS names a folder."""
    if folder := os.environ.get("CALLSHEET_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_those_at_risk_come_first_then_the_running_and_the_waiting_in_order(queue: Catalog, opened: Open) -> None:
    page = opened()

    assert listed(page, "risk") == ["spring/flood"]
    assert listed(page, "running") == ["spring/harbour", "spring/dawn"]
    order = [title.request_id for title in queue.queue.in_order(limit=10) if title.title_id in {"hostile", "clip-7"}]
    assert listed(page, "waiting") == order
    assert listed(page, "held") == ["spring/clip-8"]
    risk = page.locator("#risk tbody")
    expect(risk).to_contain_text("infeasible")
    expect(risk).to_contain_text("miss 100 %")
    expect(page.locator("#running tbody").first).to_contain_text("running 62 %")
    assert page.locator("h1").bounding_box()["y"] < page.locator("#risk").bounding_box()["y"]  # type: ignore[index]
    assert page.locator("#risk").bounding_box()["y"] < page.locator("#running").bounding_box()["y"]  # type: ignore[index]
    shot(page, "light")


def test_a_score_opens_into_its_terms(queue: Catalog, opened: Open) -> None:
    page = opened(scheme="dark")
    row = page.locator('tbody[data-request="spring/harbour"]')

    expect(row.locator(".detail")).to_be_hidden()
    row.locator("button.name").click()

    for said in ("tier", "2.1M views in 7 days", "growth", "promise", "waiting", "slot time", "batch__spring"):
        expect(row.locator(".detail")).to_contain_text(said)
    assert "audience" in str(row.locator("td").nth(3).get_attribute("title"))
    shot(page, "dark")
    row.locator("button.name").click()
    expect(row.locator(".detail")).to_be_hidden()


def test_a_hostile_name_stays_text(queue: Catalog, opened: Open) -> None:
    page = opened()
    row = page.locator('tbody[data-request="spring/hostile"]')

    assert row.locator("button.name").text_content() == HOSTILE
    row.locator('[data-act="pin"]').click()
    assert HOSTILE in str(page.locator("#ask-title").text_content())
    shot(page, "dialog")
    assert page.locator("main img, main b b, main script, dialog script").count() == 0
    assert page.title() == "Callsheet · Queue"


def test_the_page_follows_the_queue_by_itself(queue: Catalog, settings: Settings, opened: Open) -> None:
    page = opened()
    page.locator('tbody[data-request="spring/clip-7"] button.name').click()

    steer(queue, "clip-7", pin=True)
    queue.titles.settle("spring/dawn", State.FAILED, now=datetime.now(UTC))
    revalue(queue, settings, now=datetime.now(UTC))

    expect(page.locator('tbody[data-request="spring/dawn"]')).to_have_count(0)
    expect(page.locator("#waiting tbody").first).to_have_attribute("data-request", "spring/clip-7")
    expect(page.locator('tbody[data-request="spring/clip-7"] .detail')).to_be_visible()


def test_hold_pin_and_a_new_deadline_take_effect_and_are_audited(queue: Catalog, opened: Open) -> None:
    page = opened()

    act(page, "clip-7", "pin", "the boss wants it")
    expect(page.locator("#waiting tbody").first).to_have_attribute("data-request", "spring/clip-7")
    act(page, "hostile", "hold")
    expect(page.locator("#held tbody")).to_have_count(2)
    act(page, "clip-8", "resume")
    expect(page.locator('#waiting tbody[data-request="spring/clip-8"]')).to_have_count(1)
    page.locator('tbody[data-request="spring/clip-7"] [data-act="reschedule"]').click()
    page.locator("#ask-time").fill("2100-01-01T12:30")
    page.locator("#ask-why").fill("another day")
    page.locator("#ask-yes").click()
    expect(page.locator("#ask")).to_be_hidden()

    assert find(queue, "spring/clip-7").pinned
    offset = datetime(2100, 1, 1, 12, 30).astimezone().utcoffset()
    assert find(queue, "spring/clip-7").deadline == datetime(2100, 1, 1, 12, 30, tzinfo=UTC) - (offset or timedelta())
    audited = [
        event.detail
        for event in queue.history.events()
        if event.kind == "title.steered" and event.detail["by"] == "cms"
    ]
    assert [(each["new"], each["why"]) for each in audited[:3]] == [
        ({"pin": True}, "the boss wants it"),
        ({"hold": True}, "the test says so"),
        ({"hold": False}, "the test says so"),
    ]


def test_cancelling_stops_the_run_and_the_title_leaves_the_page(
    queue: Catalog, opened: Open, airflow: AirflowServer
) -> None:
    page = opened()

    act(page, "harbour", "cancel", "wrong cut")

    expect(page.locator('tbody[data-request="spring/harbour"]')).to_have_count(0)
    assert find(queue, "spring/harbour").message == "by cms: wrong cut"
    wait_for(lambda: airflow.runs["batch__spring", "harbour__1"]["state"] == "failed", "the end of the run", limit_s=10)


def test_what_is_refused_is_said_in_the_dialogue_and_a_reason_is_asked_for(queue: Catalog, opened: Open) -> None:
    page = opened()
    page.locator('tbody[data-request="spring/clip-7"] [data-act="hold"]').click()
    page.locator("#ask-yes").click()
    expect(page.locator("#ask")).to_be_visible()
    queue.titles.settle("spring/clip-7", State.FAILED, now=datetime.now(UTC))

    page.locator("#ask-why").fill("too late")
    page.locator("#ask-yes").click()

    expect(page.locator("#ask-trouble")).to_contain_text("settled as failed: callsheet replay spring/clip-7")
    page.locator("#ask-no").click()
    expect(page.locator("#ask")).to_be_hidden()


def test_a_viewer_sees_everything_and_can_do_nothing(queue: Catalog, opened: Open) -> None:
    page = opened("viewer")

    assert page.locator("tbody[data-request]").count() == 6
    assert page.locator("[data-act]").count() == 0
