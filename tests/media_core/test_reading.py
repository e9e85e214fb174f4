"""What ffmpeg and ffprobe write, read as facts."""

from __future__ import annotations

import pytest

from include.adapters.ffmpeg.reading import (
    cut_short,
    decode_errors,
    frames_counted,
    judge_probe,
    last_complaint,
    meaning,
    parse_ebur128,
    parse_frames,
    time_reached_s,
)
from include.domain.media.rejection import Reason

MP4 = b"\x00\x00\x00\x20ftypisom"


def test_frames_are_read_with_their_times() -> None:
    lines = [
        "noise",
        "frame:0    pts:0  pts_time:10.04",
        "lavfi.siti.si=12.5",
        "frame:1 pts:1 pts_time:NOPTS",
        "lavfi.x=1",
    ]

    read = parse_frames(lines)

    assert [frame.time_s for frame in read] == [10.04]
    assert read[0].number("siti.si") == 12.5
    assert read[0].number("siti.ti") is None


@pytest.mark.parametrize(
    ("integrated", "peak", "expected"),
    [
        ("-23.1", "-1.5", (-23.1, -1.5)),
        ("-70.0", "-inf", (None, None)),
        ("-20.0", "-inf", (-20.0, None)),
        ("nan", "0", (None, None)),
    ],
)
def test_loudness_comes_from_the_summary_and_silence_is_none(
    integrated: str, peak: str, expected: tuple[float | None, float | None]
) -> None:
    text = f"Summary:\n\n  Integrated loudness:\n    I:  {integrated} LUFS\n  True peak:\n    Peak:  {peak} dBFS\n"

    assert expected == parse_ebur128(text)


def test_no_summary_is_no_loudness() -> None:
    assert parse_ebur128("") == (None, None)


@pytest.mark.parametrize(
    ("stderr", "head", "expected"),
    [
        ("moov atom not found", MP4, Reason.TRUNCATED),
        ("moov atom not found", b"#EXTM3U\n#EXT", Reason.INVALID_TYPE),
        ("[concat] Format not on whitelist 'mov'", b"ffconcat", Reason.INVALID_TYPE),
        ("File ended prematurely", b"\x1a\x45\xdf\xa3", Reason.TRUNCATED),
        ("File ended prematurely", b"#EXTM3U", Reason.INVALID_TYPE),
        ("Invalid data found when processing input", MP4, Reason.INVALID_TYPE),
        ("Invalid data found when processing input", b"", Reason.INVALID_TYPE),
        ("", b"", Reason.INVALID_TYPE),
    ],
)
def test_a_probe_that_fails_names_its_reason(stderr: str, head: bytes, expected: Reason) -> None:
    assert expected == judge_probe(stderr, head)


def test_only_errors_say_that_data_ends_early() -> None:
    assert cut_short("[matroska @ 0x1] [error] File ended prematurely")
    assert not cut_short("[info] this title is called: File ended prematurely")


def test_the_last_block_of_progress_counts() -> None:
    said = b"frame=1\nout_time_us=40000\nprogress=continue\nframe= 25\nout_time_us=1000000\nprogress=end\n"

    assert (frames_counted(said), time_reached_s(said)) == (25, 1.0)
    assert (frames_counted(b""), time_reached_s(b"out_time_us=N/A\n")) == (0, 0.0)


def test_errors_are_counted_by_stream_and_the_last_complaint_is_told() -> None:
    said = """
[vist#0:1/h264 @ 0x1] [warning] corrupt decoded frame
[aist#0:2/aac @ 0x2] [warning] corrupt decoded frame
[h264 @ 0x3] [error] top block unavailable
[info] Input stream #0:1 (video): 99 packets read (1 bytes); 98 frames decoded; 2 decode errors
[info] Input stream #0:2 (audio): 50 packets read (1 bytes); 50 frames decoded; 3 decode errors
"""

    counted = decode_errors(said, video_index=1)

    assert (counted.frames, counted.errors, counted.audio_errors) == (98, 3, 4)
    assert last_complaint(said) == "top block unavailable"
    assert last_complaint("all is well") == ""


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        ("Not yet implemented in FFmpeg, patches welcome", "it uses what no decoder here has"),
        ("top block unavailable for requested intra mode -1", "its data is damaged"),
        ("Invalid data found when processing input", "its data is damaged"),
        ("non-existing PPS 3 referenced", "pictures or headers that others need are missing"),
        ("stream 0, offset 0x30: partial file", "its data ends too early"),
        ("all is well", ""),
        ("", ""),
    ],
)
def test_a_complaint_is_told_in_words_that_help_whoever_delivered_the_file(complaint: str, said: str) -> None:
    assert meaning(complaint) == said
