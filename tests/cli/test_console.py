"""What people see: tables that fit, lines that change, addresses that can be copied."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from include.cli.bench import report, summary
from include.cli.console import (
    deadline_text,
    duration,
    follow,
    progress_lines,
    show_batch,
    show_queue,
    show_quote,
    show_results,
    state_text,
)
from include.domain.title.title import State

RUNG = {
    "rendition": "h264_1080p", "codec": "avc1.640028", "width": 1920, "height": 1080, "bandwidth": 9_000_000,
    "average_bandwidth": 5_432_100, "size_bytes": 1, "vmaf": 95.44,
}  # fmt: skip


def title(**changes: Any) -> dict[str, Any]:
    return {
        "title_id": "big-buck-bunny", "request_id": "demo/big-buck-bunny", "tier": "premium", "state": "published",
        "progress": 1.0, "task": "settle", "message": None, "version": 1, "now": [], "rungs": [RUNG],
        "hls": "https://airflow.example/callsheet/media/titles/big-buck-bunny/v1/hls.m3u8", "dash": None,
        "preview": "https://airflow.example/callsheet/media/titles/big-buck-bunny/v1/preview.html",
        "deadline": "2026-03-01T12:05:00+00:00", "deadline_kept": True, "created_at": "2026-03-01T12:00:00+00:00",
        "playable_at": "2026-03-01T12:02:00+00:00", "settled_at": "2026-03-01T12:02:35+00:00", "valuation": None,
        "released_at": None, "held": False, "pinned": False, **changes,
    }  # fmt: skip


def printed(show: Callable[[Console], Any], *, width: int = 80, terminal: bool = False) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False))
    return out.getvalue()


def test_results_fit_eighty_columns_and_addresses_stay_in_one_piece() -> None:
    low = {**RUNG, "rendition": "h264_144p", "codec": "avc1.64000c", "width": 256, "height": 144, "vmaf": None}
    text = printed(lambda console: show_results([title(rungs=[low, RUNG]), title(title_id="x" * 100)], console))

    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines if "https://" not in line and not line.startswith("x" * 100))
    assert f"  hls     {title()['hls']}" in lines
    table = "\n".join(lines)
    assert table.index("1920×1080") < table.index("256×144")
    for cell in ("published", "1080p", "avc1.640028", "5432", "95.4", "2:35", "kept by 3:00"):
        assert cell in table, cell
    assert "dash" not in table


def test_a_title_that_came_to_nothing_says_why() -> None:
    failed = title(state="failed", rungs=[], hls=None, preview=None, message="x264 [fell] over", deadline_kept=False)

    text = printed(lambda console: show_results([failed], console))

    assert "big-buck-bunny  x264 [fell] over" in text
    assert "missed" in text


def test_without_a_terminal_each_change_is_a_line() -> None:
    doing = {"stage": "encode", "item": "h264_144p", "share": 0.5}
    snapshots = [
        [title(state="waiting", progress=None, task=None)],
        [title(state="waiting", progress=None, task=None)],
        [title(state="running", progress=0.25, now=[doing, {"stage": "audio", "item": None, "share": 0.1}])],
        [title(state="running", progress=0.5, task="finish")],
        [title(message="all [is] well")],
    ]
    last: list[Any] = []

    text = printed(lambda console: last.extend(follow(snapshots, console)))

    assert text.splitlines() == [
        "demo/big-buck-bunny: waiting",
        "demo/big-buck-bunny: running 25 % encode h264_144p 50 %, audio 10 %",
        "demo/big-buck-bunny: running 50 % finish",
        "demo/big-buck-bunny: published 100 % all [is] well",
    ]
    assert last == snapshots[-1]


def test_on_a_terminal_titles_are_shown_in_place() -> None:
    snapshots = [[title(state="running", progress=0.5)], [title()]]
    last: list[Any] = []

    text = printed(lambda console: last.extend(follow(snapshots, console)), terminal=True)

    assert "big-buck-bunny" in text
    assert last == snapshots[-1]


def test_progress_has_a_row_for_each_title() -> None:
    text = printed(lambda console: console.print(progress_lines([title(), title(title_id="b", progress=None)], 80)))

    assert len(text.strip().splitlines()) == 3
    assert "100 %" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"deadline": None, "deadline_kept": None}, "none"),
        ({"deadline_kept": None}, "12:05:00 UTC"),
        ({"deadline_kept": False}, "missed"),
        ({"deadline_kept": True}, "kept by 3:00"),
    ],
)
def test_deadlines_in_words(changes: dict[str, Any], expected: str) -> None:
    assert str(deadline_text(title(**changes))) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (95, "1:35"), (3700, "1:01:40"), (90_000, "25:00:00")]
)
def test_durations_in_words(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_be_shown(state: State) -> None:
    assert str(state_text(state.value)) == state.value


def test_the_summary_of_numbers() -> None:
    assert summary([]) == dict.fromkeys(("min", "max", "mean", "p50", "p95"))
    assert summary([2.0]) == dict.fromkeys(("min", "max", "mean", "p50", "p95"), 2.0)
    found = summary([float(number) for number in range(100, 0, -1)])
    assert found == {"min": 1, "max": 100, "mean": 50.5, "p50": 50.5, "p95": 95}


def test_failed_jobs_count_in_the_rate_and_not_in_the_latency() -> None:
    job = {"asked": "2026-03-01T11:59:58+00:00", **title(), "good": True}
    lost = {**job, "good": False, "settled_at": "2026-03-01T13:00:00+00:00"}

    found = report([job, job, lost], wall_s=60.0, concurrent=2)

    assert (found["jobs"], found["succeeded"], round(found["success_rate"], 2)) == (3, 2, 0.67)
    assert found["throughput_jobs_per_hour"] == 120.0
    assert found["intake_latency_s"]["max"] == 2.0
    assert found["processing_latency_s"]["max"] == 155.0


LONG = "sintel-open-movie-trailer-for-the-autumn-season"
QUOTE = {
    "verdict": "feasible_degraded", "finish_p50": "2026-11-22T22:32:00+00:00", "miss_chance": 0.123,
    "finish_p90": "2026-11-23T01:29:00+00:00", "work": {"p50_s": 5000},
}  # fmt: skip
VALUED = {"score": {"points": 1000}, "priority": {"points": 25}, "ahead": 4321, "admission": QUOTE}


def of_long_names() -> list[dict[str, Any]]:
    """Open titles whose names are as long as they may be, long, and short."""
    now = [{"stage": "encode", "item": "h264_144p", "share": 0.5}, {"stage": "audio", "item": "und stereo", "share": 0}]
    fields = {"playable_at": None, "settled_at": None, "rungs": [], "deadline_kept": None, "valuation": VALUED,
              "hls": None, "preview": None, "admission": QUOTE, "held": True, **VALUED}  # fmt: skip
    return [
        title(
            title_id=name, request_id=f"spring/{name}", place=place, state="running", progress=0.45, now=now, **fields
        )
        for place, name in enumerate(("x" * 100, LONG, "big-buck-bunny"), start=1)
    ]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    ("show", "words"),
    [
        (show_batch, ("running", "45 %", "22. 22:32–23. 01:29", "12:05:00 UTC")),
        (show_results, ("running", "45 %", "22. 22:32–23. 01:29", "score 1000", "12:05:00 UTC")),
        (lambda titles, console: console.print(progress_lines(titles, console.width)),
         ("running", "45 %", "━━━━······", "encode h264_144p 50 %")),
        (lambda titles, console: show_queue({"titles": titles, "counts": {"open": 3, "waiting": 0, "queued": 0,
                                             "running": 3, "playable": 0}}, console),
         ("running, held", "45 %", "22. 22:32–23. 01:29")),
        (lambda titles, console: show_quote({"titles": titles, "displaced": []}, console),
         ("1000", "1:23:20", "4321", "12:05 ", "22. 22:32–23. 01:29", "feasible degraded 12%")),
    ],
    ids=["batch", "titles", "progress", "queue", "quote"],
)  # fmt: skip
def test_what_people_read_first_fits_and_names_stay_in_one_piece(
    show: Callable[[list[dict[str, Any]], Console], None], words: tuple[str, ...], width: int
) -> None:
    lines = printed(lambda console: show(of_long_names(), console), width=width).splitlines()

    assert [line for line in lines if len(line) > width and "x" * 100 not in line] == []
    assert "x" * 100 in "".join(lines)
    for name in (LONG, "big-buck-bunny"):
        assert any(name in line for line in lines), name
    for word in words:
        assert sum(word in line for line in lines) == 3, word


def test_a_batch_says_of_settled_titles_how_long_they_took_and_why_they_failed() -> None:
    failed = title(title_id="b", state="failed", message="x264 [fell] over", deadline_kept=False)

    lines = printed(lambda console: show_batch([title(), failed], console)).splitlines()

    assert lines[1].split() == ["big-buck-bunny", "published", "100", "%", "took", "2:35", "kept", "by", "3:00"]
    assert lines[2].split()[-3:] == ["took", "2:35", "missed"]
    assert lines[3] == "b  x264 [fell] over"


def test_the_queue_loses_no_column_on_a_terminal_of_80() -> None:
    at = {"finish_p50": "2026-11-22T22:32:00+00:00", "finish_p90": "2026-11-23T01:29:00+00:00", "miss_chance": 1.0}
    title = {
        "place": 4321, "score": {"points": 1000}, "priority": {"points": 6213}, "request_id": "look/t1",
        "tier": "standard", "state": "playable", "held": True, "pinned": False,
        "deadline": "2026-11-21T21:49:55+00:00", "admission": {"verdict": "feasible_degraded", **at},
    }  # fmt: skip
    counts = {"open": 1, "waiting": 0, "queued": 0, "running": 0, "playable": 1}
    written = io.StringIO()

    show_queue({"titles": [title], "counts": counts}, Console(width=80, file=written), wide=True)

    shown = written.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("4321", "1000", "6213", "look/t1", "standard", "playable,", "held", "21:49:55", "feasible", "100%"):
        assert word in shown, word


def test_a_title_of_unknown_length_is_promised_no_time() -> None:
    titles = [{**each, "source_known": False} for each in of_long_names()[2:]]
    counts = {"open": 1, "waiting": 0, "queued": 0, "running": 1, "playable": 0}
    for show in (
        lambda console: show_batch(titles, console),
        lambda console: show_results(titles, console),
        lambda console: show_queue({"titles": titles, "counts": counts}, console),
        lambda console: show_quote({"titles": titles, "displaced": []}, console),
    ):
        text = printed(show)
        assert "not inspected yet" in text
        assert "22:32" not in text
