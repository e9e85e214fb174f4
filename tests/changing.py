"""Sources whose streams change on the way: pieces that are encoded apart and put one after the other on one clock.

A piece of picture has a colour, a piece of sound a tone: by these they are found again in what is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.clips import run_ffmpeg

FPS = 25
COLOURS = ((220, 30, 30), (30, 200, 30), (40, 40, 230), (200, 200, 40), (40, 200, 200), (200, 40, 200), (235, 235, 235))
"""Red, green and blue of the pieces of picture, in order."""
TONES_HZ = (400, 900, 1500, 2300, 3300, 4500, 6000)
"""Of the pieces of sound, in order."""
SAMPLES = {"ac3": 1536, "mp2": 1152, "libopus": 960}
"""Of one packet."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A piece of picture."""

    frames: int
    size: str = "320x180"
    pixel_format: str = "yuv420p"
    filters: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hear:
    """A piece of sound."""

    packets: int
    layout: str = "stereo"
    rate_hz: int = 48_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """A made file, and when its pieces begin."""

    path: Path
    looks_s: tuple[float, ...]
    """Starts of the pieces of picture and the end of the last one."""
    hears_s: tuple[float, ...] = ()


def make_source(
    path: Path,
    looks: Sequence[Look],
    hears: Sequence[Hear] = (),
    *,
    video: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "12", "-bf", "0"),
    sound: str = "ac3",
    options: dict[str, str] | None = None,
) -> Source:
    """Encode the pieces and put them together; the container follows from the suffix of ``path``.

    Args:
        path: Where to write it.
        looks: Pieces of picture, at most as many as there are colours.
        hears: Pieces of sound, at most as many as there are tones.
        video: The encoder of the picture and its options.
        sound: The encoder of the sound.
        options: Of the muxer.
    """
    folder = path.parent / f"{path.name}.pieces"
    folder.mkdir()
    # As a bare stream: each piece has its own description of itself in the stream.
    container = ".webm" if path.suffix == ".webm" else ".h264"
    pictures = [_picture(folder / f"v{n}{container}", look, COLOURS[n], video) for n, look in enumerate(looks)]
    sounds = [_sound(folder / f"a{n}.mka", hear, TONES_HZ[n], sound) for n, hear in enumerate(hears)]
    frame_s = [Fraction(look.frames, FPS) for look in looks]
    packet_s = [Fraction(SAMPLES[sound], hear.rate_hz) for hear in hears]
    packets = _packets(0, pictures, [Fraction(1, FPS)] * len(looks), [look.frames for look in looks])
    packets += _packets(1, sounds, packet_s, [hear.packets for hear in hears])
    packets.sort(key=lambda each: each[0])
    with av.open(str(path), "w", options=options or {}) as output:
        streams: list[Any] = []
        for pieces in (pictures, sounds):
            if pieces:
                with av.open(str(pieces[0])) as first:
                    streams.append(output.add_stream_from_template(first.streams[0]))
        for at, number, length, packet in packets:
            packet.stream = streams[number]
            packet.time_base = Fraction(1, 90_000)
            packet.pts = packet.dts = round(at * 90_000)
            packet.duration = round(length * 90_000)
            output.mux(packet)
    hear_s = [length * hear.packets for length, hear in zip(packet_s, hears, strict=True)]
    return Source(path=path, looks_s=_starts(frame_s), hears_s=_starts(hear_s) if hears else ())


def _starts(lengths: Sequence[Fraction]) -> tuple[float, ...]:
    return tuple(float(each) for each in itertools.accumulate(lengths, initial=Fraction(0)))


def _picture(path: Path, look: Look, colour: tuple[int, int, int], video: tuple[str, ...]) -> Path:
    red, green, blue = colour
    made = f"color=0x{red:02x}{green:02x}{blue:02x}:size={look.size}:rate={FPS}"
    # The colour is that of BT.601, as of an untagged picture of this size, unless a piece says otherwise.
    filters = look.filters or "scale=out_color_matrix=smpte170m:out_range=tv"
    run_ffmpeg(
        [
            *("-f", "lavfi", "-i", made, "-frames:v", str(look.frames), "-vf", f"{filters},format={look.pixel_format}"),
            *video,
            *look.options,
            str(path),
        ]
    )
    return path


def _sound(path: Path, hear: Hear, tone_hz: int, encoder: str) -> Path:
    seconds = (hear.packets + 1) * SAMPLES[encoder] / hear.rate_hz
    tone = f"aevalsrc=0.5*sin(2*PI*{tone_hz}*t):sample_rate={hear.rate_hz}:duration={seconds}"
    shape = ["-af", f"pan={hear.layout}|{_everywhere(hear.layout)}", "-c:a", encoder]
    run_ffmpeg(["-f", "lavfi", "-i", tone, *shape, "-b:a", "384k" if encoder == "ac3" else "128k", str(path)])
    return path


def _everywhere(layout: str) -> str:
    return "|".join(f"c{number}=c0" for number in range({"mono": 1, "stereo": 2, "5.1": 6}[layout]))


def _packets(
    number: int, pieces: Sequence[Path], lengths: Sequence[Fraction], counts: Sequence[int]
) -> list[tuple[Fraction, int, Fraction, Any]]:
    """Packets of the pieces with time, stream and length of each: so many of each piece, one after the other."""
    packets, at = [], Fraction(0)
    for piece, length, count in zip(pieces, lengths, counts, strict=True):
        with av.open(str(piece)) as opened:
            read = [packet for packet in opened.demux(opened.streams[0]) if packet.size][:count]
        assert len(read) == count, f"{piece.name} has {len(read)} packets instead of {count}"
        for packet in read:
            packets.append((at, number, length, packet))
            at += length
    return packets
