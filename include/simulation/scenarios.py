"""The loads that the farm is tried with: drawn from distributions and a seed, or read from files."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.domain.degradation import Option
from include.domain.forecast import spread
from include.domain.request import Signals
from include.domain.title import Kind, Tier
from include.domain.value import ValuePolicy, score
from include.errors import ConfigurationError
from include.simulation.model import Encode, Farm, SimTitle

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulated time begins; nothing depends on it but the value score's ages."""

RUNG_COST = {"144p": 0.06, "240p": 0.11, "360p": 0.21, "480p": 0.35, "720p": 0.75, "1080p": 1.6, "2160p": 6.0}
"""Slot seconds per second of source, x264 medium, one core: the size of the numbers, not a forecast."""
PRESETS = {"slow": (1.9, 0.0), "medium": (1.0, 0.5), "veryfast": (0.42, 2.5), "superfast": (0.27, 4.5)}
"""Relative time, and VMAF points below ``slow`` at the same rate."""
BEST = {Tier.PREMIUM: "slow", Tier.STANDARD: "medium", Tier.UGC: "veryfast"}
FLOOR = {Tier.PREMIUM: 3.0, Tier.STANDARD: 5.0, Tier.UGC: 6.0}
"""VMAF points that a tier may give up for its deadline."""


@dataclass(frozen=True, kw_only=True)
class Class:
    """One kind of title in a mix."""

    share: float
    tier: Tier
    kind: Kind
    minutes: float
    """Median duration."""
    sigma: float
    """Of the duration's logarithm."""
    top: str
    """Highest rung."""
    views: float
    """Median views in seven days."""
    views_sigma: float
    deadline_h: tuple[float, float] | None = None
    """Lead from arrival to ``publish_at``: median, and sigma of its logarithm."""


MIX = (
    Class(share=0.04, tier=Tier.PREMIUM, kind=Kind.MOVIE, minutes=50, sigma=0.4, top="1080p", views=8e5,
          views_sigma=1.2, deadline_h=(10, 0.5)),
    Class(share=0.06, tier=Tier.PREMIUM, kind=Kind.TRAILER, minutes=2, sigma=0.4, top="1080p", views=1.5e6,
          views_sigma=1.2, deadline_h=(2, 0.5)),
    Class(share=0.25, tier=Tier.STANDARD, kind=Kind.SERIES, minutes=12, sigma=0.7, top="1080p", views=2e4,
          views_sigma=1.5),
    Class(share=0.10, tier=Tier.STANDARD, kind=Kind.NEWS, minutes=2.5, sigma=0.6, top="720p", views=1e4,
          views_sigma=1.5, deadline_h=(1, 0.5)),
    Class(share=0.55, tier=Tier.UGC, kind=Kind.UGC, minutes=3.2, sigma=1.1, top="720p", views=250, views_sigma=2.2),
)  # fmt: skip
"""A platform's uploads: few premium titles with strict premieres, many short ones of users."""

LADDER = ("144p", "240p", "360p", "480p", "720p", "1080p", "2160p")


def draw(
    count: int,
    farm: Farm,
    *,
    load: float,
    policy: ValuePolicy,
    rng: random.Random,
    mix: Sequence[Class] = MIX,
    error: float = 0.2,
    gaps: Sequence[float] | None = None,
    day_swing: float = 0.0,
) -> list[SimTitle]:
    """Titles that keep ``farm`` busy to the share ``load``.

    Args:
        count: Number of titles.
        farm: Its slots set the pace.
        load: Offered slot seconds per slot second.
        policy: Scores them.
        rng: All chance.
        mix: Classes with shares.
        error: Sigma of predicted over true time, in the logarithm.
        gaps: Times between arrivals, used in turn and scaled to the load; else a Poisson stream.
        day_swing: 0–1: how far the arrival rate swings about its mean in the course of a day.
    """
    classes = rng.choices(mix, weights=[each.share for each in mix], k=count)
    bodies = [_body(number, each, policy, rng, error) for number, each in enumerate(classes)]
    mean_work = sum(each.true_work_s + _overhead_s(each, farm) for each in bodies) / count
    mean_gap = mean_work / (farm.slots * load)
    given = [gaps[number % len(gaps)] for number in range(count)] if gaps else [rng.expovariate(1.0) for _ in bodies]
    scale = mean_gap / (sum(given) / count)
    now = 0.0
    titles = []
    for body, gap, each in zip(bodies, given, classes, strict=True):
        # In busy hours the same gap passes more quickly.
        now += gap * scale / (1 + day_swing * math.sin(2 * math.pi * now / 86400))
        titles.append(_arrives(body, now, each, policy, rng))
    return titles


def _overhead_s(title: SimTitle, farm: Farm) -> float:
    return (len(title.encodes) + 3) * farm.start_delay_s


def _body(number: int, each: Class, policy: ValuePolicy, rng: random.Random, error: float) -> SimTitle:
    source_s = max(2.0, each.minutes * 60 * math.exp(rng.gauss(0, each.sigma)))
    complexity = math.exp(rng.gauss(0, 0.45))
    rungs = LADDER[: LADDER.index(each.top) + 1]
    return SimTitle(
        name=f"t{number:05d}",
        arrival_s=0.0,
        tier=each.tier,
        kind=each.kind,
        score=0,
        deadline_s=None,
        prepare_s=3 + 0.02 * source_s,
        encodes=tuple(encode(each.tier, RUNG_COST[rung] * source_s * complexity, rng, error) for rung in rungs),
        extras_s=2 + 0.08 * source_s,
        finish_s=3 + 0.25 * source_s,
    )


def encode(tier: Tier, medium_s: float, rng: random.Random, error: float, *, droppable: bool = False) -> Encode:
    """An encode of ``medium_s`` slot seconds at the preset medium, with the options that its tier may take."""
    best = BEST[tier]
    true_s = max(0.5, medium_s) * PRESETS[best][0]
    predicted_s = true_s * math.exp(rng.gauss(0, error))
    options = []
    for name, (time, loss) in PRESETS.items():
        if time > PRESETS[best][0]:
            continue
        forecast = spread(predicted_s * time / PRESETS[best][0], error)
        lost = loss - PRESETS[best][1]
        options.append(
            Option(name=name, p50_s=forecast.p50_s, p90_s=forecast.p90_s, vmaf_loss=lost, allowed=lost <= FLOOR[tier])
        )
    return Encode(true_s=true_s, options=tuple(options))


def _arrives(body: SimTitle, now_s: float, each: Class, policy: ValuePolicy, rng: random.Random) -> SimTitle:
    deadline_s = None
    if each.deadline_h is not None:
        lead_s = each.deadline_h[0] * 3600 * math.exp(rng.gauss(0, each.deadline_h[1]))
        # Nobody announces a premiere that an idle farm could not keep.
        longest = max(encode.true_s for encode in body.encodes)
        ideal_s = body.prepare_s + body.finish_s + longest
        deadline_s = now_s + max(lead_s, 2.5 * ideal_s + 300)
    moment = EPOCH + timedelta(seconds=now_s)
    views = each.views * math.exp(rng.gauss(0, each.views_sigma))
    value = score(
        tier=each.tier,
        kind=each.kind,
        signals=Signals(predicted_views_7d=min(views, 1e12)),
        created_at=moment,
        publish_at=None if deadline_s is None else EPOCH + timedelta(seconds=deadline_s),
        now=moment,
        policy=policy,
    )
    return replace(body, arrival_s=now_s, deadline_s=deadline_s, score=value.points)


def read_gaps(path: Path) -> list[float]:
    """Times between arrivals from a CSV with a column ``submit`` (seconds); raises :class:`ConfigurationError`."""
    try:
        with path.open(newline="") as file:
            moments = sorted(float(row["submit"]) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: wanted is a CSV with a column `submit` in seconds ({error!r})") from error
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    if not gaps or sum(gaps) <= 0:
        raise ConfigurationError(f"{path}: has no two arrivals at different moments")
    return gaps


def shares(titles: Iterable[SimTitle]) -> dict[Tier, float]:
    """Share of the work by tier."""
    work: dict[Tier, float] = dict.fromkeys(Tier, 0.0)
    for title in titles:
        work[title.tier] += title.true_work_s
    whole = sum(work.values()) or 1.0
    return {tier: part / whole for tier, part in work.items()}
