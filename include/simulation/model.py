"""What the simulated farm works on: titles with true and predicted times, and the farm itself. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from include.domain.cost.forecast import Forecast
from include.domain.cost.work import TitleWork
from include.domain.order.admission import Verdict
from include.domain.order.parallel import express_places
from include.domain.plan.presets import Relative
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulated time begins; nothing depends on it but the ages and leads that the value score counts."""


def moment(now_s: float) -> datetime:
    """Simulated time as the domain takes it."""
    return EPOCH + timedelta(seconds=now_s)


@dataclass(frozen=True, kw_only=True)
class Encode:
    """One encode job."""

    true_s: float
    """Slot seconds that it really takes with its tier's preset; a faster one takes its share of them."""
    forecast: Forecast
    """Of the same, when the title is planned."""
    faster: tuple[Relative, ...]
    """The tier's preset and those that it may fall back to."""
    may_lose: float
    """VMAF points; the tier's floor."""
    dropped_loss: float | None = None
    """VMAF points that its viewers lose where the rung is left out for the deadline; None for a core rung."""


@dataclass(frozen=True, kw_only=True)
class SimTitle:
    """A title that arrives."""

    name: str
    group: str
    """For the figures: the class that it was drawn from."""
    arrival_s: float
    tier: Tier
    kind: Kind | None
    signals: Signals
    value: int
    """0–1000: what it is really worth, the boost included. Figures and the oracle go by it."""
    deadline_s: float | None
    expected: TitleWork
    """Predicted at its arrival."""
    least: TitleWork
    """The same with everything given up that its tier allows."""
    planned: TitleWork
    """Predicted when it has been looked at and is planned."""
    prepare_s: float
    """True time, as of the following two. Nothing to do (0) takes no slot."""
    encodes: tuple[Encode, ...]
    extras_s: float
    finish_s: float
    corrupt: bool = False
    """Rejected at the end of ``prepare``."""
    boost: tuple[float, Signals] | None = None
    """When new signals come, and which."""

    @property
    def true_work_s(self) -> float:
        """Slot seconds of all its tasks, with nothing given up, cut or lost."""
        if self.corrupt:
            return self.prepare_s
        return self.prepare_s + self.extras_s + self.finish_s + sum(each.true_s for each in self.encodes)

    @property
    def tasks(self) -> int:
        """How many tasks take a slot, where no encode is cut into chunks."""
        times = (self.prepare_s, self.extras_s, self.finish_s, *(each.true_s for each in self.encodes))
        return 1 if self.corrupt else sum(1 for each in times if each > 0)


@dataclass(frozen=True, kw_only=True)
class Farm:
    """Machines and Airflow around them."""

    nodes: int = 8
    slots_per_node: int = 2
    window: int = 24
    """Titles with an active run at once."""
    start_delay_s: float = 5.0
    """From a free slot to the start of a task in it: the slot is held."""
    control_s: float = 3.0
    """Latency of each control task (plan, publish, settle); they have a pool of their own."""
    dispatch_every_s: float = 60.0
    """Priorities of waiting titles and weights of tasks follow time this often."""
    node_failures_per_day: float = 0.0
    """Expected failures of each node per day."""
    node_repair_s: float = 900.0
    zones: int = 1
    """Groups of nodes that fail together, as a zone does or spot capacity of one kind."""
    zone_failures_per_day: float = 0.0
    """Expected failures of each zone per day."""
    zone_repair_s: float = 1800.0
    detection_s: float = 60.0
    """Until the tasks of a failed node are tried again."""
    seed: int = 0
    """Of the failures."""

    @staticmethod
    def window_of(slots: int) -> int:
        """How many titles need a run to keep so many slots busy. Some of them are between two tasks at any time."""
        return slots + 8

    @property
    def express(self) -> int:
        """Places beyond the window. Only a title that comes before all titles with a run may take one."""
        return express_places(self.window)

    @property
    def slots(self) -> int:
        """Of the pool."""
        return self.nodes * self.slots_per_node

    @property
    def overhead_s(self) -> float:
        """Of a title's life outside of its work: three tasks in a row start, and three control tasks."""
        return 3 * self.start_delay_s + 3 * self.control_s

    def without_window(self) -> Farm:
        """The same farm where every title has its run at once."""
        return replace(self, window=1_000_000)


class End(StrEnum):
    """How a simulated title ends."""

    PUBLISHED = "published"
    REJECTED = "rejected"


@dataclass(kw_only=True)
class Outcome:
    """What became of a title."""

    title: SimTitle
    verdict: Verdict = Verdict.FEASIBLE
    """Of the admission at its arrival, where the order has one."""
    started_s: float | None = None
    finished_s: float | None = None
    end: End | None = None
    ends: int = 0
    """How often it came to an end: once."""
    retries: int = 0
    work_s: float = 0.0
    """Slot seconds of tasks that ended well, their starts included."""
    lost_s: float = 0.0
    """Slot seconds of tasks that a failing node took with it."""
    losses: list[tuple[float, float]] = field(default_factory=list)
    """For each encode or chunk: slot seconds at its tier's preset, and VMAF points given up."""
    dropped: int = 0
    """Rungs that were left out for the deadline."""

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

    @property
    def refused(self) -> bool:
        """Whether the admission said that its deadline cannot be kept."""
        return self.verdict is Verdict.INFEASIBLE

    @property
    def vmaf_loss(self) -> float:
        """Mean over its encodes, by the work that they are."""
        whole = sum(work for work, _ in self.losses)
        return sum(work * loss for work, loss in self.losses) / whole if whole else 0.0
