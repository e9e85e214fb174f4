"""Whether a title can be in time, said before it has started: verdict, expected finish and chance of a miss."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field

from include.base.document import Document
from include.domain.cost.forecast import Forecast, total


class Verdict(StrEnum):
    """What the admission says of a deadline."""

    FEASIBLE = "feasible"
    FEASIBLE_DEGRADED = "feasible_degraded"
    INFEASIBLE = "infeasible"


class AdmissionPolicy(Document):
    """When a deadline counts as feasible."""

    miss_chance: float = Field(gt=0, lt=1)
    """Above this predicted chance of a miss, 0–1, a deadline is not feasible."""
    busiest: float = Field(gt=0, lt=1)
    """Upper bound, 0–1, of the share of the slots that newly arriving titles of higher priority take while a title
    waits. Without one a busy farm would promise nothing at all."""


class Admission(Document):
    """The quote for one title. Moments are UTC."""

    verdict: Verdict
    """``feasible`` for every title without a deadline."""
    finish_p50: datetime
    """With the full recipe where that is feasible, otherwise with everything given up that the tier allows."""
    finish_p90: datetime
    miss_chance: float | None
    """0–1; None without a deadline."""
    wait: Forecast
    """Until its first task starts."""
    work: Forecast
    """Slot seconds that the title itself needs."""
    displaces: tuple[str, ...] = ()
    """Requests whose deadlines are given up for the batch that this title came with, at most twenty."""

    def as_of(self, now: datetime) -> Admission:
        """The quote as it is told at ``now``: what should have come before is expected at once."""
        finish = {"finish_p50": max(self.finish_p50, now), "finish_p90": max(self.finish_p90, now)}
        return self.model_copy(update=finish)

    def told(self, *, source_known: bool) -> dict[str, Any]:
        """The quote as JSON for a webhook, without a finish where that would be a guess.

        Args:
            source_known: Whether length and size of the mezzanine are known.
        """
        unknown = {} if source_known else {"finish_p50": None, "finish_p90": None}
        return {**self.model_dump(mode="json"), **unknown}

    def __str__(self) -> str:
        chance = "" if self.miss_chance is None else f", chance of a miss {self.miss_chance:.1%}"
        told = f"{self.verdict}: finished {self.finish_p50:%H:%M:%S} (p90 {self.finish_p90:%H:%M:%S} UTC){chance}"
        return told + (f", displaces {', '.join(self.displaces)}" if self.displaces else "")


def waiting(ahead: Forecast, *, slots: int, fresh_load: float, policy: AdmissionPolicy) -> Forecast:
    """Seconds until the work ahead is done: what is known of it, and what arrives meanwhile and overtakes.

    Args:
        ahead: Slot seconds of what runs, and of what waits with a higher priority.
        slots: Of the pool.
        fresh_load: Share of the slots, 0–1, that titles of higher priority have used lately.
        policy: Bounds ``fresh_load``.
    """
    # In queueing theory the delay busy period of a queue with priorities: where a share r of the slots goes to what
    # arrives, the work ahead has the share 1 - r of them.
    return ahead.scaled(1 / (slots * (1 - min(policy.busiest, max(0.0, fresh_load)))))


def admit(
    *,
    now: datetime,
    deadline: datetime | None,
    wait: Forecast,
    soonest: Forecast,
    full: Forecast,
    degraded: Forecast,
    work: Forecast,
    policy: AdmissionPolicy,
    kept: bool = True,
    sure: bool = True,
    premium: bool = False,
) -> Admission:
    """The verdict on one title.

    Args:
        now: The time.
        deadline: When it must be published.
        wait: Until it is expected to start.
        soonest: Until it could start if its promise went first from now on.
        full: From its start to its publication, with nothing given up.
        degraded: The same with everything given up that its tier allows.
        work: Its own slot seconds, for the record.
        policy: Where feasible ends.
        kept: Whether the farm can keep its promise beside those that are worth more.
        sure: Whether no promise that was given before would be late for it.
        premium: Such a title is infeasible only where it could not be in time even alone.
    """

    def quote(verdict: Verdict, duration: Forecast, chance: float | None) -> Admission:
        finish = total([wait, duration])
        return Admission(
            verdict=verdict,
            finish_p50=now + timedelta(seconds=finish.p50_s),
            finish_p90=now + timedelta(seconds=finish.p90_s),
            miss_chance=None if chance is None else round(chance, 4),
            wait=wait,
            work=work,
        )

    if deadline is None:
        return quote(Verdict.FEASIBLE, full, None)
    left_s = (deadline - now).total_seconds()
    chance = total([soonest, full]).chance_above(left_s)
    if kept and sure and chance <= policy.miss_chance:
        return quote(Verdict.FEASIBLE, full, chance)
    chance = total([soonest, degraded]).chance_above(left_s)
    if (kept and chance <= policy.miss_chance) or (premium and degraded.p50_s <= left_s):
        return quote(Verdict.FEASIBLE_DEGRADED, degraded, chance)
    return quote(Verdict.INFEASIBLE, degraded, max(chance, policy.miss_chance))
