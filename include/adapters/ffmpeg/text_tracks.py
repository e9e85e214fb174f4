"""Command lines that take text out of a mezzanine: subtitle tracks, and captions that ride in its picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from include.adapters.ffmpeg.commands import prelude
from include.domain.media.captions import timestamp
from include.domain.recipe.codecs import USER_DATA

ASS_S = 10 * 3600
"""ASS has one digit for the hours: what its writer is given from here on comes out at 9:59:59.99."""
LEAD_S = 3600
"""Cues are written this much late: text formats have no times below zero, and a cue may begin before the title does."""


@dataclass(frozen=True, kw_only=True)
class TextRoute:
    """In which format the text of a codec is written, so that no time, place or emphasis is lost that it has."""

    encoder: str
    muxer: str
    """``srt``, ``webvtt`` or ``ass``: also which reader takes it."""
    decoder: tuple[str, ...] = ()
    """Options of the decoder."""


ROUTES: dict[str, TextRoute] = {
    "subrip": TextRoute(encoder="copy", muxer="srt"),
    "srt": TextRoute(encoder="copy", muxer="srt"),
    "text": TextRoute(encoder="srt", muxer="srt"),
    "mov_text": TextRoute(encoder="srt", muxer="srt"),
    "webvtt": TextRoute(encoder="copy", muxer="webvtt"),
    "ass": TextRoute(encoder="copy", muxer="ass"),
    "ssa": TextRoute(encoder="copy", muxer="ass"),
    "eia_608": TextRoute(encoder="ass", muxer="ass"),
    # A page stands until the next one comes; only pages that are flagged as subtitles are text of the title.
    "dvb_teletext": TextRoute(
        encoder="ass", muxer="ass", decoder=("-fix_sub_duration", "-txt_format", "ass", "-txt_page", "subtitle")
    ),
}
"""By ffprobe's name of the codec."""


_PICKS = "mov"
"""Demuxers with this in their name read the packets of the wanted streams alone. All others read the whole file."""


def track_argv(
    program: str, source: Sequence[str], *, index: int, codec: str, output: str, heard: int | None
) -> list[str]:
    """The command that writes one subtitle track as text.

    Args:
        program: ffmpeg.
        source: Options of the input, ``-i`` included.
        index: Of the stream.
        codec: Its codec, one of :data:`ROUTES`.
        output: Path of the new file.
        heard: Index of the stream whose packets show how far the reading is, as of :func:`heard_stream`.
    """
    route = ROUTES[codec]
    return [
        *prelude(program, level="warning", overwrite=True, progress=True),
        *route.decoder,
        *source,
        *("-map", f"0:{index}", "-c:s", route.encoder, "-f", route.muxer, output),
        *(_passed(str(heard)) if heard is not None else []),
    ]


def heard_stream(container: str, video_index: int) -> int | None:
    """Index of the stream that is passed by beside a track of text, so that ffmpeg tells how far it is.

    Hours may lie between two cues. None for a container of which nothing but the cues is read for a track: each of them
    is a step.

    Args:
        container: ffprobe's name of the format.
        video_index: Index of the video stream.
    """
    return None if _PICKS in container.split(",") else video_index


def _passed(stream: str) -> list[str]:
    """A further output of a command, which takes the packets of a stream to nowhere."""
    return ["-map", f"0:{stream}", "-c", "copy", "-f", "null", "-"]


def user_data_argv(program: str, source: Sequence[str], *, index: int, codec: str, output: str) -> list[str]:
    """The command that writes nothing of a video stream but its user data, without decoding it."""
    filters, muxer = USER_DATA[codec]
    return [
        *prelude(program, level="error", overwrite=True, progress=True),
        *source,
        *("-map", f"0:{index}", "-c", "copy", "-bsf:v", filters, "-f", muxer, output),
        # Of a stream without user data the filters leave nothing that would show how far it is.
        *_passed(str(index)),
    ]


def captions_argv(
    program: str,
    target: str,
    options: Mapping[str, Any],
    *,
    index: int,
    second_field: bool,
    offset_s: float,
    threads: int,
    output: str,
) -> list[str]:
    """The command that decodes a video stream and writes the captions (CEA-608) in its pictures as ASS.

    Args:
        program: ffmpeg.
        target: Address of the input, as ffmpeg takes it.
        options: Of the demuxer.
        index: Of the video stream.
        second_field: Whether the captions of field 2 are wanted instead of those of field 1.
        offset_s: What is added to the times of the container.
        threads: Of the decoder.
        output: Path of the new file.
    """
    field_wanted = ["-data_field", "second" if second_field else "first"]
    return [
        *_captions_input(
            program, target, options, index=index, offset_s=offset_s, threads=threads, decoder=field_wanted
        ),
        *("-map", "0:s", "-c:s", "ass", "-f", "ass", output),
        *_passed("s"),
    ]


def caption_data_argv(
    program: str,
    target: str,
    options: Mapping[str, Any],
    *,
    index: int,
    offset_s: float,
    threads: int,
    data: str,
    times: str,
) -> list[str]:
    """The command that decodes a video stream and writes its caption data as they are, and the times of the pictures.

    Args:
        program: ffmpeg.
        target: Address of the input, as ffmpeg takes it.
        options: Of the demuxer.
        index: Of the video stream.
        offset_s: What is added to the times of the container.
        threads: Of the decoder.
        data: Path of the new file for the triplets of ATSC A/53, of all pictures in the order of presentation.
        times: Path of the new file that says which of them belong to which time, for :func:`read_packets`.
    """
    return [
        *_captions_input(program, target, options, index=index, offset_s=offset_s, threads=threads),
        *packets_argv("0:s", encoder="copy", data=data, times=times),
    ]


def packets_argv(stream: str, *, encoder: str, data: str, times: str) -> list[str]:
    """Further outputs of a command: the packets of a subtitle stream as they are, and when each is shown.

    Args:
        stream: As ``-map`` takes it.
        encoder: What makes them; ``copy`` takes them as they come.
        data: Path of the new file for the packets.
        times: Path of the new file for their times, for :func:`read_packets`.
    """
    made = ("-map", stream, "-c:s", encoder, "-f")
    return [*made, "data", data, *made, "framecrc", times]


def read_packets(times: Iterable[str], data: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Start and length in ms, and the bytes of each packet, from both files of :func:`packets_argv`."""
    tick = Fraction(1, 1000)
    for line in times:
        if line.startswith("#tb"):
            tick = Fraction(line.partition(":")[2].strip())
        elif not line.startswith("#"):
            # Stream, decoding time, presentation time, duration, size, checksum.
            fields = line.split(",")
            start, length = (round(int(fields[number]) * tick * 1000) for number in (2, 3))
            yield start, length, data.read(int(fields[4]))


def ass_script(head: str, packets: Iterable[tuple[int, int, bytes]]) -> str:
    """ASS text of packets, whatever their times.

    Args:
        head: The script's beginning, with its styles; events in it are left out.
        packets: Start and length in ms, and text: read order, layer and what stands behind the times of an event.
    """
    lines = [head.partition("\nDialogue:")[0]]
    for start, length, packet in packets:
        _, layer, rest = [*packet.decode("utf-8", "replace").split(",", 2), "", ""][:3]
        # A line break would begin what is no event of this packet.
        rest = rest.partition("\n")[0].partition("\r")[0]
        lines.append(f"Dialogue: {layer},{timestamp(start)},{timestamp(start + max(0, length))},{rest}")
    return "\n".join(lines)


def _captions_input(
    program: str,
    target: str,
    options: Mapping[str, Any],
    *,
    index: int,
    offset_s: float,
    threads: int,
    decoder: Sequence[str] = (),
) -> list[str]:
    opened = ":".join(f"{name}={_quoted(str(value), _IN_DICTIONARY)}" for name, value in options.items())
    # Address and options go through the parsers of the filter's options and of the graph, each with its own escapes.
    source = f"filename={_in_graph(target)}:format_opts={_in_graph(opened)}:si={index}:dec_threads={threads}"
    return [
        *prelude(program, level="error", overwrite=True, progress=True),
        *("-copyts", "-itsoffset", f"{offset_s:.6f}"),
        *decoder,
        *("-f", "lavfi", "-i", f"movie={source}[out+subcc]"),
    ]


_IN_DICTIONARY = "\\':="
_IN_OPTION = "\\':"
_IN_GRAPH = "\\'[],;"


def _in_graph(value: str) -> str:
    return _quoted(_quoted(value, _IN_OPTION), _IN_GRAPH)


def _quoted(value: str, special: str) -> str:
    return "".join(f"\\{char}" if char in special else char for char in value)
