"""What came of a simulated load, in numbers. Times in hours unless a name says otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from include.base.document import Document
from include.domain.order.admission import Verdict
from include.domain.title.title import Tier
from include.recipes import Recipes
from include.simulation.farm import Say, Simulation
from include.simulation.model import End, Farm, Outcome, SimTitle
from include.simulation.orders import order

HOUR_S = 3600.0


class Figures(Document):
    """Of one order on one load."""

    order: str
    titles: int
    published: int
    rejected: int
    top_decile_h: float
    """Mean turnaround of the most valuable tenth."""
    least_decile_p99_h: float
    """Turnaround of the least valuable tenth that only one in a hundred exceeds."""
    mean_h: float
    weighted_completion: float
    """Sum of value × turnaround, in value hours."""
    premium: int
    """Premium titles with a deadline and a sound mezzanine."""
    premium_missed: int
    """Of these, late ones and refused ones."""
    premium_late: int
    premium_refused: int
    """By the admission, in time or not."""
    premium_degraded: int
    """With VMAF given up for the deadline."""
    premium_dropped: int
    """With a rung left out for the deadline."""
    premium_vmaf_lost: float
    """Mean over all premium titles."""
    premium_vmaf_lost_most: float
    late: int
    """Of all titles with a deadline."""
    due: int
    refused_in_time: int
    """Of all titles with a deadline: called infeasible at their arrival, and in time."""
    promised_late: int
    """Of these: called feasible at their arrival, and late."""
    focus_h: float | None
    """Mean turnaround of the titles that the scenario is about."""
    focus_late: int | None
    utilisation: float
    """Share of the slots that were held."""
    lost_h: float
    """Slot hours that failing nodes took."""

    @property
    def premium_on_time(self) -> float:
        """Share of the premium titles that are published by their deadline, 0–1."""
        return 1 - self.premium_missed / self.premium if self.premium else 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One order on one load."""

    figures: Figures
    outcomes: Sequence[Outcome]


def run_order(
    name: str,
    titles: Sequence[SimTitle],
    farm: Farm,
    recipes: Recipes,
    *,
    focus: str | None = None,
    say: Say | None = None,
) -> Run:
    """Simulate one of the orders and sum up."""
    simulation = Simulation(titles, farm, order(name, recipes.policy), say=say)
    outcomes = simulation.run()
    held = simulation.busy_s / (farm.slots * simulation.env.now) if simulation.env.now else 0.0
    return Run(figures=sum_up(name, outcomes, utilisation=held, focus=focus), outcomes=outcomes)


def sum_up(name: str, outcomes: Sequence[Outcome], *, utilisation: float, focus: str | None) -> Figures:
    """The figures of finished titles."""
    by_value = sorted(outcomes, key=lambda outcome: (-outcome.title.value, outcome.title.name))
    tenth = max(1, len(by_value) // 10)
    due = [outcome for outcome in outcomes if outcome.late_s is not None and outcome.end is End.PUBLISHED]
    late = [outcome for outcome in due if (outcome.late_s or 0) > 0]
    premium = [outcome for outcome in due if outcome.title.tier is Tier.PREMIUM]
    losses = [outcome.vmaf_loss for outcome in premium]
    about = [outcome for outcome in outcomes if focus is not None and outcome.title.group == focus]
    return Figures(
        order=name,
        titles=len(outcomes),
        published=sum(outcome.end is End.PUBLISHED for outcome in outcomes),
        rejected=sum(outcome.end is End.REJECTED for outcome in outcomes),
        top_decile_h=mean_h(by_value[:tenth]),
        least_decile_p99_h=quantile([outcome.turnaround_s for outcome in by_value[-tenth:]], 0.99) / HOUR_S,
        mean_h=mean_h(outcomes),
        weighted_completion=sum(outcome.title.value * outcome.turnaround_s for outcome in outcomes) / HOUR_S,
        premium=len(premium),
        premium_missed=sum((outcome.late_s or 0) > 0 or outcome.refused for outcome in premium),
        premium_late=sum((outcome.late_s or 0) > 0 for outcome in premium),
        premium_refused=sum(outcome.refused for outcome in premium),
        premium_degraded=sum(loss > 0 for loss in losses),
        premium_dropped=sum(outcome.dropped > 0 for outcome in premium),
        premium_vmaf_lost=sum(losses) / len(losses) if losses else 0.0,
        premium_vmaf_lost_most=max(losses, default=0.0),
        late=len(late),
        due=len(due),
        refused_in_time=sum(outcome.refused and (outcome.late_s or 0) <= 0 for outcome in due),
        promised_late=sum(outcome.verdict is Verdict.FEASIBLE for outcome in late),
        focus_h=mean_h(about) if about else None,
        focus_late=sum((outcome.late_s or 0) > 0 for outcome in about) if about else None,
        utilisation=utilisation,
        lost_h=sum(outcome.lost_s for outcome in outcomes) / HOUR_S,
    )


def busiest(titles: Sequence[SimTitle], farm: Farm, *, within_s: float) -> float:
    """The highest load, in slot seconds per slot second, that titles offer in any stretch of so many seconds."""
    arrived = [(title.arrival_s, title.true_work_s + title.tasks * farm.start_delay_s) for title in titles]
    most_s = inside_s = 0.0
    first = 0
    for at_s, work_s in arrived:
        inside_s += work_s
        while arrived[first][0] <= at_s - within_s:
            inside_s -= arrived[first][1]
            first += 1
        most_s = max(most_s, inside_s)
    return most_s / (farm.slots * within_s)


def mean_h(outcomes: Iterable[Outcome]) -> float:
    """Mean turnaround in hours."""
    times = [outcome.turnaround_s for outcome in outcomes]
    return sum(times) / len(times) / HOUR_S if times else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
