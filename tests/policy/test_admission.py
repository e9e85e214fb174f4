"""Forecasts as distributions, and the verdict on a deadline before anything has started."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.domain.cost.forecast import NOTHING, Forecast, spread, total
from include.domain.order.admission import Admission, Verdict, admit, waiting
from include.recipes import load_policy

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY = load_policy().admission

forecasts = st.builds(spread, st.floats(0.1, 1e5), st.floats(0, 1.5))


def test_a_forecast_is_a_lognormal_given_by_two_quantiles() -> None:
    forecast = Forecast(p50_s=100, p90_s=200)

    assert forecast.chance_above(100) == pytest.approx(0.5)
    assert forecast.chance_above(200) == pytest.approx(0.1)
    assert forecast.chance_above(0) == 1.0
    assert spread(100, forecast.sigma).p90_s == pytest.approx(200)
    assert forecast.scaled(0.5) == Forecast(p50_s=50, p90_s=100)


@pytest.mark.parametrize(("limit_s", "chance"), [(9, 1.0), (10, 0.0), (11, 0.0)])
def test_a_forecast_without_spread_is_certain(limit_s: float, chance: float) -> None:
    assert Forecast(p50_s=10, p90_s=10).chance_above(limit_s) == chance


def test_nothing_to_do_takes_no_time() -> None:
    assert (NOTHING.chance_above(1), NOTHING.chance_above(0), NOTHING.sigma) == (0.0, 0.0, 0.0)
    assert total([]) == total([NOTHING, NOTHING]) == NOTHING


def test_a_forecast_whose_quantiles_are_crossed_is_refused() -> None:
    with pytest.raises(ValidationError, match="p90_s 1 is below p50_s 2"):
        Forecast(p50_s=2, p90_s=1)


def test_a_sum_of_forecasts_is_what_chance_makes_of_it() -> None:
    parts = [spread(100, 0.4), spread(30, 0.8), spread(300, 0.2)]
    rng = random.Random(7)
    drawn = sorted(sum(part.p50_s * 2.718281828 ** rng.gauss(0, part.sigma) for part in parts) for _ in range(20_000))

    whole = total(parts)

    assert whole.p50_s == pytest.approx(drawn[10_000], rel=0.02)
    assert whole.p90_s == pytest.approx(drawn[18_000], rel=0.03)


@given(st.lists(forecasts, min_size=1, max_size=6), forecasts)
def test_more_work_never_takes_less_time_on_average(parts: list[Forecast], more: Forecast) -> None:
    assert total([*parts, more]).mean_s >= total(parts).mean_s * (1 - 1e-9)


@pytest.mark.parametrize(
    ("slots", "fresh_load", "expected_s"),
    [(1, 0.0, 600), (4, 0.0, 150), (4, 0.5, 300), (4, 0.99, 1500), (4, -1, 150)],
)
def test_the_wait_is_the_work_ahead_stretched_by_what_overtakes(
    slots: int, fresh_load: float, expected_s: float
) -> None:
    wait = waiting(Forecast(p50_s=600, p90_s=600), slots=slots, fresh_load=fresh_load, policy=POLICY)

    assert wait.p50_s == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("due_s", "verdict"),
    [
        (None, Verdict.FEASIBLE),
        (3600, Verdict.FEASIBLE),
        (700, Verdict.FEASIBLE_DEGRADED),
        (300, Verdict.INFEASIBLE),
        (-60, Verdict.INFEASIBLE),
    ],
)
def test_a_deadline_is_feasible_feasible_with_something_given_up_or_not(due_s: float | None, verdict: Verdict) -> None:
    quote = admit(
        now=NOW,
        deadline=None if due_s is None else NOW + timedelta(seconds=due_s),
        wait=spread(300, 0.3),
        soonest=spread(300, 0.3),
        full=spread(900, 0.3),
        degraded=spread(200, 0.3),
        work=spread(2000, 0.3),
        policy=POLICY,
    )

    assert quote.verdict is verdict
    assert NOW < quote.finish_p50 < quote.finish_p90
    assert (quote.miss_chance is None) == (due_s is None)
    assert (quote.miss_chance or 0) <= POLICY.miss_chance or verdict is Verdict.INFEASIBLE
    assert str(quote).startswith(f"{verdict.value}: finished 12:")
    assert ("chance of a miss" in str(quote)) == (due_s is not None)


@given(wait=forecasts, full=forecasts, share=st.floats(0.01, 1), due_s=st.floats(-1e4, 1e6), more_s=st.floats(0, 1e6))
def test_a_later_deadline_is_never_less_feasible(
    wait: Forecast, full: Forecast, share: float, due_s: float, more_s: float
) -> None:
    order = [Verdict.INFEASIBLE, Verdict.FEASIBLE_DEGRADED, Verdict.FEASIBLE]

    def verdict(due: float) -> int:
        quote = admit(
            now=NOW,
            deadline=NOW + timedelta(seconds=due),
            wait=wait,
            soonest=wait,
            full=full,
            degraded=full.scaled(share),
            work=full,
            policy=POLICY,
        )
        return order.index(quote.verdict)

    assert verdict(due_s) <= verdict(due_s + more_s)


def test_a_finish_that_should_have_come_is_expected_at_once_and_one_ahead_stays() -> None:
    work = Forecast(p50_s=60, p90_s=600)
    quote = admit(
        now=NOW, deadline=None, wait=NOTHING, soonest=NOTHING, full=work, degraded=work, work=work, policy=POLICY
    )
    later = NOW + timedelta(seconds=90)

    assert quote.as_of(NOW) == quote
    assert (quote.as_of(later).finish_p50, quote.as_of(later).finish_p90) == (later, quote.finish_p90)
    last = NOW + timedelta(hours=1)
    assert (quote.as_of(last).finish_p50, quote.as_of(last).finish_p90) == (last, last)


def quoted(**fields: Any) -> Admission:
    work = spread(900, 0.1)
    given: dict[str, Any] = {"wait": NOTHING, "soonest": NOTHING, "full": work, "degraded": work, **fields}
    return admit(now=NOW, work=work, policy=POLICY, **{"deadline": NOW + timedelta(seconds=1000), **given})


def test_a_deadline_goes_by_the_soonest_start_and_the_finish_by_the_expected_one() -> None:
    quote = quoted(full=spread(500, 0.1), wait=spread(400, 0.1), soonest=spread(10, 0.1))

    assert quote.verdict is Verdict.FEASIBLE
    assert quote.miss_chance == 0
    assert (quote.finish_p50 - NOW).total_seconds() == pytest.approx(900, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"full": spread(500, 0.1)}, Verdict.FEASIBLE),
        ({"full": spread(500, 0.1), "kept": False}, Verdict.INFEASIBLE),
        ({"full": spread(500, 0.1), "degraded": spread(400, 0.1), "kept": False, "premium": True}, "chance"),
        ({"soonest": spread(5000, 0.1), "premium": True}, "chance"),
        ({"soonest": spread(5000, 0.1)}, Verdict.INFEASIBLE),
        ({"full": spread(2000, 0.1), "degraded": spread(1001, 0.1), "premium": True}, Verdict.INFEASIBLE),
    ],
)
def test_a_premium_title_is_refused_only_where_it_would_be_late_even_alone(
    fields: dict[str, Any], verdict: Verdict | str
) -> None:
    quote = quoted(**fields)

    assert quote.verdict is (Verdict.FEASIBLE_DEGRADED if verdict == "chance" else verdict)
    if verdict is Verdict.INFEASIBLE:
        assert (quote.miss_chance or 0.0) >= POLICY.miss_chance


def test_a_quote_names_whom_it_displaces() -> None:
    quote = quoted(full=spread(500, 0.1))

    assert "displaces" not in str(quote)
    assert str(quote.model_copy(update={"displaces": ("b/1", "b/2")})).endswith(", displaces b/1, b/2")
