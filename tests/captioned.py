"""Clips with captions in their picture (CEA-608 in ATSC A/53 user data), which no encoder here writes by itself."""

from __future__ import annotations

from pathlib import Path

from tests.clips import run_ffmpeg

RESUME, CLEAR, END, ERASE = (0x14, 0x20), (0x14, 0x2E), (0x14, 0x2F), (0x14, 0x2C)
"""Control codes of channel 1: pop-on captions, erase what is prepared, show it, take it away."""
ROW_15 = (0x14, 0x70)
RATE = "30000/1001"


def captioned(
    path: Path, text: str, *, show: int, hide: int, seconds: float = 3, offset_s: float = 0, second_field: bool = False
) -> Path:
    """A clip whose picture carries one caption.

    Args:
        path: Of the new file; the container follows from its suffix.
        text: ASCII; channel 1 of its field.
        show: Number of the picture at which it comes.
        hide: Number of the picture at which it goes.
        seconds: Length.
        offset_s: Of the container's clock.
        second_field: Whether it is in field 2.
    """
    raw = path.with_suffix(".plain.h264")
    source = ["-f", "lavfi", "-i", f"testsrc2=size=160x90:rate={RATE}", "-t", str(seconds)]
    coder = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0", "-x264-params", "aud=1"]
    run_ffmpeg([*source, *coder, "-f", "h264", str(raw)])
    with_captions = path.with_suffix(".captions.h264")
    units = raw.read_bytes().split(b"\0\0\0\1\x09")
    pairs = timetable(text, len(units) - 1, show, hide)
    pieces = [units[0]]
    for unit, pair in zip(units[1:], pairs, strict=True):
        # The access unit delimiter is two bytes, the first of which was split at; user data follow it.
        pieces.append(b"\0\0\0\1\x09" + unit[:1] + user_data(pair, second_field=second_field) + unit[1:])
    with_captions.write_bytes(b"".join(pieces))
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    streams = ["-map", "0:v", "-map", "1:a", "-t", str(seconds), "-c:v", "copy", "-c:a", "aac"]
    picture = ["-r", RATE, "-f", "h264", "-i", str(with_captions)]
    run_ffmpeg([*picture, *sound, *streams, "-output_ts_offset", str(offset_s), str(path)])
    return path


def timetable(text: str, count: int, show: int, hide: int) -> list[tuple[int, int]]:
    """A pair of bytes for each picture: the caption is sent ahead, and shown and erased at its pictures."""
    letters = [ord(char) for char in text] + [0] * (len(text) % 2)
    words = [RESUME, CLEAR, ROW_15, *zip(letters[0::2], letters[1::2], strict=True)]
    pairs = [(0, 0)] * count
    pairs[show - len(words) : show] = words
    pairs[show], pairs[hide] = END, ERASE
    return pairs


def user_data(pair: tuple[int, int], *, second_field: bool) -> bytes:
    """An SEI unit with one pair of CEA-608, and padding for the other field."""
    one, two = (byte | (0x80 if bin(byte).count("1") % 2 == 0 else 0) for byte in pair)
    pad = bytes((0x80, 0x80))
    first, second = (pad, bytes((one, two))) if second_field else (bytes((one, two)), pad)
    payload = b"\xb5\x00\x31GA94\x03" + bytes((0xC2, 0xFF)) + b"\xfc" + first + b"\xfd" + second + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes((len(payload),)) + payload + b"\x80"
