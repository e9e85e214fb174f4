"""What a source's colours are read as: its tags, and a decision for each that is missing.

Names are ffmpeg's for the values of ITU-T H.273.
"""

from __future__ import annotations

from include.base.document import Document
from include.domain.media.media import Finding, VideoStream

HD_LINES = 720
HD_WIDTH = 1280
"""From either on an untagged picture is taken for BT.709, below for BT.601, as players do. The width counts too: a
wide film without its black bars has few lines."""
LINES_525 = frozenset({480, 486})
LINES_625 = frozenset({576})
SD_WIDTHS = range(700, 721)
"""Widths of standard definition television. Other pictures of as many lines, such as 854×480, come from the web."""

_WIDE = frozenset({"bt2020nc", "bt2020c"})
SCALER_MATRICES = frozenset({"bt709", "fcc", "smpte240m", "bt2020nc", "smpte170m", "bt470bg"})
"""That ffmpeg's scaler reads, at no further cost."""
ZIMG_MATRICES = frozenset({"ycgco", "ictcp", "chroma-derived-nc"})
"""That only zimg reads."""
CONSTANT_LUMINANCE = {"bt2020c": "bt2020nc", "chroma-derived-c": "chroma-derived-nc"}
"""Nobody delivers these. zimg brightens them by a fifth, as it takes one curve in and another out; the matrix beside
each gives the same greys and nearly the same colours."""
PRIMARIES = frozenset(
    {
        *("bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "film", "bt2020"),
        *("smpte428", "smpte431", "smpte432", "ebu3213", "jedec-p22"),
    }
)
"""That zimg reads."""
LIGHT = frozenset({"linear", "log100", "log316"})
"""Transfer characteristics that no display shows as they are."""
HDR = frozenset({"smpte2084", "arib-std-b67"})
RGB_FORMATS = ("gbr", "rgb", "bgr", "argb", "abgr", "0rgb", "0bgr", "pal8")

NAMES = {
    "bt709": "BT.709",
    "bt2020": "BT.2020",
    "smpte170m": "BT.601 (525 lines)",
    "bt470bg": "BT.601 (625 lines)",
    "smpte431": "DCI-P3",
    "smpte432": "Display P3",
    "smpte2084": "PQ",
    "arib-std-b67": "HLG",
}


class Colours(Document):
    """Colour of decoded pictures, nothing of it unknown."""

    primaries: str
    transfer: str
    matrix: str
    """``gbr`` for RGB, which has none."""
    full_range: bool = False

    @property
    def hdr(self) -> bool:
        """PQ or HLG."""
        return self.transfer in HDR

    @property
    def foreign(self) -> bool:
        """Whether they differ from BT.709 in more than the scaler changes at no cost, which is matrix and range."""
        return self.hdr or self.primaries != "bt709" or self.transfer in LIGHT or self.matrix in ZIMG_MATRICES


def read_as(video: VideoStream) -> Colours:
    """What the pictures are read as.

    The curves of all cameras and displays of standard dynamic range count as one, BT.709's: the same numbers are shown
    on the same screens, whichever of these tags they carry, and DVDs carry them at random.
    """
    transfer = video.color_transfer if video.color_transfer in HDR | LIGHT else "bt709"
    primaries = video.color_primaries if video.color_primaries in PRIMARIES else _usual_primaries(video)
    if primaries == "smpte240m":
        primaries = "smpte170m"  # H.273: the same
    return Colours(
        primaries=primaries,
        transfer=transfer,
        matrix=_matrix(video, primaries),
        full_range=video.color_range == "pc" or is_rgb(video) or video.pixel_format.startswith("yuvj"),
    )


def is_rgb(video: VideoStream) -> bool:
    """Whether the decoder gives red, green and blue."""
    return video.pixel_format.startswith(RGB_FORMATS) or video.color_space == "gbr"


def unreadable(video: VideoStream) -> str | None:
    """A matrix that nothing here converts; None where there is none."""
    known = SCALER_MATRICES | ZIMG_MATRICES | CONSTANT_LUMINANCE.keys() | {None, "", "unknown", "reserved", "gbr"}
    return None if video.color_space in known else video.color_space


def colour_findings(video: VideoStream) -> list[Finding]:
    """What is assumed and what is converted, in words."""
    colours = read_as(video)
    found: list[Finding] = []
    if video.color_space is None or video.color_primaries is None:
        assumed = f"matrix {_matrix_name(colours.matrix)}" if video.color_space is None and not is_rgb(video) else ""
        primaries = f"primaries {_name(colours.primaries)}" if video.color_primaries is None else ""
        text = " and ".join(part for part in (assumed, primaries) if part)
        if text:
            found.append(Finding(code="no_colour_tags", message=f"colours are not fully tagged: {text} are assumed"))
    if colours.hdr:
        found.append(
            Finding(
                code="hdr",
                message=f"HDR ({video.color_transfer}): {_name(colours.transfer)} is mapped to SDR, reference white "
                "(203 cd/m²) to 95 % of it",
            )
        )
    elif colours.foreign:
        kind = _name(colours.primaries) if colours.primaries != "bt709" else (colours.matrix, colours.transfer)
        text = kind if isinstance(kind, str) else " and ".join(kind)
        found.append(Finding(code="converted_colours", message=f"colours of {text} are converted to BT.709"))
    return found


def _matrix(video: VideoStream, primaries: str) -> str:
    if is_rgb(video):
        return "gbr"
    space = CONSTANT_LUMINANCE.get(str(video.color_space), video.color_space)
    if space in SCALER_MATRICES | ZIMG_MATRICES:
        return str(space)
    if primaries == "bt2020" or video.color_transfer in HDR:
        return "bt2020nc"
    return "bt709" if video.height >= HD_LINES or video.width >= HD_WIDTH else "smpte170m"


def _usual_primaries(video: VideoStream) -> str:
    """Of a picture that does not say them."""
    if video.color_transfer in HDR or video.color_space in _WIDE:
        return "bt2020"
    television = video.width in SD_WIDTHS or (video.width < HD_WIDTH and video.sample_aspect_ratio != "1:1")
    if television and video.height in LINES_525:
        return "smpte170m"
    if television and video.height in LINES_625:
        return "bt470bg"
    return "bt709"


def _matrix_name(value: str) -> str:
    return "BT.601" if value in {"smpte170m", "bt470bg"} else _name(value)


def _name(value: str) -> str:
    return NAMES.get(value, value)
