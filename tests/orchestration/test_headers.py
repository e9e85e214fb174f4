"""Titles posted without length and size: what their mezzanines' headers say becomes their forecast, once."""

from __future__ import annotations

import shutil
import socket
import time
from datetime import timedelta
from typing import Any

import pytest

from include.adapters import header
from include.adapters.catalog import Catalog
from include.base.settings import Settings, load_settings
from include.domain.title.request import SourceExtent, parse_batch
from include.orchestration.intake import accept_request
from include.recipes import load_recipes
from include.services import headers
from include.services.headers import look_at_headers
from include.services.intake import release_batch
from include.services.valuation import value_batch, work_of_request
from tests.catalog.samples import NOW, after, find
from tests.clips import Clips
from tests.orchestration.airflow_server import AirflowServer
from tests.receivers import http_receiver

FILM = {"duration_s": 5400, "width": 1920, "height": 1080, "frame_rate": 24}


@pytest.fixture
def here(settings: Settings, clips: Clips) -> str:
    """The address of a clip of two seconds that is there."""
    path = settings.mezzanine_roots[0] / "clip.mp4"
    shutil.copy(clips("header.mp4"), path)
    return path.as_uri()


def enter(catalog: Catalog, settings: Settings, batch_id: str, *mezzanines: str, **fields: Any) -> None:
    """A batch whose titles are numbered from 0, valued as intake does it."""
    titles = [{"title_id": f"{batch_id}{number}", "mezzanine": uri, **fields} for number, uri in enumerate(mezzanines)]
    batch = parse_batch({"batch_id": batch_id, "titles": titles}, pipelines=frozenset({"vod"}))
    valued = value_batch(batch, catalog, settings, now=NOW)
    catalog.batches.accept(batch, pipeline_version=1, now=NOW, valued=valued)


def look(catalog: Catalog, settings: Settings) -> int:
    return look_at_headers(catalog, settings, clock=lambda: after(30))


def finishes_in(catalog: Catalog, request_id: str) -> timedelta:
    valuation = find(catalog, request_id).valuation
    assert valuation is not None
    return valuation.admission.finish_p50 - valuation.at


def test_many_clips_of_seconds_posted_without_a_word_about_them_take_minutes_and_no_days(
    catalog: Catalog, settings: Settings, here: str, airflow: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "LOOKS_LIMIT_S", 60.0)  # the machine of the tests may be busy
    monkeypatch.setattr(header, "LOOK_LIMIT_S", 60.0)
    titles = [{"title_id": f"clip{number}", "mezzanine": here} for number in range(33)]
    with http_receiver() as cms:
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", cms.origin)
        monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "signed")
        accept_request({"batch_id": "spring", "callback_url": f"{cms.origin}/hook", "titles": titles})
        before = max(finishes_in(catalog, f"spring/clip{number}") for number in range(33))

        release_batch("spring")

    assert before > timedelta(hours=12)
    waiting = [title for title in catalog.titles.find() if title.released_at is None]
    assert len(waiting) == 30
    assert all(title.source_known for title in waiting)
    assert max(finishes_in(catalog, title.request_id) for title in waiting) < timedelta(minutes=30)
    told = cms.requests[0].json["data"]
    assert (told["source_known"], told["admission"]["finish_p50"], told["admission"]["finish_p90"]) == (
        False, None, None,
    )  # fmt: skip


def test_the_forecast_is_the_one_that_the_request_would_have_had_and_the_request_stays_what_it_was(
    catalog: Catalog, settings: Settings, here: str
) -> None:
    enter(catalog, settings, "spring", here)
    enter(catalog, settings, "partly", here, source={"duration_s": 5400})
    assert look(catalog, settings) == 2

    title = find(catalog, "spring/spring0")
    assert title.header is not None
    assert (title.header.width, title.header.height, title.header.frame_rate) == (320, 180, 25.0)
    assert title.request.source.known is False
    said = title.request.model_copy(update={"source": title.request.source.model_copy(update=dict(title.header))})
    assert title.work == work_of_request(said, "vod", load_recipes().prior)
    partly = find(catalog, "partly/partly0")
    assert (partly.expected.source.duration_s, partly.expected.source.width) == (5400, 320), "the request comes first"


def test_each_mezzanine_is_looked_at_once_and_only_where_its_extent_is_not_known(
    catalog: Catalog, settings: Settings, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(uri: str, *_: object) -> SourceExtent:
        asked.append(uri)
        return SourceExtent()

    monkeypatch.setattr(headers, "read_header", read)
    enter(catalog, settings, "known", here, source=FILM)
    enter(catalog, settings, "missing", "file:///elsewhere/a.mov")
    enter(catalog, settings, "late", here, wait_until=after(600).isoformat())
    before = find(catalog, "missing/missing0")

    for _ in range(2):
        assert look(catalog, settings) == 0
    assert asked == ["file:///elsewhere/a.mov"]
    title = find(catalog, "missing/missing0")
    assert (title.source_known, title.work, title.valuation) == (False, before.work, before.valuation)
    catalog.titles.note_looks([], arrived=["late/late0"], now=after(20))
    look(catalog, settings)
    assert asked[1:] == [here], "now that it is there"


def test_what_a_plan_has_said_meanwhile_stays(
    catalog: Catalog, settings: Settings, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(catalog, settings, "spring", here)
    guess = find(catalog, "spring/spring0").work
    assert guess is not None
    planned = guess.model_copy(update={"planned": True})
    read = headers.read_header

    def read_while_it_is_planned(*arguments: Any) -> SourceExtent:
        catalog.queue.note_work("spring/spring0", planned)
        return read(*arguments)

    monkeypatch.setattr(headers, "read_header", read_while_it_is_planned)
    assert look(catalog, settings) == 1

    assert find(catalog, "spring/spring0").work == planned
    assert catalog.queue.unseen(after(60), limit=9) == []


def test_a_machine_without_ffprobe_leaves_the_titles_to_one_that_has_it(
    catalog: Catalog, settings: Settings, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(catalog, settings, "spring", here)
    monkeypatch.setenv("CALLSHEET_FFPROBE", "/nowhere/ffprobe")
    assert look(catalog, load_settings()) == 0
    monkeypatch.delenv("CALLSHEET_FFPROBE")

    assert look(catalog, load_settings()) == 1


def test_a_silent_origin_costs_one_look_and_holds_up_no_other_place(
    catalog: Catalog, settings: Settings, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "LOOK_LIMIT_S", 0.4)
    monkeypatch.setattr(headers, "SLOW_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", origin)
        enter(catalog, settings, "slow", *(f"{origin}/{number}.mov" for number in range(40)))
        enter(catalog, settings, "spring", here)
        began = time.monotonic()

        assert look(catalog, load_settings()) == 1

        assert time.monotonic() - began < 3
        assert find(catalog, "spring/spring0").source_known
        began = time.monotonic()
        assert look(catalog, load_settings()) == 0
        assert time.monotonic() - began < 0.3, "nobody asks it again"


def test_looks_that_never_end_leave_the_call_in_time_and_those_left_out_come_with_the_next(
    catalog: Catalog, settings: Settings, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "LOOKS_LIMIT_S", 0.3)
    monkeypatch.setattr(headers, "LOOKS_AT_ONCE", 2)
    asked: list[str] = []

    def hangs(uri: str, *_: object) -> SourceExtent:
        asked.append(uri)
        time.sleep(5)
        return SourceExtent()

    monkeypatch.setattr(headers, "read_header", hangs)
    enter(catalog, settings, "slow", *(f"https://{name}.example/" for name in "abc"))
    for _ in range(2):
        began = time.monotonic()
        assert look(catalog, settings) == 0
        assert time.monotonic() - began < 1
    assert sorted(asked[:2]) == ["https://a.example/", "https://b.example/"]
    assert asked[2:] == ["https://c.example/"]
