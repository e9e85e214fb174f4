"""The forecast before there is a model: pixels, codec, preset, and what this farm has shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.domain.cost.calibration import SAMPLED_FROM, Calibration, SampleEncode, calibration
from include.domain.cost.features import EncodeFeatures, source_features
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import CostRates, SourceShape, shape_of
from include.domain.cost.work import title_work
from include.domain.media.media import AudioStream
from include.domain.plan.binding import work_of
from include.domain.plan.decide import decide
from include.domain.title.title import Kind, Tier
from include.recipes import load_cost_rates, load_ladders, load_tiers
from tests.media_core.samples import analysis, inspection

RATES = load_cost_rates()
PRIOR = PriorPredictor(rates=RATES)
H264, VP9 = load_ladders()["h264"], load_ladders()["vp9"]
TIERS = load_tiers()
HD = SourceShape(duration_s=60, width=1280, height=720, fps=25)


def features(source: SourceShape = HD, **changes: Any) -> EncodeFeatures:
    given: dict[str, Any] = {
        "source_width": source.width, "source_height": source.height, "source_fps": source.fps,
        "source_duration_s": source.duration_s, "codec": "h264", "encoder": "libx264", "preset": "medium",
        "width": 640, "height": 360, "fps": source.fps,
    }  # fmt: skip
    return EncodeFeatures.model_validate({**given, **changes})


def cost(preset: str = "medium", *, pixels: int = 640 * 360, source: SourceShape = HD, factor: float = 1.0) -> float:
    predictor = PriorPredictor(rates=RATES, factors={("libx264", preset): factor})
    return predictor.predict(features(source, preset=preset, width=pixels, height=1)).cpu_s.p50_s


def test_an_encode_costs_its_pixels_and_those_that_are_decoded() -> None:
    encoded, decoded = 640 * 360 * 1500 * 48e-9, 1280 * 720 * 1500 * 3.6e-9

    assert cost() == pytest.approx(RATES.start_s + encoded + decoded)
    # A slow farm starts its tasks no later.
    assert cost(factor=1.3) == pytest.approx(RATES.start_s + 1.3 * (encoded + decoded))


@given(
    faster=st.sampled_from(["veryfast", "superfast", "ultrafast"]),
    seconds=st.floats(0.1, 1e5),
    more=st.floats(1, 10),
    pixels=st.integers(4, 10**7),
)
def test_more_picture_never_costs_less_and_a_faster_preset_never_more(
    faster: str, seconds: float, more: float, pixels: int
) -> None:
    source = HD.model_copy(update={"duration_s": seconds})
    longer = HD.model_copy(update={"duration_s": seconds * more})

    assert cost(pixels=pixels, source=source) <= cost(pixels=pixels, source=longer)
    assert cost(faster, pixels=pixels, source=source) <= cost("slow", pixels=pixels, source=source)


def test_a_preset_that_nobody_measured_counts_as_the_dearest() -> None:
    assert cost("placebo") == cost("veryslow")


def test_what_is_not_said_is_typical_of_the_kind_and_less_certain() -> None:
    typical = shape_of(Kind.TRAILER, rates=RATES)
    partly = shape_of(Kind.TRAILER, duration_s=30, rates=RATES)
    told = shape_of(Kind.TRAILER, duration_s=30, width=640, height=360, fps=25, rates=RATES)

    assert (typical.duration_s, typical.known) == (120, False)
    assert (partly.duration_s, partly.width, partly.known) == (30, 1920, False)
    assert (told.width, told.frames, told.known) == (640, 750, True)
    assert shape_of(None, rates=RATES).duration_s == RATES.unknown.duration_s
    widths = [
        work.total.sigma
        for work in (title_work(each, [H264], TIERS[Tier.UGC], predictor=PRIOR) for each in (typical, told))
    ]
    assert widths[0] > widths[1]


def test_a_title_is_the_work_of_its_rungs_at_the_preset_of_its_tier() -> None:
    ugc = title_work(HD, [H264], TIERS[Tier.UGC], predictor=PRIOR)
    premium = title_work(HD, [H264], TIERS[Tier.PREMIUM], predictor=PRIOR)
    both = title_work(HD, [H264, VP9], TIERS[Tier.UGC], predictor=PRIOR)

    assert len(ugc.encodes) == 5
    assert len(both.encodes) == 10
    assert premium.total.p50_s > 1.5 * ugc.total.p50_s
    assert both.total.p50_s > ugc.total.p50_s
    parts = [ugc.prepare, *ugc.encodes, ugc.extras, ugc.finish]
    assert ugc.total.p50_s == pytest.approx(sum(part.p50_s for part in parts))


def test_the_forecast_before_the_inspection_is_that_of_the_plan_where_all_is_known() -> None:
    source = inspection(width=1280, height=720)
    plan = decide(
        source, analysis(), [H264], TIERS[Tier.STANDARD], tier="standard", ceiling_s=1e6, gpu=False, predictor=PRIOR
    )
    video = source.video
    shape = SourceShape(duration_s=video.duration_s, width=video.width, height=video.height, fps=float(video.fps))

    before = title_work(shape, [H264], TIERS[Tier.STANDARD], predictor=PRIOR)
    source = source.model_copy(update={"audio": (AudioStream(index=1, codec="aac", channels=2, sample_rate_hz=48000),)})
    after = work_of(plan, source_features(source), predictor=PRIOR, policy=TIERS[Tier.STANDARD])

    assert before == after


def test_a_title_with_more_slots_takes_less_time_down_to_its_longest_encode() -> None:
    work = title_work(HD, [H264], TIERS[Tier.STANDARD], predictor=PRIOR)
    times = [work.elapsed(slots).p50_s for slots in (1, 2, 4, 100)]

    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(work.total.p50_s)
    longest = max(each.p50_s for each in work.encodes)
    assert times[3] == pytest.approx(work.prepare.p50_s + longest + work.finish.p50_s)


def test_a_farm_that_is_slower_shows_in_its_forecasts() -> None:
    medium, slow = ("libx264", "medium"), ("libx264", "slow")
    factors = calibration([*((medium, each) for each in (1.4, 1.5, None, 1.6, 1.5, 9.0)), *((slow, 3.0),) * 4])

    assert factors == {("libx264", "medium"): 1.5}
    slower = title_work(HD, [H264], TIERS[Tier.STANDARD], predictor=PriorPredictor(rates=RATES, factors=factors))
    usual = title_work(HD, [H264], TIERS[Tier.STANDARD], predictor=PRIOR)
    for slow, once in zip(slower.encodes, usual.encodes, strict=True):
        assert slow.p50_s - RATES.start_s == pytest.approx(1.5 * (once.p50_s - RATES.start_s))


def sample(preset: str, cpu_s: float, *, seconds: float = 10.0, encoder: str = "libx264") -> SampleEncode:
    source = HD.model_copy(update={"duration_s": seconds})
    return SampleEncode(
        content="detail", encoder=encoder, preset=preset, pixels=640 * 360, fps=25, source=source, cpu_s=cpu_s
    )


def test_sample_encodes_are_compared_with_the_rates_of_today_and_count_from_three_on() -> None:
    measured = Calibration(
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        encoder_version="9",
        samples=(*(sample("medium", each) for each in (9.0, 3.0, 6.0)), sample("slow", 5.0), sample("slow", 7.0)),
    )
    predicted = 250 * (640 * 360 * 48e-9 + 1280 * 720 * 3.6e-9)
    dearer = RATES.model_copy(update={"encode": {"libx264": {"medium": 480.0, "slow": 750.0}}})

    spreads = measured.spreads(RATES)

    assert measured.factors(RATES) == {("libx264", "medium"): pytest.approx(6.0 / predicted)}
    assert measured.factors(dearer)["libx264", "medium"] < 0.2 * measured.factors(RATES)["libx264", "medium"]
    assert [(pair[1], each.samples, each.counts) for pair, each in spreads.items()] == [
        ("medium", 3, True),
        ("slow", 2, False),
    ]
    medium = spreads["libx264", "medium"]
    assert (medium.lowest, medium.highest) == (pytest.approx(3.0 / predicted), pytest.approx(9.0 / predicted))


@pytest.mark.parametrize(("cpu_s", "seconds"), [(3.0, 0.5), (0.0, 10.0)], ids=["too short", "no time at all"])
def test_a_sample_that_tells_nothing_is_left_out(cpu_s: float, seconds: float) -> None:
    telling = Calibration(
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        encoder_version="9",
        samples=(sample("medium", cpu_s, seconds=seconds),) * SAMPLED_FROM,
    )

    assert telling.spreads(RATES) == {}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"encode": {"x264": {"slow": 1}}}, "encode: no such encoder: x264"),
        ({"decode": 0}, "decode"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_rates_that_cannot_be_meant_are_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        CostRates.model_validate({**RATES.model_dump(mode="json"), **change})
