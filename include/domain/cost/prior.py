"""The forecast before any model has learned: pixels, codec and preset, calibrated on this farm.

Slot seconds are CPU seconds of one core: a pool's slot is one core's worth of work. The rates of ``recipes/prior.yaml``
are multiplied by this farm's factors: how much slower or quicker it has shown itself to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from include.domain.cost.features import EncodeFeatures, SourceFeatures, TaskName, TitleFeatures
from include.domain.cost.forecast import spread
from include.domain.cost.predictor import Prediction, Predictor, Quantiles, TaskPrediction, TitleTasks
from include.domain.cost.rates import CostRates, Pair, encoding_s
from include.domain.cost.tasks import task_s
from include.domain.recipe.codecs import CODECS, SOFTWARE_ENCODERS

MEBIBYTE = 1024**2
BASE_MEMORY_MB = 256
ENCODER_FRAMES = 90
"""Frames that an encoder holds (lookahead, references, frame threads)."""
DECODER_FRAMES = 40
"""Frames of the source that decoder and filters hold."""
HELD_FRAMES = 200
"""Frames of the source that two decoders, filters and a comparison hold: the tasks beside the encodes."""
BYTES_PER_PIXEL = 1.5
DEEP_BYTES_PER_PIXEL = 3.0
"""More than 8 bits take two bytes."""
TONE_MAP_BYTES_PER_PIXEL = 12.0
"""Tone mapping works on three 32-bit planes."""
HARDWARE_MEMORY_MB = 512
"""Of the host, for the driver's context and its copies of frames."""
BYTES_PER_KBPS_S = 128
"""Of a second at one kbit/s, taken for 1,024 bits: the container's own bytes come on top of the encoder's."""
START_S = 300.0
DECODED_PIXELS_PER_S = 4e6
"""The slowest speed of a decoder that is still work and not a hang: a fifth of one busy core's."""


@dataclass(frozen=True, kw_only=True)
class PriorPredictor(Predictor):
    """Predicts from pixels by rates, which this farm's factors correct."""

    rates: CostRates
    factors: Mapping[Pair, float] = field(default_factory=dict)
    """How the farm differs from the rates, by encoder and preset (:mod:`include.domain.cost.calibration`)."""
    task_factors: Mapping[str, float] = field(default_factory=dict)
    """The same of the tasks beside the encodes, by name (:mod:`include.domain.cost.tasks`)."""

    def predict_many(self, features: Sequence[EncodeFeatures]) -> list[Prediction]:
        """What each of the encodes takes. Of memory and bytes the prior knows an upper bound alone."""
        return [self._encode(encode) for encode in features]

    def predict_tasks(self, titles: Sequence[TitleFeatures]) -> list[TitleTasks]:
        """What the other tasks of each title take."""
        return [self._tasks(title) for title in titles]

    def preset_times(self, features: EncodeFeatures, presets: Sequence[str]) -> list[float | None]:
        """By the bare rates: a farm that has shown its speed with one preset has said nothing of the others."""
        known = self.rates.encode.get(features.encoder, {})

        def cost_s(preset: str) -> float:
            return self.rates.start_s + self._encoder_s(features, preset)

        own_s = cost_s(features.preset)
        return [cost_s(preset) / own_s if preset in known else None for preset in presets]

    def _encode(self, features: EncodeFeatures) -> Prediction:
        factor = self.factors.get((features.encoder, features.preset), 1.0)
        seconds = self.rates.start_s + self._encoder_s(features, features.preset) * factor
        memory_mb = float(_memory_mb(features))
        size_bytes = (features.maxrate_kbps or 0) * features.source_duration_s * BYTES_PER_KBPS_S
        return Prediction(
            cpu_s=spread(seconds, self._sigma(features)),
            memory_mb=Quantiles(p50=memory_mb, p90=memory_mb),
            size_bytes=Quantiles(p50=size_bytes, p90=size_bytes),
            limit_s=_limit_s(features),
            source="prior",
        )

    def _encoder_s(self, features: EncodeFeatures, preset: str) -> float:
        pixels_out = features.pixels * features.source_duration_s * features.fps
        return encoding_s(self.rates, features.encoder, preset, pixels_out=pixels_out, pixels_in=_pixels_in(features))

    def _tasks(self, title: TitleFeatures) -> TitleTasks:
        source, sigma = title.source, self._sigma(title.source)
        frame_bytes = source.source_width * source.source_height * _source_bytes(source)
        memory_mb = float(math.ceil(HELD_FRAMES * frame_bytes / MEBIBYTE))
        memory = Quantiles(p50=memory_mb, p90=memory_mb)

        def task(name: TaskName) -> TaskPrediction:
            seconds = task_s(name, title, self.rates) * self.task_factors.get(name, 1.0)
            return TaskPrediction(cpu_s=spread(self.rates.start_s + seconds, sigma), memory_mb=memory)

        return TitleTasks(prepare=task("prepare"), extras=task("extras"), finish=task("finish"))

    def _sigma(self, source: SourceFeatures) -> float:
        return self.rates.sigma_known if source.source_known else self.rates.sigma_unknown


def _pixels_in(source: SourceFeatures) -> float:
    """Of all frames that are decoded."""
    return source.source_width * source.source_height * (source.source_duration_s * source.source_fps)


def _memory_mb(features: EncodeFeatures) -> int:
    """A base, the frames that the encoder holds at the rendition's size, and the decoder's at the source's."""
    source_bytes = TONE_MAP_BYTES_PER_PIXEL if features.tone_map else _source_bytes(features)
    source_pixels = features.source_width * features.source_height
    frames = features.pixels * BYTES_PER_PIXEL * ENCODER_FRAMES + source_pixels * source_bytes * DECODER_FRAMES
    hardware = 0 if features.encoder in SOFTWARE_ENCODERS else HARDWARE_MEMORY_MB
    return BASE_MEMORY_MB + math.ceil(frames / MEBIBYTE) + hardware


def _source_bytes(source: SourceFeatures) -> float:
    """Of a pixel of the decoded source."""
    return DEEP_BYTES_PER_PIXEL if (source.source_bit_depth or 8) > 8 else BYTES_PER_PIXEL


def _limit_s(features: EncodeFeatures) -> float:
    """A start, and all pixels of decoder and encoder at the slowest honest speed."""
    frames = features.source_duration_s * max(features.fps, features.source_fps)
    source_pixels = features.source_width * features.source_height
    encoding_s = features.pixels / CODECS[features.codec].least_pixels_per_s
    return START_S + frames * (encoding_s + source_pixels / DECODED_PIXELS_PER_S)
