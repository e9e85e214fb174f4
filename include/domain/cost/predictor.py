"""What a title's work will take: the interface of all that predicts it.

Plan, pods' requests, late binding, admission, valuation, calibration and simulator ask a :class:`Predictor` and nobody
else. The prior (:mod:`include.domain.cost.prior`) is its first implementation; one that has learned from the history is
another. Questions come in lists, because thousands of titles are valued at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import Field, model_validator

from include.base.document import Document
from include.domain.cost.features import EncodeFeatures, TitleFeatures
from include.domain.cost.forecast import Forecast


class Quantiles(Document):
    """A predicted amount. Where a predictor knows no more than a bound, both are that bound."""

    p50: float = Field(ge=0)
    p90: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Quantiles:
        if self.p90 < self.p50:
            raise ValueError(f"p90 {self.p90:g} is below p50 {self.p50:g}")
        return self

    def or_more(self, other: Quantiles) -> Quantiles:
        """The larger of both, quantile by quantile."""
        return Quantiles(p50=max(self.p50, other.p50), p90=max(self.p90, other.p90))


class Prediction(Document):
    """What one encode takes."""

    cpu_s: Forecast
    """Slot seconds, the start of its task included. A slot second is a CPU second of one core."""
    memory_mb: Quantiles
    """Of the encoder and what feeds it, at their highest."""
    size_bytes: Quantiles
    """Of the finished rendition."""
    limit_s: float = Field(ge=0)
    """Wall time after which it is taken to hang."""
    source: str
    """What predicted it: ``prior``, or the version of a model."""

    def with_room_for(self, other: Prediction) -> Prediction:
        """The same work with memory, bytes and time for ``other`` as well, another form of the same rendition."""
        room = {
            "memory_mb": self.memory_mb.or_more(other.memory_mb),
            "size_bytes": self.size_bytes.or_more(other.size_bytes),
            "limit_s": max(self.limit_s, other.limit_s),
        }
        return self.model_copy(update=room)


class TaskPrediction(Document):
    """What one of a title's other tasks takes."""

    cpu_s: Forecast
    """Slot seconds, the start of the task included."""
    memory_mb: Quantiles
    """Of its tools, at their highest."""


class TitleTasks(Document):
    """A title's tasks beside its encodes."""

    prepare: TaskPrediction
    extras: TaskPrediction
    finish: TaskPrediction

    @property
    def memory_mb(self) -> Quantiles:
        """Enough for any of them."""
        return self.prepare.memory_mb.or_more(self.extras.memory_mb).or_more(self.finish.memory_mb)


class Predictor(Protocol):
    """Predicts from features alone: the same features, the same prediction."""

    def predict(self, features: EncodeFeatures) -> Prediction:
        """What one encode takes."""
        return self.predict_many([features])[0]

    def predict_many(self, features: Sequence[EncodeFeatures]) -> list[Prediction]:
        """What each of the encodes takes, in their order."""
        ...

    def predict_tasks(self, titles: Sequence[TitleFeatures]) -> list[TitleTasks]:
        """What the other tasks of each title take, in their order."""
        ...

    def preset_times(self, features: EncodeFeatures, presets: Sequence[str]) -> list[float | None]:
        """The encode's time with each of the presets, over its time with its own; None for one that is not known."""
        ...
