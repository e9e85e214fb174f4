"""How this farm's speed differs from the rates: by its own encodes, or by sample encodes that were made to learn it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from statistics import median
from typing import TypeVar

from pydantic import Field

from include.base.document import Document
from include.domain.cost.features import EncodeFeatures
from include.domain.cost.rates import CostRates, Pair, SourceShape, encoder_s

CALIBRATION = "models/calibration/current.json"
"""Store key of the sample encodes that ``callsheet calibrate`` has made."""
MEASURED_FROM = 5
"""A farm's own encodes with an encoder and preset, from which on they count."""
SAMPLED_FROM = 3
"""The same of sample encodes, whose contents are chosen to differ."""
TELLING_S = 0.5
"""An encode of less predicted work tells how long a program takes to start, not how quick the farm is."""


K = TypeVar("K")


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
        for sample in self.samples:
            measured = sample.ratio(rates)
            if measured is not None:
                found.setdefault((sample.encoder, sample.preset), []).append(measured)
        return {
            pair: Spread(factor=median(ratios), lowest=min(ratios), highest=max(ratios), samples=len(ratios))
            for pair, ratios in sorted(found.items())
        }

    def factors(self, rates: CostRates) -> dict[Pair, float]:
        """How this machine differs from the rates, where enough was measured."""
        return {pair: spread.factor for pair, spread in self.spreads(rates).items() if spread.counts}


def ratio(cpu_s: float, predicted_s: float) -> float | None:
    """Measured over predicted CPU seconds; None where too little was predicted to tell."""
    return cpu_s / predicted_s if predicted_s >= TELLING_S and cpu_s > 0 else None


def ratio_of(features: EncodeFeatures, cpu_s: float, rates: CostRates) -> float | None:
    """The same of an encode of the farm's own, which took ``cpu_s`` CPU seconds."""
    predicted_s = encoder_s(
        pixels=features.pixels,
        encoder=features.encoder,
        preset=features.preset,
        source=features.shape,
        fps=features.fps,
        rates=rates,
    )
    return ratio(cpu_s, predicted_s)


def calibration(measured: Iterable[tuple[K, float | None]]) -> dict[K, float]:
    """How this farm differs from the rates, by encoder and preset, or by task.

    Args:
        measured: Of each piece of past work what it is counted as, and actual over predicted CPU seconds; None where
            it is too short to tell.

    A few encodes say little of the next title's content: a median counts from five of them on.
    """
    found: dict[K, list[float]] = {}
    for kind, times in measured:
        if times is not None:
            found.setdefault(kind, []).append(times)
    return {kind: median(ratios) for kind, ratios in found.items() if len(ratios) >= MEASURED_FROM}
