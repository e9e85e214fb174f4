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
    data = bytearray(path.read_bytes())
    clap = struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)
    at, end, opened = 0, len(data), []
    for parent in PARENTS:
        at, size = _find(data, parent, at, end)
        opened.append(at)
        end = at + size
        # The sample descriptions begin with version, flags and a count.
        at += 16 if parent == b"stsd" else 8
    (entry_size,) = struct.unpack_from(">I", data, at)
    for place in (*opened, at):
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(clap))
    data[at + entry_size : at + entry_size] = clap
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
