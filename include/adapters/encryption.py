"""Finds out whether a mezzanine is encrypted, and by which scheme, from its container alone: nothing is decoded.

ffmpeg reads an encrypted stream as if it were clear, and what its decoder says then looks like damage, or like a file
that is cut short, for which a title may wait. All reads are bounded, however a hostile file counts its parts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Set
from functools import lru_cache

from include.adapters.ffmpeg.ffprobe import Fields, Probe, tags_of

Read = Callable[[int, int], bytes]
"""Bytes of the mezzanine from an offset on; fewer, or none, behind its end."""

BLOCK = 64 * 1024
MAX_BOXES = 4096
"""Boxes of an MP4 that are looked at."""
TS_PACKET = 188
TS_LOOK = 4 * 1024**2
TS_FEWEST = 20
"""Packets of a stream below which its scrambling bits say nothing."""
MXF_LOOK = 1024**2
_WITHIN = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_PROTECTED = frozenset({b"encv", b"enca", b"enct", b"encs"})
_FAIRPLAY = frozenset({b"drmi", b"drms", b"drmt", b"p608"})
_SAMPLE_AES = frozenset({0xC1, 0xC2, 0xCF, 0xDB})
"""Stream types of Apple's encrypted elementary streams."""
_MXF_TRIPLET = bytes.fromhex("060e2b34020401070d010301027e0100")
"""Key of an encrypted triplet (SMPTE ST 429-6)."""
_SCHEMES = {
    "cenc": "Common Encryption, scheme cenc (AES-CTR)",
    "cbc1": "Common Encryption, scheme cbc1 (AES-CBC)",
    "cens": "Common Encryption, scheme cens (AES-CTR, pattern)",
    "cbcs": "Common Encryption, scheme cbcs (AES-CBC, pattern)",
    "piff": "Protected Interoperable File Format (PlayReady)",
}


def encryption(found: Probe, read: Read) -> str | None:
    """By which scheme a mezzanine is encrypted, as a person may read it; None where it is not.

    Args:
        found: ffprobe's answer.
        read: Gives its bytes.
    """
    names = set(str(found.container.get("format_name", "")).split(","))
    if any("enc_key_id" in tags_of(stream) for stream in found.streams):
        return "Matroska content encryption"
    if names & {"mov", "mp4"}:
        return _of_mp4(_blockwise(read))
    if "mpegts" in names:
        types = {str(stream.get("codec_tag_string", "")) for stream in found.streams}
        if types & {f"[{kind}][0][0][0]" for kind in _SAMPLE_AES}:
            return "SAMPLE-AES"
        return _of_transport(read(0, TS_LOOK), {_pid(stream) for stream in found.streams} - {None})
    if "mxf" in names and _MXF_TRIPLET in read(0, MXF_LOOK):
        return "MXF encrypted essence (SMPTE ST 429-6)"
    return None


def _blockwise(read: Read) -> Read:
    """``read``, asked for whole blocks only: boxes are small, and each answer may come over the network."""

    @lru_cache(maxsize=16)
    def block(number: int) -> bytes:
        return read(number * BLOCK, BLOCK)

    def small(offset: int, length: int) -> bytes:
        start = offset // BLOCK
        data = b"".join(block(number) for number in range(start, (offset + length - 1) // BLOCK + 1))
        return data[offset - start * BLOCK :][:length]

    return small


def _of_mp4(read: Read) -> str | None:
    for kind, start, end in _entries(read):
        if kind in _FAIRPLAY:
            return "FairPlay"
        if kind in _PROTECTED:
            # Where the fields of a sample entry end depends on its kind: the box of the scheme is looked for in it.
            entry = read(start, min(end - start, BLOCK))
            place = entry.find(b"schm")
            scheme = entry[place + 8 : place + 12].decode("ascii", "replace") if place >= 0 else ""
            shown = "".join(char for char in scheme if char.isalnum())
            return _SCHEMES.get(scheme, f"scheme {shown}" if shown else "an unnamed scheme")
    return None


def _entries(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """Every sample entry of an MP4: its kind, where it begins and where it ends."""
    looked, waiting = 0, [(0, 1 << 62)]
    while waiting:
        position, end = waiting.pop()
        while position + 8 <= end and looked < MAX_BOXES:
            looked += 1
            head = read(position, 16)
            if len(head) < 8:
                break
            size, kind = struct.unpack(">I4s", head[:8])
            body = position + 8
            if size == 1 and len(head) == 16:
                (size,) = struct.unpack(">Q", head[8:])
                body += 8
            if size < body - position:
                break
            within = min(position + size, end)
            if kind in _WITHIN:
                waiting.append((body, within))
            elif kind == b"stsd":
                yield from _sample_entries(read, body + 8, within)
            position += size
            if kind == b"moov":
                # What follows is media: fragments count on this box.
                break


def _sample_entries(read: Read, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(16):
        head = read(position, 8)
        if position + 8 > end or len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head)
        if size < 8:
            return
        yield kind, position, min(position + size, end)
        position += size


def _pid(stream: Fields) -> int | None:
    try:
        return int(str(stream.get("id")), 16)
    except ValueError:
        return None


def _of_transport(data: bytes, pids: Set[int | None]) -> str | None:
    """Whether the payload of a stream is scrambled in more than half of its packets.

    Args:
        data: The beginning of the mezzanine.
        pids: Of the streams that count; all of them where it is empty.
    """
    stride, start = _grid(data)
    packets: dict[int, int] = {}
    scrambled: dict[int, int] = {}
    for offset in range(start, len(data) - TS_PACKET + 1, stride):
        if data[offset] != 0x47 or not data[offset + 3] & 0x10:
            continue
        pid = (data[offset + 1] & 0x1F) << 8 | data[offset + 2]
        if pids and pid not in pids:
            continue
        packets[pid] = packets.get(pid, 0) + 1
        if data[offset + 3] & 0x80:
            scrambled[pid] = scrambled.get(pid, 0) + 1
    if any(count >= TS_FEWEST and scrambled.get(pid, 0) * 2 > count for pid, count in packets.items()):
        return "transport stream scrambling (conditional access)"
    return None


def _grid(data: bytes) -> tuple[int, int]:
    """Distance of the packets (188 bytes, or 192 with a time code, or 204 with parity) and where the first begins."""
    for stride in (TS_PACKET, 192, 204):
        for start in range(min(stride, len(data))):
            if all(data[start + number * stride : start + number * stride + 1] == b"\x47" for number in range(8)):
                return stride, start
    return TS_PACKET, 0
