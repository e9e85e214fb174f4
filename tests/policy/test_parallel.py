"""Value and laxity decide how much of the farm a title may use at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.domain.order.parallel import ParallelPolicy, chunks_for, slots_for
from include.recipes import load_policy

POLICY = load_policy().parallel

scores = st.integers(0, 1000)
laxities = st.none() | st.floats(-1e6, 1e6)


@given(score=scores, more=scores, laxity_s=laxities, slots=st.integers(1, 500), less=st.floats(0, 1e6))
def test_more_value_or_less_laxity_never_lowers_a_titles_share(
    score: int, more: int, laxity_s: float | None, slots: int, less: float
) -> None:
    share = slots_for(score=score, laxity_s=laxity_s, slots=slots, policy=POLICY)

    assert 1 <= share <= slots
    assert share <= slots_for(score=min(1000, score + more), laxity_s=laxity_s, slots=slots, policy=POLICY)
    if laxity_s is not None:
        assert share <= slots_for(score=score, laxity_s=laxity_s - less, slots=slots, policy=POLICY)


@pytest.mark.parametrize(
    ("score", "laxity_s", "slots", "expected"),
    [(0, None, 16, 4), (1000, None, 16, 16), (500, 3600, 16, 10), (0, 0, 16, 16), (0, -5, 16, 16), (0, None, 2, 1)],
)
def test_a_titles_share_of_the_slots(score: int, laxity_s: float | None, slots: int, expected: int) -> None:
    assert slots_for(score=score, laxity_s=laxity_s, slots=slots, policy=POLICY) == expected


@pytest.mark.parametrize(
    ("work_s", "score", "laxity_s", "slots", "expected"),
    [
        (600, 900, None, 8, 8),
        (600, 900, None, 20, 10),
        (30, 900, None, 8, 1),
        (600, 100, None, 8, 1),
        (600, 100, 60, 8, 1),
        (600, 100, -1, 8, 8),
        (4801, 900, None, 8, 9),
        (60_000, 900, None, 8, 100),
        (60_000, 100, None, 8, 1),
    ],
)
def test_the_encodes_of_a_title_that_is_valuable_or_in_danger_are_cut_into_chunks(
    work_s: float, score: int, laxity_s: float | None, slots: int, expected: int
) -> None:
    assert chunks_for(work_s=work_s, score=score, laxity_s=laxity_s, slots=slots, policy=POLICY) == expected


def test_a_policy_with_crossed_shares_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"least_share 0\.9 is above most_share 0\.5"):
        ParallelPolicy.model_validate({**POLICY.model_dump(), "least_share": 0.9, "most_share": 0.5})


def test_a_policy_whose_longest_chunk_is_not_worth_its_overhead_is_refused() -> None:
    with pytest.raises(ValidationError, match="chunk_s 90 is above longest_chunk_s 60"):
        ParallelPolicy.model_validate({**POLICY.model_dump(), "chunk_s": 90, "longest_chunk_s": 60})
