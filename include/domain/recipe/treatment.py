"""What is done to a decoded source before it is scaled and encoded."""

from __future__ import annotations

from fractions import Fraction

from include.base.document import Document
from include.domain.media.colour import Colours, read_as
from include.domain.media.frame_rate import MAX_RATE
from include.domain.media.media import Analysis, VideoStream

MOST_FIELDS = MAX_RATE * (1 + Fraction(1, 100))
"""Fields a second that may become pictures: a container's badly rounded 60 is one."""


class SourceTreatment(Document):
    """What a rendition, and the reference that it is compared with, does to the decoded source before scaling.

    It belongs to a rendition, not to a title: a ladder may hold SDR and HDR rungs.
    """

    deinterlace: bool = False
    field_pictures: bool = False
    """Deinterlacing makes a picture of each field instead of each frame: twice the rate."""
    inverse_telecine: bool = False
    """Film that was spread over the fields of video (3:2 pulldown) is put together again: four fifths of the rate."""
    top_field_first: bool = True
    """Of a source whose fields are put together again."""
    tone_map: bool = False
    """HDR source to BT.709 SDR."""
    over_black: bool = False
    """Where the source is transparent, black shows through."""
    colours: Colours | None = None
    """What the source's colours are converted from. None where only matrix and range differ from BT.709: the scaler
    sees to those, at no cost."""


def sdr_treatment(video: VideoStream, analysis: Analysis, *, field_pictures: bool = False) -> SourceTreatment:
    """What makes progressive SDR of this source: for SDR rungs, and for pictures, which are always SDR.

    Args:
        video: The source.
        analysis: What its samples show.
        field_pictures: Whether each field of an interlaced source becomes a picture, where that is not above 60 a
            second.
    """
    colours = read_as(video)
    deinterlace = analysis.interlaced and not analysis.pulled_down
    return SourceTreatment(
        deinterlace=deinterlace,
        field_pictures=deinterlace and field_pictures and 2 * video.fps <= MOST_FIELDS,
        inverse_telecine=analysis.pulled_down,
        top_field_first=analysis.top_field_first is not False,
        tone_map=colours.hdr,
        over_black=video.alpha == "straight",
        colours=colours if colours.foreign else None,
    )
