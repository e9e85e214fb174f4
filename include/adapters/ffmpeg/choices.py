"""What ffprobe lists of programmes, chapters and covers, and which sound ffmpeg cannot decode, read as facts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.ffprobe import (
    Fields,
    Probe,
    integer,
    number,
    packets,
    picture_streams,
    stream_duration_s,
    tags_of,
)
from include.adapters.ffmpeg.opening import input_argv
from include.adapters.process import run
from include.base.errors import ToolFailed
from include.domain.media.choosing import Programme, chosen_programme
from include.domain.media.media import Chapter, Finding

MAX_CHAPTERS = 500
MAX_NAME = 200
STILL_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpegxl", "jpeg2000"})
STILL_S = 0.5
"""A picture stream of such a codec that holds no more than this beside another that does is a cover."""
LOOK_S = 5.0
_DECODER = re.compile(r"^ D.A... (\S+)", re.MULTILINE)
_HEARD = re.compile(r"Input stream #0:(\d+) \(audio\): (\d+) packets read \(\d+ bytes\); (\d+) frames decoded; ")


def programmes(found: Probe) -> list[Programme]:
    """The programmes of a transport stream."""
    listed = []
    for each in found.programs:
        streams = frozenset(int(stream["index"]) for stream in each.get("streams", ()))
        number = integer(each.get("program_num"))
        if number is not None and streams:
            listed.append(Programme(number=number, name=_name(tags_of(each).get("service_name")), streams=streams))
    return listed


def one_programme(found: Probe, wanted: int | None) -> tuple[Probe, int | None, list[Finding]]:
    """``found`` with the streams of one programme alone, where there are several; its number, and what was left out.

    Raises :class:`include.domain.media.choosing.NotThere`.
    """
    listed = programmes(found)
    pictures = picture_streams(found)
    # A scrambled programme lists a picture of no size: one that can be seen comes before it.
    seen = [each for each in pictures if each.get("width") and each.get("pix_fmt")]
    shown = seen if seen and wanted is None else pictures
    chosen, findings = chosen_programme(listed, [int(each["index"]) for each in shown], wanted)
    if chosen is None or len(listed) < 2:
        return found, None, []
    streams = tuple(each for each in found.streams if int(each["index"]) in chosen.streams)
    return dataclasses.replace(found, streams=streams), chosen.number, findings


def covers_marked(program: str, address: str, found: Probe, *, timeout_s: float) -> Probe:
    """``found`` with unflagged covers flagged as attached pictures: single stills beside a stream that moves.

    Args:
        program: ffprobe.
        address: Path or presigned address.
        found: Its answer.
        timeout_s: For a look at the beginning of each stream that may be one.
    """
    pictures = picture_streams(found)
    stills = {
        int(each["index"])
        for each in pictures
        if each.get("codec_name") in STILL_CODECS and _is_still(program, address, each, timeout_s=timeout_s)
    }
    if len(stills) == len(pictures):
        return found
    return dataclasses.replace(
        found,
        streams=tuple(
            {**each, "disposition": {**each.get("disposition", {}), "attached_pic": 1}}
            if int(each["index"]) in stills
            else each
            for each in found.streams
        ),
    )


def _is_still(program: str, address: str, stream: Fields, *, timeout_s: float) -> bool:
    """Whether a stream holds one picture, as far as its first seconds tell."""
    duration = stream_duration_s(stream)
    if integer(stream.get("nb_frames")) == 1 or (duration is not None and duration <= STILL_S):
        return True
    if integer(stream.get("nb_frames")):
        return False
    return packets(program, address, index=int(stream["index"]), first_s=LOOK_S, timeout_s=timeout_s).count <= 1


def chapters(found: Probe, *, origin_s: float, duration_s: float) -> tuple[Chapter, ...]:
    """The chapters within the title, in order, those without a name by their number.

    Args:
        found: ffprobe's answer.
        origin_s: The title's zero on the container's clock.
        duration_s: Length of the title.
    """
    listed = []
    for each in found.chapters[:MAX_CHAPTERS]:
        start, end = number(each.get("start_time")), number(each.get("end_time"))
        if start is None or end is None:
            continue
        start, end = max(0.0, start - origin_s), min(duration_s, end - origin_s)
        if start < min(end, duration_s):
            listed.append((round(start, 3), round(end, 3), _name(tags_of(each).get("title"))))
    return tuple(
        Chapter(start_s=start, end_s=end, title=name or str(position))
        for position, (start, end, name) in enumerate(sorted(listed), start=1)
    )


def container_title(found: Probe) -> str | None:
    """What the container calls itself."""
    return _name(tags_of(found.container).get("title")) or None


def decodable_sound(program: str) -> frozenset[str]:
    """Names of the sound codecs that ``program`` (ffmpeg) has a decoder for."""
    listing = run([program, "-hide_banner", "-loglevel", "error", "-codecs"], timeout_s=30)
    return frozenset(_DECODER.findall(listing.stdout.decode("utf-8", "replace")))


def undecodable(program: str, address: str, indexes: Sequence[int], *, timeout_s: float) -> frozenset[int]:
    """Those of the audio streams of which no decoder gets one sample, from the first packet to the last.

    It stops at the first sample of each, so it reads all of a mezzanine only where a stream gives none. What is not
    found out in time counts as sound.
    """
    outputs = [part for index in indexes for part in ("-map", f"0:{index}", "-frames:a", "1", "-f", "null", "-")]
    argv = [*prelude(program, level="repeat+level+verbose"), *input_argv(address), *outputs]
    try:
        finished = run(argv, timeout_s=timeout_s, check=False)
    except ToolFailed:
        return frozenset()
    # A track without packets is silent, not unreadable.
    deaf = {
        int(index) for index, packets, frames in _HEARD.findall(finished.stderr) if int(packets) and not int(frames)
    }
    return frozenset(deaf & set(indexes))


def _name(text: str | None) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text or "").split())[:MAX_NAME]
