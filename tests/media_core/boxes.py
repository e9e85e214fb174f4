"""Puts boxes into MP4 files that ffmpeg does not write by itself."""

from __future__ import annotations

import struct
from pathlib import Path

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
"""From the file down to the sample entries."""


def with_clean_aperture(path: Path, *, width: int, height: int) -> Path:
    """The same QuickTime file with a clean aperture of this size around the picture's middle.

    The file's index has to stand behind its media, where ffmpeg puts it: nothing that it points at moves.
    """
    return _with_box(path, struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1))


def with_dolby_vision(path: Path, *, profile: int, compatibility: int) -> Path:
    """The same MP4 with a configuration record of Dolby Vision: level 1, base layer and metadata, no second layer."""
    record = bytes([1, 0, profile << 1, 1 << 3 | 0b101, compatibility << 4, *bytes(19)])
    return _with_box(path, struct.pack(">I4s", 32, b"dvvC" if profile > 7 else b"dvcC") + record)


def _with_box(path: Path, box: bytes) -> Path:
    """The same file with one more box at the end of its first sample entry."""
    data = bytearray(path.read_bytes())
    at, end, opened = 0, len(data), []
    for parent in PARENTS:
        at, size = _find(data, parent, at, end)
        opened.append(at)
        end = at + size
        # The sample descriptions begin with version, flags and a count.
        at += 16 if parent == b"stsd" else 8
    (entry_size,) = struct.unpack_from(">I", data, at)
    for place in (*opened, at):
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(box))
    data[at + entry_size : at + entry_size] = box
    path.write_bytes(data)
    return path


def _find(data: bytearray, name: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the first box of this name stands, and its size."""
    while at < end:
        size, found = struct.unpack_from(">I4s", data, at)
        if found == name:
            return at, size
        at += size
    raise AssertionError(f"no box {name!r}")
