"""The independent reader: it agrees with the manifests on a sound set, and sees what is planted in another."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.domain.outcome.results import CheckResult
from tests.manifest_reader import drift_s
from tests.reader import Published, assert_in_sync, beeps, flashes, read_dash, read_hls
from tests.synced import make_synced
from tests.titles import Title, publish_quickly

RATE = "24000/1001"


@pytest.fixture(scope="module")
def folder(title: Title, verdicts: CheckResult) -> Path:
    title.package(verdicts)
    return title.folder


@pytest.mark.parametrize("read", [read_hls, read_dash])
def test_manifests_boxes_and_decode_of_a_title_of_two_segments_agree(title: Title, folder: Path, read: object) -> None:
    published: Published = read(folder)  # type: ignore[operator]

    assert {track.name for track in published.of("video")} == {"h264_144p", "h264_240p"}
    assert {track.language for track in published.of("audio")} == {"en", "de"}
    assert len(published.track("video").segments) == 2
    assert all(drift_s(track) < 0.022 for track in published.tracks)
    for track in published.of("video"):
        pictures = published.pictures(track.name)
        assert pictures.frames == title.verified.frames == sum(track.boxes.samples)
        assert pictures.times_s[0] == 0
        assert pictures.end_s == pytest.approx(title.verified.duration_s, abs=1e-6)
    for language in ("en", "de"):
        sound = published.sound(language=language)
        assert sound.gaps == ()
        assert sound.start_s == 0
        assert abs(sound.end_s - title.verified.duration_s) <= 1024 / 48_000


def test_flashes_and_beeps_are_found_where_they_were_made(tmp_path: Path) -> None:
    made = publish_quickly(tmp_path / "title", make_synced(tmp_path / "synced.mp4", at=(0.4, 1.2), seconds=2))

    published = read_hls(made.folder)
    assert flashes(published.pictures()) == (0.4, 1.2)
    assert beeps(published.sound()) == pytest.approx((0.4, 1.2), abs=0.003)
    assert_in_sync(published, at=(0.4, 1.2))
    with pytest.raises(AssertionError):
        assert_in_sync(published, at=(0.46, 1.2))
