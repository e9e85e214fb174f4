"""In which order titles go: one number from value, size, laxity and waiting, explained term by term.

The same number orders the release from the catalog and weighs the task instances of released titles in Airflow.
"""

from __future__ import annotations

from pydantic import Field

from include.base.document import Document
from include.domain.order.value import Term

HIGHEST_PRIORITY = 9_999
WAITING_EXPONENT = 8
"""How steeply waiting counts: hardly at all until its bound comes near. After half of the bound it is worth a 256th."""
PINNED = 10_000
"""A title that an operator pinned goes before every other."""


class PriorityPolicy(Document):
    """How value, size, laxity and waiting become a priority."""

    size_reference_s: float = Field(gt=0)
    """Slot seconds of work at which size begins to count against a title."""
    size_exponent: float = Field(ge=0, le=1)
    """How strongly size counts. With 0 it does not. With 1 the order is by value per slot second: Smith's rule
    (W. E. Smith, 1956), the best order for the sum of value × turnaround, which lets the longest titles wait long."""
    urgency_points: float = Field(ge=0, le=4000)
    """For a title of the highest score that has no laxity left."""
    urgency_horizon_h: float = Field(gt=0)
    """A title with more laxity than this has no points for urgency."""
    waiting_points: float = Field(ge=0, le=4000)
    """For a title that has waited as long as the bound: enough to go before everything that is new."""
    waiting_bound_h: float = Field(gt=0)
    """Within this time even the least valuable title is meant to start."""


class Priority(Document):
    """A title's place in the order: higher goes first, ties in the order of arrival."""

    points: int
    """0–10,000."""
    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return f"{self.points} = " + " + ".join(f"{term.name} {term.points:.0f} ({term.why})" for term in self.terms)


def priority(
    *,
    score: int,
    work_s: float,
    laxity_s: float | None,
    waiting_s: float,
    policy: PriorityPolicy,
    pinned: bool = False,
) -> Priority:
    """The priority of a title.

    More value, less work, less laxity and longer waiting never lower it.

    Args:
        score: 0–1000, from :func:`include.domain.order.value.score`.
        work_s: Predicted slot seconds that are still to be done (median).
        laxity_s: Time to spare before the deadline after all remaining work; negative when it is too late for that,
            None without a deadline.
        waiting_s: Since the title could have started.
        policy: Weighs them.
        pinned: An operator wants it first.
    """
    if pinned:
        return Priority(points=PINNED, terms=(Term(name="pinned", points=PINNED, why="by an operator"),))
    parts = _parts(score, work_s, laxity_s, waiting_s, policy)
    spare = "no deadline"
    if laxity_s is not None:
        spare = f"{_duration(laxity_s)} to spare" if laxity_s >= 0 else f"{_duration(-laxity_s)} too late"
    reasons = (f"score {score}, {_duration(work_s)} of work", spare, f"for {_duration(waiting_s)}")
    return Priority(
        points=_total(parts),
        terms=tuple(
            Term(name=name, points=round(points, 1), why=why)
            for name, points, why in zip(("value", "urgency", "waiting"), parts, reasons, strict=True)
        ),
    )


def priority_points(
    *, score: int, work_s: float, laxity_s: float | None, waiting_s: float, policy: PriorityPolicy
) -> int:
    """The points of :func:`priority` without its words, for those who ask a million times."""
    return _total(_parts(score, work_s, laxity_s, waiting_s, policy))


def _parts(
    score: int, work_s: float, laxity_s: float | None, waiting_s: float, policy: PriorityPolicy
) -> tuple[float, float, float]:
    """Points for value, urgency and waiting."""
    worth = score * (1 + max(0.0, work_s) / policy.size_reference_s) ** -policy.size_exponent
    urgency = 0.0
    if laxity_s is not None:
        used = min(1.0, max(0.0, 1 - laxity_s / (policy.urgency_horizon_h * 3600)))
        urgency = policy.urgency_points * used**2 * score / 1000
    share = max(0.0, waiting_s) / (policy.waiting_bound_h * 3600)
    return worth, urgency, policy.waiting_points * min(1.0, share) ** WAITING_EXPONENT


def _total(parts: tuple[float, float, float]) -> int:
    return min(HIGHEST_PRIORITY, round(sum(parts)))


def _duration(seconds: float) -> str:
    if abs(seconds) < 90:
        return f"{seconds:.0f} s"
    if abs(seconds) < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
