"""Cues made safe, written and cut."""

from __future__ import annotations

import html.parser
import itertools
import time
from fractions import Fraction

import pytest
import webvtt as reader
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media.captions import Cue, clean_cue, clip, cut, timestamp, webvtt
from include.domain.media.labels import label, unique
from include.domain.media.languages import matches


def cue(start_ms: int, end_ms: int, text: str = "x") -> Cue:
    return Cue(start_ms=start_ms, end_ms=end_ms, text=text)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Hello", "Hello"),
        ("<i>Hello</i> <B>you</B>", "<i>Hello</i> <b>you</b>"),
        ("<script>alert(1)</script>", "alert(1)"),
        ('<img src=x onerror="alert(1)">Hi', "Hi"),
        ('<b onclick="alert(1)">Hi</b>', "<b>Hi</b>"),
        ("<v Roger Bingham>Hi", "Hi"),
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("Tom &amp; Jerry", "Tom &amp; Jerry"),
        ("<i>open", "<i>open</i>"),
        ("closed</i>", "closed"),
        ("<i><b>crossed</i></b>", "<i><b>crossed</b></i>"),
        (r"{\an8}above", "above"),
        ("a\n\n\nb", "a\nb"),
        ("x --> y", "x --&gt; y"),
        ("bell\x07 and \x00null", "bell and null"),
        ("<00:00:01.000>karaoke", "karaoke"),
    ],
)
def test_cue_text_keeps_words_and_plain_emphasis_only(given_text: str, expected: str) -> None:
    found = clean_cue(start_ms=0, end_ms=1000, text=given_text)

    assert found is not None
    assert found.text == expected


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "text"), [(0, 1000, ""), (0, 1000, "<i></i>"), (1000, 1000, "x"), (2, 1, "x"), (-1, 5, "x")]
)
def test_a_cue_that_shows_nothing_is_left_out(start_ms: int, end_ms: int, text: str) -> None:
    assert clean_cue(start_ms=start_ms, end_ms=end_ms, text=text) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            "align:start line:10% position:50%,line-left size:80%",
            "align:start line:10% position:50%,line-left size:80%",
        ),
        ("line:-1 vertical:rl", "line:-1 vertical:rl"),
        ("region:evil align:evil X1:100 line:99999%", ""),
    ],
)
def test_cue_settings_are_kept_where_they_are_known(settings: str, expected: str) -> None:
    found = clean_cue(start_ms=0, end_ms=1, text="x", settings=settings)

    assert found is not None
    assert found.settings == expected


class Tags(html.parser.HTMLParser):
    """Collects what a browser would take for elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, len(attrs)))


@given(st.text(alphabet=st.sampled_from("<>/&;ibuscript =\"'\n{}\\:-0aX\u2028\0"), max_size=60))
def test_no_text_becomes_markup_or_breaks_the_file(text: str) -> None:
    found = clean_cue(start_ms=0, end_ms=1000, text=text)

    if found is not None:
        tags = Tags()
        tags.feed(found.text)
        assert all(tag in {"b", "i", "u"} and not attributes for tag, attributes in tags.found)
        assert "-->" not in found.text
        assert len(reader.from_string(webvtt([found, cue(2000, 3000)])).captions) == 2


def test_cues_end_with_the_title_and_come_in_order() -> None:
    cues = [cue(9000, 12_000), cue(1000, 2000), cue(10_000, 11_000), cue(1000, 1500)]

    assert clip(cues, duration_ms=10_000) == [cue(1000, 1500), cue(1000, 2000), cue(9000, 10_000)]


def test_a_cue_over_a_boundary_is_in_both_segments_and_empty_segments_exist() -> None:
    segments = list(
        cut([cue(5000, 7000, "over"), cue(1000, 6000, "to the edge")], [Fraction(6), Fraction(6), Fraction(3, 2)])
    )

    assert [("over" in each, "edge" in each) for each in segments] == [(True, True), (True, False), (False, False)]
    assert all(each.startswith("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n") for each in segments)


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9000)), max_size=12),
    st.lists(st.integers(1, 5000), max_size=12),
)
def test_each_segment_has_the_cues_that_reach_into_it(times: list[tuple[int, int]], lengths_ms: list[int]) -> None:
    cues = [cue(start, start + length, f"cue {number} ends") for number, (start, length) in enumerate(times)]
    bounds = [0, *itertools.accumulate(lengths_ms)]

    segments = list(cut(cues, [Fraction(length, 1000) for length in lengths_ms]))

    assert [{each for each in range(len(cues)) if f"cue {each} ends" in text} for text in segments] == [
        {number for number, each in enumerate(cues) if each.start_ms < end and each.end_ms > start}
        for start, end in itertools.pairwise(bounds)
    ]


def test_twelve_hours_of_subtitles_are_cut_in_moments() -> None:
    cues = [cue(3000 * number, 3000 * number + 2500) for number in range(14_400)]
    began = time.process_time()

    files = sum(1 for _ in cut(cues, [Fraction(6)] * 7200))

    assert files == 7200
    assert time.process_time() - began < 10, "each cue was held against each segment: it took minutes"


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "00:00:00.000"), (3_723_004, "01:02:03.004"), (360_000_000, "100:00:00.000")]
)
def test_timestamps(milliseconds: int, text: str) -> None:
    assert timestamp(milliseconds) == text


@pytest.mark.parametrize(
    ("language", "title", "expected"),
    [
        ("en", None, "English"),
        ("pt-BR", None, "Português (BR)"),
        ("xx", None, "xx"),
        ("zh-Hant", None, "中文 (Hant)"),
        ("ar", None, "العربية"),
        ("nb", None, "Norsk bokmål"),
        ("cy", None, "Cymraeg"),
        ("id", None, "Bahasa Indonesia"),
        ("qaa", None, "qaa"),
        ("und", None, "Original"),
        ("en", 'Director\'s "cut" <b>', "Director's cut b"),
        ("en", "x" * 200, "x" * 80),
        ("de", "\n", "Deutsch"),
    ],
)
def test_a_track_s_label_is_its_title_or_its_language(language: str, title: str | None, expected: str) -> None:
    assert label(language, title) == expected


def test_labels_are_made_unique() -> None:
    taken: set[str] = set()

    assert [unique("English", taken) for _ in range(3)] == ["English", "English 2", "English 3"]


@pytest.mark.parametrize(
    ("language", "wanted", "expected"),
    [
        ("en-GB", ("en",), True),
        ("en", ("EN",), True),
        ("en", ("en-GB",), False),
        ("eng", ("en",), False),
        ("en", ("eng",), True),
        ("pt-BR", ("deu", "por"), True),
    ],
)
def test_a_wish_for_a_language_covers_its_regions(language: str, wanted: tuple[str, ...], expected: bool) -> None:
    assert matches(language, wanted) is expected
