"""Which captions the user data of a picture hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media.closed_captions import CaptionChannels, caption_channels


def user_data(*triplets: tuple[int, int, int], processed: bool = True) -> bytes:
    head = bytes(((0x40 if processed else 0) | len(triplets), 0xFF))
    return b"\xb5\x00\x31GA94\x03" + head + b"".join(map(bytes, triplets)) + b"\xff\x80"


PADDING = ((0xFC, 0x80, 0x80), (0xFD, 0x80, 0x80), (0xFA, 0, 0))


@pytest.mark.parametrize(
    ("triplets", "expected"),
    [
        pytest.param(PADDING, CaptionChannels(), id="padding alone"),
        pytest.param((*PADDING, (0xFC, 0x94, 0x20)), CaptionChannels(first=True), id="field 1"),
        pytest.param(((0xFD, 0x15, 0x20),), CaptionChannels(second=True), id="field 2"),
        pytest.param(((0xFF, 0x02, 0x21),), CaptionChannels(digital=True), id="CEA-708"),
        pytest.param(((0xF8, 0x94, 0x20),), CaptionChannels(), id="not valid"),
    ],
)
def test_what_is_more_than_padding_is_found(
    triplets: tuple[tuple[int, int, int], ...], expected: CaptionChannels
) -> None:
    assert caption_channels([b"\0\0\1\x06" + user_data(*triplets)]) == expected
    assert caption_channels([user_data(*triplets, processed=False)]) == CaptionChannels()


@given(st.integers(min_value=1, max_value=40), st.integers(min_value=0, max_value=100))
def test_it_does_not_matter_where_the_stream_is_cut(size: int, before: int) -> None:
    data = b"x" * before + user_data(*PADDING) + b"\0\0\3\1" + user_data((0xFC, 0x94, 0x20), (0xFF, 0, 3)) + b"y" * 10

    found = caption_channels(data[start : start + size] for start in range(0, len(data), size))

    assert found == CaptionChannels(first=True, digital=True)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    caption_channels([data, b"GA94\x03" + data])
