"""How far something of many small steps is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from include.base import counting
from include.base.counting import Count, seldom
from include.stages import progress


def test_words_are_made_for_a_hundredth_and_not_for_each_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    packets, made = 200_000, list[float]()

    def said(done: float) -> str:
        made.append(done)
        return f"frame {done:.0f}"

    told: list[tuple[float, str]] = []
    monkeypatch.setattr(counting, "EVERY_S", 3600.0)
    step = progress.counting(lambda *each: told.append(each), said, whole=packets)
    for packet in range(1, packets + 1):
        step(packet)

    assert len(made) == len(told) <= counting.STEPS + 1
    assert told[-1][0] > 0.99


def test_what_is_slow_is_told_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(counting.time, "monotonic", lambda: now)
    told: list[float] = []
    step = seldom(told.append, whole=1_000_000)
    for done in range(1, 13):
        now += counting.EVERY_S / 4
        step(done)

    assert told == [1, 5, 9]


def test_threads_count_together() -> None:
    told: list[int] = []
    count = Count(told.append)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count.add, [3] * 1000))

    assert told == list(range(3, 3001, 3))
