"""The farm as a discrete-event simulation: release from the catalog, weights in Airflow, slots, failures."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import simpy

from include.domain.degradation import best_that_fits
from include.domain.parallel import chunks_for, slots_for
from include.simulation.model import Encode, Farm, Outcome, SimTitle
from include.simulation.orders import Order, Standing, laxity_s

Say = Callable[[str], None]
Kind = Literal["prepare", "encode", "extras", "finish"]
LATER: dict[Kind, int] = {"prepare": 0, "encode": 1, "extras": 2, "finish": 3}
"""Within one title, and between titles of the same priority, what is nearly done goes first."""


@dataclass(eq=False, kw_only=True)
class _Task:
    active: _Active
    kind: Kind
    true_s: float
    encode: Encode | None = None
    number: int = 0
    done: simpy.Event


@dataclass(eq=False, kw_only=True)
class _Active:
    """A title in the system."""

    title: SimTitle
    outcome: Outcome
    order: int
    remaining_s: float
    """Predicted slot seconds still to be done."""
    true_remaining_s: float
    ready: simpy.Event
    running: int = 0


@dataclass(eq=False)
class _Node:
    number: int
    free: int
    up: bool = True
    running: dict[simpy.Process, _Task] = field(default_factory=dict)


class Simulation:
    """One farm, one order, one list of titles."""

    def __init__(self, titles: Sequence[SimTitle], farm: Farm, order: Order, *, say: Say | None = None) -> None:
        self.titles = sorted(titles, key=lambda title: title.arrival_s)
        self.farm, self.order, self.say = farm, order, say
        self.random = random.Random(farm.seed)  # noqa: S311 - chance that can be repeated is what is wanted
        self.env = simpy.Environment()
        self.nodes = [_Node(number, farm.slots_per_node) for number in range(farm.nodes)]
        self.waiting: list[_Active] = []
        self.open: set[_Active] = set()
        self.tasks: list[_Task] = []
        self.outcomes = [Outcome(title=title) for title in self.titles]
        self.busy_s = 0.0
        self.settled = 0
        self.all_settled = self.env.event()

    def run(self) -> list[Outcome]:
        """Every title to its end; outcomes in the order of arrival."""
        self.env.process(self._arrivals())
        for node in self.nodes:
            if self.farm.node_failures_per_day > 0:
                self.env.process(self._failures(node))
        if self.titles:
            self.env.run(until=self.all_settled)
        return self.outcomes

    def _arrivals(self) -> Generator[simpy.Event, Any, None]:
        for number, (title, outcome) in enumerate(zip(self.titles, self.outcomes, strict=True)):
            yield self.env.timeout(max(0.0, title.arrival_s - self.env.now))
            active = _Active(
                title=title,
                outcome=outcome,
                order=number,
                remaining_s=title.predicted_work_s,
                true_remaining_s=title.true_work_s,
                ready=self.env.event(),
            )
            self.waiting.append(active)
            self.env.process(self._life(active))
            self._release()
            if self.say and number % 1000 == 999:
                self.say(f"{self.order.name}: {number + 1} of {len(self.titles)} titles have arrived")

    def _standing(self, active: _Active) -> Standing:
        title = active.title
        score = title.score
        if title.boost is not None and self.env.now >= title.boost[0]:
            score = title.boost[1]
        return Standing(
            title=title,
            order=active.order,
            score=score,
            remaining_s=active.remaining_s,
            true_remaining_s=active.true_remaining_s,
            waiting_s=self.env.now - title.arrival_s,
            now_s=self.env.now,
        )

    def _release(self) -> None:
        """The best waiting titles get their runs, up to the window."""
        while self.waiting and len(self.open) < self.farm.window:
            best = max(self.waiting, key=lambda active: (self.order.key(self._standing(active)), -active.order))
            self.waiting.remove(best)
            self.open.add(best)
            best.ready.succeed()

    def _life(self, active: _Active) -> Generator[simpy.Event, Any, None]:
        title, outcome = active.title, active.outcome
        yield active.ready
        yield self._submit(active, "prepare", title.prepare_s)
        if not title.corrupt:
            yield self.env.timeout(self.farm.control_s)
            events = [
                self._submit(active, "encode", encode.true_s, encode=encode, number=number)
                for number, encode in enumerate(self._cut(active))
            ]
            events.append(self._submit(active, "extras", title.extras_s))
            yield self.env.all_of(events)
            yield self._submit(active, "finish", title.finish_s)
        yield self.env.timeout(2 * self.farm.control_s)
        outcome.finished_s = self.env.now
        outcome.vmaf_loss = sum(outcome.losses) / len(outcome.losses) if outcome.losses else 0.0
        self.open.discard(active)
        self.settled += 1
        if self.settled == len(self.titles):
            self.all_settled.succeed()
        self._release()

    def _cut(self, active: _Active) -> list[Encode]:
        """The title's encodes, in chunks where its value or its deadline is worth it."""
        policy = self.order.parallel
        if policy is None:
            return list(active.title.encodes)
        standing = self._standing(active)
        laxity = laxity_s(standing, self.farm.slots)
        share = slots_for(score=standing.score, laxity_s=laxity, slots=self.farm.slots, policy=policy)
        jobs: list[Encode] = []
        for encode in active.title.encodes:
            work_s = encode.options[0].p50_s
            number = chunks_for(work_s=work_s, score=standing.score, laxity_s=laxity, slots=share, policy=policy)
            jobs += [_chunk(encode, number, policy.chunk_overhead)] * number
        return jobs

    def _may_start(self, active: _Active) -> bool:
        """Whether the title is below its share of the slots."""
        policy = self.order.parallel
        if policy is None:
            return True
        standing = self._standing(active)
        laxity = laxity_s(standing, self.farm.slots)
        return active.running < slots_for(score=standing.score, laxity_s=laxity, slots=self.farm.slots, policy=policy)

    def _submit(
        self, active: _Active, kind: Kind, true_s: float, *, encode: Encode | None = None, number: int = 0
    ) -> simpy.Event:
        task = _Task(active=active, kind=kind, true_s=true_s, encode=encode, number=number, done=self.env.event())
        self.tasks.append(task)
        self._dispatch()
        return task.done

    def _dispatch(self) -> None:
        """The weightiest ready tasks go into the free slots."""
        while self.tasks:
            node = max((each for each in self.nodes if each.up and each.free), key=lambda each: each.free, default=None)
            if node is None:
                return
            task = max(self.tasks, key=self._weight)
            if not self._may_start(task.active):
                # Beyond its share a title takes only what nobody else wants.
                others = [each for each in self.tasks if self._may_start(each.active)]
                task = max(others, key=self._weight) if others else task
            self.tasks.remove(task)
            node.free -= 1
            task.active.running += 1
            process = self.env.process(self._work(task, node))
            node.running[process] = task

    def _weight(self, task: _Task) -> tuple[float, int, int, int]:
        key = self.order.key(self._standing(task.active))
        return (key, LATER[task.kind], -task.active.order, -task.number)

    def _work(self, task: _Task, node: _Node) -> Generator[simpy.Event, Any, None]:
        active, started = task.active, self.env.now
        if active.outcome.started_s is None:
            active.outcome.started_s = started
        process = self.env.active_process
        assert process is not None
        try:
            yield self.env.timeout(self.farm.start_delay_s)
            loss = 0.0
            true_s = task.true_s
            if task.encode is not None:
                true_s, loss = self._bind(task)
            yield self.env.timeout(true_s)
        except simpy.Interrupt:
            self.busy_s += self.env.now - started
            active.outcome.work_s += self.env.now - started
            active.outcome.retries += 1
            active.running -= 1
            yield self.env.timeout(self.farm.detection_s)
            self.tasks.append(task)
            self._dispatch()
            return
        self.busy_s += self.env.now - started
        active.outcome.work_s += self.env.now - started
        active.running -= 1
        del node.running[process]
        node.free += 1
        predicted = _predicted_s(task)
        active.remaining_s = max(0.0, active.remaining_s - predicted)
        active.true_remaining_s = max(0.0, active.true_remaining_s - task.true_s)
        if task.encode is not None:
            active.outcome.losses.append(loss)
        task.done.succeed()
        self._dispatch()

    def _bind(self, task: _Task) -> tuple[float, float]:
        """Time that the encode really takes with the option that is chosen now, and the VMAF that it gives up."""
        assert task.encode is not None
        title, options = task.active.title, task.encode.options
        best = min(options, key=lambda option: option.vmaf_loss)
        if not self.order.binds_late or title.deadline_s is None:
            return task.true_s, best.vmaf_loss
        reserve_s = title.finish_s + 3 * self.farm.control_s + self.farm.start_delay_s
        left_s = title.deadline_s - self.env.now - reserve_s
        # Encodes of the title that have no slot yet follow in the slots that it has.
        queued = sum(_predicted_s(other) for other in self.tasks if other.active is task.active)
        own = best.p50_s
        share = own / (own + queued / max(1, task.active.running)) if own else 1.0
        choice = best_that_fits(options, time_left_s=left_s * share)
        if choice.option.name == "drop":
            task.active.outcome.dropped += 1
        factor = choice.option.p50_s / best.p50_s if best.p50_s else 1.0
        return task.true_s * factor, choice.option.vmaf_loss

    def _failures(self, node: _Node) -> Generator[simpy.Event, Any, None]:
        while True:
            yield self.env.timeout(self.random.expovariate(self.farm.node_failures_per_day / 86400))
            node.up = False
            for process in list(node.running):
                process.interrupt()
            node.running.clear()
            yield self.env.timeout(self.farm.node_repair_s)
            node.up, node.free = True, self.farm.slots_per_node
            self._dispatch()


def _chunk(encode: Encode, number: int, overhead: float) -> Encode:
    """One of ``number`` equal chunks of an encode."""
    if number == 1:
        return encode
    share = (1 + overhead) / number
    options = tuple(
        each.model_copy(update={"p50_s": each.p50_s * share, "p90_s": each.p90_s * share}) for each in encode.options
    )
    return Encode(true_s=encode.true_s * share, options=options)


def _predicted_s(task: _Task) -> float:
    if task.encode is None:
        return task.true_s
    return min(task.encode.options, key=lambda option: option.vmaf_loss).p50_s


def simulate(titles: Sequence[SimTitle], farm: Farm, order: Order, *, say: Say | None = None) -> list[Outcome]:
    """Outcomes of ``titles`` on ``farm`` in ``order``; the same arguments give the same outcomes."""
    return Simulation(titles, farm, order, say=say).run()
