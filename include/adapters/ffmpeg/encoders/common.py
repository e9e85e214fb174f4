"""What all encoders are told alike."""

from __future__ import annotations

from typing import Any, TypeVar

from include.base.document import Document
from include.base.errors import ConfigurationError
from include.domain.recipe.rungs import Rendition

Kind = TypeVar("Kind", bound=Document)
"""Of rate control."""


def common_options(rendition: Rendition) -> dict[str, Any]:
    """The encoder, the distance of its keyframes, and the colours of the picture that it gets."""
    return {
        "c:v": rendition.encoder,
        "g": rendition.gop_frames,
        "color_primaries": "bt709",
        "color_trc": "bt709",
        "colorspace": "bt709",
        "color_range": "tv",
    }


def rate_control(rendition: Rendition, kind: type[Kind]) -> Kind:
    """The rendition's rate control, which must be of ``kind``; raises :class:`ConfigurationError` for another one."""
    control = rendition.rate_control
    if not isinstance(control, kind):
        raise ConfigurationError(
            f"{rendition.name}: {rendition.encoder} is told bits by {kind.__name__}, not by {control.kind}"
        )
    return control
