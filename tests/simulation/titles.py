"""Titles of which every second is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.plan.presets import Relative
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import load_recipes
from include.simulation.farm import Simulation
from include.simulation.model import Encode, Farm, Outcome, SimTitle
from include.simulation.orders import order
from include.simulation.scenarios import valued

RECIPES = load_recipes()
FASTER = (
    Relative(preset="slow", time=1.0, vmaf_loss=0.0),
    Relative(preset="medium", time=0.6, vmaf_loss=0.2),
    Relative(preset="veryfast", time=0.3, vmaf_loss=1.8),
    Relative(preset="ultrafast", time=0.1, vmaf_loss=6.0),
)
"""As x264's, with times that are easy to reckon with."""


def sure(seconds: float) -> Forecast:
    return Forecast(p50_s=seconds, p90_s=seconds)


def title(
    name: str,
    arrival_s: float,
    encodes_s: Sequence[float],
    *,
    prepare_s: float = 0.0,
    extras_s: float = 0.0,
    finish_s: float = 0.0,
    tier: Tier = Tier.STANDARD,
    kind: Kind | None = None,
    views: float | None = None,
    may_lose: float = 2.0,
    **fields: Any,
) -> SimTitle:
    """Times are foreseen without error; nothing is left out of the forecast at its arrival."""
    work = TitleWork(
        prepare=sure(prepare_s),
        encodes=tuple(sure(each) for each in encodes_s),
        extras=sure(extras_s),
        finish=sure(finish_s),
    )
    made = SimTitle(
        name=name,
        group=tier.value,
        arrival_s=arrival_s,
        tier=tier,
        kind=kind,
        signals=Signals(predicted_views_7d=views),
        value=0,
        expected=work,
        least=work.model_copy(update={"encodes": tuple(each.scaled(0.3) for each in work.encodes)}),
        planned=work,
        prepare_s=prepare_s,
        encodes=tuple(Encode(true_s=each, forecast=sure(each), faster=FASTER, may_lose=may_lose) for each in encodes_s),
        extras_s=extras_s,
        finish_s=finish_s,
        **{"deadline_s": None, **fields},
    )
    return valued(made, RECIPES)


def farm(slots: int = 1, **fields: Any) -> Farm:
    """One node without any latency."""
    given = {"nodes": 1, "slots_per_node": slots, "window": 1000, "start_delay_s": 0.0, "control_s": 0.0, **fields}
    return Farm(**given)


def run(titles: Sequence[SimTitle], on: Farm, name: str = "fifo") -> dict[str, Outcome]:
    """Outcomes by name."""
    return {each.title.name: each for each in Simulation(titles, on, order(name, RECIPES.policy)).run()}
