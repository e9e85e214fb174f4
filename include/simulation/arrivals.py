"""When titles come: evenly, or in bursts as they do in life. Times in units of the mean time between two arrivals."""

from __future__ import annotations

import math
import random

BURSTS = ((10.0, 0.025), (60.0, 0.179), (400.0, 0.124), (3000.0, 0.071))
"""Memory, in mean times between arrivals, and variance of each part of the rate.

Fitted, by the dispersion of counts, to a week of 112,163 job arrivals on a grid (LCG, Parallel Workloads Archive).
Variance over mean of the counts in windows of 12, 120, 1200 and 4800 mean arrivals was 5.8, 34, 169 and 379 there, and
is 5.5, 36, 165 and 328 by these numbers; of even arrivals it is 1.
"""


def even_gaps(count: int, rng: random.Random) -> list[float]:
    """Of a Poisson stream: nobody knows of the others."""
    return [rng.expovariate(1.0) for _ in range(count)]


def bursty_gaps(count: int, rng: random.Random) -> list[float]:
    """Of a Poisson stream whose rate wanders (a Cox process; D. R. Cox, 1955).

    The rate's logarithm is a sum of Ornstein–Uhlenbeck processes, one for each part of :data:`BURSTS`, so that it is
    high and low for minutes, hours and days on end.
    """
    parts = [(memory, math.sqrt(math.log1p(variance))) for memory, variance in BURSTS]
    states = [rng.gauss(0.0, 1.0) for _ in parts]
    level = sum(sigma**2 for _, sigma in parts) / 2
    gaps = []
    for _ in range(count):
        rate = math.exp(sum(state * sigma for state, (_, sigma) in zip(states, parts, strict=True)) - level)
        gap = rng.expovariate(rate)
        gaps.append(gap)
        for place, (memory, _) in enumerate(parts):
            kept = math.exp(-gap / memory)
            states[place] = states[place] * kept + math.sqrt(1 - kept**2) * rng.gauss(0.0, 1.0)
    return gaps
