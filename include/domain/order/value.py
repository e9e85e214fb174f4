"""What a title is worth to the platform: a score of 0–1000 points, with its contributions term by term.

Neither a title's cost nor its deadline is in the score. The order is made of all three
(:mod:`include.domain.order.priority`).
"""

from __future__ import annotations

import math
from datetime import datetime

from pydantic import Field, model_validator

from include.base.document import Document
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier

HIGHEST_SCORE = 1000
HOURS_IN_7D = 168.0


class AudiencePolicy(Document):
    """How an audience becomes points: by the order of magnitude of its views."""

    points: float = Field(gt=0, le=HIGHEST_SCORE)
    """For ``ceiling_views`` and more."""
    ceiling_views: float = Field(gt=1)
    """Views in seven days."""
    minutes_per_view: float = Field(gt=0)
    """Watch minutes that count as one view."""
    typical_views: dict[Tier, float]
    """Views in seven days that a title without any signal is taken to have."""


class TimePolicy(Document):
    """Points for being timely: for fresh news, and for a title whose ``publish_at`` is near."""

    points: float = Field(ge=0, le=HIGHEST_SCORE)
    news_half_life_h: float = Field(gt=0)
    """News is worth half as much after so many hours."""
    premiere_half_rise_h: float = Field(gt=0)
    """So many hours before ``publish_at`` a premiere has half of its points; it has all of them from then on."""


class ValuePolicy(Document):
    """Points by term; together they cannot exceed 1000."""

    tiers: dict[Tier, float]
    kinds: dict[Kind, float]
    audience: AudiencePolicy
    time: TimePolicy

    @model_validator(mode="after")
    def _complete(self) -> ValuePolicy:
        for name, table, wanted in (
            ("tiers", self.tiers, Tier),
            ("kinds", self.kinds, Kind),
            ("audience.typical_views", self.audience.typical_views, Tier),
        ):
            missing = [key.value for key in wanted if key not in table]
            if missing:
                raise ValueError(f"{name}: {', '.join(missing)} missing")
            if min(table.values()) < 0:
                raise ValueError(f"{name}: points cannot be negative")
        most = max(self.tiers.values()) + max(self.kinds.values()) + self.audience.points + self.time.points
        if most > HIGHEST_SCORE:
            raise ValueError(f"the terms can sum to {most:g}, the score ends at {HIGHEST_SCORE}")
        return self


class Term(Document):
    """One contribution to a score or a priority."""

    name: str
    points: float
    why: str
    """For people, e.g. ``2.1M views in 7 days``."""


class Score(Document):
    """A title's value, and where it comes from."""

    points: int
    """0–1000."""
    terms: tuple[Term, ...]

    def __str__(self) -> str:
        parts = " + ".join(f"{term.name} {term.points:.0f} ({term.why})" for term in self.terms)
        return f"{self.points} = {parts}"


def score(
    *,
    tier: Tier,
    kind: Kind | None,
    signals: Signals,
    created_at: datetime,
    publish_at: datetime | None,
    now: datetime,
    policy: ValuePolicy,
) -> Score:
    """The value of a title as of ``now``.

    A higher signal never lowers it. A signal that is missing is neither zero nor an error: without any, the audience
    is taken to be what is typical for the tier.
    """
    terms = _terms(tier, kind, signals, created_at=created_at, publish_at=publish_at, now=now, policy=policy)
    rounded = tuple(term.model_copy(update={"points": round(term.points, 1)}) for term in terms)
    return Score(points=round(sum(term.points for term in terms)), terms=rounded)


def score_points(
    *,
    tier: Tier,
    kind: Kind | None,
    signals: Signals,
    created_at: datetime,
    publish_at: datetime | None,
    now: datetime,
    policy: ValuePolicy,
) -> int:
    """The points of :func:`score` without its terms, for those who ask a million times."""
    terms = _terms(tier, kind, signals, created_at=created_at, publish_at=publish_at, now=now, policy=policy)
    return round(sum(term.points for term in terms))


def demand(signals: Signals, tier: Tier, policy: AudiencePolicy) -> float:
    """Views in seven days: the largest of what forecast, watch minutes and the last hour say; typical without any."""
    known = [views for views in (_forecast(signals, policy), _at_this_rate(signals)) if views is not None]
    return max(known, default=policy.typical_views[tier])


def _terms(
    tier: Tier,
    kind: Kind | None,
    signals: Signals,
    *,
    created_at: datetime,
    publish_at: datetime | None,
    now: datetime,
    policy: ValuePolicy,
) -> tuple[Term, ...]:
    return (
        Term(name="tier", points=policy.tiers[tier], why=tier.value),
        *_audience(signals, tier, policy.audience),
        Term(name="kind", points=policy.kinds[kind] if kind else 0.0, why=kind.value if kind else "not given"),
        _timing(kind, created_at=created_at, publish_at=publish_at, now=now, policy=policy.time),
    )


def _audience(signals: Signals, tier: Tier, policy: AudiencePolicy) -> tuple[Term, Term]:
    """Points for the forecast, and those that the last hour adds where it has more views than was forecast."""
    forecast = _forecast(signals, policy)
    rate = _at_this_rate(signals)
    all_points = _points(demand(signals, tier, policy), policy)
    if forecast is None:
        # Without a forecast the last hour's views are the audience: there is nothing that they could outdo.
        known = rate if rate is not None else policy.typical_views[tier]
        why = "the last hour's views, over 7 days" if rate is not None else f"no signal: typical for {tier.value}"
        return (
            Term(name="audience", points=all_points, why=f"{_short(known)}: {why}"),
            Term(name="growth", points=0.0, why="no forecast to outdo"),
        )
    base = _points(forecast, policy)
    growth = "views of the last hour not given"
    if rate is not None:
        growth = f"{rate / forecast:.2g}× the forecast" if forecast else "views without a forecast of any"
    return (
        Term(name="audience", points=base, why=f"{_short(forecast)} views in 7 days"),
        Term(name="growth", points=all_points - base, why=growth),
    )


def _forecast(signals: Signals, policy: AudiencePolicy) -> float | None:
    minutes = signals.watch_minutes_7d
    known = [signals.predicted_views_7d, minutes / policy.minutes_per_view if minutes is not None else None]
    return max((views for views in known if views is not None), default=None)


def _at_this_rate(signals: Signals) -> float | None:
    return None if signals.views_last_hour is None else signals.views_last_hour * HOURS_IN_7D


def _points(views: float, policy: AudiencePolicy) -> float:
    share = math.log10(1 + views) / math.log10(1 + policy.ceiling_views)
    return policy.points * min(1.0, share)


def _timing(
    kind: Kind | None, *, created_at: datetime, publish_at: datetime | None, now: datetime, policy: TimePolicy
) -> Term:
    fresh = near = 0.0
    age_h = max(0.0, (now - created_at).total_seconds() / 3600)
    if kind is Kind.NEWS:
        fresh = policy.points * 0.5 ** (age_h / policy.news_half_life_h)
    if publish_at is not None:
        ahead_h = max(0.0, (publish_at - now).total_seconds() / 3600)
        near = policy.points * 0.5 ** (ahead_h / policy.premiere_half_rise_h)
    if fresh > near:
        return Term(name="time", points=fresh, why=f"news, {age_h:.1f} h old")
    if publish_at is not None:
        return Term(name="time", points=near, why="due now or late" if ahead_h == 0 else f"due in {ahead_h:.1f} h")
    return Term(name="time", points=0.0, why="no publish_at")


def _short(count: float) -> str:
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.3g}"
