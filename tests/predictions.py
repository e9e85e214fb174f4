"""Predictions of encodes for tests that are not about them."""

from __future__ import annotations

from include.domain.cost.forecast import Forecast
from include.domain.cost.predictor import Prediction, Quantiles
from include.domain.plan.binding import FarmShare
from include.recipes import load_recipes


def predicted(*, memory_mb: float = 1, size_bytes: float = 0, cpu_s: float = 1) -> Prediction:
    """One that is quite sure."""
    return Prediction(
        cpu_s=Forecast(p50_s=cpu_s, p90_s=cpu_s),
        memory_mb=Quantiles(p50=memory_mb, p90=memory_mb),
        size_bytes=Quantiles(p50=size_bytes, p90=size_bytes),
        limit_s=1,
        source="prior",
    )


def prior_share() -> FarmShare:
    """Of a farm that has shown nothing of its speed, with one slot."""
    return FarmShare(predictor=load_recipes().prior)
