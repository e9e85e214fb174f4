"""Asks ffprobe what a file is, and turns its answer into streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from include.adapters.ffmpeg.opening import input_argv, loglevel
from include.adapters.ffmpeg.text_tracks import ROUTES
from include.adapters.process import run
from include.domain.media.choosing import role_of
from include.domain.media.frame_rate import parse_rate
from include.domain.media.languages import language_tag
from include.domain.media.media import AudioStream, SubtitleStream, VideoStream
from include.domain.media.picture import sized

TEXT_SUBTITLES = frozenset(ROUTES)
MAX_TITLE = 200

EVERYTHING = ("-show_format", "-show_streams", "-show_programs", "-show_chapters")

Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """ffprobe's answer, or what it said instead."""

    container: Fields
    streams: tuple[Fields, ...]
    stderr: str
    programs: tuple[Fields, ...] = ()
    chapters: tuple[Fields, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether it is a container at all."""
        return bool(self.container)


def probe(program: str, address: str, *, timeout_s: float, shown: Sequence[str] = EVERYTHING) -> Probe:
    """Container and streams of ``address``; raises :class:`include.base.errors.ToolTimeout`.

    Args:
        program: ffprobe.
        address: A path, or a presigned address of the store.
        timeout_s: Limit.
        shown: Options that say what it tells.
    """
    argv = [program, "-v", loglevel(address), *shown, "-of", "json", *input_argv(address)]
    finished = run(argv, timeout_s=timeout_s, check=False)
    try:
        data = json.loads(finished.stdout.decode("utf-8", "replace") or "{}")
    except ValueError:
        data = {}
    return Probe(
        container=data.get("format", {}),
        streams=tuple(data.get("streams", ())),
        stderr=finished.stderr,
        programs=tuple(data.get("programs", ())),
        chapters=tuple(data.get("chapters", ())),
    )


@dataclass(frozen=True, kw_only=True)
class Packets:
    """The packets of one stream, or of its beginning; those without a presentation time are left out."""

    times_s: tuple[float, ...]
    """On the container's clock, in order of presentation."""
    keyframes: tuple[int, ...]
    """Positions in order of presentation."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.times_s)


def packets_argv(program: str, address: str, *, index: int, intervals: str | None, fields: str) -> list[str]:
    """The command that lists the packets of a stream, a line each, without decoding them.

    Args:
        program: ffprobe.
        address: Path or presigned address.
        index: Of the stream.
        intervals: What to read of it, as ``-read_intervals`` takes it; None for all.
        fields: What to tell of each packet, by ffprobe's names, in its order.
    """
    read = [] if intervals is None else ["-read_intervals", intervals]
    shown = ["-show_entries", f"packet={fields}", "-of", "csv=p=0"]
    return [program, "-v", loglevel(address), "-select_streams", str(index), *read, *shown, *input_argv(address)]


def packets(
    program: str,
    address: str,
    *,
    index: int,
    first_s: float | None = None,
    timeout_s: float,
    told: Callable[[float], None] = lambda seconds: None,
) -> Packets:
    """Read the packets of a stream without decoding them.

    Args:
        program: ffprobe.
        address: Path or presigned address.
        index: Of the stream.
        first_s: Only these first seconds; None for all.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        told: Gets the time of each packet, on the container's clock, in seconds.
    """
    intervals = None if first_s is None else f"%+{first_s:g}"
    argv = packets_argv(program, address, index=index, intervals=intervals, fields="pts_time,flags")
    times: list[float] = []
    keys: set[float] = set()

    def read(line: str) -> None:
        start, flags, *_ = f"{line},".split(",")
        time_s = number(start)
        if time_s is not None:
            times.append(time_s)
            told(time_s)
            if flags.startswith("K"):
                keys.add(time_s)

    run(argv, timeout_s=timeout_s, check=False, on_line=read)
    times.sort()
    return Packets(
        times_s=tuple(times),
        keyframes=tuple(position for position, time_s in enumerate(times) if time_s in keys),
    )


def picture_streams(found: Probe) -> list[Fields]:
    """The video streams that move: no attached pictures, no thumbnails."""
    still = ("attached_pic", "timed_thumbnails", "still_image")
    return [
        stream
        for stream in found.streams
        if stream.get("codec_type") == "video" and not any(stream.get("disposition", {}).get(kind) for kind in still)
    ]


def video_stream(
    stream: Fields, *, duration_s: float, start_s: float, variable: bool, frame_rate: Fraction
) -> VideoStream:
    """One video stream as a document.

    Args:
        stream: ffprobe's fields.
        duration_s: As measured or declared.
        start_s: On the container's own clock.
        variable: Whether its rate varies.
        frame_rate: Average.
    """
    width, height = int(stream["width"]), int(stream["height"])
    aspect = fraction(stream.get("sample_aspect_ratio"), ":") or Fraction(1)
    return VideoStream(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "")),
        profile=stream.get("profile"),
        **sized(width, height, aspect, turn=rotation(stream)),
        frame_rate=str(frame_rate),
        variable_frame_rate=variable,
        frames=integer(stream.get("nb_frames")),
        duration_s=round(duration_s, 6),
        start_time_s=round(start_s, 6),
        pixel_format=str(stream.get("pix_fmt", "")),
        bit_depth=bit_depth(stream),
        field_order=stream.get("field_order"),
        color_range=stream.get("color_range"),
        color_primaries=stream.get("color_primaries"),
        color_transfer=stream.get("color_transfer"),
        color_space=stream.get("color_space"),
    )


def audio_stream(stream: Fields) -> AudioStream | None:
    """One audio stream as a document, its start that of the container's own clock.

    None where ffprobe could not make out what it is.
    """
    channels, rate = integer(stream.get("channels")), integer(stream.get("sample_rate"))
    if not stream.get("codec_name") or not channels or not rate:
        return None
    tags, flags = tags_of(stream), stream.get("disposition", {})
    title = _title(tags)
    return AudioStream(
        index=int(stream["index"]),
        codec=str(stream["codec_name"]),
        channels=channels,
        channel_layout=stream.get("channel_layout"),
        sample_rate_hz=rate,
        language=language_tag(tags.get("language")),
        title=title,
        default=bool(flags.get("default")),
        start_time_s=number(stream.get("start_time")) or 0.0,
        duration_s=stream_duration_s(stream),
        role=role_of((name for name, raised in flags.items() if raised), title),
    )


def subtitle_stream(stream: Fields) -> SubtitleStream:
    """One subtitle stream as a document."""
    tags, codec = tags_of(stream), str(stream.get("codec_name", "unknown"))
    flags = stream.get("disposition", {})
    return SubtitleStream(
        index=int(stream["index"]),
        codec=codec,
        language=language_tag(tags.get("language")),
        title=_title(tags),
        forced=bool(flags.get("forced")),
        hearing_impaired=bool(flags.get("hearing_impaired") or flags.get("captions")),
        default=bool(flags.get("default")),
        text=codec in TEXT_SUBTITLES,
    )


def stream_duration_s(stream: Fields) -> float | None:
    """A stream's own duration: its field, or the tag that Matroska writes, which counts from the file's zero."""
    duration = number(stream.get("duration"))
    if duration is None:
        parts = str(tags_of(stream).get("duration", "")).split(":")
        values = [number(part) for part in parts]
        if len(values) == 3 and None not in values:
            hours, minutes, seconds = (value or 0.0 for value in values)
            duration = hours * 3600 + minutes * 60 + seconds - (number(stream.get("start_time")) or 0.0)
    return duration if duration is not None and duration > 0 else None


def rotation(stream: Fields) -> int:
    """Clockwise turn in degrees, 0–359, to the nearest quarter."""
    for side in stream.get("side_data_list", ()):
        degrees = number(side.get("rotation"))
        if degrees is not None:
            return round(-degrees / 90) * 90 % 360
    return 0


def bit_depth(stream: Fields) -> int:
    """Bits per sample, from the field or the pixel format's name."""
    declared = integer(stream.get("bits_per_raw_sample"))
    if declared:
        return declared
    name = str(stream.get("pix_fmt", ""))
    return next((bits for bits in (16, 14, 12, 10, 9) if f"p{bits}" in name or name.startswith(f"gray{bits}")), 8)


def number(value: Any) -> float | None:
    """A finite number; None for anything else ffprobe may put there."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        return None
    return parsed if abs(parsed) < 1e12 else None


def integer(value: Any) -> int | None:
    """A positive whole number."""
    parsed = number(value)
    return int(parsed) if parsed is not None and parsed >= 1 else None


def fraction(value: Any, separator: str = "/") -> Fraction | None:
    """A positive fraction such as ``24000/1001``, a rate or an aspect; None for ``0/0``."""
    try:
        return parse_rate(str(value).replace(separator, "/"))
    except ValueError:
        return None


def tags_of(stream: Fields) -> dict[str, str]:
    """The tags of a stream, programme or chapter by their names in lower case."""
    return {str(name).lower(): str(value) for name, value in stream.get("tags", {}).items()}


def _title(tags: dict[str, str]) -> str | None:
    text = "".join(char for char in tags.get("title", "") if char.isprintable()).strip()
    return text[:MAX_TITLE] or None
