"""What a title's work will cost before any model has learned it: pixels, codec and preset, calibrated on this farm.

Slot seconds are CPU seconds of one core: a pool's slot is one core's worth of work. The rates of ``recipes/prior.yaml``
are multiplied by a calibration: how much slower or quicker this farm has shown itself to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from pydantic import Field, model_validator

from include.base.document import Document
from include.domain.cost.forecast import Forecast, spread
from include.domain.media.sampling import LONG_TITLE_S
from include.domain.recipe.codecs import CODECS, SOFTWARE_ENCODERS
from include.domain.recipe.rungs import Ladder, Rendition, cut_ladder
from include.domain.recipe.tiers import TierPolicy
from include.domain.title.title import Kind, Tier

NANO = 1e-9
MEASURED_FROM = 5
"""A farm's own encodes with an encoder and preset, from which on they count."""
SAMPLED_FROM = 3
"""The same of sample encodes, whose contents are chosen to differ."""
TELLING_S = 0.5
"""An encode of less predicted work tells how long a program takes to start, not how quick the farm is."""
Pair = tuple[str, str]
"""Encoder and preset."""


class TypicalSource(Document):
    """What a title of one kind is taken to be where nobody says."""

    duration_s: float = Field(gt=0)
    width: int = Field(ge=16)
    height: int = Field(ge=16)
    fps: float = Field(gt=0)


class CostRates(Document):
    """Cost per pixel, in nanoseconds of one core."""

    encode: dict[str, dict[str, float]]
    """By encoder and preset, per pixel of the rendition."""
    decode: float = Field(gt=0)
    """Per pixel of the source, decoding and scaling."""
    prepare: float = Field(ge=0)
    """Per pixel of the source in the samples that are measured."""
    prepare_sample_s: float = Field(gt=0)
    """Seconds of the source, at most, that are measured before the plan."""
    extras: float = Field(ge=0)
    """Per pixel of the source: the full decode."""
    finish: float = Field(ge=0)
    """Per pixel of every rendition that is compared with the source."""
    finish_sample_s: float = Field(gt=0)
    """Seconds, at most, of a rendition that is compared in samples; all of it is decoded."""
    start_s: float = Field(ge=0)
    """Of every worker task: the process and its first reads."""
    typical: dict[Kind, TypicalSource]
    unknown: TypicalSource
    """For a title without a kind."""
    sigma_known: float = Field(gt=0)
    """Spread of the cost's logarithm where the source's shape is known."""
    sigma_unknown: float = Field(gt=0)
    """The same where it is only typical."""

    @model_validator(mode="after")
    def _known_encoders(self) -> CostRates:
        unknown = sorted(set(self.encode) - set(SOFTWARE_ENCODERS))
        if unknown:
            raise ValueError(f"encode: no such encoder: {', '.join(unknown)} (known: {', '.join(SOFTWARE_ENCODERS)})")
        return self


class SourceShape(Document):
    """How much picture a source has."""

    duration_s: float = Field(gt=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    fps: float = Field(gt=0)
    known: bool = True
    """False where it is only typical of the title's kind."""

    @property
    def frames(self) -> float:
        """Of the whole source."""
        return self.duration_s * self.fps


class TitleWork(Document):
    """Predicted slot seconds of one title, task by task."""

    prepare: Forecast
    encodes: tuple[Forecast, ...]
    extras: Forecast
    finish: Forecast

    @property
    def total(self) -> Forecast:
        """All of it."""
        return _together([self.prepare, *self.encodes, self.extras, self.finish])

    def elapsed(self, slots: int) -> Forecast:
        """From the start to the set that is ready to be published, with ``slots`` slots to itself."""
        beside = [*self.encodes, self.extras]
        width = min(slots, len(beside))
        longest = max(beside, key=lambda each: each.p50_s)
        spread_out = _together(beside).scaled(1 / width)
        return _together([self.prepare, max(longest, spread_out, key=lambda each: each.p50_s), self.finish])


def shape_of(
    kind: Kind | None,
    *,
    duration_s: float | None = None,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    rates: CostRates,
) -> SourceShape:
    """The source as far as it is known; what nobody said is typical of the kind."""
    typical = rates.typical.get(kind, rates.unknown) if kind else rates.unknown
    return SourceShape(
        duration_s=duration_s or typical.duration_s,
        width=width or typical.width,
        height=height or typical.height,
        fps=fps or typical.fps,
        known=duration_s is not None and width is not None and height is not None,
    )


def encode_cost(
    *, pixels: int, encoder: str, preset: str, source: SourceShape, fps: float, rates: CostRates, factor: float = 1.0
) -> Forecast:
    """Slot seconds of one encode, the start of its task included.

    Args:
        pixels: Of a frame of the rendition.
        encoder: ffmpeg's name.
        preset: One that ``rates`` knows; else the dearest of the encoder's.
        source: What is decoded.
        fps: Of the rendition.
        rates: Cost per pixel.
        factor: Of this farm for this encoder and preset, from :func:`calibration`.
    """
    encoding_s = encoder_s(pixels=pixels, encoder=encoder, preset=preset, source=source, fps=fps, rates=rates)
    seconds = rates.start_s + encoding_s * factor
    return spread(seconds, rates.sigma_known if source.known else rates.sigma_unknown)


def encoder_s(*, pixels: int, encoder: str, preset: str, source: SourceShape, fps: float, rates: CostRates) -> float:
    """CPU seconds that the encoder's own process takes by the bare rates; arguments as of :func:`encode_cost`."""
    known = rates.encode.get(encoder, {})
    rate = known.get(preset, max(known.values(), default=200.0))
    pixels_out, pixels_in = pixels * source.duration_s * fps, source.width * source.height * source.frames
    return (pixels_out * rate + pixels_in * rates.decode) * NANO


def title_work(
    source: SourceShape,
    ladders: Sequence[Ladder],
    policy: TierPolicy,
    *,
    rates: CostRates,
    factors: Mapping[Pair, float],
    tier: Tier | None = None,
) -> TitleWork:
    """Predicted work of a title that is not inspected yet.

    Args:
        source: As far as it is known.
        ladders: One per codec of the pipeline.
        policy: Of the title's tier.
        rates: Cost per pixel.
        factors: This farm's, by encoder and preset.
        tier: Decides how much of the renditions is compared; where it is not said that is a sample.
    """
    fps = min(60.0, source.fps)
    orders: list[tuple[int, str, str]] = []
    for ladder in ladders:
        encoder, preset = CODECS[ladder.codec].software.name, policy.presets.get(ladder.codec, ladder.preset)
        cuts = cut_ladder(ladder.rungs, width=source.width, height=source.height)
        orders += [(cut.pixels, encoder, preset) for cut in cuts]
    return _work(orders, source, fps, rates, factors, tier)


def planned_work(
    source: SourceShape,
    renditions: Sequence[Rendition],
    *,
    fps: float,
    rates: CostRates,
    factors: Mapping[Pair, float],
    tier: Tier | None = None,
) -> TitleWork:
    """Predicted work of a title whose plan is made."""
    orders = [(each.width * each.height, each.encoder, each.preset) for each in renditions]
    return _work(orders, source, fps, rates, factors, tier)


def _work(
    orders: Sequence[tuple[int, str, str]],
    source: SourceShape,
    fps: float,
    rates: CostRates,
    factors: Mapping[Pair, float],
    tier: Tier | None,
) -> TitleWork:
    sigma = rates.sigma_known if source.known else rates.sigma_unknown
    pixels_in = source.width * source.height * source.frames
    sampled_in = pixels_in * min(1.0, rates.prepare_sample_s / source.duration_s)
    pixels_out = sum(pixels for pixels, _, _ in orders) * source.duration_s * fps
    whole = tier is Tier.PREMIUM and source.duration_s <= LONG_TITLE_S
    compared_out = pixels_out * (1.0 if whole else min(1.0, rates.finish_sample_s / source.duration_s))
    return TitleWork(
        prepare=spread(rates.start_s + sampled_in * rates.prepare * NANO, sigma),
        encodes=tuple(
            encode_cost(
                pixels=pixels,
                encoder=encoder,
                preset=preset,
                source=source,
                fps=fps,
                rates=rates,
                factor=factors.get((encoder, preset), 1.0),
            )
            for pixels, encoder, preset in orders
        ),
        extras=spread(rates.start_s + pixels_in * rates.extras * NANO, sigma),
        finish=spread(rates.start_s + (compared_out * rates.finish + pixels_out * rates.decode) * NANO, sigma),
    )


class SampleEncode(Document):
    """An encode that was made to learn this farm's speed."""

    content: str
    """What it shows, for people."""
    encoder: str
    preset: str
    pixels: int = Field(ge=1)
    """Of a frame of the rendition."""
    fps: float = Field(gt=0)
    source: SourceShape
    cpu_s: float = Field(ge=0)

    def ratio(self, rates: CostRates) -> float | None:
        """Measured over predicted CPU seconds; None for an encode that is too short to tell."""
        predicted_s = encoder_s(
            pixels=self.pixels, encoder=self.encoder, preset=self.preset, source=self.source, fps=self.fps, rates=rates
        )
        return ratio(self.cpu_s, predicted_s)


class Spread(Document):
    """How the sample encodes with one encoder and preset lie about the prior."""

    factor: float
    """Median of measured over predicted CPU seconds."""
    lowest: float
    highest: float
    samples: int

    @property
    def counts(self) -> bool:
        """Whether they are enough to go by."""
        return self.samples >= SAMPLED_FROM


class Calibration(Document):
    """Sample encodes of one machine. It holds what was measured, not factors: the rates may change under it."""

    measured_at: datetime
    encoder_version: str
    samples: tuple[SampleEncode, ...]

    def spreads(self, rates: CostRates) -> dict[Pair, Spread]:
        """By encoder and preset; samples that are too short to tell do not count."""
        found: dict[Pair, list[float]] = {}
        for each in self.samples:
            measured = each.ratio(rates)
            if measured is not None:
                found.setdefault((each.encoder, each.preset), []).append(measured)
        return {
            pair: Spread(factor=median(ratios), lowest=min(ratios), highest=max(ratios), samples=len(ratios))
            for pair, ratios in sorted(found.items())
        }

    def factors(self, rates: CostRates) -> dict[Pair, float]:
        """How this machine differs from the rates, where enough was measured."""
        return {pair: each.factor for pair, each in self.spreads(rates).items() if each.counts}


def ratio(cpu_s: float, predicted_s: float) -> float | None:
    """Measured over predicted CPU seconds; None where too little was predicted to tell."""
    return cpu_s / predicted_s if predicted_s >= TELLING_S and cpu_s > 0 else None


def calibration(measured: Mapping[Pair, Sequence[float]]) -> dict[Pair, float]:
    """How this farm differs from the rates, by encoder and preset.

    Args:
        measured: Ratios of actual to predicted CPU seconds of past encodes, by encoder and preset.

    A few encodes say little of the next title's content: a median counts from five of them on.
    """
    return {pair: median(ratios) for pair, ratios in measured.items() if len(ratios) >= MEASURED_FROM}


def _together(parts: Sequence[Forecast]) -> Forecast:
    """Durations that share their error, as the parts of one title do: medians and p90s add up."""
    return Forecast(p50_s=sum(each.p50_s for each in parts), p90_s=sum(each.p90_s for each in parts))
