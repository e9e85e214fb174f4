"""What is done to a decoded source before it is scaled and encoded."""

from __future__ import annotations

from include.base.document import Document
from include.domain.media.colour import Colours, read_as
from include.domain.media.media import Analysis, VideoStream


class SourceTreatment(Document):
    """What a rendition, and the reference that it is compared with, does to the decoded source before scaling.

    It belongs to a rendition, not to a title: a ladder may hold SDR and HDR rungs.
    """

    deinterlace: bool = False
    tone_map: bool = False
    """HDR source to BT.709 SDR."""
    over_black: bool = False
    """Where the source is transparent, black shows through."""
    colours: Colours | None = None
    """What the source's colours are converted from. None where only matrix and range differ from BT.709: the scaler
    sees to those, at no cost."""


def sdr_treatment(video: VideoStream, analysis: Analysis) -> SourceTreatment:
    """What makes progressive SDR of this source: for SDR rungs, and for pictures, which are always SDR."""
    colours = read_as(video)
    return SourceTreatment(
        deinterlace=analysis.interlaced,
        tone_map=colours.hdr,
        over_black=video.alpha == "straight",
        colours=colours if colours.foreign else None,
    )
