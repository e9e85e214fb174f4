"""A title whose deadline full quality would miss: published in time, above its floor, and in full afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import create_engine, delete

from include.adapters.catalog import HistoryRow
from include.adapters.catalog.schema import history
from include.base.errors import SteeringRefused
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import SourceShape, encoder_s
from include.domain.cost.work import TitleWork, title_work
from include.domain.title.request import parse_batch
from include.domain.title.steering import Steering
from include.domain.title.title import Origin, State, Tier
from include.recipes import load_cost_rates, load_ladders, load_tiers
from tests.clips import make_clip
from tests.stack import LiveStack, wait_for

SHAPE = SourceShape(duration_s=60, width=426, height=240, fps=25)
TIER = Tier.PREMIUM
FLOOR = load_tiers()[TIER].vmaf_may_lose
SLOWNESS = 500.0
"""How much slower than the prior this farm's encodes with the tier's preset have been: the forecast stands on that, so
that minutes more or less until the encodes start change nothing."""
PAST_ENCODES = 60


def expected() -> TitleWork:
    """What the plan will say of the clip on such a farm."""
    predictor = PriorPredictor(rates=load_cost_rates(), factors={("libx264", "slow"): SLOWNESS})
    return title_work(SHAPE, [load_ladders()["h264"]], load_tiers()[TIER], predictor=predictor)


@pytest.fixture(scope="module")
def slow_farm(live: LiveStack) -> Iterator[None]:
    """A farm that remembers slow encodes, and on which nothing else waits."""
    conf = {"batch_id": "past", "titles": [{"title_id": "past", "mezzanine": "file:///past.mov"}]}
    live.catalog.batches.accept(
        parse_batch(conf, pipelines=frozenset({"vod"})), pipeline_version=99, now=datetime.now(UTC)
    )
    live.catalog.titles.settle("past/past", State.CANCELLED, now=datetime.now(UTC))
    predicted = encoder_s(
        pixels=426 * 240, encoder="libx264", preset="slow", source=SHAPE, fps=25, rates=load_cost_rates()
    )
    features = {
        "encoder": "libx264", "preset": "slow", "width": 426, "height": 240, "frame_rate": "25",
        "source_duration_s": 60, "source_width": 426, "source_height": 240, "source_fps": 25,
    }  # fmt: skip
    rows = [
        HistoryRow(
            rendition=f"h264_{number}", recipe_hash="0", encoder_version="0", features=features,
            cpu_s=SLOWNESS * predicted, wall_s=1, peak_memory_mb=1, size_bytes=1, frames=1, duration_s=60,
        )
        for number in range(PAST_ENCODES)
    ]  # fmt: skip
    live.catalog.history.record("past/past", rows, [], now=datetime.now(UTC))
    for title in live.catalog.titles.find(states={State.WAITING}):
        # Other tests leave titles behind that can never start.
        wait_for(partial(held, live, title.request_id), f"the hold of {title.request_id}", limit_s=60)
    yield
    with create_engine(live.settings.catalog_url).begin() as connection:
        connection.execute(delete(history).where(history.c.request_id == "past/past"))


def held(live: LiveStack, request_id: str) -> bool:
    """Hold a title; False while a release has it in its hands."""
    try:
        live.catalog.queue.steer(request_id, Steering(hold=True, why="a test"), by="tests", now=datetime.now(UTC))
    except SteeringRefused:
        return False
    return True


@pytest.fixture(scope="module")
def saved(live: LiveStack, slow_farm: None) -> dict[str, Any]:
    """The title, settled. Its time is too short for full quality even by the median, with all slots to itself."""
    clip = make_clip(live.mezzanines / "rush.mp4", seconds=60, size="426x240", picture="testsrc")
    first, second = expected().encodes
    left_s = 0.62 * (first.p50_s + second.p50_s)
    assert left_s < first.p50_s + second.p50_s / live.settings.encode_slots
    live.submit(
        "rush",
        {
            "title_id": "rush", "mezzanine": clip.as_uri(), "tier": TIER.value,
            "publish_at": (datetime.now(UTC) + timedelta(seconds=left_s + 60)).isoformat(),
            "source": {"duration_s": 60, "width": 426, "height": 240, "frame_rate": 25},
        },
        callback_url=f"{live.callbacks.origin}/rush",
    )  # fmt: skip
    (settled,) = live.settled("rush")
    return settled


def report(live: LiveStack, version: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live.store.get_bytes(f"titles/rush/v{version}/report.json"))
    return found


def test_it_is_published_in_time_degraded_and_above_its_floor(saved: dict[str, Any], live: LiveStack) -> None:
    assert (saved["state"], saved["reason"], saved["version"]) == ("degraded", "for_deadline", 1)
    assert saved["deadline_kept"]
    said = report(live, 1)
    assert [each["recipe"]["preset"] for each in said["renditions"]] == ["veryfast", "veryfast"]
    for each in said["renditions"]:
        assert (each["outcome"], each["degradation"]["instead_of"]) == ("pass", "slow")
        assert 0 < each["degradation"]["vmaf_loss"] <= FLOOR
        assert each["degradation"]["saved_s"] > 0
    assert said["missing"] == []
    assert "may give up: h264_144p down to veryfast (1.8 VMAF)" in " ".join(said["plan"]["notes"])


def test_what_was_given_up_is_told_once_to_the_operator_the_cms_and_slack(
    saved: dict[str, Any], live: LiveStack
) -> None:
    assert "veryfast instead of slow: costs 1.8 VMAF, saves" in saved["message"]
    told = [each.detail for each in live.catalog.history.events(request_id="rush/rush") if each.kind == "task.finished"]
    assert [each["option"]["option"] for each in told if "option" in each] == ["veryfast", "veryfast"]
    assert all("are left for it" in each["why"] for each in told if "why" in each)
    live.trigger("dispatch", "tell-now")
    wait_for(lambda: _webhooks(live) != [], "the webhook")
    (webhook,) = _webhooks(live)
    assert [each["option"] for each in webhook["given_up"]] == ["veryfast", "veryfast"]
    messages = [received.body.decode() for received in live.slack.requests]
    assert sum("rush" in text and "encoded in full when the farm is idle" in text for text in messages) == 1


def test_the_forecast_that_later_titles_stand_on_learns_what_was_really_encoded(
    saved: dict[str, Any], live: LiveStack
) -> None:
    assert {row.features["preset"] for row in live.catalog.history.of_request("rush/rush")} == {"veryfast"}
    record = live.catalog.titles.get("rush/rush")
    assert record is not None
    assert record.work is not None
    assert record.work.planned


def test_afterwards_it_is_encoded_in_full_as_a_new_version(
    saved: dict[str, Any], live: LiveStack, record_property: Any
) -> None:
    live.trigger("dispatch", "back-fill-now")
    wait_for(lambda: len(live.catalog.titles.find(title_id="rush")) == 2, "the back-fill")
    (full,) = live.settled(live.catalog.titles.find(title_id="rush")[-1].request_id)

    assert (full["state"], full["version"], full["origin_request_id"]) == ("published", 2, "rush/rush")
    assert full["request_id"] == "rush-backfill1/rush"
    assert json.loads(live.store.get_bytes("titles/rush/current.json"))["version"] == 2
    degraded, whole = (report(live, version)["renditions"] for version in (1, 2))
    assert {each["recipe"]["preset"] for each in whole} == {"slow"}
    assert {each["degradation"] for each in whole} == {None}
    for before, after in zip(degraded, whole, strict=True):
        lost = after["vmaf"]["harmonic_mean"] - before["vmaf"]["harmonic_mean"]
        record_property(before["name"], f"VMAF {before['vmaf']['harmonic_mean']} → {after['vmaf']['harmonic_mean']}")
        assert lost <= FLOOR
    assert live.catalog.repairs.pending(kind=Origin.BACKFILL) == []


def _webhooks(live: LiveStack) -> list[dict[str, Any]]:
    return [
        received.json["data"]
        for received in live.callbacks.requests
        if received.json["type"] == "title.degraded" and received.json["data"]["title_id"] == "rush"
    ]
