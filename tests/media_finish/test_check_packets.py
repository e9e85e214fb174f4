"""What the stage ``check`` reads of a rendition's packets, however many there are."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.adapters.ffmpeg.listing import REORDERED, Listed, list_packets
from include.adapters.process import STDOUT_LIMIT
from include.adapters.tools import ffprobe
from include.base.settings import Settings


def movie(path: Path, count: int, *, gop: int) -> Path:
    """A QuickTime file of ``count`` pictures of four bytes, at 60 a second; its tables say it in a few bytes each."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)

    def full(kind: bytes, *parts: bytes) -> bytes:
        return box(kind, bytes(4), *parts)

    def u32(*values: int) -> bytes:
        return struct.pack(f">{len(values)}I", *values)

    turn = u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    picture = bytes(22) + struct.pack(">HHIIIH", 16, 16, 0x480000, 0x480000, 0, 1) + bytes(32)
    entry = box(b"rle ", bytes(6), b"\0\1", picture[6:], struct.pack(">Hh", 24, -1))
    keys = range(1, count + 1, gop)
    kind = box(b"ftyp", b"qt  ", u32(0), b"qt  ")

    def index(start: int) -> bytes:
        table = box(
            b"stbl", full(b"stsd", u32(1), entry), full(b"stts", u32(1, count, 1)),
            full(b"stss", u32(len(keys)), u32(*keys)), full(b"stsc", u32(1, 1, count, 1)),
            full(b"stsz", u32(4, count)), full(b"stco", u32(1, start)),
        )  # fmt: skip
        here = box(b"dinf", full(b"dref", u32(1), box(b"url ", u32(1))))
        media = box(
            b"mdia", full(b"mdhd", u32(0, 0, 60, count, 0)), full(b"hdlr", u32(0), b"vide", bytes(13)),
            box(b"minf", box(b"vmhd", u32(1), bytes(8)), here, table),
        )  # fmt: skip
        track = box(b"tkhd", u32(7, 0, 0, 1, 0, count), bytes(16), turn, u32(16 << 16, 16 << 16))
        header = full(b"mvhd", u32(0, 0, 60, count, 0x10000), b"\1\0", bytes(10), turn, bytes(24), u32(2))
        return box(b"moov", header, box(b"trak", track, media))

    start = len(kind) + len(index(0)) + 8
    with path.open("wb") as file:
        file.write(kind + index(start) + struct.pack(">I4s", 8 + 4 * count, b"mdat"))
        file.truncate(start + 4 * count)
    return path


def read(packets: list[tuple[int, bool]]) -> Listed:
    listed = Listed()
    for pts, key in packets:
        listed.read(f"packet|pts={pts}|flags={'K__' if key else '___'}")
    listed.read("stream|width=16|height=9|time_base=1/25")
    listed.end()
    return listed


def test_a_list_that_would_fill_all_that_is_kept_of_an_output_is_read_to_its_end(tmp_path: Path) -> None:
    """As JSON a packet took 107 bytes: three hours at 60 fps were more than is kept."""
    count = 800_000
    assert count * 107 > STDOUT_LIMIT

    listed, cost = list_packets(ffprobe(Settings()), movie(tmp_path / "long.mov", count, gop=120), timeout_s=100)

    assert (listed.count, listed.width, listed.height, listed.orderly) == (count, 16, 16, True)
    assert listed.keyframes == list(range(0, count, 120))
    assert listed.presented_s(Fraction(1, 60)) == pytest.approx(count / 60)
    assert cost.cpu_s > 0


def test_of_the_packets_none_is_kept_but_those_that_others_may_come_before() -> None:
    listed, most = Listed(), 0
    for number in range(200_000):
        listed.read(f"packet|pts={number * 256}|flags={'K__' if number % 120 == 0 else '___'}")
        most = max(most, len(listed.waiting))

    assert most == REORDERED
    assert len(listed.keyframes) < 200_000 / 120 + 1


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, REORDERED))
def test_the_order_of_decoding_makes_no_difference(seed: int, count: int, reach: int) -> None:
    dice = random.Random(seed)
    packets = [(number * 512, dice.random() < 0.2) for number in range(count)]
    shuffled = sorted(packets, key=lambda packet: packet[0] + dice.randrange(reach) * 512)

    listed = read(shuffled)

    assert listed.orderly
    assert listed.keyframes == [position for position, (_, key) in enumerate(packets) if key]
    assert listed.presented_s(Fraction(1, 25)) == pytest.approx((packets[-1][0] + 1) / 25 if packets else 0)


def test_a_picture_far_from_its_place_is_said() -> None:
    packets = [(number, number == 0) for number in range(200)]

    assert read(packets).orderly
    assert not read([*packets[1:], packets[0]]).orderly


@pytest.mark.parametrize(
    "line",
    ["", "packet", "packet|pts=N/A|flags=K__", "packet|flags=K__", "packet|pts=|flags=", "stream|width=N/A|height=2",
     "stream|width=1|height=1|time_base=1/0", "side|data=1", "packet|pts=x|pts", "|" * 999, "packet|pts=" + "9" * 9000],
)  # fmt: skip
def test_a_line_that_says_nothing_does_no_harm(line: str) -> None:
    listed = read([(0, True), (1, False)])
    before = listed.keyframes, listed.width

    listed.read(line)
    listed.end()

    assert (listed.keyframes, listed.width) == before
