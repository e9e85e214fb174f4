"""Predicted durations and costs as distributions: what is known before there is a model, and how durations add up.

Encode times spread by factors, not by seconds: they are taken as lognormal, given by median and 90th percentile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

from pydantic import Field, model_validator

from include.base.document import Document

Z90 = NormalDist().inv_cdf(0.9)
_STANDARD = NormalDist()


class Forecast(Document):
    """A predicted duration, or amount of work, in seconds."""

    p50_s: float = Field(ge=0)
    p90_s: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Forecast:
        if self.p90_s < self.p50_s:
            raise ValueError(f"p90_s {self.p90_s:g} is below p50_s {self.p50_s:g}")
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.p90_s / self.p50_s) / Z90 if self.p50_s > 0 else 0.0

    @property
    def mean_s(self) -> float:
        """Expected value of the lognormal."""
        return self.p50_s * math.exp(self.sigma**2 / 2)

    @property
    def variance(self) -> float:
        """Of the lognormal, in s²."""
        return (math.exp(self.sigma**2) - 1) * self.mean_s**2

    def chance_above(self, limit_s: float) -> float:
        """Probability, 0–1, that it takes longer than ``limit_s``."""
        if limit_s <= 0:
            return 1.0 if self.p50_s > 0 else 0.0
        if self.p50_s == 0:
            return 0.0
        if self.sigma == 0:
            return 1.0 if self.p50_s > limit_s else 0.0
        return 1 - _STANDARD.cdf(math.log(limit_s / self.p50_s) / self.sigma)

    def later(self, by_s: float) -> Forecast:
        """The same duration behind ``by_s`` seconds that are known."""
        return Forecast(p50_s=self.p50_s + by_s, p90_s=self.p90_s + by_s)

    def scaled(self, factor: float) -> Forecast:
        """The same spread, ``factor`` times as long."""
        return Forecast(p50_s=self.p50_s * factor, p90_s=self.p90_s * factor)


NOTHING = Forecast(p50_s=0.0, p90_s=0.0)


def spread(p50_s: float, sigma: float) -> Forecast:
    """A forecast from its median and the standard deviation of its logarithm."""
    return Forecast(p50_s=p50_s, p90_s=p50_s * math.exp(Z90 * sigma))


def total(parts: Iterable[Forecast]) -> Forecast:
    """The sum of independent durations, as the lognormal with the same mean and variance (Fenton–Wilkinson, 1960)."""
    known = [part for part in parts if part.p50_s > 0]
    mean = sum(part.mean_s for part in known)
    if mean == 0:
        return NOTHING
    square = math.log(1 + sum(part.variance for part in known) / mean**2)
    return spread(mean * math.exp(-square / 2), math.sqrt(square))
