"""What a job gives up to be in time: the least that helps, and never what the floor forbids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.plan.degradation import Option, best_that_fits

SLOW = Option(name="slow", p50_s=100, p90_s=140, vmaf_loss=0)
MEDIUM = Option(name="medium", p50_s=50, p90_s=70, vmaf_loss=0.5)
VERYFAST = Option(name="veryfast", p50_s=20, p90_s=28, vmaf_loss=2.5)
FORBIDDEN = Option(name="superfast", p50_s=12, p90_s=17, vmaf_loss=4.5, allowed=False)
ALL = (VERYFAST, SLOW, FORBIDDEN, MEDIUM)


@pytest.mark.parametrize(
    ("time_left_s", "chosen", "fit", "saved_s"),
    [
        (None, "slow", "safe", 0),
        (140, "slow", "safe", 0),
        (139, "medium", "safe", 50),
        (70, "medium", "safe", 50),
        (69, "veryfast", "safe", 80),
        (27, "veryfast", "likely", 80),
        (20, "veryfast", "likely", 80),
        # Nothing fits: late, and as little late as is allowed.
        (19, "veryfast", "late", 80),
        (-5, "veryfast", "late", 80),
    ],
)
def test_the_option_with_the_least_loss_that_fits_is_taken(
    time_left_s: float | None, chosen: str, fit: str, saved_s: float
) -> None:
    choice = best_that_fits(ALL, time_left_s=time_left_s)

    assert (choice.option.name, choice.fit, choice.saved_s) == (chosen, fit, saved_s)
    assert choice.degraded == (chosen != "slow")


def test_a_choice_says_what_it_costs_and_what_it_saves() -> None:
    assert str(best_that_fits(ALL, time_left_s=70)) == "medium: costs 0.5 VMAF, saves 50 s"
    assert str(best_that_fits(ALL, time_left_s=1)) == "veryfast: costs 2.5 VMAF, saves 80 s, and late all the same"
    assert str(best_that_fits(ALL, time_left_s=None)) == "slow, nothing given up"
    assert str(best_that_fits([SLOW], time_left_s=1)) == "slow, nothing given up, and late all the same"


def test_a_job_without_an_allowed_option_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="none of a job's options is allowed"):
        best_that_fits([FORBIDDEN], time_left_s=1)


options = st.builds(
    lambda name, p50_s, factor, loss, allowed: Option(
        name=name, p50_s=p50_s, p90_s=p50_s * factor, vmaf_loss=loss, allowed=allowed
    ),
    name=st.sampled_from(["a", "b", "c", "drop"]),
    p50_s=st.floats(0, 1e5),
    factor=st.floats(1, 3),
    loss=st.floats(0, 100),
    allowed=st.booleans(),
)


@given(st.lists(options, max_size=8), st.none() | st.floats(-1e5, 1e6))
def test_no_choice_is_ever_below_the_floor(given_options: list[Option], time_left_s: float | None) -> None:
    with_one_allowed = [*given_options, SLOW]

    assert best_that_fits(with_one_allowed, time_left_s=time_left_s).option.allowed


@given(st.lists(options, max_size=8), st.floats(-1e5, 1e6), st.floats(0, 1e5))
def test_more_time_never_loses_more_quality_unless_all_is_late(
    given_options: list[Option], time_left_s: float, more_s: float
) -> None:
    every = [*given_options, SLOW]
    tight, roomy = (best_that_fits(every, time_left_s=each) for each in (time_left_s, time_left_s + more_s))

    # A median that fits is taken before a p90 that does not; so compare like with like.
    if tight.fit == roomy.fit == "safe" or tight.fit == roomy.fit == "likely":
        assert roomy.option.vmaf_loss <= tight.option.vmaf_loss
