"""Options of NVENC's H.264."""

from __future__ import annotations

from typing import Any

from include.adapters.ffmpeg.encoders.common import common_options, rate_control
from include.domain.recipe.codecs import H264
from include.domain.recipe.rate_control import NvencCq
from include.domain.recipe.rungs import Rendition

LOOKAHEAD = 20
"""Frames that NVENC looks ahead to spread its bits."""


def nvenc_options(rendition: Rendition) -> dict[str, Any]:
    """Capped constant quality with closed GOPs of one length, the same stream from every card."""
    control = rate_control(rendition, NvencCq)
    return {
        **common_options(rendition),
        "preset": rendition.preset,
        "tune": rendition.tune,
        "profile:v": rendition.profile,
        # Without the zero ffmpeg's default of 2 Mbit/s would be the average.
        "rc": "vbr",
        "cq": f"{control.cq:g}",
        "b:v": 0,
        "maxrate": f"{control.maxrate_kbps}k",
        "bufsize": f"{control.bufsize_kbps}k",
        # An IDR frame at each multiple of the GOP and nowhere else, whatever the look-ahead sees.
        "force_key_frames": f"expr:eq(mod(n,{rendition.gop_frames}),0)",
        "forced-idr": 1,
        "no-scenecut": 1,
        "rc-lookahead": LOOKAHEAD,
        "spatial-aq": 1,
        # Older cards refuse more B-frames, and B-frames as references.
        "bf": 2,
        "b_ref_mode": "disabled",
        "a53cc": 0,
        "tag:v": H264.sample_entry,
        "f": H264.container,
    }
