"""What is under way on the simulated farm: titles in the system, their tasks, and the nodes. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from include.domain.cost.forecast import Forecast
from include.domain.order.promises import Standing
from include.domain.title.request import Signals
from include.simulation.model import Encode, Outcome, SimTitle

Stage = Literal["prepare", "encode", "extras", "finish"]
STEPS: dict[Stage, int] = {"prepare": 0, "encode": 1, "extras": 2, "finish": 3}
"""Within one title what is nearly done goes first."""


@dataclass(eq=False, kw_only=True)
class Task:
    """What takes a slot."""

    active: Active
    stage: Stage
    true_s: float
    forecast: Forecast
    encode: Encode | None = None
    number: int = 0
    started_s: float = 0.0
    attempt: int = 0
    node: Node | None = None
    loss: float = 0.0
    bound_s: float = 0.0
    """Slot seconds that it takes with the preset that it has taken."""


@dataclass(eq=False, kw_only=True)
class Active:
    """A title in the system."""

    title: SimTitle
    outcome: Outcome
    seq: int
    signals: Signals
    score: int
    forecast_s: float
    """Predicted slot seconds of the whole title, median."""
    mean_over_median: float
    occupied_s: float
    """Predicted slot seconds to the end of one of its tasks that run."""
    remaining_s: float
    elapsed_p90_s: float
    """Predicted wall time of the whole title with every slot of the farm."""
    elapsed_mean_s: float
    true_remaining_s: float
    key: float = 0.0
    standing: Standing | None = None
    """Among the promises, where the order looks at them."""
    share: int = 0
    """Slots that it may use at once while others wait."""
    open: bool = False
    ready: list[Task] = field(default_factory=list)
    running: int = 0
    unfinished: int = 0
    """Tasks of the current stage."""

    @property
    def left(self) -> float:
        """Share of its predicted work that is still to be done."""
        return self.remaining_s / self.forecast_s if self.forecast_s else 0.0


@dataclass(eq=False)
class Node:
    """A machine."""

    number: int
    free: int
    failures: int = 0
    """Of those that it has not come back from yet: it may fail by itself and with its zone."""
    running: set[Task] = field(default_factory=set)

    @property
    def up(self) -> bool:
        """Whether it works."""
        return self.failures == 0
