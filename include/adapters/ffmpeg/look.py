"""Looks at the first picture of a stream: its size, colours, turn and transparency as ffmpeg's own decoder gives them.

ffprobe describes what the container says. HLG that only a message in the stream names, transparency that a decoder
finds in a second layer and cropping show on the decoded picture alone, and it is ffmpeg that will decode it.
"""

from __future__ import annotations

import re
from typing import Any

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.ffprobe import tags_of
from include.adapters.ffmpeg.opening import input_argv
from include.adapters.process import run
from include.base.errors import ToolTimeout
from include.domain.media.picture import Seen
from include.domain.recipe.codecs import ALPHA_DECODERS

_SIZE = re.compile(r" fmt:(\w{1,32}) .{0,200}? s:(\d{1,5})x(\d{1,5}) ")
_COLOURS = re.compile(r" color_range:(\S{1,32}) color_space:(\S{1,32}) color_primaries:(\S{1,32}) color_trc:(\S{1,32})")
_TURN = re.compile(r"displaymatrix: rotation of (-?\d{1,3}\.\d{1,6}) degrees")
_DOLBY = re.compile(r" vdr_rpu_profile=(\d{1,3});.{0,300}? bl_video_full_range_flag=(\d);")
_UNKNOWN = frozenset({"unknown", "reserved", "unspecified"})


def alpha_decoder(stream: dict[str, Any]) -> str | None:
    """The decoder that sees this stream's transparency, where ffmpeg's usual one does not.

    Args:
        stream: ffprobe's fields.
    """
    return ALPHA_DECODERS.get(str(stream.get("codec_name"))) if tags_of(stream).get("alpha_mode") == "1" else None


def look_argv(program: str, address: str, *, index: int, decoder: str | None) -> list[str]:
    """The command that decodes one picture and describes it on stderr."""
    return [
        *prelude(program, level="info"),
        *(["-c:v", decoder] if decoder else []),
        # As it is stored: the turn is told beside it.
        "-noautorotate",
        *input_argv(address),
        "-map",
        f"0:{index}",
        "-frames:v",
        "1",
        "-vf",
        # An encoder's own message would be printed in full.
        "trim=end_frame=1,sidedata=mode=delete:type=SEI_UNREGISTERED,showinfo=checksum=0",
        "-f",
        "null",
        "-",
    ]


def look(program: str, address: str, *, index: int, decoder: str | None, timeout_s: float) -> Seen | None:
    """The first picture of a stream; None where none can be decoded.

    Args:
        program: ffmpeg.
        address: Path or presigned address.
        index: Of the stream.
        decoder: That it is decoded with; None for ffmpeg's usual one.
        timeout_s: Limit.
    """
    try:
        finished = run(look_argv(program, address, index=index, decoder=decoder), timeout_s=timeout_s, check=False)
    except ToolTimeout:
        return None  # the decode of samples finds out why, and says so
    return read_look(finished.stderr)


def read_look(text: str) -> Seen | None:
    """What the filter ``showinfo`` prints of one picture."""
    told = [line for line in text.splitlines() if "_showinfo_" in line[:40]]
    size = next((found for found in map(_SIZE.search, told) if found), None)
    if size is None:
        return None
    colours = next((found for found in map(_COLOURS.search, told) if found), None)
    turn = next((found for found in map(_TURN.search, told) if found), None)
    values = [None if value in _UNKNOWN else value for value in colours.groups()] if colours else [None] * 4
    return Seen(
        width=int(size[2]),
        height=int(size[3]),
        pixel_format=size[1],
        color_range=values[0],
        color_space=values[1],
        color_primaries=values[2],
        color_transfer=values[3],
        dolby_profile=next((_dolby(found) for found in map(_DOLBY.search, told) if found), None),
        # ffmpeg counts against the clock.
        turn_degrees=None if turn is None else -float(turn[1]),
        premultiplied=any("alpha_mode:premultiplied" in line for line in told),
    )


def _dolby(found: re.Match[str]) -> int | None:
    """5, the one profile of RPU profile 0 whose base layer has the full range; None for all others."""
    return 5 if found.groups() == ("0", "1") else None


def is_cropped(stream: dict[str, Any]) -> bool:
    """Whether a container (clean aperture, pixel crop) cuts this stream's pictures."""
    return any(side.get("side_data_type") == "Frame Cropping" for side in stream.get("side_data_list", ()))


def is_mirrored(stream: dict[str, Any]) -> bool:
    """Whether this stream's display matrix mirrors: its determinant is below zero."""
    for side in stream.get("side_data_list", ()):
        rows = [line.partition(":")[2].split() for line in str(side.get("displaymatrix", ""))[:500].splitlines()]
        rows = [row for row in rows if len(row) == 3]
        if len(rows) == 3 and all(part.lstrip("-").isdecimal() for row in rows for part in row):
            (a, b), (c, d) = ((int(part) for part in row[:2]) for row in rows[:2])
            return a * d - b * c < 0
    return False


def dolby_profile(stream: dict[str, Any]) -> tuple[int, int | None] | None:
    """Profile of Dolby Vision and compatibility id of its base layer; None where the container tells of none."""
    for side in stream.get("side_data_list", ()):
        if side.get("side_data_type") == "DOVI configuration record":
            profile, compatibility = side.get("dv_profile"), side.get("dv_bl_signal_compatibility_id")
            if isinstance(profile, int):
                return profile, compatibility if isinstance(compatibility, int) else None
    return None
