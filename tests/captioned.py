"""Clips with captions in their picture (CEA-608 and CEA-708 in ATSC A/53), which no encoder here writes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.clips import run_ffmpeg

RESUME, CLEAR, END, ERASE = (0x14, 0x20), (0x14, 0x2E), (0x14, 0x2F), (0x14, 0x2C)
"""Control codes of channel 1: pop-on captions, erase what is prepared, show it, take it away."""
ROW_15 = (0x14, 0x70)
RATE = "30000/1001"


def captioned(
    path: Path,
    text: str | None,
    *,
    show: int = 0,
    hide: int = 0,
    seconds: float = 3,
    offset_s: float = 0,
    second_field: bool = False,
    packets: Mapping[int, bytes] | None = None,
    reordered: bool = False,
) -> Path:
    """A clip whose picture carries one caption.

    Args:
        path: Of the new file; the container follows from its suffix.
        text: ASCII; channel 1 of its field. None for padding alone.
        show: Number of the picture at which it comes.
        hide: Number of the picture at which it goes.
        seconds: Length.
        offset_s: Of the container's clock.
        second_field: Whether it is in field 2.
        packets: Of CEA-708, made by :func:`packet`, by the number of the picture that they are shown with.
        reordered: Whether each third picture is coded before the two that are shown before it.
    """
    raw = path.with_suffix(".plain.h264")
    source = ["-f", "lavfi", "-i", f"testsrc2=size=160x90:rate={RATE}", "-t", str(seconds)]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    encoder += ["-bf", "2" if reordered else "0", "-b_strategy", "0", "-x264-params", "aud=1:scenecut=0"]
    run_ffmpeg([*source, *encoder, "-f", "h264", str(raw)])
    with_captions = path.with_suffix(".captions.h264")
    units = raw.read_bytes().split(b"\0\0\0\1\x09")
    count = len(units) - 1
    pairs = [(0, 0)] * count if text is None else timetable(text, count, show, hide)
    pieces = [units[0]]
    for coded, (unit, pair) in enumerate(zip(units[1:], pairs, strict=True)):
        number = coded + (2 if coded % 3 == 1 else -1) if reordered and coded else coded
        digital = triplets((packets or {}).get(number, b""))
        # The access unit delimiter is two bytes, the first of which was split at; user data follow it.
        pieces.append(
            b"\0\0\0\1\x09" + unit[:1] + user_data(pair, second_field=second_field, digital=digital) + unit[1:]
        )
    with_captions.write_bytes(b"".join(pieces))
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    streams = ["-map", "0:v", "-map", "1:a", "-t", str(seconds), "-c:v", "copy", "-c:a", "aac"]
    picture = ["-r", RATE, "-f", "h264", "-i", str(with_captions)]
    if reordered:
        # A raw stream says only in which order its pictures are coded. They come one picture later than the sound.
        shown = "(if(N,if(eq(mod(N,3),1),N+2,N-1),0)+1)"
        frame = f"/({RATE})/TB"
        streams += ["-bsf:v", f"setts=pts={shown}{frame}:dts=N{frame}".replace(",", "\\,")]
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


def user_data(pair: tuple[int, int], *, second_field: bool, digital: bytes = b"") -> bytes:
    """An SEI unit with one pair of CEA-608, padding for the other field, and triplets of CEA-708."""
    one, two = (byte | (0x80 if bin(byte).count("1") % 2 == 0 else 0) for byte in pair)
    pad = bytes((0x80, 0x80))
    first, second = (pad, bytes((one, two))) if second_field else (bytes((one, two)), pad)
    data = b"\xfc" + first + b"\xfd" + second + digital
    payload = b"\xb5\x00\x31GA94\x03" + bytes((0xC0 | len(data) // 3, 0xFF)) + data + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes((len(payload),)) + payload + b"\x80"


def packet(sequence: int, *blocks: tuple[int, bytes]) -> bytes:
    """A packet of CEA-708 with these blocks: number of the service, and at most 31 bytes."""
    body = b""
    for service, data in blocks:
        head = (service << 5 | len(data),) if service < 7 else (7 << 5 | len(data), service)
        body += bytes(head) + data
    # The header counts pairs of bytes, itself included; 64 pairs are written as 0. What is left over is padding.
    size = (1 + len(body) + 1) // 2
    return (bytes((sequence << 6 | size % 64,)) + body).ljust(2 * size, b"\0")


def triplets(made: bytes) -> bytes:
    """A packet as triplets of caption data: the first begins it, the others go on."""
    return b"".join(bytes((0xFE if start else 0xFF,)) + made[start : start + 2] for start in range(0, len(made), 2))
