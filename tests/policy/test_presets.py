"""Which presets an encode may fall back to, and what they cost it."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.base.errors import ConfigurationError
from include.domain.plan.degradation import best_that_fits
from include.domain.plan.presets import HOUR, Presets, Relative, faster_presets, preset_options
from include.domain.title.title import Tier
from include.recipes import load_presets, load_recipes, load_tiers

PRESETS, PRIOR, TIERS = load_presets(), load_recipes().prior, load_tiers()
RATES = PRIOR.rates


def faster(preset: str, encoder: str = "libx264", presets: Presets = PRESETS) -> tuple[Relative, ...]:
    features = HOUR.model_copy(update={"source_duration_s": 600, "encoder": encoder, "preset": preset})
    return faster_presets(features, presets=presets, predictor=PRIOR)


@pytest.mark.parametrize(
    ("preset", "encoder", "expected"),
    [
        ("slow", "libx264", ["slow", "medium", "fast", "veryfast", "superfast", "ultrafast"]),
        ("veryfast", "libx264", ["veryfast", "superfast", "ultrafast"]),
        ("ultrafast", "libx264", ["ultrafast"]),
        ("4", "libvpx-vp9", ["4", "5"]),
        ("placebo", "libx264", ["placebo"]),
        ("p5", "h264_nvenc", ["p5"]),
    ],
)
def test_faster_presets_come_least_loss_first_behind_the_tiers_own(
    preset: str, encoder: str, expected: list[str]
) -> None:
    found = faster(preset, encoder)

    assert [each.preset for each in found] == expected
    assert (found[0].time, found[0].vmaf_loss) == (1.0, 0.0)
    times, losses = [each.time for each in found], [each.vmaf_loss for each in found]
    assert times == sorted(times, reverse=True)
    assert losses == sorted(losses)


def test_decoding_is_not_made_faster_by_a_preset() -> None:
    decode, slow, veryfast = RATES.decode, RATES.encode["libx264"]["slow"], RATES.encode["libx264"]["veryfast"]

    assert faster("slow")[3].time == pytest.approx((veryfast + decode) / (slow + decode), rel=0.01)


def test_a_preset_that_loses_more_and_saves_nothing_is_no_option() -> None:
    slower = Presets(vmaf_loss={"libx264": {"medium": 0.0, "slow": 0.5, "fast": 0.7}})

    assert [each.preset for each in faster("medium", presets=slower)] == ["medium", "fast"]


@pytest.mark.parametrize(
    ("tier", "preset", "quickest"),
    [(Tier.PREMIUM, "slow", "veryfast"), (Tier.STANDARD, "medium", "superfast"), (Tier.UGC, "veryfast", "ultrafast")],
)
def test_the_floor_of_a_tier_ends_its_options(tier: Tier, preset: str, quickest: str) -> None:
    options = preset_options(faster(preset), p50_s=100, p90_s=150, may_lose=TIERS[tier].vmaf_may_lose)

    assert (options[0].p50_s, options[0].p90_s) == (100, 150)
    assert best_that_fits(options, time_left_s=0).option.name == quickest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vmaf_loss: {x265: {slow: 0}}", "x265: no such encoder"),
        ("vmaf_loss: {libx264: {slow: 1, fast: 2}}", "libx264: losses count from the best preset, whose loss is 0"),
        ("vmaf_loss: {libx264: {slow: 0, fast: -1}}", "libx264: losses count from the best preset"),
        ("vmaf_loss: {libx264: {}}", "libx264: losses count from the best preset"),
        ("speed: 1", "Field required"),
    ],
)
def test_a_faulty_list_of_presets_is_refused_with_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "presets.yaml").write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        load_presets(tmp_path)

    assert caught.value.message.startswith("recipes/presets.yaml: ")
    assert message in caught.value.message
