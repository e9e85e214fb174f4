"""What all encoders are told alike."""

from __future__ import annotations

from typing import Any

from include.domain.recipe.rungs import Rendition


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
