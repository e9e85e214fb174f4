"""Options of x264."""

from __future__ import annotations

from typing import Any

from include.adapters.ffmpeg.encoders.common import common_options, rate_control
from include.domain.recipe.codecs import H264, X264
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition

_MANY_REFERENCES = {"slow", "slower", "veryslow", "placebo"}


def x264_options(rendition: Rendition) -> dict[str, Any]:
    """Capped CRF with closed GOPs of one length."""
    control = rate_control(rendition, CappedCrf)
    return {
        **common_options(rendition),
        "crf": f"{control.crf:g}",
        "keyint_min": rendition.gop_frames,
        "preset": rendition.preset,
        **({"tune": rendition.tune} if rendition.tune else {}),
        **({"profile:v": rendition.profile} if rendition.profile else {}),
        "maxrate": f"{control.maxrate_kbps}k",
        "bufsize": f"{control.bufsize_kbps}k",
        "sc_threshold": 0,
        # The slow presets take five references and more, which lifts the level above what the size needs.
        **({"refs": 4} if rendition.preset in _MANY_REFERENCES else {}),
        "x264-params": "open-gop=0",
        # Captions in the picture become a text track; what the encoder passes on would break at a changed rate.
        "a53cc": 0,
        "tag:v": H264.sample_entry,
        "f": H264.container,
    }


def plain_x264_options(*, preset: str, crf: float) -> dict[str, Any]:
    """Of a clip that is no rendition: a moving preview, or a sample of a source."""
    return {"c:v": X264.name, "preset": preset, "crf": f"{crf:g}"}
