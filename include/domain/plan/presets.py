"""The presets that an encode may fall back to: what each is predicted to take and to lose."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from include.base.document import Document
from include.domain.cost.features import EncodeFeatures
from include.domain.cost.predictor import Predictor
from include.domain.plan.degradation import Option
from include.domain.recipe.codecs import CODECS, SOFTWARE_ENCODERS, UNIVERSAL
from include.domain.recipe.tiers import TierPolicy

HOUR = EncodeFeatures(
    source_width=1920, source_height=1080, source_fps=25, source_duration_s=3600, width=1920, height=1080, fps=25,
    codec=UNIVERSAL.name, encoder=UNIVERSAL.software.name, preset="medium",
)  # fmt: skip
"""Where presets are compared for no title in particular."""


class Presets(Document):
    """What presets lose (``recipes/presets.yaml``)."""

    vmaf_loss: dict[str, dict[str, float]]
    """By encoder and preset: VMAF points below the encoder's best one here, at the same rate."""
    crf: dict[str, dict[str, float]] = Field(default_factory=dict)
    """By encoder and preset: what is added to the CRF so that the rate, on which the losses stand, is kept."""
    dropped_rung: float = Field(default=12.0, ge=0)
    """VMAF points that a rung's viewers lose where it is left out and they get the next lower one."""

    @model_validator(mode="after")
    def _sound(self) -> Presets:
        for encoder, losses in self.vmaf_loss.items():
            if encoder not in SOFTWARE_ENCODERS:
                raise ValueError(f"{encoder}: no such encoder (known: {', '.join(SOFTWARE_ENCODERS)})")
            if not losses or min(losses.values()) != 0:
                raise ValueError(f"{encoder}: losses count from the best preset, whose loss is 0")
        return self


class Relative(Document):
    """A faster preset against the one that the tier asks for."""

    preset: str
    time: float = Field(gt=0)
    """Predicted time over that of the tier's preset."""
    vmaf_loss: float = Field(ge=0)
    """VMAF points below the tier's preset."""


def faster_presets(features: EncodeFeatures, *, presets: Presets, predictor: Predictor) -> tuple[Relative, ...]:
    """The tier's own preset, and those that are quicker and lose more; the least loss first.

    Args:
        features: Of the encode with the tier's preset. One that nobody measured has no faster ones: nothing is known
            of what they would lose.
        presets: What they lose.
        predictor: Of the time that each takes.
    """
    losses, own = presets.vmaf_loss.get(features.encoder, {}), features.preset
    lossier = [name for name in losses if own in losses and losses[name] > losses[own]]
    found = [
        Relative(preset=name, time=time, vmaf_loss=round(losses[name] - losses[own], 3))
        for name, time in zip(lossier, predictor.preset_times(features, lossier), strict=True)
        if time is not None and time < 1
    ]
    return (Relative(preset=own, time=1.0, vmaf_loss=0.0), *sorted(found, key=lambda preset: preset.vmaf_loss))


def preset_options(faster: tuple[Relative, ...], *, p50_s: float, p90_s: float, may_lose: float) -> tuple[Option, ...]:
    """The options of an encode job, from its own forecast.

    Args:
        faster: From :func:`faster_presets`.
        p50_s: Predicted wall time with the tier's preset, median.
        p90_s: The same, 90th percentile.
        may_lose: VMAF points; the tier's quality floor.
    """
    return tuple(
        Option(
            name=preset.preset,
            p50_s=p50_s * preset.time,
            p90_s=p90_s * preset.time,
            vmaf_loss=preset.vmaf_loss,
            allowed=preset.vmaf_loss <= may_lose,
        )
        for preset in faster
    )


def quickest(policy: TierPolicy, *, presets: Presets, predictor: Predictor) -> TierPolicy:
    """The tier's policy with the quickest presets that its floor allows, as an hour of 1080p shows them."""

    def of(codec: str, preset: str) -> str:
        encoder = CODECS[codec].software.name
        losses = presets.vmaf_loss.get(encoder, {})
        allowed = [
            name for name in losses if preset in losses and losses[name] - losses[preset] <= policy.vmaf_may_lose
        ]
        names = [preset, *allowed]
        hour = HOUR.model_copy(update={"codec": codec, "encoder": encoder, "preset": preset})
        times = dict(zip(names, predictor.preset_times(hour, names), strict=True))
        return min(names, key=lambda name: math.inf if (time := times[name]) is None else time)

    return policy.model_copy(update={"presets": {codec: of(codec, each) for codec, each in policy.presets.items()}})
