"""The filters between the decoded source and the picture that is encoded.

:func:`source_filters` and :func:`scaled` are the one way from a decoded source to the picture that is encoded. The
quality comparison sends its reference through the same two, so that it measures the encoder and nothing else.
"""

from __future__ import annotations

from typing import Any

from include.adapters.ffmpeg.progressive import progressive
from include.adapters.ffmpeg.steady import SCALER, steady_options, steady_picture
from include.domain.media.colour import Colours, read_as
from include.domain.media.media import VideoStream
from include.domain.recipe.treatment import SourceTreatment

REFERENCE_WHITE = 203
"""cd/m² of a white sheet of paper in PQ and HLG (ITU-R BT.2408, table 1)."""
PEAK = 10000 / REFERENCE_WHITE
"""The brightest that PQ can say; HLG ends at 1000 cd/m²."""
KNEE = 0.75
"""Share of SDR's light up to which the tone map changes nothing. Above it a Möbius curve takes in all of :data:`PEAK`:
reference white comes to 88 % of the light, which is 95 % of the signal (BT.2408 asks for 90 to 100 %), 1000 cd/m² to
99.5 %. Middle grey (18 %, 38 % of the signal in both) comes to 42 % of the signal, against BT.709's own 41 %."""

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""


def decoder_options(video: VideoStream) -> dict[str, Any]:
    """Input options of every decode whose pictures are shown: some streams need another decoder than the usual one."""
    chosen = {f"c:{video.index}": video.decoder} if video.decoder else {}
    return {**chosen, **steady_options(followed=video.followed)}


def source_filters(
    node: Node,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    frame_rate: str,
    start_s: float = 0.0,
) -> Node:
    """From the decoded source to progressive SDR frames at an exact constant rate, still at the source's size.

    Args:
        node: Decoded video, its timestamps counted from the title's zero.
        video: What the source is.
        treatment: What the rendition does to it.
        frame_rate: Exact fraction.
        start_s: Time of the first frame that comes out: a frame of that rate.
    """
    if video.lag_s:
        node = node.filter("setpts", f"PTS-{video.lag_s:.6f}/TB")
    node = steady_picture(node, video, interlaced=treatment.deinterlace or treatment.inverse_telecine)
    if video.blank_lines:
        # A number that is even leaves each line in its field.
        node = node.filter("crop", video.width, video.height, 0, video.blank_lines)
    node = progressive(node, video, treatment, start_s=start_s)
    # From the start on, so that a late first frame is held and picture and sound keep their distance.
    start: float | str = f"{start_s:.6f}" if start_s else 0
    node = node.filter("fps", fps=frame_rate, start_time=start, round="near")
    if treatment.over_black:
        # Each pixel times its opacity: what lies on black, and nothing of a colour that is hidden.
        node = node.filter("premultiply", inplace=1)
    colours = _converted(video, treatment)
    if colours is None:
        return node
    if video.width % 2 or video.height % 2:
        # zimg takes no half a colour sample, and renditions have even sizes anyway.
        node = node.filter("crop", "trunc(iw/2)*2", "trunc(ih/2)*2", 0, 0)
    return _bt709(node, colours, tone_map=treatment.tone_map)


def _converted(video: VideoStream, treatment: SourceTreatment) -> Colours | None:
    """What has to be converted before the scaler."""
    return treatment.colours or (read_as(video) if treatment.tone_map else None)


def _bt709(node: Node, colours: Colours, *, tone_map: bool) -> Node:
    """Frames of these colours as BT.709's, 8-bit 4:2:0 limited.

    Everything is computed in light as a display shows it (BT.1886 for SDR), as zimg does by itself.
    """
    node = node.filter(
        # Single frames may lack their tags or have others, and zscale refuses those.
        "setparams",
        color_trc=colours.transfer,
        color_primaries=colours.primaries,
        colorspace=colours.matrix,
        range="full" if colours.full_range else "limited",
    )
    if tone_map:
        node = (
            node.filter("zscale", transfer="linear", npl=REFERENCE_WHITE)
            .filter("format", "gbrpf32le")
            .filter("zscale", primaries="bt709")
            # It scales red, green and blue alike, by the brightest of them: hues stay.
            .filter("tonemap", tonemap="mobius", param=KNEE, peak=f"{PEAK:.2f}", desat=0)
        )
    return node.filter(
        "zscale", primaries="bt709", transfer="bt709", matrix="bt709", range="limited", dither="error_diffusion"
    ).filter("format", "yuv420p")


def as_jpeg(node: Node) -> Node:
    """From :func:`scaled` to what a JPEG holds: readers take BT.601's matrix and the full range for granted (JFIF)."""
    converted = node.filter(
        "scale", flags=SCALER, in_color_matrix="bt709", out_color_matrix="bt470bg", out_range="full"
    )
    return converted.filter("format", "yuvj420p")


def scaled(node: Node, video: VideoStream, treatment: SourceTreatment, *, width: int, height: int) -> Node:
    """From :func:`source_filters` to 8-bit 4:2:0 BT.709 frames of this size, with square pixels."""
    matrix = "bt709" if _converted(video, treatment) else read_as(video).matrix
    # RGB has no matrix to be read with.
    colours = {} if matrix == "gbr" else {"in_color_matrix": matrix}
    return (
        node.filter(
            "scale",
            width,
            height,
            flags=SCALER,
            **colours,
            out_color_matrix="bt709",
            out_range="limited",
        )
        .filter("setsar", 1)
        .filter("format", "yuv420p")
        .filter("setparams", range="limited", color_primaries="bt709", color_trc="bt709", colorspace="bt709")
    )
