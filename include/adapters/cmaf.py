"""Reads CMAF tracks back: codec, size, frame rate, durations and bytes as the bitstream has them.

Just enough of ISO/IEC 14496-12 for what the packager writes; a box that is not understood raises
:class:`UnreadableTrack`, never a guess.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from include.domain.recipe.codecs import H264, VP9

_VISUAL_ENTRY, _AUDIO_ENTRY = 78, 28
"""Bytes of a sample entry before its child boxes."""
_NON_SYNC = 0x0001_0000


class UnreadableTrack(Exception):
    """A track that is not what the packager should have written."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One media segment."""

    name: str
    size_bytes: int
    start: Fraction
    """Decode time of its first sample, in seconds."""
    duration: Fraction
    samples: int
    sync: bool
    """Whether it begins with a sync sample."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One track of the set as measured."""

    name: str
    kind: str
    """``video`` or ``audio``: its folder in the set."""
    codec: str
    """RFC 6381."""
    width: int = 0
    height: int = 0
    channels: int = 0
    segments: tuple[Segment, ...]
    init_bytes: int
    skipped: Fraction = Fraction(0)
    """Seconds at its beginning that its edit list leaves out: the encoder's delay of AAC."""

    @property
    def folder(self) -> str:
        """Its folder, relative to the set."""
        return f"{self.kind}/{self.name}"

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return sum((segment.duration for segment in self.segments), Fraction(0))

    @property
    def size_bytes(self) -> int:
        """All bytes of the track."""
        return self.init_bytes + sum(segment.size_bytes for segment in self.segments)

    @property
    def frame_rate(self) -> Fraction:
        """Samples per second, exact."""
        return sum(segment.samples for segment in self.segments) / self.duration

    @property
    def average_bps(self) -> int:
        """Bits per second over the whole track."""
        return average_bps([(segment.size_bytes, segment.duration) for segment in self.segments])

    def peak_bps(self, target_s: int) -> int:
        """Peak segment bit rate in HLS's sense."""
        return peak_bps([(segment.size_bytes, segment.duration) for segment in self.segments], target_s)


Sized = tuple[int, Fraction]
"""Bytes and seconds of one segment."""


def average_bps(segments: list[Sized]) -> int:
    """Bits per second over all segments, rounded up."""
    seconds = sum((duration for _, duration in segments), Fraction(0))
    return _up(sum(size for size, _ in segments) * 8 / seconds)


def peak_bps(segments: list[Sized], target_s: int) -> int:
    """The largest bit rate of contiguous segments that last 0.5 to 1.5 target durations together (RFC 8216, 4.1).

    A track shorter than that has its average as peak.
    """
    peak = Fraction(0)
    for first in range(len(segments)):
        size, seconds = 0, Fraction(0)
        for more_bytes, more_seconds in segments[first:]:
            size, seconds = size + more_bytes, seconds + more_seconds
            if seconds > Fraction(3, 2) * target_s:
                break
            if seconds >= Fraction(1, 2) * target_s:
                peak = max(peak, size * 8 / seconds)
    return max(_up(peak), average_bps(segments))


def read_track(folder: Path, kind: str, name: str) -> Track:
    """Measure the track beneath ``folder/kind/name``: its init segment and all its media segments."""
    place = folder / kind / name
    try:
        init = (place / "init.mp4").read_bytes()
        description = _find(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
        timescale = _timescale(_find(init, b"moov", b"trak", b"mdia", b"mdhd"))
        default_duration, default_flags = _defaults(_find(init, b"moov", b"mvex", b"trex"))
        segments = tuple(
            _segment(path, timescale, default_duration, default_flags) for path in sorted(place.glob("*.m4s"))
        )
        if not segments:
            raise UnreadableTrack("has no segments")
        return Track(
            name=name,
            kind=kind,
            segments=segments,
            init_bytes=len(init),
            skipped=Fraction(_skipped(_find(init, b"moov", b"trak")), timescale),
            **_sample_entry(description[8:], kind),
        )
    except (UnreadableTrack, OSError, struct.error, IndexError) as error:
        raise UnreadableTrack(f"{kind}/{name}: {error}") from error


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise UnreadableTrack(f"box {kind!r} has a wrong size")
        yield kind, data[position + 8 : position + size]
        position += size


def _find(data: bytes, *path: bytes) -> bytes:
    for step in path:
        found = next((body for kind, body in _boxes(data) if kind == step), None)
        if found is None:
            raise UnreadableTrack(f"has no box {b'.'.join(path).decode()}")
        data = found
    return data


def _timescale(mdhd: bytes) -> int:
    return int(struct.unpack_from(">I", mdhd, 20 if mdhd[0] == 1 else 12)[0])


def _skipped(trak: bytes) -> int:
    """Ticks of the track that lie before the time at which its edit list begins; 0 without one."""
    edits = next((_find(body, b"elst") for kind, body in _boxes(trak) if kind == b"edts"), None)
    if edits is None:
        return 0
    if struct.unpack_from(">I", edits, 4)[0] != 1:
        raise UnreadableTrack("has an edit list of several edits")
    start: int = struct.unpack_from(">q", edits, 16)[0] if edits[0] == 1 else struct.unpack_from(">i", edits, 12)[0]
    return max(0, start)


def _defaults(trex: bytes) -> tuple[int, int]:
    duration, _, flags = struct.unpack_from(">III", trex, 12)
    return duration, flags


def _sample_entry(entries: bytes, kind: str) -> dict[str, Any]:
    name, body = next(_boxes(entries))
    if kind == "video":
        width, height = struct.unpack_from(">HH", body, 24)
        return {"codec": _video_codec(name, body[_VISUAL_ENTRY:]), "width": width, "height": height}
    codec, channels = _audio_codec(name, body[_AUDIO_ENTRY:])
    return {"codec": codec, "channels": channels}


def _video_codec(name: bytes, children: bytes) -> str:
    entry = name.decode("latin-1")
    reader = _VIDEO_CODECS.get(entry)
    if reader is None:
        raise UnreadableTrack(f"has a sample entry {name!r} that is not known here")
    return f"{entry}.{reader(children)}"


def _h264(children: bytes) -> str:
    """Profile, flags and level, from the sequence parameter set itself."""
    record = _find(children, b"avcC")
    if record[5] & 0x1F < 1:
        raise UnreadableTrack("avcC has no sequence parameter set")
    # Before it: version, profile, level, flags, flags, its length, its header byte.
    return record[9:12].hex()


def _vp9(children: bytes) -> str:
    """Profile, level, depth, chroma, primaries, transfer, matrix and range."""
    profile, level, packed, primaries, transfer, matrix = struct.unpack_from(">BBBBBB", _find(children, b"vpcC"), 4)
    depth, chroma, full_range = packed >> 4, packed >> 1 & 7, packed & 1
    fields = (profile, level, depth, chroma, primaries, transfer, matrix, full_range)
    return ".".join(f"{field:02d}" for field in fields)


_VIDEO_CODECS: Mapping[str, Callable[[bytes], str]] = {H264.sample_entry: _h264, VP9.sample_entry: _vp9}
"""By sample entry: what reads the rest of the codec's RFC 6381 name from the boxes in it."""


def _audio_codec(name: bytes, children: bytes) -> tuple[str, int]:
    if name != b"mp4a":
        raise UnreadableTrack(f"has a sample entry {name!r} that is not known here")
    decoder = _descriptor(_descriptor(_find(children, b"esds")[4:], 0x03)[3:], 0x04)
    config = _descriptor(decoder[13:], 0x05)
    bits = int.from_bytes(config[:8].ljust(8, b"\0"), "big")
    object_type = bits >> 59
    # A frequency index of 15 is followed by the frequency in 24 bits.
    skipped = 4 + (24 if bits >> 55 & 15 == 15 else 0)
    channels = bits >> (59 - skipped - 4) & 15
    return f"mp4a.{decoder[0]:02x}.{object_type}", 8 if channels == 7 else channels


def _descriptor(data: bytes, tag: int) -> bytes:
    """The body of an MPEG-4 descriptor, whose length has seven bits per byte."""
    if data[0] != tag:
        raise UnreadableTrack(f"esds has descriptor {data[0]:#x} where {tag:#x} is due")
    size, position = 0, 1
    while True:
        size = size << 7 | data[position] & 0x7F
        position += 1
        if not data[position - 1] & 0x80:
            return data[position : position + size]


def _segment(path: Path, timescale: int, default_duration: int, default_flags: int) -> Segment:
    start, ticks, samples, sync = None, 0, 0, False
    with path.open("rb") as stream:
        for moof in _moofs(stream, path.stat().st_size):
            fragment = _find(moof, b"traf")
            header = _find(fragment, b"tfhd")
            duration, flags = _track_defaults(header, default_duration, default_flags)
            if start is None:
                time = _find(fragment, b"tfdt")
                start = struct.unpack_from(">Q" if time[0] == 1 else ">I", time, 4)[0]
            for kind, run in _boxes(fragment):
                if kind == b"trun":
                    count, run_ticks, first_flags = _run(run, duration, flags)
                    sync = sync or (samples == 0 and not first_flags & _NON_SYNC)
                    samples, ticks = samples + count, ticks + run_ticks
    if start is None or not ticks:
        raise UnreadableTrack(f"{path.name} has no samples")
    return Segment(
        name=path.name,
        size_bytes=path.stat().st_size,
        start=Fraction(start, timescale),
        duration=Fraction(ticks, timescale),
        samples=samples,
        sync=sync,
    )


def _moofs(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The movie fragment boxes of a file, without reading its media."""
    position = 0
    while position + 8 <= size:
        stream.seek(position)
        length, kind = struct.unpack(">I4s", stream.read(8))
        if length < 8 or position + length > size:
            raise UnreadableTrack(f"box {kind!r} has a wrong size")
        if kind == b"moof":
            yield stream.read(length - 8)
        position += length
    if position != size:
        raise UnreadableTrack("ends inside a box")


def _track_defaults(tfhd: bytes, duration: int, flags: int) -> tuple[int, int]:
    present = int.from_bytes(tfhd[1:4], "big")
    position = 8 + (8 if present & 0x1 else 0) + (4 if present & 0x2 else 0)
    if present & 0x8:
        duration = struct.unpack_from(">I", tfhd, position)[0]
        position += 4
    position += 4 if present & 0x10 else 0
    if present & 0x20:
        flags = struct.unpack_from(">I", tfhd, position)[0]
    return duration, flags


def _run(trun: bytes, default_duration: int, default_flags: int) -> tuple[int, int, int]:
    """Samples, their ticks together, and the flags of the first of them."""
    present = int.from_bytes(trun[1:4], "big")
    count = struct.unpack_from(">I", trun, 4)[0]
    position = 8 + (4 if present & 0x1 else 0)
    first_flags = default_flags
    if present & 0x4:
        first_flags = struct.unpack_from(">I", trun, position)[0]
        position += 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if present & bit]
    if 0x400 in fields and count:
        first_flags = struct.unpack_from(">I", trun, position + 4 * fields.index(0x400))[0]
    if 0x100 not in fields:
        return count, count * default_duration, first_flags
    durations = (struct.unpack_from(">I", trun, position + 4 * len(fields) * sample)[0] for sample in range(count))
    return count, sum(durations), first_flags


def _up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
