"""Options of libvpx's VP9."""

from __future__ import annotations

from typing import Any

from include.adapters.ffmpeg.encoders.common import common_options, rate_control
from include.domain.recipe.codecs import VP9
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition


def vp9_options(rendition: Rendition) -> dict[str, Any]:
    """Constrained quality, which is libvpx's counterpart of a capped CRF."""
    control = rate_control(rendition, CappedCrf)
    return {
        **common_options(rendition),
        "crf": f"{control.crf:g}",
        "keyint_min": rendition.gop_frames,
        # With a bitrate libvpx takes the CRF as a floor of quality: constrained quality, the counterpart of a cap.
        "b:v": f"{control.maxrate_kbps}k",
        "maxrate": f"{control.maxrate_kbps}k",
        "bufsize": f"{control.bufsize_kbps}k",
        "deadline": "good",
        "cpu-used": rendition.preset,
        "row-mt": 1,
        "f": VP9.container,
    }
