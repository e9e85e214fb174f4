"""Transport streams with teletext subtitles (EN 300 706 in EN 300 472), which ffmpeg reads and does not write."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

_HAMMING = (0x15, 0x02, 0x49, 0x5E, 0x64, 0x73, 0x38, 0x2F, 0xD0, 0xC7, 0x8C, 0x9B, 0xA1, 0xB6, 0xFD, 0xEA)
"""Four bits with four of protection (Hamming 8/4)."""
PAGE = 0x888
NO_PAGE = 0x8FF
"""Its header ends the transmission of the page before it."""
CLOCK = 90_000


def with_teletext(path: Path, picture: Path, cues: Sequence[tuple[float, float, str]], *, offset_s: float = 0) -> Path:
    """A transport stream with the picture of ``picture`` and one subtitle page.

    Args:
        path: Of the new file.
        picture: A clip with a video stream.
        cues: Start and end in seconds, and up to 36 characters of text.
        offset_s: Of the container's clock.
    """
    pages = [(start, _page(text)) for start, _, text in cues] + [(end, _page("")) for _, end, _ in cues]
    with av.open(str(picture)) as source, av.open(str(path), "w", format="mpegts") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        text = target.add_mux_stream("dvb_teletext")
        packets = []
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                base = packet.time_base
                shift = round(offset_s / base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = video
                packets.append((float(packet.dts * base), packet))
        for at_s, data in pages:
            packet = av.Packet(data)
            packet.stream, packet.time_base = text, Fraction(1, CLOCK)
            packet.pts = packet.dts = round((at_s + offset_s) * CLOCK)
            packets.append((at_s + offset_s, packet))
        for _, packet in sorted(packets, key=lambda each: each[0]):
            target.mux(packet)
    return path


def _page(text: str) -> bytes:
    """The PES payload of the subtitle page with this text, or of the page without any."""
    # Row 22 of 24; the text stands in a box, which two "start box" begin and two "end box" end.
    rows = [_packet(22, [_odd(ord(char)) for char in f"\x0b\x0b{text}\x0a\x0a".center(40)])] if text else []
    units = b"".join([_header(PAGE), *rows, _header(NO_PAGE)])
    # A field of 46-byte units that fills transport packets; what is left over is stuffing.
    stuffing = b"\xff\x2c" + b"\xff" * 44
    while (len(units) + 46) % 184:
        units += stuffing
    return b"\x10" + units


def _header(page: int) -> bytes:
    """A page header: with "erase page" and "subtitle" set."""
    control = (page & 0xF, page >> 4 & 0xF, 0, 8, 0, 8, 1, 0)
    return _packet(0, [*(_HAMMING[each] for each in control), *([_odd(0x20)] * 32)])


def _packet(row: int, data: list[int]) -> bytes:
    address = [_HAMMING[(PAGE >> 8 & 7) | (row & 1) << 3], _HAMMING[row >> 1]]
    return b"\x03\x2c\xe7\xe4" + bytes(int(f"{byte:08b}"[::-1], 2) for byte in (*address, *data))


def _odd(code: int) -> int:
    return code | (0 if code.bit_count() % 2 else 0x80)
