"""SubRip, WebVTT and ASS with all that careless writers leave in them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media.ass_reading import read_ass
from include.domain.media.captions import MAX_CUE_CHARACTERS, Cue
from include.domain.media.cue_checks import beyond_the_end, drifting, drifting_apart, misplaced
from include.domain.media.cue_reading import Reading, read_subrip, read_webvtt
from include.domain.media.cue_times import clock_ms, timing

ASS_HEAD = """[Script Info]
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, Bold, Italic, Underline, Alignment
Style: Default,Arial,20,0,0,0,2
Style: Sung,Arial,20,0,-1,0,8
Style: Tall,@MS Mincho,20,0,0,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def shown(reading: Reading) -> list[tuple[int, int, str]]:
    return [(cue.start_ms, cue.end_ms, cue.text) for cue in reading.cues]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("00:00:01,500", 1500),
        ("00:00:01.500", 1500),
        ("00:01.500", 1500),
        ("0:0:1,5", 1500),
        ("00:00:01,05", 1050),
        ("00:00:01", 1000),
        ("100:00:00,000", 360_000_000),
        ("00:59:60,000", 3_600_000),
        ("-00:00:02,000", -2000),
        ("\u221200:00:02,000", -2000),
        (" 00: 00: 01, 500 ", 1500),
        ("00:00:01:500", 1500),
        ("00:00:01,123456", 1123),
        ("00:00:0x,000", None),
        ("12", None),
        ("", None),
        ("9" * 50 + ":00:00", None),
        ("٠٠:٠٠:٠١,٠٠٠", None),
    ],
)
def test_times_in_many_hands(text: str, milliseconds: int | None) -> None:
    assert clock_ms(text) == milliseconds


@pytest.mark.parametrize("line", ["x --> y", "see 1:2 --> 3", "-->", "He said: 5 > 4", "a" * 100 + "00:01 --> 00:02"])
def test_text_with_an_arrow_is_no_time(line: str) -> None:
    assert timing(line) is None


@pytest.mark.parametrize(
    ("text", "cues", "remarks"),
    [
        pytest.param(
            "\n\n1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:03,000 --> 00:00:04,000\ntwo\n\nparts\n",
            [(1000, 2000, "one"), (3000, 4000, "two\nparts")],
            [],
            id="blank lines before the first cue and within one",
        ),
        pytest.param(
            "00:00:01,000 --> 00:00:02,000\none\n00:00:03,000 --> 00:00:04,000\ntwo",
            [(1000, 2000, "one"), (3000, 4000, "two")],
            [],
            id="no numbers, no blank lines",
        ),
        pytest.param(
            "1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:03,000 --> 00:00:04,000\n1984\n\n3\n"
            "00:00:05,000 --> 00:00:06,000\nthree",
            [(1000, 2000, "one"), (3000, 4000, "1984"), (5000, 6000, "three")],
            [],
            id="numbers without blank lines, and a number as text",
        ),
        pytest.param(
            "Translated by somebody\nhttps://subtitles.example\n\n1\n00:00:01,000 --> 00:00:02,000\none\n",
            [(1000, 2000, "one")],
            ["2 lines before the first cue are left out"],
            id="a header",
        ),
        pytest.param(
            "1\n-00:00:02,000 --> 00:00:01,000\nbefore\n\n2\n-00:00:03,000 --> -00:00:01,000\nlong ago\n\n"
            "3\n00:00:03,000 --> 00:00:05,000\nafter\n",
            [(0, 1000, "before"), (3000, 5000, "after")],
            [
                "cue 1 at -00:00:02.000 starts with the title: it began before zero",
                "cue 2 at -00:00:03.000 is left out: it ends before the title's zero",
            ],
            id="negative times",
        ),
        pytest.param(
            "1\n00:00:01,000 -->\nno end\n\n2\n00:00:02,000 --> 00:00:0y,000\nbad end\n\n"
            "3\n00:00:0x,000 --> 00:00:03,000\nbad start\n\n4\n00:00:08,000 --> 00:00:07,000\nbackwards in time\n\n"
            "5\n00:00:09,000 --> 00:00:09,000\nnothing",
            [(1000, 2000, "no end"), (2000, 3000, "bad end"), (8000, 9000, "backwards in time")],
            [
                "cue 1 at 00:00:01.000 stands until 00:00:02.000: it has no end",
                "cue 2 at 00:00:02.000 stands until 00:00:03.000: its end cannot be read",
                "cue 3 is left out: its start cannot be read",
                "cue 4 at 00:00:08.000 stands until 00:00:09.000: it ends before it starts, at 00:00:07.000",
                "cue 5 at 00:00:09.000 is left out: it has no duration",
            ],
            id="missing and impossible times",
        ),
        pytest.param(
            "1\n00:00:01.000 -> 00:00:02.000  X1:100 X2:200\npoints\n\n2\n99:59:59,999 --> 100:00:01,000\nlate\n",
            [(1000, 2000, "points"), (359_999_999, 360_001_000, "late")],
            [],
            id="points, a short arrow, coordinates, more than 99 hours",
        ),
        pytest.param(
            f"1\n00:00:01,000 --> 00:00:02,000\n{'x' * 5000}\n\n2\n00:00:03,000 --> 00:00:04,000\ngood\n",
            [(3000, 4000, "good")],
            [f"cue 1 at 00:00:01.000 is left out: 5000 characters, at most {MAX_CUE_CHARACTERS} are served"],
            id="a cue that never ends",
        ),
    ],
)
def test_odd_subrip_is_mended_or_named(text: str, cues: list[tuple[int, int, str]], remarks: list[str]) -> None:
    reading = read_subrip(text)

    assert shown(reading) == cues
    assert reading.remarks.first == remarks


def test_only_the_first_odd_cues_are_named() -> None:
    reading = read_subrip("".join(f"00:00:{second:02d},000 --> 00:00:{second:02d},000\nx\n\n" for second in range(50)))

    assert reading.remarks.count == 50
    assert str(reading.remarks).count("has no duration") == 5
    assert str(reading.remarks).endswith("; and 45 more")


def test_subrip_keeps_emphasis_over_lines_and_the_place_at_the_top() -> None:
    reading = read_subrip("1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>over\ntwo lines</i> {\\b1}loud{\\b0}\n")

    assert reading.cues == [
        Cue(start_ms=1000, end_ms=2000, text="<i>over</i>\n<i>two lines</i> <b>loud</b>", settings="line:0")
    ]


def test_right_to_left_text_keeps_its_marks_and_its_order() -> None:
    text = "שלום! \u202b(RTL)\u202c \u200f?"

    assert read_subrip(f"00:00:01,000 --> 00:00:02,000\n{text}\n").cues[0].text == text


def test_webvtt_keeps_what_stands_in_cues_only() -> None:
    text = (
        "WEBVTT - title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:a\n\n"
        "NOTE\n00:09.000 --> 00:10.000\na comment\n\n"
        "intro\n00:01.000 --> 00:02.000 vertical:rl line:0 region:a\none\n00:03.000 --> 00:04.000\ntwo\n\n"
        "lost\nlines\n\n00:05.000 --> 00:06.000\nthree"
    )

    reading = read_webvtt(text)

    assert [cue.settings for cue in reading.cues] == ["vertical:rl line:0", "", ""]
    assert [each[2] for each in shown(reading)][1:] == ["two", "three"]
    assert reading.remarks.first == ["2 lines without a time after cue 2 are left out"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            ["1,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\an7\\pos(0,0)\\p1}m 0 0 l 200 0 200 40{\\p0}"],
            [],
            id="a drawing",
        ),
        pytest.param(
            ["1,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\p2}m 0 0 l 9 9{\\p0}text, behind it"],
            [(1000, 3000, "text, behind it", "")],
            id="text behind a drawing",
        ),
        pytest.param(
            [
                "2,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\an7\\pos(10,10)\\bord4}STATION",
                "3,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\an7\\pos(10,10)\\bord0}STATION",
            ],
            [(1000, 3000, "STATION", "line:0 position:2% align:left")],
            id="one sign on two layers",
        ),
        pytest.param(
            [f"0,0:00:01.{n:02d},0:00:01.{n + 4:02d},Default,,0,0,0,,{{\\pos({n},50)}}moving" for n in range(0, 80, 4)],
            [(1000, 1800, "moving", "line:0 position:0%")],
            id="a sign that moves with every picture",
        ),
        pytest.param(
            ["0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\k20}la {\\kf30}la {\\K20}la"],
            [(1000, 2000, "la la la", "")],
            id="karaoke",
        ),
        pytest.param(
            ["0,0:00:01.00,0:00:02.00,Sung,,0,0,0,,all\\Nof it{\\r} plain{\\i0} upright"],
            [(1000, 2000, "<i>all</i>\n<i>of it plain</i> upright", "line:0")],
            id="a style's italics and place",
        ),
        pytest.param(
            ["0,0:00:01.00,0:00:02.00,Tall,,0,0,0,,tall"], [(1000, 2000, "tall", "vertical:rl")], id="a vertical font"
        ),
        pytest.param(
            ["0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{a comment}a\\hb{\\t(0,500,\\i1\\fs50)} c {unclosed"],
            [(1000, 2000, "a\u00a0b c {unclosed", "")],
            id="comments, hard blanks, animations",
        ),
        pytest.param(
            ["0,0:00:02.00,0:00:01.00,Default,,0,0,0,,backwards"], [], id="an event that ends before it starts"
        ),
    ],
)
def test_ass_becomes_text_once(events: list[str], expected: list[tuple[int, int, str, str]]) -> None:
    reading = read_ass(ASS_HEAD + "".join(f"Dialogue: {event}\n" for event in events) + "Comment: 0,x\n[Fonts]\nx: y\n")

    assert [(cue.start_ms, cue.end_ms, cue.text, cue.settings) for cue in reading.cues] == expected


@given(st.text(alphabet=st.sampled_from("\n\n0123:,.- >{}\\anpi8(<b/[]WEBVTxé\u202b"), max_size=200))
def test_no_text_breaks_a_reader(text: str) -> None:
    for reading in (read_subrip(text), read_webvtt(text), read_ass(ASS_HEAD + text)):
        assert all(0 <= cue.start_ms < cue.end_ms for cue in reading.cues)


def cues(count: int, end_ms: int) -> list[Cue]:
    step = end_ms / count
    return [Cue(start_ms=round(n * step), end_ms=round((n + 1) * step), text="x") for n in range(count)]


def test_cues_behind_the_end_are_told_with_the_ratio_of_two_frame_rates() -> None:
    told = beyond_the_end(cues(100, round(6_000_000 * 25 / 23.976)), duration_ms=6_000_000)

    assert told is not None
    assert told.startswith("4 of 100 cues start after the title's end")
    assert "23.976 fps instead of 25: the cues may drift" in told
    assert beyond_the_end(cues(10, 6_000_400), duration_ms=6_000_000) is None


def test_cues_that_end_early_by_such_a_ratio_are_told() -> None:
    assert "25 fps instead of 23.976" in (drifting(cues(100, 5_754_240), duration_ms=6_000_000) or "")
    assert drifting(cues(100, 5_600_000), duration_ms=6_000_000) is None
    assert drifting(cues(3, 9600), duration_ms=10_000) is None


@pytest.mark.parametrize(
    ("ratio", "speed"),
    [
        (Fraction(25 * 1001, 24000), "23.976 fps instead of 25"),
        (Fraction(25, 24), "24 fps instead of 25"),
        (Fraction(24000, 25 * 1001), "25 fps instead of 23.976"),
        (Fraction(24, 25), "25 fps instead of 24"),
        (Fraction(5, 4), "23.976 fps instead of 29.97"),
        (Fraction(4, 5), "29.97 fps instead of 23.976"),
        (Fraction(30000, 25 * 1001), "25 fps instead of 29.97"),
        (Fraction(25 * 1001, 30000), "29.97 fps instead of 25"),
    ],
)
def test_every_ratio_of_two_usual_rates_is_told_by_name(ratio: Fraction, speed: str) -> None:
    first, second = cues(100, 6_000_000), cues(100, round(6_000_000 * ratio))

    assert f"the ratio of {speed}" in (drifting_apart(first, second) or "")


def test_tracks_without_time_say_nothing_of_their_speed() -> None:
    nothing = [Cue(start_ms=0, end_ms=0, text="x")] * 20

    assert drifting_apart(nothing, cues(20, 1000)) is None
    assert drifting_apart(cues(20, 1000), nothing) is None


def test_two_tracks_that_run_at_different_speeds_are_told() -> None:
    assert "25 fps instead of 24" in (drifting_apart(cues(100, 5_000_000), cues(100, 4_800_000)) or "")
    assert drifting_apart(cues(100, 5_000_000), cues(100, 4_900_000)) is None


def starting(*starts_ms: int) -> list[Cue]:
    return [Cue(start_ms=start, end_ms=start + 500, text="x") for start in starts_ms]


PACKETS = [1000 + 1700 * number + 13 * number**2 % 700 for number in range(40)]


@pytest.mark.parametrize(("shift_ms", "told"), [(100, "0.10 s late"), (-240, "0.24 s early"), (3000, "3.00 s late")])
def test_cues_that_all_come_apart_from_their_packets_are_told(shift_ms: int, told: str) -> None:
    assert told in (misplaced(PACKETS, starting(*(time + shift_ms for time in PACKETS[2:]))) or "")


def test_cues_that_begin_with_their_packets_pass() -> None:
    assert misplaced(PACKETS, starting(*PACKETS)) is None
    assert misplaced(PACKETS, starting(*(time + 20 for time in PACKETS))) is None, "a picture's half"
    assert misplaced(PACKETS, starting(*PACKETS[::3])) is None, "empty packets make no cues"
    assert misplaced([-800, 1000, 2500], starting(0, 1000, 2500)) is None, "what began before the title"


def test_cues_that_no_one_time_brings_to_packets_are_not_judged() -> None:
    assert (
        misplaced(PACKETS, starting(*(time + 300 + 37 * number % 900 for number, time in enumerate(PACKETS)))) is None
    )
    far = [10_000 * (number + 1) for number in range(20)]
    assert "10.00 s late" in (misplaced(far[:1], starting(20_000)) or "")
    assert misplaced(far[:1], starting(20_001)) is None, "farther than it is looked for"
    assert misplaced([], starting(1000)) is None
    assert misplaced(PACKETS, []) is None
