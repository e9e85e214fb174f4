"""How long and how large a mezzanine is, by its container's header: a quick look from outside, for a first forecast.

Nothing is decided by it: what a title is made from is for its inspection to say.
"""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path

from pydantic import ValidationError

from include.adapters import tools
from include.adapters.fetching import excerpt, local_file, shown_address
from include.adapters.ffmpeg.ffprobe import Probe, fraction, number, picture_streams, probe, stream_duration_s
from include.base.errors import CallsheetError
from include.base.settings import Settings
from include.domain.title.request import SourceExtent

log = logging.getLogger(__name__)

LOOK_LIMIT_S = 5.0
"""For one look, with all that it reads."""
END_BYTES = 8 * 1024**2
"""Of the beginning, and where that tells too little of the end, of a mezzanine that is no file. The index of an MP4 of
two hours takes about 5 MB and stands at either end."""
SHOWN = (
    "-show_entries",
    "format=format_name,duration:stream=codec_type,width,height,avg_frame_rate,duration,start_time"
    ":stream_tags=duration:stream_disposition=attached_pic,timed_thumbnails,still_image",
)
"""What is asked for: a hostile file may have thousands of tags, programmes and chapters."""


def read_header(uri: str, settings: Settings, scratch: Path) -> SourceExtent:
    """What the header of the mezzanine at ``uri`` says; empty where it says nothing, or cannot be had in time.

    Args:
        uri: Its address, under the policy of mezzanines.
        settings: For roots, buckets, allowed origins and ffprobe.
        scratch: Folder for the ends of a mezzanine that is no file, 16 MiB at most.
    """
    end = time.monotonic() + LOOK_LIMIT_S
    program = tools.ffprobe(settings)
    try:
        if uri.startswith("file://"):
            return _extent(probe(program, str(local_file(uri, settings)), timeout_s=LOOK_LIMIT_S, shown=SHOWN))
        return _remote(uri, settings, program, scratch / uuid.uuid4().hex, end)
    except CallsheetError as error:
        log.info("%s: nothing is known of its length and size yet: %s", shown_address(uri), error.message)
        return SourceExtent()


def _remote(uri: str, settings: Settings, program: str, copy: Path, end: float) -> SourceExtent:
    """By the mezzanine's ends, in a file of its size with a hole between them: no tool follows a foreign address."""
    head = excerpt(uri, settings, start=0, length=END_BYTES, limit_s=_left_s(end))
    if head is None:
        return SourceExtent()
    try:
        with copy.open("xb") as output:
            output.write(head.data)
            output.truncate(head.size_bytes)
        found = _extent(probe(program, str(copy), timeout_s=_left_s(end), shown=SHOWN))
        rest = head.size_bytes - len(head.data)
        if found.known or rest <= 0:
            return found
        length = min(END_BYTES, rest)
        tail = excerpt(uri, settings, start=head.size_bytes - length, length=length, limit_s=_left_s(end))
        if tail is None or tail.size_bytes != head.size_bytes:
            return found
        with copy.open("r+b") as output:
            output.seek(head.size_bytes - length)
            output.write(tail.data)
        return _extent(probe(program, str(copy), timeout_s=_left_s(end), shown=SHOWN))
    finally:
        copy.unlink(missing_ok=True)


def _left_s(end: float) -> float:
    return max(0.1, end - time.monotonic())


def _extent(found: Probe) -> SourceExtent:
    stream = next(iter(picture_streams(found)), None)
    if stream is None:
        return SourceExtent()
    rate = fraction(stream.get("avg_frame_rate"))
    said = {
        # The title is as long as the longer of picture and sound.
        "duration_s": number(found.container.get("duration")) or stream_duration_s(stream),
        "width": stream.get("width"),
        "height": stream.get("height"),
        "frame_rate": float(rate) if rate else None,
    }
    extent = SourceExtent()
    for name, value in said.items():
        try:
            extent = SourceExtent.model_validate({**extent.model_dump(), name: value})
        except ValidationError:
            continue  # an odd value, which a forecast does better without
    return extent
