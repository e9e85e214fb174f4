"""The option builder of each encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from include.adapters.ffmpeg.encoders.nvenc import nvenc_options
from include.adapters.ffmpeg.encoders.vp9 import vp9_options
from include.adapters.ffmpeg.encoders.x264 import x264_options
from include.base.errors import ConfigurationError
from include.domain.recipe.codecs import NVENC_H264, VPX_VP9, X264
from include.domain.recipe.rungs import Rendition

BUILDERS: Mapping[str, Callable[[Rendition], dict[str, Any]]] = {
    X264.name: x264_options,
    VPX_VP9.name: vp9_options,
    NVENC_H264.name: nvenc_options,
}
"""By ffmpeg's name of the encoder."""


def encoder_options(rendition: Rendition) -> dict[str, Any]:
    """Ffmpeg's output options for the rendition's encoder; raises :class:`ConfigurationError` for an unknown one."""
    builder = BUILDERS.get(rendition.encoder)
    if builder is None:
        raise ConfigurationError(
            f"{rendition.name}: no encoder {rendition.encoder!r} is known here (known: {', '.join(BUILDERS)})"
        )
    return builder(rendition)
