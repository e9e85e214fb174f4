"""Which editions a title is published in: its core rungs before the rest of its ladder, or everything at once.

An early edition is one of the ways in which a title meets its deadline. It is tried after faster presets and before
rungs are left out: it costs no quality for good, but time, because the complete set comes later and is packaged anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.plan.plan import COMPLETE, Edition, Plan
from include.domain.recipe.tiers import FirstVersionRule

FIRST = "first"
"""Name of the edition that holds the core rungs alone."""


@dataclass(frozen=True, kw_only=True)
class PublicationTimes:
    """How long a title still takes from its planning to a publication, by the quickest options that it may take."""

    whole: Forecast
    """With all rungs at once, none left out."""
    first: Forecast
    """Of the core rungs alone."""
    later_s: float
    """How much later the full set comes where the core rungs go first (median)."""


def first_version_rule(asked: bool | None, tier: FirstVersionRule) -> FirstVersionRule:
    """The request's word where it has one, else the tier's."""
    return tier if asked is None else "always" if asked else "never"


def editions_of(
    plan: Plan, times: PublicationTimes, *, asked: bool | None, rule: FirstVersionRule, left_s: float | None
) -> tuple[Edition, ...]:
    """The editions of a title: its core rungs and then the complete set; none where everything goes out at once.

    The deadline asks for it where all rungs would probably miss it, whether or not the core rungs are sure to keep it:
    what is late is the least late so.

    Args:
        plan: With its core rungs.
        times: With and without a first version.
        asked: What the request says; None leaves it to the tier.
        rule: The tier's policy.
        left_s: Until the deadline that something may be given up for; None where there is none.
    """
    jobs = tuple(job.name for job in plan.jobs if job.rendition.core)
    rest = tuple(job.name for job in plan.jobs if not job.rendition.core)
    if not jobs or not rest:
        return ()
    costs = f"it costs no quality for good; the full set comes {times.later_s:.0f} s later"
    names = ", ".join(jobs)
    wanted = first_version_rule(asked, rule)
    complete = Edition(name=COMPLETE, jobs=(*jobs, *rest))
    if wanted == "always":
        who = "the request" if asked else "the tier"
        message = f"{names} first, as a version of their own, as {who} asks: {costs}"
        return Edition(name=FIRST, jobs=jobs, why="asked" if asked else "tier", message=message), complete
    whole, first = times.whole, times.first
    if wanted == "never" or left_s is None or whole.p90_s <= left_s or first.p90_s >= whole.p90_s:
        return ()
    message = (
        f"{names} first, as a version of their own: by the quickest options all rungs would take "
        f"{whole.p90_s:.0f} s, these {first.p90_s:.0f} s, and {left_s:.0f} s are left (90th percentiles); {costs}"
    )
    return Edition(name=FIRST, jobs=jobs, why="deadline", message=message), complete


def time_to_publication(work: TitleWork, *, slots: int, overhead_s: float) -> Forecast:
    """From the planning, which its preparation precedes, to the publication."""
    whole = work.elapsed(slots)
    return Forecast(
        p50_s=max(0.0, whole.p50_s - work.prepare.p50_s) + overhead_s,
        p90_s=max(0.0, whole.p90_s - work.prepare.p90_s) + overhead_s,
    )


def later_s(plan: Plan, whole: TitleWork, first: TitleWork, *, slots: int) -> float:
    """How much later the full set comes where the core rungs are encoded, checked and packaged first (median).

    The other encodes start when those of the first version, and the extras, have ended; what it has checked is not
    checked again.

    Args:
        plan: Of all jobs.
        whole: Work of all of them, in the plan's order.
        first: Of the core rungs alone.
        slots: That the title has.
    """
    rest = [encode for job, encode in zip(plan.jobs, whole.encodes, strict=True) if not job.rendition.core]
    one_step = _beside([*whole.encodes, whole.extras], slots) + whole.finish.p50_s
    two_steps = _beside([*first.encodes, first.extras], slots) + _beside([*rest, first.finish], slots)
    return max(0.0, two_steps + whole.finish.p50_s - first.finish.p50_s - one_step)


def _beside(parts: Sequence[Forecast], slots: int) -> float:
    width = max(1, min(slots, len(parts)))
    return max(*(each.p50_s for each in parts), sum(each.p50_s for each in parts) / width)
