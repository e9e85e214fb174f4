"""What is known of an encode before it starts, and how rows of the history are read."""

from __future__ import annotations

from typing import Any

import pytest

from include.domain.cost.features import (
    EncodeFeatures,
    encode_features,
    expected_features,
    metadata_features,
    read_features,
    source_features,
)
from include.domain.cost.rates import SourceShape
from include.domain.media.media import Analysis
from include.domain.recipe.rate_control import NvencCq
from include.domain.recipe.rungs import cut_ladder
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import Tier
from include.recipes import load_ladders, load_tiers
from tests.policy.test_binding import planned, source

PLAN = planned()[0]
ANALYSIS = Analysis(windows=(), si_mean=40.5, motion_mean=3.0, loudness_lufs=-23.0)
OLD_ROW = {
    "source_codec": "h264", "source_width": 1920, "source_height": 1080, "source_bit_depth": 10,
    "source_duration_s": 60.0, "source_fps": 25.0, "source_bitrate_kbps": None, "content_si_mean": 40.5,
    "content_interlaced": False, "content_loudness_lufs": -23.0, "codec": "h264", "encoder": "libx264", "width": 1280,
    "height": 720, "frame_rate": "25/1", "frames": 1500, "crf": 23.0, "maxrate_kbps": 3000, "bufsize_kbps": 4500,
    "preset": "medium", "tune": None, "profile": "high", "gop_frames": 50, "core": True,
}  # fmt: skip
"""As settled titles left it before the record had a version."""


def known(**changes: Any) -> EncodeFeatures:
    video = source().model_copy(update={"bitrate_kbps": 9000.0})
    features = encode_features(source_features(video, ANALYSIS), PLAN.renditions[-1])
    return features.model_copy(update=changes)


def test_a_record_holds_source_content_and_rendition() -> None:
    found = known()

    assert (found.source_width, found.source_fps, found.source_bitrate_kbps, found.source_known) == (
        1280,
        25.0,
        9000.0,
        True,
    )
    assert (found.content_si_mean, found.content_motion_mean, found.content_ti_mean) == (40.5, 3.0, None)
    assert (found.encoder, found.preset, found.pixels, found.fps) == ("libx264", "medium", 1280 * 720, 25.0)
    assert (found.rate_control, found.maxrate_kbps) == ("capped_crf", PLAN.renditions[-1].maxrate_kbps)
    assert (found.deinterlace, found.tone_map) == (False, False)
    assert (found.machine, found.threads) == (None, None)


def test_the_treatment_and_the_kind_of_rate_control_are_those_of_the_rendition() -> None:
    rendition = PLAN.renditions[-1]
    treated = rendition.model_copy(
        update={"treatment": SourceTreatment(tone_map=True), "rate_control": NvencCq.like(rendition.rate_control)}
    )

    found = encode_features(source_features(source()), treated)

    assert (found.deinterlace, found.tone_map) == (False, True)
    assert (found.rate_control, found.rate_value) == ("nvenc_cq", rendition.rate_control.quality)


def test_a_row_of_the_history_reads_as_the_record_that_it_was() -> None:
    assert read_features(known().model_dump(mode="json")) == known()
    assert {type(value) for value in known().model_dump(mode="json").values()} <= {str, int, float, bool, type(None)}


def test_a_row_from_before_the_version_reads_as_far_as_it_goes() -> None:
    found = read_features(OLD_ROW)

    assert found is not None
    assert (found.version, found.fps, found.source_bit_depth, found.content_si_mean) == (1, 25.0, 10, 40.5)
    assert (found.rate_control, found.rate_value, found.maxrate_kbps) == ("capped_crf", 23.0, 3000)
    hardware = read_features({**OLD_ROW, "encoder": "h264_nvenc", "preset": "p5"})
    assert hardware is not None
    assert (hardware.codec, hardware.rate_control) == ("h264", "nvenc_cq")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {**OLD_ROW, "encoder": "mystery"},
        {**OLD_ROW, "frame_rate": "25/0"},
        {**OLD_ROW, "width": None},
        {**known().model_dump(mode="json"), "version": 2},
        {**known().model_dump(mode="json"), "surprise": 1},
    ],
    ids=["nothing", "no encoder", "no rate", "no width", "a newer version", "an unknown field"],
)
def test_a_row_that_cannot_be_understood_says_nothing(record: dict[str, Any]) -> None:
    assert read_features(record) is None


def test_metadata_and_a_plan_make_the_same_record_of_what_both_know() -> None:
    ladder, policy = load_ladders()["h264"], load_tiers()[Tier.STANDARD]
    shape = SourceShape(duration_s=60, width=1280, height=720, fps=25)
    (*_, top) = cut_ladder(ladder.rungs, width=1280, height=720)

    told = expected_features(metadata_features(shape), top, ladder, policy, fps=25.0)

    assert told.shape == known().shape == shape
    seen = {
        "source_codec",
        "source_bit_depth",
        "source_bitrate_kbps",
        "content_si_mean",
        "content_motion_mean",
        # Nobody says that a title has no sound; this one's inspection found none.
        "audio_renditions",
        "audio_channels",
    }
    assert told.model_dump(exclude=seen) == known().model_dump(exclude=seen)
