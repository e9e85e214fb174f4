"""The packaged set in the players that people use, in a real browser, from another origin."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

PLAYERS = [
    pytest.param("hls.html", "hls.m3u8", id="hls.js plays HLS"),
    pytest.param("shaka.html", "hls.m3u8", id="shaka-player plays HLS"),
    pytest.param("shaka.html", "dash.mpd", id="shaka-player plays DASH"),
]
DURATION_S = 14.014


@pytest.mark.parametrize(("player", "manifest"), PLAYERS)
def test_a_set_plays_seeks_and_switches(page: Page, players: str, media: str, player: str, manifest: str) -> None:
    page.goto(f"{players}/pages/{player}")
    page.evaluate("manifest => start(manifest)", f"{media}/{manifest}")

    page.wait_for_function("video.currentTime > 0.5 && video.videoHeight === 144")
    assert page.evaluate("video.duration") == pytest.approx(DURATION_S, abs=0.1)
    heights = {rung["height"] for rung in page.evaluate("rungs()") if rung["codecs"].startswith("avc1")}
    assert heights == {144, 240}

    page.evaluate("pin(240)")
    page.wait_for_function("video.videoHeight === 240")

    page.evaluate("video.currentTime = 9")
    page.wait_for_function("!video.seeking && video.currentTime > 9.5")
    assert decoded_frames(page) > 0

    assert page.evaluate("languages()") == ["en", "de"]
    page.evaluate("speak('de')")
    page.wait_for_function("spoken() === 'de'")
    # shaka-player that is sent elsewhere before a new language has arrived waits for it for ever.
    page.wait_for_function("since => video.currentTime > since + 0.3", arg=page.evaluate("video.currentTime"))
    page.evaluate("video.currentTime = 13")
    page.wait_for_function("video.ended")
    assert page.evaluate("video.currentTime") == pytest.approx(DURATION_S, abs=0.1)
    assert page.evaluate("fatal") is None


@pytest.mark.parametrize(("player", "manifest"), PLAYERS)
def test_subtitles_appear_at_their_time(page: Page, players: str, media: str, player: str, manifest: str) -> None:
    page.goto(f"{players}/pages/{player}")
    page.evaluate("manifest => start(manifest)", f"{media}/{manifest}")
    page.evaluate("subtitle()")
    page.evaluate("video.currentTime = 7.5")

    page.wait_for_function("cues().some(([start, text]) => text.includes('Goodbye'))")

    cues: list[list[Any]] = page.evaluate("cues()")
    start, text = next(cue for cue in cues if "Goodbye" in cue[1])
    assert start == pytest.approx(8.0, abs=0.05)
    assert "& thanks" in text.replace("&amp;", "&")


@pytest.mark.parametrize("manifest", ["hls.m3u8", "dash.mpd"])
def test_sound_and_picture_stay_together_after_a_jump(page: Page, players: str, media: str, manifest: str) -> None:
    """A playlist that leaves out the encoder's delay has the sound a frame early from there on."""
    page.goto(f"{players}/pages/shaka.html")
    page.evaluate("manifest => start(manifest)", f"{media}/{manifest}")
    page.evaluate("video.currentTime = 9")
    page.wait_for_function("!video.seeking && video.currentTime > 9.2")

    sound = page.evaluate("player.getBufferedInfo().audio[0].start")
    # The first AAC frame behind the second video segment's start.
    assert sound == pytest.approx(282 * 1024 / 48000, abs=0.005)


def decoded_frames(page: Page) -> int:
    frames: int = page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames")
    return frames
