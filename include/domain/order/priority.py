"""In which order titles go: one number from value, size, promises and waiting, explained term by term.

The same number orders the release from the catalog and weighs the task instances of released titles in Airflow. Its
ranges do not overlap: titles that only have their value, then those whose waiting bound is in danger, then those whose
promise is in danger, then what an operator has pinned.
"""

from __future__ import annotations

import math

from pydantic import Field

from include.base.document import Document
from include.domain.order.promises import Standing
from include.domain.order.value import HIGHEST_SCORE, Term

HIGHEST_VALUE = 3_999
"""Of a title that has nothing but its value."""
BOUND_FROM = 4_000
"""Of the last one of those whose waiting bound is in danger."""
PROMISE_FROM = 7_000
"""Of the last one of those whose promise is in danger."""
HIGHEST_PRIORITY = 9_999
PINNED = 10_000
"""A title that an operator pinned goes before every other."""
LEAST_WORTH = 1e-3
"""Score per work up to which a title gets no points; that of films of the least value lies above it."""


class PriorityPolicy(Document):
    """How value, size and lateness become a priority."""

    size_reference_s: float = Field(gt=0)
    """Slot seconds of work at which size begins to count against a title."""
    size_exponent: float = Field(ge=0, le=1)
    """How strongly size counts. With 0 it does not. With 1 the order is by value per slot second: Smith's rule
    (W. E. Smith, 1956), the best order for the sum of value × turnaround."""
    late_factor: float = Field(ge=1)
    """How much more a title is worth whose deadline cannot be kept any more, so that it is late by little."""
    waiting_bound_h: float = Field(gt=0)
    """Within this time even the least valuable title is to be done, as long as the farm can do what comes."""


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
    standing: Standing | None,
    waiting_s: float,
    policy: PriorityPolicy,
    held_by: str | None = None,
    pinned: bool = False,
) -> Priority:
    """The priority of a title.

    More value, less work and less time to spare never lower it.

    Args:
        score: 0–1000, from :func:`include.domain.order.value.score`.
        work_s: Predicted slot seconds that are still to be done (median).
        standing: Among the promises, or against the waiting bound; None where neither counts.
        waiting_s: Since the title could have started.
        policy: Weighs them.
        held_by: The other title, if one, that allows it no more time to spare, as people call it.
        pinned: An operator wants it first.
    """
    if pinned:
        return Priority(points=PINNED, terms=(Term(name="pinned", points=PINNED, why="by an operator"),))
    worth, promised, waited = _parts(score, work_s, standing, policy)
    terms = (
        Term(name="value", points=worth, why=f"score {score}, {_duration(work_s)} of work"),
        Term(name="promise", points=promised, why=_promise(standing, held_by)),
        Term(name="waiting", points=waited, why=_waiting(standing, waiting_s, policy)),
    )
    return Priority(points=worth + promised + waited, terms=terms)


def priority_points(*, score: int, work_s: float, standing: Standing | None, policy: PriorityPolicy) -> int:
    """The points of :func:`priority` without its words, for those who ask a million times."""
    return sum(_parts(score, work_s, standing, policy))


def _parts(score: int, work_s: float, standing: Standing | None, policy: PriorityPolicy) -> tuple[int, int, int]:
    """Points for value, promise and waiting."""
    worth = score * (1 + max(0.0, work_s) / policy.size_reference_s) ** -policy.size_exponent
    if standing is not None and not standing.kept:
        worth *= policy.late_factor
    points = _value_points(worth, policy)
    if standing is None or not standing.endangered:
        return points, 0, 0
    if standing.bound:
        return points, 0, min(PROMISE_FROM - 1, BOUND_FROM + standing.behind) - points
    return points, min(HIGHEST_PRIORITY, PROMISE_FROM + standing.behind) - points, 0


def _value_points(worth: float, policy: PriorityPolicy) -> int:
    """By the logarithm, so that titles of every size are told apart: a point is the same ratio everywhere."""
    if worth <= LEAST_WORTH:
        return 0
    share = math.log(worth / LEAST_WORTH) / math.log(HIGHEST_SCORE * policy.late_factor / LEAST_WORTH)
    return round(HIGHEST_VALUE * min(1.0, share))


def _promise(standing: Standing | None, held_by: str | None) -> str:
    if standing is None or standing.bound:
        return "no deadline"
    if not standing.kept:
        return "its deadline cannot be kept"
    spare = "no time to spare" if standing.spare_s <= 0 else f"{_duration(standing.spare_s)} to spare"
    for_whom = f", for {held_by}" if held_by else ""
    return f"{spare} among all deadlines{for_whom}" + (", gives up quality for them" if standing.hurried else "")


def _waiting(standing: Standing | None, waiting_s: float, policy: PriorityPolicy) -> str:
    waited = f"for {_duration(waiting_s)}"
    if standing is None or not standing.bound or not standing.endangered:
        return waited
    return f"{waited}, and the bound of {policy.waiting_bound_h:g} h is in danger"


def _duration(seconds: float) -> str:
    if abs(seconds) < 90:
        return f"{seconds:.0f} s"
    if abs(seconds) < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
