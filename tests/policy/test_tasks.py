"""What the tasks beside the encodes cost: each part of the work by its own rate, and a farm that differs from them."""

from __future__ import annotations

from typing import Any

import pytest

from include.domain.cost.features import TitleFeatures, read_task_features, source_features, task_features
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import SourceShape, TaskRates
from include.domain.cost.tasks import task_ratio, task_s
from include.domain.cost.work import expected_title
from include.domain.media.media import AudioStream
from include.domain.recipe.rungs import cut_ladder
from include.domain.title.title import Tier
from include.recipes import load_ladders, load_recipes, load_tiers
from tests.policy.test_binding import source

RATES, H264, TIERS = load_recipes().rates, load_ladders()["h264"], load_tiers()
HD = SourceShape(duration_s=60, width=1280, height=720, fps=25)
PIXELS = 1280 * 720
RUNGS = cut_ladder(H264.rungs, width=1280, height=720)


def title(*, tier: Tier = Tier.STANDARD, **changes: Any) -> TitleFeatures:
    return expected_title(HD.model_copy(update=changes), [H264], TIERS[tier])


def only(**rates: float) -> Any:
    """The rates where the extras cost nothing but what is given."""
    return RATES.model_copy(update={"extras": TaskRates(**rates), "start_s": 1.0})


@pytest.mark.parametrize(
    ("rates", "seconds"),
    [
        ({"start_s": 2.0}, 2.0),
        ({"rendition_s": 1.0}, len(RUNGS)),
        ({"sound_s": 3.0}, 3.0),
        ({"source_pixel": 1.0}, PIXELS * 1500 * 1e-9),
        ({"source_frame": 1000.0}, 1500 * 1e-6),
        ({"sampled_pixel": 1.0}, PIXELS * 25 * RATES.sampled_s * 1e-9),
        ({"output_pixel": 1.0}, sum(cut.pixels for cut in RUNGS) * 1500 * 1e-9),
        ({"output_frame": 1000.0}, 1500 * len(RUNGS) * 1e-6),
        ({"compared_pixel": 1.0}, PIXELS * 20 * len(RUNGS) * 1e-9),
        ({"file_sample": 100.0}, 60 * 48000 * 1e-7),
        ({"channel_sample": 100.0}, 2 * 60 * 48000 * 1e-7),
    ],
)
def test_each_part_of_the_work_has_its_rate(rates: dict[str, float], seconds: float) -> None:
    assert task_s("extras", title(), only(**rates)) == pytest.approx(seconds)


def test_a_forecast_has_the_start_of_the_worker_on_top_of_it() -> None:
    predictor = PriorPredictor(rates=only(start_s=2.0), task_factors={"extras": 1.5})

    (tasks,) = predictor.predict_tasks([title()])

    assert tasks.extras.cpu_s.p50_s == pytest.approx(1.0 + 3.0)


@pytest.mark.parametrize(
    ("tier", "seconds", "compared"),
    # The first frame is one of them; of the shortest titles a few are compared all the same.
    [(Tier.UGC, 4, 4), (Tier.UGC, 10, 5), (Tier.UGC, 300, 10), (Tier.PREMIUM, 10, 21), (Tier.PREMIUM, 3600, 40)],
)
def test_as_many_frames_are_compared_as_the_tier_asks_for(tier: Tier, seconds: float, compared: int) -> None:
    assert title(tier=tier, duration_s=seconds).compared_frames == compared


def stream(index: int, language: str, channels: int) -> AudioStream:
    return AudioStream(index=index, codec="pcm_s16le", channels=channels, sample_rate_hz=48000, language=language)


@pytest.mark.parametrize(
    ("tracks", "languages", "files", "channels"),
    [
        ([], (), 0, 0),
        ([stream(1, "en", 1)], (), 1, 2),
        ([stream(1, "en", 6), stream(2, "de", 6), stream(3, "fr", 6)], (), 6, 24),
        ([stream(1, "en", 6), stream(2, "de", 6), stream(3, "fr", 6)], ("de",), 2, 8),
        ([stream(1, "en", 2), stream(2, "en", 6)], (), 2, 8),
    ],
    ids=["no sound", "mono becomes stereo", "three in 5.1", "one of them is wanted", "both layouts are one sound"],
)
def test_sound_counts_by_what_is_made_of_it(
    tracks: list[AudioStream], languages: tuple[str, ...], files: int, channels: int
) -> None:
    found = source_features(source().model_copy(update={"audio": tuple(tracks)}), languages=languages, text_files=2)

    assert (found.audio_renditions, found.audio_channels, found.subtitle_tracks) == (files, channels, 2)


def test_a_title_takes_longer_with_more_sound_and_with_more_time() -> None:
    alone = task_s("extras", title(), RATES)

    assert task_s("extras", expected_title(HD, [H264], TIERS[Tier.UGC], languages=3), RATES) > alone
    assert task_s("extras", title(duration_s=120), RATES) > alone
    for task in ("prepare", "finish"):
        assert task_s(task, title(duration_s=3600), RATES) >= task_s(task, title(), RATES)


def test_a_row_of_the_history_says_how_the_farm_differs() -> None:
    features = task_features("finish", title())
    predicted_s = task_s("finish", title(), RATES)

    assert read_task_features(features.model_dump(mode="json")) == features
    assert task_ratio(features, RATES.start_s + 3 * predicted_s, RATES) == pytest.approx(3)
    assert task_ratio(features, RATES.start_s, RATES) is None


@pytest.mark.parametrize("change", [{"version": 2}, {"task": "plan"}, {"surprise": 1}])
def test_a_row_that_this_release_cannot_read_says_nothing(change: dict[str, Any]) -> None:
    assert read_task_features({**task_features("extras", title()).model_dump(mode="json"), **change}) is None
