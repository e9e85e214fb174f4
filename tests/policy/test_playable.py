"""Whether a title's core rungs go out first: by the request, by its tier, or because its deadline asks for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.cost.features import source_features
from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.media.media import Analysis
from include.domain.plan.binding import laid_out
from include.domain.plan.decide import decide
from include.domain.plan.degradation import DROP
from include.domain.plan.editions import FirstVersionRule, PublicationTimes, editions_of, later_s, time_to_publication
from include.domain.plan.plan import COMPLETE, Edition, Plan
from include.domain.title.title import Tier
from tests.policy.test_binding import LADDERS, PACE, PRESETS, PRIOR, TIERS, planned, source

PLAN = planned()[0]
CORE = tuple(job.name for job in PLAN.jobs if job.rendition.core)
REST = tuple(job.name for job in PLAN.jobs if not job.rendition.core)


def seconds(p50: float, p90: float | None = None) -> Forecast:
    return Forecast(p50_s=p50, p90_s=p50 * 1.5 if p90 is None else p90)


TIMES = PublicationTimes(whole=seconds(100), first=seconds(40), later_s=12)


def decided(
    *,
    asked: bool | None = None,
    rule: FirstVersionRule = "deadline",
    left_s: float | None = None,
    times: PublicationTimes = TIMES,
) -> Edition | None:
    """The edition that goes out before the complete one, which then follows."""
    editions = editions_of(PLAN, times, asked=asked, rule=rule, left_s=left_s)
    assert [edition.name for edition in editions] in ([], ["first", COMPLETE])
    return editions[0] if editions else None


@pytest.mark.parametrize(
    ("asked", "rule", "left_s", "why"),
    [
        (None, "deadline", None, None),
        (None, "deadline", 150, None),
        (None, "deadline", 149, "deadline"),
        # Late in any case: the core rungs are the least late.
        (None, "deadline", -60, "deadline"),
        (None, "never", 149, None),
        (None, "always", None, "tier"),
        (None, "always", 149, "tier"),
        (True, "never", None, "asked"),
        (True, "deadline", 149, "asked"),
        (False, "always", None, None),
        (False, "deadline", 149, None),
    ],
)
def test_the_request_has_the_first_word_then_the_tier_then_the_deadline(
    asked: bool | None, rule: FirstVersionRule, left_s: float | None, why: str | None
) -> None:
    found = decided(asked=asked, rule=rule, left_s=left_s)

    assert (found.why if found else None) == why
    if found:
        assert found.jobs == CORE
        assert editions_of(PLAN, TIMES, asked=True, rule=rule, left_s=left_s)[-1].jobs == (*CORE, *REST)


def test_a_deadline_does_not_ask_for_what_is_no_quicker() -> None:
    assert decided(left_s=1, times=PublicationTimes(whole=seconds(100), first=seconds(100), later_s=0)) is None


@pytest.mark.parametrize("kept", [CORE, REST, ()])
def test_a_title_without_core_rungs_or_without_others_goes_out_at_once(kept: tuple[str, ...]) -> None:
    plan = PLAN.model_copy(update={"jobs": tuple(job for job in PLAN.jobs if job.name in kept)})

    assert editions_of(plan, TIMES, asked=True, rule="always", left_s=1) == ()


def test_the_reason_says_what_it_saves_and_what_it_costs() -> None:
    found, asked = decided(left_s=60), decided(asked=True)

    assert found is not None
    assert asked is not None
    assert found.message == (
        f"{', '.join(CORE)} first, as a version of their own: by the quickest options all rungs would take 150 s, "
        "these 60 s, and 60 s are left (90th percentiles); it costs no quality for good; the full set comes 12 s later"
    )
    assert "as the request asks: it costs no quality for good" in asked.message


def work(*encodes: float, extras: float = 10, finish: float = 20) -> TitleWork:
    return TitleWork(
        prepare=seconds(5), encodes=tuple(seconds(each) for each in encodes), extras=seconds(extras),
        finish=seconds(finish),
    )  # fmt: skip


def test_what_is_still_to_come_leaves_the_preparation_out() -> None:
    # Two slots: 30 + 60 + 10 side by side, then the finish.
    assert time_to_publication(work(30, 60), slots=2, overhead_s=7).p50_s == 60 + 20 + 7
    assert time_to_publication(work(30, 60), slots=1, overhead_s=0).p90_s == 1.5 * (30 + 60 + 10 + 20)


@pytest.mark.parametrize(
    ("slots", "later"),
    [
        # One slot: everything one after the other, and the core rungs are checked once.
        (1, 0),
        # Three: at once they take 60; in two steps 30, then 60 beside the first check.
        (3, 30 - 8),
    ],
)
def test_how_much_later_the_full_set_comes_depends_on_the_slots(slots: int, later: float) -> None:
    jobs = (PLAN.jobs[-1], PLAN.jobs[0])
    plan = PLAN.model_copy(update={"jobs": jobs})
    assert [job.rendition.core for job in jobs] == [True, False]

    assert later_s(plan, work(30, 60), work(30, finish=8), slots=slots) == pytest.approx(later)


def plan_of(*, asked: bool | None = None, left_s: float | None = None, degrade: bool = True) -> Plan:
    decision = decide(
        source(), Analysis(windows=()), [LADDERS["h264"]], TIERS[Tier.STANDARD], tier="standard", ceiling_s=3600,
        gpu=False, predictor=PRIOR,
    )  # fmt: skip
    return laid_out(
        decision,
        source_features(source()),
        policy=TIERS[Tier.STANDARD],
        presets=PRESETS,
        farm_share=PACE,
        asked=asked,
        left_s=left_s,
        degrade=degrade,
    )


def quickest_s(plan: Plan) -> float:
    """By which time left the core rungs are asked for, found by trying."""
    low, high = 0.0, 3600.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if plan_of(left_s=middle).editions else (low, middle)
    return high


def test_quicker_presets_come_before_a_first_version_and_that_before_rungs_are_left_out() -> None:
    enough = quickest_s(PLAN)

    # With presets alone the deadline is kept: nothing goes first, and each job may still take one.
    assert plan_of(left_s=enough).editions == ()
    assert plan_of(left_s=enough - 1, degrade=True).early_edition("first") is not None
    # Without them it would be missed sooner.
    assert plan_of(left_s=enough + 1, degrade=False).early_edition("first") is not None


def test_jobs_behind_a_first_version_bind_to_no_deadline_and_those_of_it_reckon_with_it_alone() -> None:
    plan, whole = plan_of(asked=True), plan_of()

    (first,) = plan.early
    by_name, before = ({job.name: job for job in each.jobs} for each in (plan, whole))
    assert [job.name for job in plan.jobs] == [job.name for job in whole.jobs]
    for name in plan.earliest.left_out():
        assert by_name[name].options == ()
        assert before[name].options[-1].option.name == DROP
    for name in first.jobs:
        assert by_name[name].options == before[name].options
        assert by_name[name].after_s <= before[name].after_s
        assert by_name[name].reserve_s < before[name].reserve_s
    lowest = first.jobs[0]
    assert by_name[lowest].after_s < before[lowest].after_s
    assert [job.name for job in plan.earliest.jobs] == list(first.jobs)
    assert whole.earliest == whole


forecasts = st.builds(lambda p50, more: seconds(p50, p50 + more), st.floats(0, 1e5), st.floats(0, 1e5))


@given(whole=forecasts, first=forecasts, later=st.floats(0, 1e5), left=st.floats(-1e5, 1e5), less=st.floats(0, 1e5))
def test_less_time_never_takes_a_first_version_away(
    whole: Forecast, first: Forecast, later: float, left: float, less: float
) -> None:
    times = PublicationTimes(whole=whole, first=first, later_s=later)

    if decided(left_s=left, times=times) is not None:
        assert decided(left_s=left - less, times=times) is not None


THREE = PLAN.model_copy(
    update={
        "editions": (
            Edition(name="proxy", jobs=CORE[:1], why="asked"),
            Edition(name="first", jobs=CORE, why="deadline"),
            Edition(name=COMPLETE, jobs=(*CORE, *REST)),
        )
    }
)


def test_each_edition_holds_the_jobs_of_those_before_it_and_what_it_adds_starts_when_they_have_ended() -> None:
    assert [edition.name for edition in THREE.early] == ["proxy", "first"]
    assert [tuple(job.name for job in THREE.part(name).jobs) for name in ("proxy", "first")] == [CORE[:1], CORE]
    assert THREE.part(None) == THREE.part("nobody") == THREE
    assert (THREE.earliest, THREE.part("first").left_out(), THREE.left_out()) == (THREE.part("proxy"), REST, ())

    both = {**dict.fromkeys(CORE[:1], None), **dict.fromkeys(CORE[1:], "proxy"), **dict.fromkeys(REST, "first")}
    assert THREE.starts_after(("proxy", "first")) == both
    # A pipeline that cannot make an edition starts its jobs with those of the next one.
    assert THREE.starts_after(("first",)) == {**dict.fromkeys(CORE, None), **dict.fromkeys(REST, "first")}
    assert set(THREE.starts_after(()).values()) == {None}
