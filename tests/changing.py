"""Sources whose streams change on the way: pieces that are encoded apart and put one after the other on one clock.

A piece of picture has a colour, a piece of sound a tone: by these they are found again in what is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    hears_s: tuple[float, ...] = field(default=())


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


def two_descriptions(path: Path, looks: Sequence[Look]) -> Source:
    """A fragmented MP4 of two pieces of picture, each with a sample description of its own.

    So does a packager write where a live encoder was set to another size: the track's header has both descriptions, and
    each fragment names the one that it needs.
    """
    first, second = looks
    flags = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-video_track_timescale", str(FPS * 100))
    parts = []
    for number, look in enumerate((first, second)):
        piece = path.parent / f"{path.name}.{number}.mp4"
        encoder = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "12", "-bf", "0", *flags)
        parts.append(_boxes(_picture(piece, look, COLOURS[number], encoder).read_bytes()))
    head = next(data for kind, data in parts[0] if kind == b"moov")
    other = next(data for kind, data in parts[1] if kind == b"moov")
    places = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    stsd = _inside(head, places)
    described = stsd[:4] + (2).to_bytes(4, "big") + stsd[8:] + _inside(other, places)[8:]
    made = [_box(kind, data if kind != b"moov" else _replaced(head, places, described)) for kind, data in parts[0][:2]]
    made += [_box(kind, data) for kind, data in parts[0][2:] if kind in {b"moof", b"mdat"}]
    made += [
        _box(kind, _moved(data, by=first.frames * 100) if kind == b"moof" else data)
        for kind, data in parts[1]
        if kind in {b"moof", b"mdat"}
    ]
    path.write_bytes(b"".join(made))
    return Source(path=path, looks_s=_starts([Fraction(look.frames, FPS) for look in looks]))


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _box(kind: bytes, data: bytes) -> bytes:
    return (len(data) + 8).to_bytes(4, "big") + kind + data


def _inside(data: bytes, places: Sequence[bytes]) -> bytes:
    for place in places:
        data = next(each for kind, each in _boxes(data) if kind == place)
    return data


def _replaced(data: bytes, places: Sequence[bytes], new: bytes) -> bytes:
    if not places:
        return new
    return b"".join(
        _box(kind, _replaced(each, places[1:], new) if kind == places[0] else each) for kind, each in _boxes(data)
    )


def _moved(moof: bytes, *, by: int) -> bytes:
    """A fragment ``by`` units later whose samples have the second description: its header grows by four bytes."""
    parts = []
    for kind, data in _boxes(_inside(moof, (b"traf",))):
        if kind == b"tfhd":
            told = int.from_bytes(data[1:4], "big") | 2
            data = data[:1] + told.to_bytes(3, "big") + data[4:8] + (2).to_bytes(4, "big") + data[8:]
        elif kind == b"tfdt":
            data = data[:4] + (int.from_bytes(data[4:], "big") + by).to_bytes(len(data) - 4, "big")
        elif kind == b"trun":
            data = data[:8] + (int.from_bytes(data[8:12], "big") + 4).to_bytes(4, "big") + data[12:]
        parts.append(_box(kind, data))
    return _replaced(moof, (b"traf",), b"".join(parts))
