"""A title that plays before it is complete: its core rung as the first version, all rungs as the next."""

from __future__ import annotations

import json
from typing import Any

import httpx
import m3u8
import pytest

from include.domain.title.title import State
from tests.clips import make_clip
from tests.live.test_order import slots
from tests.stack import LiveStack, wait_for

TITLE = "soon"
REST = {"h264_144p", "h264_240p", "h264_480p"}


@pytest.fixture(scope="module")
def lives(live: LiveStack) -> dict[str, dict[str, Any]]:
    """The title as it stood when it was playable and its other encodes were held, and as it ended."""
    clip = make_clip(live.mezzanines / "soon.mp4", seconds=8, size="854x480")
    slots(live, 1)
    try:
        live.submit(
            TITLE,
            {"title_id": TITLE, "mezzanine": clip.as_uri(), "tier": "ugc", "playable_first": True,
             "publish_at": "2100-01-01T00:00:00Z"},
            callback_url=f"{live.callbacks.origin}/{TITLE}",
        )  # fmt: skip
        wait_for(lambda: _title(live)["state"] == State.PLAYABLE, "the first version", limit_s=180)
        slots(live, 0)
        seen = _seen(live)
    finally:
        slots(live, live.settings.encode_slots)
    live.settled(TITLE)
    return {"first": seen, "whole": _seen(live)}


def _title(live: LiveStack) -> dict[str, Any]:
    (title,) = live.client().batch(TITLE)["titles"]
    return dict(title)


def _seen(live: LiveStack) -> dict[str, Any]:
    """What operator, CMS and player see now."""
    title = _title(live)
    pointer = json.loads(live.store.get_bytes(f"titles/{TITLE}/current.json"))
    token = {"Authorization": f"Bearer {live.token('cms')}"}
    master = m3u8.loads(httpx.get(pointer["manifests"]["hls"], headers=token).text)
    heights, missing = [], []
    for variant in master.playlists:
        base = pointer["manifests"]["hls"].rpartition("/")[0]
        media = f"{base}/{variant.uri}"
        playlist = m3u8.loads(httpx.get(media, headers=token).text)
        for each in [*playlist.segment_map, *playlist.segments]:
            address = f"{media.rpartition('/')[0]}/{each.uri}"
            missing += [address] if httpx.get(address, headers=token).status_code != 200 else []
        if variant.stream_info.resolution:
            heights.append(variant.stream_info.resolution[1])
    events = [
        (event.kind, event.item) for event in live.catalog.history.events(request_id=title["request_id"], limit=500)
    ]
    report = json.loads(live.store.get_bytes(f"titles/{TITLE}/v{pointer['version']}/report.json"))
    return {
        "title": title, "pointer": pointer, "heights": sorted(heights), "missing": missing, "events": events,
        "report": report,
    }  # fmt: skip


def test_the_core_rung_plays_while_the_others_are_still_to_be_encoded(lives: dict[str, dict[str, Any]]) -> None:
    first = lives["first"]

    assert (first["pointer"]["version"], first["pointer"]["whole"], first["heights"]) == (1, False, [360])
    assert first["missing"] == []
    assert (first["title"]["state"], first["title"]["deadline_kept"]) == ("playable", True)
    done = {item for kind, item in first["events"] if kind == "task.finished" and item}
    assert "h264_360p" in done
    assert not done >= REST


def test_the_full_ladder_follows_as_the_next_version_and_the_first_one_stays(
    lives: dict[str, dict[str, Any]], live: LiveStack
) -> None:
    whole = lives["whole"]

    assert (whole["pointer"]["version"], whole["pointer"]["whole"]) == (2, True)
    assert (whole["heights"], whole["missing"]) == ([144, 240, 360, 480], [])
    assert (whole["title"]["state"], whole["title"]["version"]) == ("published", 2)
    assert whole["title"]["playable_at"] == lives["first"]["title"]["playable_at"]
    assert whole["pointer"]["playable_at"] == lives["first"]["pointer"]["published_at"]
    files = live.store.list(f"titles/{TITLE}/v1")
    assert {"hls.m3u8", "dash.mpd", "preview.html", "report.json"} <= files.keys()
    assert sum(kind == "task.finished" for kind, item in whole["events"] if item) == 4, "nothing is encoded twice"


def test_reports_and_events_say_why_and_what_follows(lives: dict[str, dict[str, Any]], live: LiveStack) -> None:
    first, whole = lives["first"]["report"], lives["whole"]["report"]

    assert (first["whole"], set(first["missing"]), first["degraded"]) == (False, REST, False)
    assert (whole["whole"], whole["missing"], whole["degraded"]) == (True, [], False)
    assert first["plan"]["first"] == whole["plan"]["first"]
    assert first["plan"]["first"]["why"] == "asked"
    # Compared once, for the first version.
    (core,) = first["renditions"]
    again = next(each for each in whole["renditions"] if each["name"] == core["name"])
    assert (again["vmaf"], again["check_cost"]) == (core["vmaf"], core["check_cost"])
    (planned,) = (
        event.detail
        for event in live.catalog.history.events(request_id=f"{TITLE}/{TITLE}", limit=500)
        if event.kind == "task.finished" and event.task == "plan"
    )
    assert planned["first"]["message"].startswith("h264_360p first, as a version of their own, as the request asks")


def test_the_cms_hears_of_the_first_version_and_then_of_all(lives: dict[str, dict[str, Any]], live: LiveStack) -> None:
    live.trigger("dispatch", "tell-of-soon")
    wait_for(lambda: "title.published" in _told(live), "the last webhook")

    told = _told(live)
    assert [name for name in told if name != "title.progress"] == [
        "title.accepted", "title.started", "title.playable", "title.published",
    ]  # fmt: skip
    bodies = {received.json["type"]: received.json["data"] for received in _received(live)}
    playable, published = bodies["title.playable"], bodies["title.published"]
    assert (playable["version"], playable["whole"], set(playable["missing"])) == (1, False, REST)
    assert (published["version"], published["missing"], published["deadline_met"]) == (2, [], True)


def _received(live: LiveStack) -> list[Any]:
    return [each for each in live.callbacks.requests if each.json["data"].get("title_id") == TITLE]


def _told(live: LiveStack) -> list[str]:
    return list(dict.fromkeys(each.json["type"] for each in _received(live)))
