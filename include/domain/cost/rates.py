"""What the work costs per pixel (``recipes/prior.yaml``), and what a source is taken to be of which little is known."""

from __future__ import annotations

from pydantic import Field, model_validator

from include.base.document import Document
from include.domain.recipe.codecs import SOFTWARE_ENCODERS
from include.domain.title.title import Kind

NANO = 1e-9
UNKNOWN_ENCODER_NS = 200.0
"""Per pixel, of an encoder that nobody has measured."""
Pair = tuple[str, str]
"""Encoder and preset."""


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


class TypicalSource(Document):
    """What a title of one kind is taken to be where nobody says."""

    duration_s: float = Field(gt=0)
    width: int = Field(ge=16)
    height: int = Field(ge=16)
    fps: float = Field(gt=0)


class TaskRates(Document):
    """Cost of a task that is no encode: a sum over what it has to do. Seconds and nanoseconds of one core."""

    start_s: float = Field(default=0.0, ge=0)
    """Of its tools, however short the title is; the worker's own start comes on top."""
    rendition_s: float = Field(default=0.0, ge=0)
    """For each rendition."""
    sound_s: float = Field(default=0.0, ge=0)
    """For each file of sound."""
    source_pixel: float = Field(default=0.0, ge=0)
    """Per pixel of the source, all of it decoded."""
    source_frame: float = Field(default=0.0, ge=0)
    """Per frame of the source, whatever its size."""
    sampled_pixel: float = Field(default=0.0, ge=0)
    """Per pixel of the samples that are measured before the plan."""
    output_pixel: float = Field(default=0.0, ge=0)
    """Per pixel of the renditions, all of them decoded."""
    output_frame: float = Field(default=0.0, ge=0)
    """Per frame of the renditions, whatever its size; each is taken to have as many as the source."""
    compared_pixel: float = Field(default=0.0, ge=0)
    """Per pixel of the source, for each frame of a rendition that is compared with it."""
    file_sample: float = Field(default=0.0, ge=0)
    """Per sample of each file of sound that is made, at 48 kHz, however many channels it has."""
    channel_sample: float = Field(default=0.0, ge=0)
    """Per sample of each channel in these files."""


class CostRates(Document):
    """Cost per pixel, in nanoseconds of one core."""

    encode: dict[str, dict[str, float]]
    """By encoder and preset, per pixel of the rendition."""
    decode: float = Field(gt=0)
    """Per pixel of the source, decoding and scaling."""
    prepare: TaskRates
    extras: TaskRates
    finish: TaskRates
    sampled_s: float = Field(gt=0)
    """Seconds of the source, at most, that are measured before the plan."""
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


def encoder_s(*, pixels: int, encoder: str, preset: str, source: SourceShape, fps: float, rates: CostRates) -> float:
    """CPU seconds that the encoder's own process takes by the bare rates.

    Args:
        pixels: Of a frame of the rendition.
        encoder: ffmpeg's name.
        preset: One that ``rates`` knows; else it counts as the dearest of the encoder's.
        source: What is decoded.
        fps: Of the rendition.
        rates: Cost per pixel.
    """
    pixels_in = source.width * source.height * source.frames
    return encoding_s(rates, encoder, preset, pixels_out=pixels * source.duration_s * fps, pixels_in=pixels_in)


def encoding_s(rates: CostRates, encoder: str, preset: str, *, pixels_out: float, pixels_in: float) -> float:
    """The same from the pixels of all frames that are encoded and of all that are decoded."""
    known = rates.encode.get(encoder, {})
    rate = known[preset] if preset in known else max(known.values(), default=UNKNOWN_ENCODER_NS)
    return (pixels_out * rate + pixels_in * rates.decode) * NANO


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
