"""What the simulated farm works on: titles with true and predicted times, and the farm itself. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from include.domain.degradation import Option
from include.domain.title import Kind, Tier

TASKS = ("prepare", "encode", "extras", "finish")
"""Tasks that take a slot of the pool, in the order of a title's life; ``extras`` runs beside the encodes."""


@dataclass(frozen=True, kw_only=True)
class Encode:
    """One encode job."""

    true_s: float
    """Slot seconds that it really takes with its best option."""
    options: tuple[Option, ...]
    """With predicted times; an option's true time is in proportion to its predicted one."""


@dataclass(frozen=True, kw_only=True)
class SimTitle:
    """A title that arrives."""

    name: str
    arrival_s: float
    tier: Tier
    kind: Kind | None
    score: int
    """0–1000, of the domain's own value score at its arrival."""
    deadline_s: float | None
    prepare_s: float
    encodes: tuple[Encode, ...]
    extras_s: float
    finish_s: float
    corrupt: bool = False
    """Rejected at the end of ``prepare``."""
    boost: tuple[float, int] | None = None
    """When new signals come, and the score from then on."""

    @property
    def true_work_s(self) -> float:
        """Slot seconds of all tasks, with nothing given up."""
        if self.corrupt:
            return self.prepare_s
        return self.prepare_s + self.extras_s + self.finish_s + sum(each.true_s for each in self.encodes)

    @property
    def predicted_work_s(self) -> float:
        """As the forecast has it; the tasks besides the encodes are taken to be known."""
        others = self.prepare_s + self.extras_s + self.finish_s
        return others + sum(min(each.options, key=lambda option: option.vmaf_loss).p50_s for each in self.encodes)


@dataclass(frozen=True, kw_only=True)
class Farm:
    """Machines and Airflow around them."""

    nodes: int
    slots_per_node: int
    window: int
    """Titles with an active run at once."""
    start_delay_s: float = 0.0
    """From a free slot to the start of a task in it: the slot is held."""
    control_s: float = 0.0
    """Latency of each control task (plan, publish, settle); they have a pool of their own."""
    node_failures_per_day: float = 0.0
    """Chance of each node to fail, per day."""
    node_repair_s: float = 900.0
    detection_s: float = 30.0
    """Until the tasks of a failed node are tried again."""
    seed: int = 0

    @property
    def slots(self) -> int:
        """Of the pool."""
        return self.nodes * self.slots_per_node


@dataclass(kw_only=True)
class Outcome:
    """What became of a title."""

    title: SimTitle
    started_s: float | None = None
    finished_s: float | None = None
    """When it was published, or rejected."""
    vmaf_loss: float = 0.0
    """Mean over its encodes of what was given up."""
    dropped: int = 0
    retries: int = 0
    work_s: float = 0.0
    """Slot seconds that it used, lost ones included."""
    losses: list[float] = field(default_factory=list)

    @property
    def turnaround_s(self) -> float:
        """From arrival to publication."""
        assert self.finished_s is not None
        return self.finished_s - self.title.arrival_s

    @property
    def late_s(self) -> float | None:
        """Seconds after the deadline, negative when in time; None without a deadline."""
        if self.title.deadline_s is None or self.finished_s is None:
            return None
        return self.finished_s - self.title.deadline_s
