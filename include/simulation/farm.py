"""The farm as a discrete-event simulation: admission, release from the catalog, weights in Airflow, slots, failures.

What is decided is decided by the domain's own functions: scores, priorities, admission, shares and chunks, and the
preset that an encode takes when it starts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import simpy

from include.domain.order.backlog import occupied_s
from include.domain.order.parallel import chunks_for, slots_for
from include.domain.order.value import score_points
from include.domain.plan.degradation import best_that_fits
from include.domain.plan.presets import preset_options
from include.domain.title.title import Kind
from include.simulation.model import Encode, End, Farm, Outcome, SimTitle, moment
from include.simulation.orders import Order
from include.simulation.prospects import known, pressing_s, stand, verdict
from include.simulation.state import STEPS, Active, Node, Stage, Task

Say = Callable[[str], None]


class Simulation:
    """One farm, one order, one list of titles."""

    def __init__(self, titles: Sequence[SimTitle], farm: Farm, order: Order, *, say: Say | None = None) -> None:
        self.titles = sorted(titles, key=lambda title: title.arrival_s)
        self.farm = farm.without_window() if order.knows_all else farm
        self.order, self.say = order, say
        self.random = random.Random(farm.seed)  # noqa: S311 - chance that can be repeated is what is wanted
        self.env = simpy.Environment()
        self.nodes = [Node(number, farm.slots_per_node) for number in range(farm.nodes)]
        self.outcomes = [Outcome(title=title) for title in self.titles]
        self.waiting: list[Active] = []
        self.open: set[Active] = set()
        self.ready: dict[Active, None] = {}
        """Titles with tasks that wait for a slot."""
        self.settled = 0
        self.all_settled = self.env.event()
        self.busy_s = 0.0
        """Slot seconds that were held, by the clock alone."""
        self._busy, self._busy_since = 0, 0.0

    def run(self) -> list[Outcome]:
        """Every title to its end; outcomes in the order of arrival."""
        if not self.titles:
            return []
        self.env.process(self._arrivals())
        if self.order.follows == "time":
            self.env.process(self._minute_hand())
        if self.farm.node_failures_per_day > 0:
            for node in self.nodes:
                self.env.process(self._failures([node], self.farm.node_failures_per_day, self.farm.node_repair_s))
        if self.farm.zone_failures_per_day > 0:
            for zone in range(self.farm.zones):
                nodes = self.nodes[zone :: self.farm.zones]
                self.env.process(self._failures(nodes, self.farm.zone_failures_per_day, self.farm.zone_repair_s))
        self.env.run(until=self.all_settled)
        return self.outcomes

    # Arrival, value, admission

    def _arrivals(self) -> Generator[simpy.Event, Any, None]:
        for seq, (title, outcome) in enumerate(zip(self.titles, self.outcomes, strict=True)):
            yield self.env.timeout(max(0.0, title.arrival_s - self.env.now))
            expected = title.expected
            whole, elapsed = expected.total, expected.elapsed(self.farm.slots)
            active = Active(
                title=title,
                outcome=outcome,
                seq=seq,
                signals=title.signals,
                score=0,
                forecast_s=whole.p50_s,
                mean_over_median=whole.mean_s / whole.p50_s if whole.p50_s else 1.0,
                occupied_s=occupied_s(expected, remaining_s=whole.mean_s),
                remaining_s=whole.p50_s,
                elapsed_p90_s=elapsed.p90_s,
                elapsed_mean_s=elapsed.mean_s,
                true_remaining_s=title.true_work_s,
            )
            self.waiting.append(active)
            self._value(active)
            if title.deadline_s is not None:
                self._stand()
            self._weigh(active)
            if self.order.policy is not None:
                if title.deadline_s is not None:
                    outcome.verdict = verdict(
                        active, self._present(), farm=self.farm, order=self.order, now_s=self.env.now
                    )
                if title.boost is not None:
                    self._later(title.boost[0] - self.env.now, self._boost, active)
            self._release()
            if self.say and seq % 500 == 499:
                self.say(f"{self.order.name}: {seq + 1} of {len(self.titles)} titles have arrived")

    def _boost(self, active: Active) -> None:
        assert active.title.boost is not None
        active.signals = active.title.boost[1]
        if active.outcome.end is None:
            self._value(active)
            self._weigh(active)
            self._release()
            self._dispatch()

    def _value(self, active: Active) -> None:
        if self.order.policy is not None:
            title = active.title
            active.score = score_points(
                tier=title.tier,
                kind=title.kind,
                signals=active.signals,
                created_at=moment(title.arrival_s),
                publish_at=None if title.deadline_s is None else moment(title.deadline_s),
                now=moment(self.env.now),
                policy=self.order.policy.value,
            )

    def _stand(self) -> None:
        """How the promises stand as of now, together."""
        if self.order.promises is not None:
            running = [task for node in self.nodes for task in node.running]
            stand(self._present(), running, farm=self.farm, order=self.order, now_s=self.env.now)

    def _present(self) -> list[Active]:
        return [*self.open, *self.waiting]

    def _weigh(self, active: Active) -> None:
        """The title's place in the order, as of now, and its share of the slots."""
        active.key = self.order.key(known(active))
        active.share = self._share(active)

    def _share(self, active: Active) -> int:
        if not self.order.cuts or self.order.policy is None:
            return self.farm.slots
        return slots_for(
            score=active.score,
            laxity_s=pressing_s(active, farm=self.farm, now_s=self.env.now),
            slots=self.farm.slots,
            policy=self.order.policy.parallel,
        )

    def _minute_hand(self) -> Generator[simpy.Event, Any, None]:
        """What the DAG ``dispatch`` does each minute: it values and weighs the titles as of now."""
        while True:
            yield self.env.timeout(self.farm.dispatch_every_s)
            present = self._present()
            for active in present:
                if active.title.deadline_s is not None or active.title.kind is Kind.NEWS:
                    self._value(active)
            self._stand()
            for active in present:
                self._weigh(active)
            self._release()
            self._dispatch()

    # Release and the life of a title

    def _release(self) -> None:
        """Give the first titles of the order their runs, up to the window.

        A title that comes before all those with a run may go beyond it.
        """
        while self.waiting and len(self.open) < self.farm.window + self.farm.express:
            best = max(self.waiting, key=_first)
            if len(self.open) >= self.farm.window and best.key <= max(each.key for each in self.open):
                return
            self.waiting.remove(best)
            self.open.add(best)
            best.open = True
            self._begin(
                best,
                [Task(active=best, stage="prepare", true_s=best.title.prepare_s, forecast=best.title.expected.prepare)],
            )

    def _begin(self, active: Active, tasks: Sequence[Task]) -> None:
        """Make tasks ready. Those that have nothing to do end at once."""
        wanted = [task for task in tasks if task.true_s > 0]
        active.unfinished = len(wanted)
        if not wanted:
            self._advance(active, tasks[0].stage)
            return
        active.ready += wanted
        active.ready.sort(key=lambda task: (STEPS[task.stage], -task.number))
        self.ready[active] = None
        self._dispatch()

    def _advance(self, active: Active, stage: Stage) -> None:
        """What follows when the last task of a stage has ended."""
        title = active.title
        if stage == "prepare" and title.corrupt:
            self._later(2 * self.farm.control_s, self._end, active, End.REJECTED)
        elif stage == "prepare":
            self._later(self.farm.control_s, self._plan, active)
        elif stage == "finish":
            self._later(2 * self.farm.control_s, self._end, active, End.PUBLISHED)
        else:
            finish = title.planned.finish
            self._begin(active, [Task(active=active, stage="finish", true_s=title.finish_s, forecast=finish)])

    def _plan(self, active: Active) -> None:
        """What happens once a title was inspected: a better forecast, its new place in the order, and its jobs."""
        title, planned = active.title, active.title.planned
        elapsed = planned.elapsed(self.farm.slots)
        active.forecast_s = planned.total.p50_s
        active.remaining_s = active.forecast_s - planned.prepare.p50_s
        active.elapsed_p90_s, active.elapsed_mean_s = elapsed.p90_s, elapsed.mean_s
        self._value(active)
        self._weigh(active)
        jobs = [
            Task(
                active=active,
                stage="encode",
                true_s=job.true_s,
                forecast=job.forecast,
                encode=job,
                number=number,
            )
            for number, job in enumerate(self._cut(active))
        ]
        extras = Task(active=active, stage="extras", true_s=title.extras_s, forecast=planned.extras)
        self._begin(active, [*jobs, extras])

    def _cut(self, active: Active) -> list[Encode]:
        """The title's encodes, cut into chunks where its value or its deadline calls for that."""
        if not self.order.cuts or self.order.policy is None:
            return list(active.title.encodes)
        policy = self.order.policy.parallel
        laxity_s = pressing_s(active, farm=self.farm, now_s=self.env.now)
        jobs: list[Encode] = []
        for encode in active.title.encodes:
            number = chunks_for(
                work_s=encode.forecast.p50_s, score=active.score, laxity_s=laxity_s, slots=active.share, policy=policy
            )
            jobs += [_chunk(encode, number, policy.chunk_overhead)] * number
        return jobs

    def _end(self, active: Active, end: End) -> None:
        outcome = active.outcome
        outcome.finished_s, outcome.end = self.env.now, end
        outcome.ends += 1
        self.open.discard(active)
        self.settled += 1
        if self.settled == len(self.titles):
            self.all_settled.succeed()
        self._release()

    # Slots

    def _dispatch(self) -> None:
        """Put the ready tasks with the highest weights into the free slots."""
        while self.ready:
            node = max((each for each in self.nodes if each.up), key=lambda each: each.free, default=None)
            if node is None or node.free == 0:
                return
            within = [each for each in self.ready if each.running < each.share]
            # Beyond its share a title takes only what nobody else wants.
            active = max(within or self.ready, key=_first)
            task = active.ready.pop()
            if not active.ready:
                del self.ready[active]
            self._start(task, node)

    def _start(self, task: Task, node: Node) -> None:
        self._hold(1)
        node.free -= 1
        node.running.add(task)
        task.node, task.started_s = node, self.env.now
        task.active.running += 1
        if task.active.outcome.started_s is None:
            task.active.outcome.started_s = self.env.now
        if self.farm.start_delay_s > 0:
            self._later(self.farm.start_delay_s, self._work, task, task.attempt)
        else:
            self._work(task, task.attempt)

    def _work(self, task: Task, attempt: int) -> None:
        if task.attempt != attempt:
            return
        task.bound_s, task.loss = self._bind(task)
        self._later(task.bound_s, self._done, task, attempt)

    def _bind(self, task: Task) -> tuple[float, float]:
        """Time that the task really takes with the option that it takes now, and the VMAF that this gives up."""
        title, encode = task.active.title, task.encode
        if encode is None or self.order.policy is None or title.deadline_s is None:
            return task.true_s, 0.0
        farm = self.farm
        reserve_s = title.planned.finish.p90_s + farm.start_delay_s + 2 * farm.control_s
        left_s = title.deadline_s - self.env.now - reserve_s
        # Encodes of the title that have no slot yet follow in the slots that it has.
        queued_s = sum(other.forecast.p50_s for other in task.active.ready if other.encode is not None)
        own_s, p90_s = task.forecast.p50_s, task.forecast.p90_s
        fair = own_s / (own_s + queued_s / max(1, task.active.running))
        options = preset_options(encode.faster, p50_s=own_s, p90_s=p90_s, may_lose=encode.may_lose)
        hurried = task.active.standing is not None and task.active.standing.hurried
        choice = best_that_fits(options, time_left_s=left_s * fair, hurried=hurried)
        if choice.fit == "late" and encode.dropped_loss is not None:
            return 0.0, encode.dropped_loss
        return task.true_s * choice.option.p50_s / own_s, choice.option.vmaf_loss

    def _done(self, task: Task, attempt: int) -> None:
        if task.attempt != attempt:
            return
        active, node = task.active, task.node
        assert node is not None
        self._hold(-1)
        node.free += 1
        node.running.discard(task)
        active.running -= 1
        active.outcome.work_s += self.env.now - task.started_s
        active.remaining_s = max(0.0, active.remaining_s - task.forecast.p50_s)
        active.true_remaining_s = max(0.0, active.true_remaining_s - task.true_s)
        if task.encode is not None:
            active.outcome.losses.append((task.true_s, task.loss))
            active.outcome.dropped += task.bound_s == 0
        if self.order.follows == "work":
            self._weigh(active)
        active.unfinished -= 1
        if active.unfinished == 0:
            self._advance(active, task.stage)
        self._dispatch()

    def _failures(self, nodes: Sequence[Node], per_day: float, repair_s: float) -> Generator[simpy.Event, Any, None]:
        """Nodes that fail at once, again and again."""
        while True:
            yield self.env.timeout(self.random.expovariate(per_day / 86400))
            for node in nodes:
                self._fail(node)
            yield self.env.timeout(repair_s)
            for node in nodes:
                node.failures -= 1
                if node.up:
                    node.free = self.farm.slots_per_node
            self._dispatch()

    def _fail(self, node: Node) -> None:
        node.failures += 1
        # In the order in which they started: a set has none that could be repeated.
        for task in sorted(node.running, key=lambda each: (each.started_s, each.active.seq, each.number)):
            task.attempt += 1
            task.active.running -= 1
            task.active.outcome.retries += 1
            task.active.outcome.lost_s += self.env.now - task.started_s
            self._hold(-1)
            self._later(self.farm.detection_s, self._again, task)
        node.running.clear()
        node.free = 0

    def _again(self, task: Task) -> None:
        active = task.active
        active.ready.append(task)
        active.ready.sort(key=lambda each: (STEPS[each.stage], -each.number))
        self.ready[active] = None
        self._dispatch()

    def _hold(self, change: int) -> None:
        self.busy_s += self._busy * (self.env.now - self._busy_since)
        self._busy += change
        self._busy_since = self.env.now

    def _later(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> None:
        event = self.env.timeout(max(0.0, delay_s))
        event.callbacks.append(lambda _: function(*arguments))


def _first(active: Active) -> tuple[float, int]:
    return active.key, -active.seq


def _chunk(encode: Encode, number: int, overhead: float) -> Encode:
    """One of ``number`` equal chunks of an encode."""
    if number == 1:
        return encode
    share = (1 + overhead) / number
    # No chunk can be left out alone.
    return replace(encode, true_s=encode.true_s * share, forecast=encode.forecast.scaled(share), dropped_loss=None)


def simulate(titles: Sequence[SimTitle], farm: Farm, order: Order, *, say: Say | None = None) -> list[Outcome]:
    """Outcomes of ``titles`` on ``farm`` in ``order``; the same arguments give the same outcomes."""
    return Simulation(titles, farm, order, say=say).run()
