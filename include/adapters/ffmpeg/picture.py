"""The filters between the decoded source and the picture that is encoded.

:func:`source_filters` and :func:`scaled` are the one way from a decoded source to the picture that is encoded. The
quality comparison sends its reference through the same two, so that it measures the encoder and nothing else.
"""

from __future__ import annotations

from typing import Any

from include.domain.media.media import VideoStream
from include.domain.recipe.treatment import SourceTreatment

HD_LINES = 720
"""From this height on an untagged picture is taken for BT.709, below for BT.601, as players do."""
_MATRICES = {"bt709", "fcc", "smpte240m", "bt2020nc", "smpte170m", "bt470bg"}
_SCALER = "bicubic+accurate_rnd+full_chroma_int"

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""


def source_filters(node: Node, video: VideoStream, treatment: SourceTreatment, *, frame_rate: str) -> Node:
    """From the decoded source to progressive SDR frames at an exact constant rate, still at the source's size.

    Args:
        node: Decoded video, its timestamps counted from the container's start.
        video: What the source is.
        treatment: What the rendition does to it.
        frame_rate: Exact fraction.
    """
    if treatment.deinterlace:
        node = node.filter("bwdif", mode="send_frame", parity="auto", deint="all")
    # From zero on, so that a late first frame is held and picture and sound keep their distance.
    node = node.filter("fps", fps=frame_rate, start_time=0, round="near")
    if treatment.tone_map:
        node = (
            # Some decoders leave single frames untagged, and zscale refuses those.
            node.filter(
                "setparams",
                color_trc=video.color_transfer or "smpte2084",
                color_primaries=_known(video.color_primaries, "bt2020"),
                colorspace=_known(video.color_space, "bt2020nc"),
                range="full" if video.color_range == "pc" else "limited",
            )
            .filter("zscale", transfer="linear", npl=100)
            .filter("format", "gbrpf32le")
            .filter("zscale", primaries="bt709")
            .filter("tonemap", tonemap="hable", desat=0)
            .filter("zscale", transfer="bt709", matrix="bt709", range="limited", dither="error_diffusion")
            .filter("format", "yuv420p")
        )
    return node


def scaled(node: Node, video: VideoStream, treatment: SourceTreatment, *, width: int, height: int) -> Node:
    """From :func:`source_filters` to 8-bit 4:2:0 BT.709 frames of this size, with square pixels."""
    matrix = "bt709" if treatment.tone_map else source_matrix(video)
    colours = {} if matrix is None else {"in_color_matrix": matrix}
    return (
        node.filter(
            "scale",
            width,
            height,
            flags=_SCALER,
            **colours,
            out_color_matrix="bt709",
            out_range="limited",
        )
        .filter("setsar", 1)
        .filter("format", "yuv420p")
        .filter("setparams", range="limited", color_primaries="bt709", color_trc="bt709", colorspace="bt709")
    )


def _known(value: str | None, default: str) -> str:
    return default if value in {None, "", "unknown", "reserved"} else str(value)


def source_matrix(video: VideoStream) -> str | None:
    """The YCbCr matrix to read the source with; None for RGB, which has none."""
    if video.pixel_format.startswith(("gbr", "rgb", "bgr", "argb", "abgr")) or video.color_space == "gbr":
        return None
    if video.color_space in _MATRICES:
        return video.color_space
    return "bt709" if video.height >= HD_LINES else "smpte170m"
