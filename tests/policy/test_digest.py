"""The day in a few lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.domain.telling.digest import Due, Ended, digest_of, lines
from include.domain.title.title import State, Tier

NOW = datetime(2026, 5, 2, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ended(
    name: str, state: State = State.PUBLISHED, *, due: timedelta | None = None, playable: timedelta | None = None
) -> Ended:
    return Ended(
        name=name,
        tier=Tier.STANDARD,
        state=state,
        publish_at=None if due is None else NOW - due,
        playable_at=None if playable is None else NOW - playable,
    )


def due(name: str, after: timedelta, *, miss_chance: float = 0.0, at_risk: bool = False) -> Due:
    return Due(name=name, tier=Tier.PREMIUM, publish_at=NOW + after, miss_chance=miss_chance, at_risk=at_risk)


def test_a_quiet_day_is_one_line() -> None:
    digest = digest_of([], [], cpu_s=0, now=NOW)

    assert digest.kept is None
    assert lines(digest) == ["0 published; 0 CPU hours of encoding"]


def test_a_day_is_told_with_what_was_missed_and_what_is_at_risk() -> None:
    digest = digest_of(
        [
            ended("in time", due=3 * HOUR, playable=4 * HOUR),
            ended("late", due=4 * HOUR, playable=3 * HOUR),
            ended("without a deadline", State.DEGRADED, playable=HOUR),
            ended("never", State.FAILED, due=HOUR),
            ended("refused", State.REJECTED),
            ended("withdrawn", State.CANCELLED, due=HOUR),
        ],
        [
            due("tonight", 20 * HOUR, miss_chance=0.3, at_risk=True),
            due("noon", 9 * HOUR, miss_chance=0.8, at_risk=True),
            due("safe", 5 * HOUR),
            due("tomorrow", 25 * HOUR, at_risk=True),
            due("overdue", -HOUR, at_risk=True),
        ],
        cpu_s=9000,
        now=NOW,
    )

    assert lines(digest) == [
        "3 published, 1 of them degraded, 1 failed, 1 rejected, 1 cancelled; 2.5 CPU hours of encoding",
        "1 of 3 deadlines kept (33.3%): missed late, never",
        "3 due within a day, at risk: noon (12:30 UTC, 80%), tonight (23:30 UTC, 30%)",
    ]


def test_many_are_counted_and_only_some_named() -> None:
    digest = digest_of([ended(str(n), due=HOUR) for n in range(7)], [due("a", HOUR)], cpu_s=1, now=NOW)

    assert lines(digest)[1].endswith("missed 0, 1, 2, 3, 4 and 2 more")
    assert lines(digest)[2] == "1 due within a day, none at risk"
    assert digest.kept == 0.0
