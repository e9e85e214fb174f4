"""What a viewer sees of a source: its decoded picture's size and turn, its transparency, and what is refused.

The facts are those of the first picture, told by the decoder that encodes use: a container may know less of them (HLG
that only a message in the stream names) or more (a clean aperture).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from include.domain.media.colour import unreadable
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Alpha, Finding, VideoStream

EXACT_DEGREES = 1.0
"""ffmpeg turns a picture by quarters that its angle comes this near to, and cuts its corners off at any other."""
MOST_STRETCH = 8
"""A pixel that is longer than so many times its other side is a damaged tag."""
NO_BASE_LAYER = frozenset({5})
"""Profiles of Dolby Vision whose colours (IPT) no player but Dolby's reads."""
BASE_LAYER_UNLESS_ZERO = frozenset({10, 20})
"""Profiles whose base layer an ordinary player can show, unless their compatibility id is 0."""

CONTAINER_KNOWS = frozenset({"dnxhd"})
"""Codecs whose encoders leave the matrix at BT.709 whatever it is: the container's tag is the one that somebody set."""

BLANK_LINES = {("mpeg2video", 720, 608): 32, ("mpeg2video", 720, 512): 26}
"""Lines above the picture in which tape formats (SMPTE D-10, known as IMX) keep teletext and time codes, by codec,
width and height. The aspect that such a file tells is that of all its lines, and meant for those below."""

BASE_LAYERS = {
    1: ("bt2020", "smpte2084", "bt2020nc"),
    2: ("bt709", "bt709", "bt709"),
    4: ("bt2020", "arib-std-b67", "bt2020nc"),
    6: ("bt2020", "smpte2084", "bt2020nc"),
}
"""Primaries, transfer and matrix that the base layer of Dolby Vision has, by compatibility id."""

_ALPHA_FORMATS = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16", "ayuv", "vuya", "graya")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The first picture that a decoder gives, cropped but not turned."""

    width: int
    height: int
    pixel_format: str
    color_range: str | None
    color_space: str | None
    color_primaries: str | None
    color_transfer: str | None
    turn_degrees: float | None
    """Clockwise, as it is to be shown; None where nothing says so."""
    dolby_profile: int | None = None
    """Profile of Dolby Vision that metadata beside the picture shows, where it can be told from them."""
    premultiplied: bool = False
    """Whether its colours are multiplied by its opacity already."""

    @property
    def alpha(self) -> Alpha | None:
        """How its transparency is stored."""
        if not self.pixel_format.startswith(_ALPHA_FORMATS):
            return None
        return "premultiplied" if self.premultiplied else "straight"


def as_seen(video: VideoStream, seen: Seen, *, decoder: str | None) -> VideoStream:
    """The stream with what its first picture shows of it.

    Args:
        video: As its container describes it.
        seen: Its first picture.
        decoder: That this picture was decoded with; None for ffmpeg's usual one.
    """
    turn = video.rotation if seen.turn_degrees is None else quarter_turn(seen.turn_degrees) or 0
    blank = BLANK_LINES.get((video.codec, seen.width, seen.height), 0)
    height = seen.height - blank
    aspect = pixel_shape(video) * Fraction(height, seen.height)
    told = {
        "color_range": seen.color_range,
        "color_space": seen.color_space,
        "color_primaries": seen.color_primaries,
        "color_transfer": seen.color_transfer,
    }
    if video.codec in CONTAINER_KNOWS and video.color_space is not None:
        told["color_space"] = video.color_space
    return video.model_copy(
        update={
            **sized(seen.width, height, aspect, turn=turn),
            "blank_lines": blank,
            "pixel_format": seen.pixel_format,
            "alpha": seen.alpha,
            "decoder": decoder,
            **{name: value for name, value in told.items() if value is not None},
        }
    )


def sized(width: int, height: int, aspect: Fraction, *, turn: int) -> dict[str, Any]:
    """The fields of a :class:`VideoStream` that say how large its picture is, as decoded and as a viewer sees it.

    Args:
        width: Of the decoded picture, in pixels.
        height: Likewise.
        aspect: Width of a pixel by its height.
        turn: Degrees, a multiple of 90.
    """
    shown = (max(1, round(width * aspect)), height)
    return {
        "width": width,
        "height": height,
        "display_width": shown[1] if turn % 180 else shown[0],
        "display_height": shown[0] if turn % 180 else shown[1],
        "sample_aspect_ratio": f"{aspect.numerator}:{aspect.denominator}",
        "rotation": turn,
    }


def with_base_layer(video: VideoStream, dolby: tuple[int, int | None] | None) -> VideoStream:
    """The stream with the colours of Dolby Vision's base layer, where the stream itself says nothing of its transfer.

    Args:
        video: The stream, with what its first picture shows.
        dolby: Profile of Dolby Vision and its compatibility id, where the container gives them.
    """
    known = BASE_LAYERS.get(dolby[1]) if dolby is not None and dolby[1] is not None else None
    if known is None or video.color_transfer is not None:
        return video
    names = ("color_primaries", "color_transfer", "color_space")
    return video.model_copy(
        update={name: getattr(video, name) or value for name, value in zip(names, known, strict=True)}
    )


def pixel_shape(video: VideoStream) -> Fraction:
    """Width of a pixel by its height; square where the tag cannot be true."""
    aspect = parse_rate(video.sample_aspect_ratio.replace(":", "/"))
    return aspect if 1 / Fraction(MOST_STRETCH) <= aspect <= MOST_STRETCH else Fraction(1)


def quarter_turn(degrees: float) -> int | None:
    """The quarter turn that an angle means, 0 to 359; None where it means none."""
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) <= EXACT_DEGREES else None


def refused_picture(video: VideoStream, seen: Seen | None, dolby: tuple[int, int | None] | None) -> str | None:
    """Why such a picture cannot be shown as it is meant; None where it can.

    Args:
        video: The stream, with what its first picture shows.
        seen: Its first picture; None where none was decoded.
        dolby: Profile of Dolby Vision and its compatibility id, where the container gives them.
    """
    found = seen.dolby_profile if seen is not None else None
    if dolby is None and found is not None:
        dolby = found, None
    if dolby is not None:
        profile, compatibility = dolby
        if profile in NO_BASE_LAYER or (profile in BASE_LAYER_UNLESS_ZERO and compatibility == 0):
            return (
                f"Dolby Vision profile {profile} has no base layer that other players show; deliver profile 8.1 or a "
                "grade in HDR10, HLG or SDR"
            )
    if seen is not None and seen.turn_degrees is not None and quarter_turn(seen.turn_degrees) is None:
        return f"the picture is turned by {seen.turn_degrees % 360:.1f}°, only quarter turns are served"
    matrix = unreadable(video)
    return f"no conversion is known for its colour matrix {matrix}" if matrix else None


def picture_findings(
    video: VideoStream,
    *,
    cropped_from: tuple[int, int] | None,
    mirrored: bool,
    dolby: tuple[int, int | None] | None,
) -> list[Finding]:
    """What is done to the picture, in words.

    Args:
        video: The stream, with what its first picture shows.
        cropped_from: Width and height before the container's cropping; None where it crops nothing.
        mirrored: Whether it is to be shown as in a mirror.
        dolby: Profile of Dolby Vision and its compatibility id, where the container gives them.
    """
    whole = f"{cropped_from[0]}×{cropped_from[1]}" if cropped_from else ""
    odd = [
        (
            cropped_from is not None,
            "cropped",
            f"the container shows {video.width}×{video.height} of {whole} pixels: the rest is cut off",
        ),
        (
            video.blank_lines > 0,
            "blank_lines",
            f"the first {video.blank_lines} lines hold no picture (D-10) and are cut off",
        ),
        (mirrored, "mirrored", "the picture is shown mirrored, as its container says"),
        (
            video.alpha is not None,
            "transparent",
            f"the picture has transparency ({video.alpha}) and is laid over black",
        ),
        (
            dolby is not None,
            "dolby_vision",
            f"Dolby Vision profile {dolby[0] if dolby else ''}: its base layer is published",
        ),
    ]
    return [Finding(code=code, message=message) for applies, code, message in odd if applies]
