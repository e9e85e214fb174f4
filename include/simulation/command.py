"""``callsheet simulate``: one scenario against every order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.base.errors import ConfigurationError
from include.recipes import load_recipes
from include.simulation.farm import Say
from include.simulation.figures import Run, run_order
from include.simulation.inputs import read_gaps, read_history, read_trends
from include.simulation.model import Farm
from include.simulation.orders import ORDERS
from include.simulation.scenarios import SCENARIOS, Load, Scenario, build


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user wants to see."""

    scenario: str
    titles: int
    load: float | None
    seed: int
    nodes: int
    even: bool = False
    arrivals: Path | None = None
    views: Path | None = None
    history: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Every order on the same titles."""

    scenario: Scenario
    load: float
    """Offered slot seconds per slot second, as drawn or as the history had it."""
    farm: Farm
    runs: dict[str, Run]

    @property
    def title(self) -> str:
        """What the figures are of, for people."""
        titles = next(iter(self.runs.values())).figures.titles
        slots = f"{self.farm.nodes} nodes with {self.farm.slots_per_node} slots"
        return f"{self.scenario.name}: {self.scenario.what} ({titles} titles, {slots}, load {self.load:.2f})"

    def document(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "scenario": self.scenario.name,
            "what": self.scenario.what,
            "load": round(self.load, 4),
            "slots": self.farm.slots,
            "orders": {
                name: {
                    **{
                        field: round(value, 4) if isinstance(value, float) else value
                        for field, value in run.figures.model_dump(exclude={"order"}).items()
                    },
                    "premium_on_time": round(run.figures.premium_on_time, 5),
                }
                for name, run in self.runs.items()
            },
        }


def run_scenario(asked: Asked, say: Say) -> Answer:
    """Simulate; an unknown scenario or a bad file raises :class:`ConfigurationError`."""
    scenario = SCENARIOS.get(asked.scenario)
    if scenario is None:
        known = "; ".join(f"{each.name} ({each.what})" for each in SCENARIOS.values())
        raise ConfigurationError(f"no scenario is called {asked.scenario!r}; there are: {known}")
    recipes, farm = load_recipes(), Farm(nodes=asked.nodes, window=Farm.window_of(asked.nodes * 2), seed=asked.seed)
    wanted = Load(
        titles=asked.titles,
        load=scenario.load if asked.load is None else asked.load,
        seed=asked.seed,
        arrivals="even" if asked.even else "bursts",
        gaps=read_gaps(asked.arrivals) if asked.arrivals else None,
        trends=read_trends(asked.views) if asked.views else None,
    )
    past = read_history(asked.history, recipes, error=wanted.error, seed=asked.seed) if asked.history else []
    titles, on = build(scenario, wanted, farm, recipes, past=past)
    span_s = titles[-1].arrival_s - titles[0].arrival_s
    offered = sum(each.true_work_s for each in titles) / (farm.slots * span_s) if past and span_s else wanted.load
    runs = {}
    for name in ORDERS:
        say(f"{scenario.name}: {name}, {len(titles)} titles")
        runs[name] = run_order(name, titles, on, recipes, focus=scenario.focus, say=say)
    return Answer(scenario=scenario, load=offered, farm=on, runs=runs)
