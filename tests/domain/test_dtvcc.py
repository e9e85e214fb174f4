"""CEA-708 captions as cues: the packets are made by hand, after the tables of the standard."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media import dtvcc
from include.domain.media.dtvcc import DtvccDecoder
from include.domain.media.dtvcc_codes import character, code_length
from include.domain.media.dtvcc_window import MAX_COLUMNS, MAX_ROWS
from tests.captioned import packet, triplets

DSW0, HDW0, TGW0, CLW0, DLW0 = b"\x89\x01", b"\x8a\x01", b"\x8b\x01", b"\x88\x01", b"\x8c\x01"
DLC, RST, BS, FF, CR, HCR = b"\x8e", b"\x8f", b"\x08", b"\x0c", b"\x0d", b"\x0e"
DOWN = b"\x97\0\0\x20\0"
"""Print direction from top to bottom, scrolled from left to right: columns are read from the right."""
LEFTWARDS = b"\x97\0\0\x10\0"


def window(
    number: int = 0,
    *,
    rows: int = 2,
    columns: int = 32,
    visible: bool = False,
    anchor: int = 70,
    point: int = 7,
    style: int = 0,
) -> bytes:
    """DefineWindow, anchored near the bottom."""
    return bytes((0x98 + number, 0x20 * visible, anchor, 80, point << 4 | (rows - 1), columns - 1, style << 3 | 1))


def at(row: int, column: int) -> bytes:
    return bytes((0x92, row, column))


def delay(tenths: int) -> bytes:
    return bytes((0x8D, tenths))


def cues(
    *pictures: Sequence[bytes] | bytes, step_ms: int = 2000, service: int = 1, end_ms: int | None = None
) -> list[tuple[int, int, str]]:
    """What the codes of one service show that come with these pictures, in blocks as large as they may be."""
    decoder, sequence = DtvccDecoder(), 0
    for number, data in enumerate(pictures):
        whole = data if isinstance(data, bytes) else b"".join(data)
        made = b""
        for start in range(0, len(whole), 31):
            made += triplets(packet(sequence, (service, whole[start : start + 31])))
            sequence = (sequence + 1) % 4
        decoder.picture(made, number * step_ms)
    found = decoder.finish(len(pictures) * step_ms if end_ms is None else end_ms)
    return [(each.start_ms, each.end_ms, each.text) for each in found[service].cues] if service in found else []


def text(*codes: bytes) -> str | None:
    """What one visible window shows after these codes."""
    found = cues([window(visible=True), *codes])
    return found[0][2] if found else None


def test_a_caption_is_shown_from_its_picture_until_the_one_that_takes_it_away() -> None:
    shown = cues([window(), b"HELLO"], DSW0, b"", [HDW0], b"")

    assert shown == [(2000, 6000, "HELLO")]


def test_captions_that_follow_each_other_are_cues_of_their_own() -> None:
    shown = cues([window(), b"ONE"], [DSW0], [window(1), b"TWO", HDW0, b"\x89\x02"], [b"\x8c\x02"])

    assert shown == [(2000, 4000, "ONE"), (4000, 6000, "TWO")]


def test_what_is_still_shown_ends_with_the_title() -> None:
    assert cues([window(visible=True), b"A"], end_ms=9000) == [(0, 9000, "A")]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        pytest.param([b"ONE", CR, b"TWO"], "ONE\nTWO", id="next row"),
        pytest.param([b"ONE", CR, b"TWO", CR, b"SIX"], "TWO\nSIX", id="the last row pushes the first out"),
        pytest.param([b"ONX", BS, b"E"], "ONE", id="backspace"),
        pytest.param([b"ONE", FF, b"TWO"], "TWO", id="form feed"),
        pytest.param([b"ONE", CR, b"X", HCR, b"TWO"], "ONE\nTWO", id="the row again"),
        pytest.param([at(1, 3), b"LOW", at(0, 0), b"TOP"], "TOP\nLOW", id="pen location"),
        pytest.param([b"A", at(0, 4), b"B"], "A   B", id="a gap in a row"),
        pytest.param([b"AAAA", at(0, 0), b"BB"], "BBAA", id="over what was there"),
        pytest.param([b"A", CLW0, b"B"], "B", id="clear the window"),
        pytest.param([b"A", TGW0], None, id="toggle it away"),
        pytest.param([b"A", TGW0, TGW0], "A", id="and back"),
        pytest.param([b"A", DLW0, b"B"], None, id="no window to write into"),
        pytest.param([b"A", RST, b"B"], None, id="reset"),
        pytest.param([b"A", b"\x83", b"B", b"\x80", b"C"], "AC", id="a window that is not there"),
        pytest.param([b"A", window(visible=True), b"B"], "AB", id="defined again as it was"),
        pytest.param([b"ABCD", window(visible=True, columns=2)], "AB", id="defined again, smaller"),
        pytest.param([LEFTWARDS, b"\xe9\xe8"], "éè", id="from right to left, in the order of reading"),
        pytest.param([LEFTWARDS, at(0, 0), b"B", at(0, 1), b"A"], "AB", id="the pen placed from right to left"),
        pytest.param([DOWN, at(0, 31), b"AB", at(0, 30), b"CD"], "AB\nCD", id="from top to bottom"),
        pytest.param([b"\x90\x05\x80", b"<A>", b"\x90\x05\x40", b"B"], "<i>&lt;A&gt;</i><u>B</u>", id="emphasis"),
        pytest.param([b"\x90\xf5\x00", b"HIDDEN", b"\x90\x05\x00", b"B"], "B", id="what is not to be shown"),
        pytest.param([b"A", b"\x91\x3f\x41\x42", b"B"], "AB", id="colours are passed over"),
        pytest.param([b"A", b"\x93\x94\x95\x96", b"B"], "AB", id="reserved codes"),
        pytest.param([b"A", b"\x00\x03", b"B"], "AB", id="nothing, and end of text"),
    ],
)
def test_codes_change_the_text(codes: list[bytes], expected: str | None) -> None:
    assert text(*codes) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"A", "A"),
        (b"\x7f", "♪"),
        (b"\xe9", "é"),
        (b"\x10\x25", "…"),
        (b"\x10\x2a", "Š"),
        (b"\x10\x33", "\u201c"),
        (b"\x10\x39", "™"),
        (b"\x10\x3d", "℠"),
        (b"\x10\x3f", "Ÿ"),
        (b"\x10\x76", "⅛"),
        (b"\x10\x7a", "│"),
        (b"\x10\x7f", "┌"),
        (b"\x10\x40", "_"),
        (b"\x10\xa0", "[CC]"),
        (b"\x10\xa1", "_"),
        (b"\x18\xd5\x5c", "한"),
        (b"\x18\xd8\x00", "_"),
    ],
)
def test_every_set_of_characters_is_read(code: bytes, expected: str) -> None:
    assert code_length(code) == len(code)
    assert character(code[0], code[1:]) == expected
    assert text(b"A", code, b"B") == f"A{expected}B"


@pytest.mark.parametrize(
    ("begin", "length"),
    [
        *((bytes((code,)), 1) for code in (0x00, 0x0F, 0x20, 0x7F, 0x80, 0x87, 0x8E, 0x8F, 0x93, 0x96, 0xA0, 0xFF)),
        *((bytes((code,)), 2) for code in (0x11, 0x17, 0x88, 0x8C, 0x8D)),
        *((bytes((code,)), 3) for code in (0x18, 0x1F, 0x90, 0x92)),
        (b"\x91", 4),
        (b"\x97", 5),
        (b"\x98", 7),
        (b"\x9f", 7),
        *((bytes((0x10, code)), 2) for code in (0x00, 0x07, 0x20, 0x7F, 0xA0, 0xFF)),
        (b"\x10\x08", 3),
        (b"\x10\x17", 4),
        (b"\x10\x1f", 5),
        (b"\x10\x87", 6),
        (b"\x10\x8f", 7),
        (b"\x10\x90\x05", 8),
        (b"\x10\x9f\x00", 3),
        (b"", None),
        (b"\x10", None),
        (b"\x10\x90", None),
    ],
)
def test_the_length_of_a_code_is_known_from_its_beginning(begin: bytes, length: int | None) -> None:
    assert code_length(begin) == length


def test_codes_that_nobody_knows_are_passed_over_with_their_parameters() -> None:
    unknown = [b"\x10\x08X", b"\x10\x10XX", b"\x10\x18XXX", b"\x10\x80XXXX", b"\x10\x88XXXXX", b"\x10\x90\x02XX"]

    assert text(b"A", *unknown, b"\x11X", b"\x19XX", b"B") == "AB"


def test_text_that_is_written_letter_by_letter_is_one_cue() -> None:
    letters = [bytes((letter,)) for letter in b"HELLO WORLD"]

    shown = cues(window(visible=True), *letters, *[b""] * 30, HDW0, step_ms=100)

    assert shown == [(100, 4200, "HELLO WORLD")]


def test_rows_that_roll_up_are_a_cue_for_each_row() -> None:
    rolling = [b"ONE", b" MORE", CR, b"TWO", b" MORE", CR, b"SIX", b"", b"", HDW0]

    shown = cues(window(visible=True), *rolling, step_ms=500)

    assert shown == [
        (500, 2000, "ONE MORE"),
        (2000, 3000, "ONE MORE\nTWO MORE"),
        (3000, 5000, "TWO MORE\nSIX"),
    ]


def test_text_that_is_added_after_a_pause_is_not_shown_before() -> None:
    assert cues([window(visible=True), b"ONE"], [b" TWO"]) == [(0, 2000, "ONE"), (2000, 4000, "ONE TWO")]


def test_text_that_goes_for_a_picture_and_comes_back_is_one_cue() -> None:
    shown = cues([window(visible=True), b"ONE"], HDW0, DSW0, b"", step_ms=40)

    assert shown == [(0, 160, "ONE")]


def test_windows_are_read_from_top_to_bottom_and_those_in_the_upper_half_stand_there() -> None:
    low = [window(0, visible=True, rows=1, anchor=72), b"LOW"]
    high = [window(1, visible=True, rows=1, anchor=67), b"HIGH"]
    top = [window(2, visible=True, rows=1, anchor=5, point=1), b"TOP"]
    decoder = DtvccDecoder()
    for number, each in enumerate((low, high, top)):
        decoder.picture(triplets(packet(number, (1, b"".join(each)))), 1000)

    found = decoder.finish(3000)[1].cues

    assert {(cue.text, cue.settings) for cue in found} == {("HIGH\nLOW", ""), ("TOP", "line:0")}


def test_rows_at_the_top_of_a_window_as_high_as_the_screen_stand_at_the_top() -> None:
    decoder = DtvccDecoder()
    whole = [window(rows=15, visible=True, anchor=0, point=0)]
    decoder.picture(triplets(packet(0, (1, b"".join([*whole, at(1, 0), b"TOP"])))), 0)
    decoder.picture(triplets(packet(1, (1, b"".join([CLW0, at(14, 0), b"LOW"])))), 1000)

    assert [(cue.text, cue.settings) for cue in decoder.finish(2000)[1].cues] == [("TOP", "line:0"), ("LOW", "")]


def test_long_rows_are_wrapped_at_words_where_the_window_wraps_and_cut_where_not() -> None:
    wrapping, cutting = (window(visible=True, columns=8, style=style) for style in (4, 1))

    assert cues([wrapping, b"ONE TWO SIX"])[0][2] == "ONE TWO\nSIX"
    assert cues([wrapping, b"ABCDEFGHIJ"])[0][2] == "ABCDEFGH\nIJ"
    assert cues([wrapping, b"ONE FOURTH"])[0][2] == "ONE\nFOURTH"
    assert cues([cutting, b"ONE TWO SIX"])[0][2] == "ONE TWO"


def test_a_delay_holds_back_what_follows() -> None:
    shown = cues([window(), b"A", delay(30), DSW0], b"", b"", [delay(255), HDW0], b"", [b"x", DLC], b"")

    assert shown == [(4000, 10000, "A")]


def test_a_reset_ends_a_delay_and_takes_with_it_what_waited() -> None:
    assert cues([window(visible=True), b"A", delay(255), b"B"], [RST], b"") == [(0, 2000, "A")]


def test_a_delay_ends_when_its_buffer_is_full() -> None:
    assert cues([window(visible=True), b"A", delay(255), b"B"], b"", b"\0" * 130)[-1] == (4000, 6000, "AB")


def test_services_do_not_mix() -> None:
    decoder = DtvccDecoder()
    seen = window(visible=True)
    decoder.picture(triplets(packet(0, (1, seen + b"ONE"), (2, seen + b"TWO"), (6, seen + b"SIX"))), 0)
    # The numbers above 6 stand in a byte of their own; the last service that is read is 6.
    decoder.picture(triplets(packet(1, (9, seen + b"NINE"), (1, b"!"))), 100)

    found = decoder.finish(2000)

    assert {number: [cue.text for cue in each.cues] for number, each in found.items()} == {
        1: ["ONE!"],
        2: ["TWO"],
        6: ["SIX"],
    }


def test_a_packet_may_come_in_pieces_and_a_code_in_two_packets() -> None:
    decoder = DtvccDecoder()
    data = window(visible=True) + b"AB" + at(1, 0) + b"C"
    first, second = triplets(packet(0, (1, data[:11]))), triplets(packet(1, (1, data[11:])))
    padding = b"\xfc\x80\x80\xfd\x80\x80\xfa\0\0"
    for number in range(0, len(first), 3):
        decoder.picture(padding + first[number : number + 3] + padding, 0)
    decoder.picture(padding + second, 0)

    assert decoder.packets == 2
    assert [cue.text for cue in decoder.finish(1000)[1].cues] == ["AB\nC"]


def test_a_packet_of_128_bytes_has_the_size_0() -> None:
    blocks = [(1, window(visible=True) + b"A" * 20), *[(1, b"\0" * 31)] * 3]
    whole = packet(0, *blocks, (0, b"xx"))
    assert (len(whole), whole[0]) == (128, 0)
    decoder = DtvccDecoder()

    decoder.picture(triplets(whole)[:-3], 0)
    assert decoder.packets == 0
    decoder.picture(triplets(whole)[-3:], 0)

    assert decoder.packets == 1
    assert decoder.finish(1000)[1].cues[0].text == "A" * 20


def test_when_a_packet_is_lost_the_half_code_before_it_does_not_eat_what_follows() -> None:
    decoder = DtvccDecoder()
    decoder.picture(triplets(packet(0, (1, window(visible=True) + b"A\x98"))), 0)

    decoder.picture(triplets(packet(2, (1, b"B"))), 0)

    assert [cue.text for cue in decoder.finish(1000)[1].cues] == ["AB"]


def test_a_packet_that_ends_early_is_left_out() -> None:
    decoder = DtvccDecoder()
    seen = window(visible=True)
    decoder.picture(triplets(packet(0, (1, seen + b"LOST")))[:-3], 0)
    decoder.picture(triplets(packet(1, (1, seen + b"KEPT"))), 1000)

    assert decoder.packets == 1
    assert [cue.text for cue in decoder.finish(2000)[1].cues] == ["KEPT"]


def test_what_began_before_the_title_starts_with_it() -> None:
    decoder = DtvccDecoder()
    decoder.picture(triplets(packet(0, (1, window(visible=True) + b"A"))), -3000)
    decoder.picture(triplets(packet(1, (1, FF + b"B"))), -1000)

    assert [(cue.start_ms, cue.end_ms, cue.text) for cue in decoder.finish(1000)[1].cues] == [(0, 1000, "B")]


def test_cues_beyond_the_limit_are_counted_as_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtvcc, "MAX_CUES", 2)
    decoder = DtvccDecoder()
    for number in range(4):
        decoder.picture(
            triplets(packet(number, (1, window(visible=True) + FF + bytes((0x41 + number,))))), number * 1000
        )

    found = decoder.finish(9000)[1]

    assert ([cue.text for cue in found.cues], found.cut) == (["A", "B"], True)


blocks = st.tuples(st.integers(1, 6), st.binary(max_size=31))


@given(
    st.lists(
        st.one_of(st.binary(max_size=100), st.lists(blocks, max_size=3).map(lambda each: ("p", each))), max_size=30
    )
)
def test_any_bytes_end_within_bounds(pictures: list[bytes | tuple[str, list[tuple[int, bytes]]]]) -> None:
    decoder = DtvccDecoder()
    for number, data in enumerate(pictures):
        made = data if isinstance(data, bytes) else triplets(packet(number % 4, *data[1]))
        decoder.picture(made, number * 40 - 100)
        for service in decoder._services.values():
            assert len(service.pending) <= dtvcc.BUFFER_BYTES + 31
            assert set(service.windows) <= set(range(dtvcc.WINDOWS))
            assert all(len(each.cells) <= MAX_ROWS * MAX_COLUMNS for each in service.windows.values())

    for found in decoder.finish(len(pictures) * 40).values():
        assert all(0 <= cue.start_ms < cue.end_ms for cue in found.cues)
