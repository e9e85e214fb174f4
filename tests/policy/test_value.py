"""The value score: its terms, its bounds, and that no better news ever lowers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.domain.order.value import Score, ValuePolicy, demand, score, score_points
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import load_policy

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY = load_policy().value
SILENT = Signals()

# By orders of magnitude: nearly all of a uniform range would lie above the ceilings, where nothing changes any more.
magnitudes = st.just(0.0) | st.floats(-1, 12).map(lambda power: 10**power)
views = st.none() | magnitudes
minutes = st.none() | magnitudes
tiers = st.sampled_from(list(Tier))
kinds = st.none() | st.sampled_from(list(Kind))
moments = st.integers(-200, 200).map(lambda hours: NOW + timedelta(hours=hours))


def scored(
    *,
    tier: Tier = Tier.STANDARD,
    kind: Kind | None = None,
    signals: Signals = SILENT,
    age: timedelta = timedelta(0),
    due: timedelta | None = None,
) -> Score:
    return score(
        tier=tier,
        kind=kind,
        signals=signals,
        created_at=NOW - age,
        publish_at=None if due is None else NOW + due,
        now=NOW,
        policy=POLICY,
    )


def term(result: Score, name: str) -> float:
    return next(each.points for each in result.terms if each.name == name)


@given(
    tier=tiers,
    kind=kinds,
    predicted=views,
    rate=views,
    watched=minutes,
    created_at=moments,
    publish_at=st.none() | moments,
    field=st.sampled_from(["predicted_views_7d", "views_last_hour", "watch_minutes_7d"]),
)
@settings(deadline=None)
def test_raising_a_signal_never_lowers_the_score(
    tier: Tier,
    kind: Kind | None,
    predicted: float | None,
    rate: float | None,
    watched: float | None,
    created_at: datetime,
    publish_at: datetime | None,
    field: str,
) -> None:
    known = Signals(predicted_views_7d=predicted, views_last_hour=rate, watch_minutes_7d=watched)

    # In steps of six percent: a dip anywhere between nothing and the highest that is accepted would show.
    points = [
        score_points(
            tier=tier,
            kind=kind,
            signals=known.model_copy(update={field: value}),
            created_at=created_at,
            publish_at=publish_at,
            now=NOW,
            policy=POLICY,
        )
        for value in (0.0, *(10 ** (step / 40) for step in range(-40, 481)))
    ]

    assert points == sorted(points)


@given(tier=tiers, kind=kinds, predicted=views, rate=views, watched=minutes, created_at=moments, publish_at=moments)
def test_a_score_lies_between_0_and_1000_and_is_the_sum_of_its_terms(
    tier: Tier,
    kind: Kind | None,
    predicted: float | None,
    rate: float | None,
    watched: float | None,
    created_at: datetime,
    publish_at: datetime,
) -> None:
    signals = Signals(predicted_views_7d=predicted, views_last_hour=rate, watch_minutes_7d=watched)

    result = score(
        tier=tier, kind=kind, signals=signals, created_at=created_at, publish_at=publish_at, now=NOW, policy=POLICY
    )

    assert 0 <= result.points <= 1000
    assert result.points == pytest.approx(sum(each.points for each in result.terms), abs=1)
    assert all(each.points >= 0 for each in result.terms)


def test_a_missing_signal_is_what_is_typical_and_not_zero() -> None:
    silent = scored(tier=Tier.PREMIUM)
    unwanted = scored(tier=Tier.PREMIUM, signals=Signals(predicted_views_7d=0))

    assert term(silent, "audience") > 200 > term(unwanted, "audience") == 0
    assert "no signal: typical for premium" in str(silent)


def test_an_upload_that_goes_viral_overtakes_a_forecast_and_says_why() -> None:
    before = Signals(predicted_views_7d=200)
    after = Signals(predicted_views_7d=200, views_last_hour=50_000)

    calm, viral = scored(tier=Tier.UGC, signals=before), scored(tier=Tier.UGC, signals=after)

    assert term(calm, "growth") == 0
    assert term(viral, "growth") > 150
    assert viral.points > calm.points + 150
    assert "4.2e+04× the forecast" in str(viral)


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        (Signals(), POLICY.audience.typical_views[Tier.UGC]),
        (Signals(predicted_views_7d=1000), 1000),
        (Signals(predicted_views_7d=1000, watch_minutes_7d=8000), 2000),
        (Signals(watch_minutes_7d=400), 100),
        (Signals(predicted_views_7d=1000, views_last_hour=1), 1000),
        (Signals(predicted_views_7d=1000, views_last_hour=10), 1680),
        (Signals(views_last_hour=2), 336),
    ],
)
def test_the_demand_is_whichever_signal_says_most(signals: Signals, expected: float) -> None:
    assert demand(signals, Tier.UGC, POLICY.audience) == expected


@pytest.mark.parametrize(
    ("signals", "why"),
    [
        (Signals(predicted_views_7d=2_100_000), "2.1M views in 7 days"),
        (Signals(predicted_views_7d=3_000_000_000), "3G views in 7 days"),
        (Signals(predicted_views_7d=1500), "1.5k views in 7 days"),
        (Signals(predicted_views_7d=12), "12 views in 7 days"),
        (Signals(predicted_views_7d=0, views_last_hour=5), "views without a forecast of any"),
        (Signals(views_last_hour=100), "the last hour's views, over 7 days"),
        (Signals(predicted_views_7d=5), "views of the last hour not given"),
    ],
)
def test_every_term_has_its_reason(signals: Signals, why: str) -> None:
    assert why in str(scored(signals=signals))


def test_news_decays_within_hours() -> None:
    half_life = timedelta(hours=POLICY.time.news_half_life_h)

    fresh = term(scored(kind=Kind.NEWS), "time")
    older = term(scored(kind=Kind.NEWS, age=half_life), "time")

    assert (fresh, older) == (POLICY.time.points, POLICY.time.points / 2)
    assert term(scored(kind=Kind.MOVIE, age=half_life), "time") == 0


def test_a_premiere_peaks_at_its_moment_and_stays_there_until_it_is_out() -> None:
    rise = timedelta(hours=POLICY.time.premiere_half_rise_h)
    points = [term(scored(due=due), "time") for due in (2 * rise, rise, timedelta(0), -rise)]

    assert points == pytest.approx([each * POLICY.time.points for each in (0.25, 0.5, 1, 1)], abs=0.1)


def test_stale_news_with_a_deadline_counts_by_its_deadline() -> None:
    assert "due in 1.0 h" in str(scored(kind=Kind.NEWS, age=timedelta(days=3), due=timedelta(hours=1)))
    assert "news, 0.0 h old" in str(scored(kind=Kind.NEWS, due=timedelta(hours=1)))


def test_the_points_of_a_policy_may_come_to_the_highest_score_and_not_beyond() -> None:
    rest = max(POLICY.kinds.values()) + POLICY.audience.points + POLICY.time.points
    tiers = {tier.value: 0 for tier in Tier}
    allowed = {**POLICY.model_dump(mode="json"), "tiers": {**tiers, "premium": 1000 - rest}}

    assert ValuePolicy.model_validate(allowed).tiers[Tier.PREMIUM] == 1000 - rest
    with pytest.raises(ValidationError, match="can sum to 1001"):
        ValuePolicy.model_validate({**allowed, "tiers": {**tiers, "premium": 1001 - rest}})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"tiers": {"premium": 400, "ugc": 1}}, "tiers: standard missing"),
        ({"tiers": {"premium": 900, "standard": 1, "ugc": 1}}, "the score ends at 1000"),
        ({"kinds": {**{each.value: 0 for each in Kind}, "news": -1}}, "kinds: points cannot be negative"),
        ({"kinds": {"news": 1}}, "kinds: movie, series"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        ValuePolicy.model_validate({**POLICY.model_dump(mode="json"), **change})
