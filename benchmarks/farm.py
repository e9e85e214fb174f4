"""The policies on a simulated farm: what value and deadlines gain, and whether the simulation is to be believed.

``python -m benchmarks.farm --json`` simulates 8 nodes with 2 slots each, on several seeds, for titles that come evenly,
for titles that come in bursts (:mod:`include.simulation.arrivals`), and for a user's own ``--arrivals``. First loads of
0.7, 0.9 and 0.95: the most valuable tenth against FIFO, value × turnaround against an oracle and against one that keeps
the deadlines, the least valuable tenth. Then loads of 0.9, 0.95 and 1 with 5 % of the nodes failing a day and forecasts
20 % off: premium titles in time, and what was said at their arrival, against EDF and FIFO. About half an hour on two
quiet cores; ``--of`` takes one kind of arrivals. ``--arrivals``, ``--views`` and ``--history`` take a user's own
figures, in the forms of ``callsheet simulate``.

``--validate [N]`` encodes N short clips for real on this machine, through two slots, then simulates the same jobs and
compares; about five minutes.

``--smallest`` takes seconds: one load and one seed of each part, few titles, and with ``--validate`` one clip. Its
figures are noise.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._farm_validation import CLIPS, validate
from benchmarks._report import Report, Stopped, parser, run, say
from include.base.settings import available_cores
from include.recipes import Recipes, load_recipes
from include.simulation import show
from include.simulation.figures import HOUR_S, Figures, Run, busiest, run_order
from include.simulation.inputs import read_gaps, read_history, read_trends
from include.simulation.model import Farm, SimTitle
from include.simulation.orders import IN_TIME
from include.simulation.scenarios import Load, draw

LOADS = (0.7, 0.9, 0.95)
SEEDS = (101, 102, 103)
"""Of the value part. The policy's numbers were chosen on seeds below 100."""
DEADLINE_SEEDS = (201, 202, 203, 204, 205)
DEADLINE_LOADS = (0.9, 0.95, 1.0)
VALUE_ORDERS = ("fifo", "edf", "callsheet", "callsheet_uncut", "oracle", IN_TIME)
DEADLINE_ORDERS = ("callsheet", "callsheet_uncut", "edf", "fifo")
FAILING_A_DAY = 0.05
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is simulated."""

    loads: tuple[float, ...] = LOADS
    seeds: tuple[int, ...] = SEEDS
    """Of the value part."""
    deadline_loads: tuple[float, ...] = DEADLINE_LOADS
    deadline_seeds: tuple[int, ...] = DEADLINE_SEEDS
    clips: int = len(CLIPS)
    """That are really encoded, for the comparison with the simulator."""


SMALLEST = Size(
    loads=LOADS[:1], seeds=SEEDS[:1], deadline_loads=DEADLINE_LOADS[:1], deadline_seeds=DEADLINE_SEEDS[:1], clips=1
)
FEW = 60
"""Titles of each part of the smallest form."""
Job = tuple[str, float, int, Load, Farm, Path | None]
"""Order, load, seed, titles, farm, history."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    options = parser("farm", __doc__)
    options.add_argument("--titles", type=int, default=3000, help="per load and seed (default 3000)")
    options.add_argument("--premium", type=int, default=3000, help="premium titles of the deadline part (default 3000)")
    options.add_argument("--arrivals", type=Path, help="CSV with `submit` in seconds: when titles come")
    options.add_argument("--of", choices=("even", "bursts", "given"), help="one kind of arrivals; all by default")
    options.add_argument("--views", type=Path, help="CSV with `video_id`, `views`, `date`: how popularity grows")
    options.add_argument("--history", type=Path, help="CSV of past jobs instead of drawn titles, as they came")
    options.add_argument("--validate", type=int, nargs="?", const=100, help="real encode jobs against simulated ones")
    options.add_argument("--chart", type=Path, default=RESULTS / "farm.png", help="where the chart goes")
    arguments = options.parse_args(argv)
    if arguments.smallest:
        arguments.titles, arguments.premium = FEW, FEW // 10
    return run("farm", arguments, _measure)


def _measure(arguments: Namespace, report: Report) -> None:
    size = SMALLEST if arguments.smallest else Size()
    if arguments.validate is not None:
        report.metrics |= validate(arguments.validate, CLIPS[: size.clips], say=say)
        return
    began = time.monotonic()
    plain = Load(titles=arguments.titles, trends=read_trends(arguments.views) if arguments.views else None)
    gaps = read_gaps(arguments.arrivals) if arguments.arrivals else None
    if arguments.of == "given" and gaps is None:
        raise Stopped("--of given wants --arrivals FILE")
    history = arguments.history
    if history:
        read_history(history, load_recipes(), error=plain.error, seed=0)
    loads = {
        "even": replace(plain, arrivals="even"),
        "bursts": replace(plain, arrivals="bursts"),
        **({"given": replace(plain, gaps=gaps)} if gaps else {}),
    }
    if history:
        loads = {"history": plain}
    elif arguments.of:
        loads = {arguments.of: loads[arguments.of]}
    _recipes()
    metrics = report.metrics
    metrics["waiting_bound_h"] = load_recipes().policy.priority.waiting_bound_h
    with ProcessPoolExecutor(max_workers=min(2, available_cores())) as pool:
        for kind, wanted in loads.items():
            _value_part(pool, kind, wanted, size, metrics, history=history)
            if history is None:
                _charted(kind, wanted, arguments.chart.with_stem(f"{arguments.chart.stem}_{kind}"))
            _deadline_part(pool, kind, wanted, size, metrics, premium=arguments.premium, history=history)
    metrics["seconds"] = round(time.monotonic() - began, 1)


def _value_part(
    pool: ProcessPoolExecutor, kind: str, wanted: Load, size: Size, metrics: dict[str, float], *, history: Path | None
) -> None:
    loads = size.loads if history is None else (0.0,)
    farm = Farm()
    jobs: list[Job] = [
        (order, load, seed, wanted, farm, history) for load in loads for seed in size.seeds for order in VALUE_ORDERS
    ]
    done = dict(zip([job[:3] for job in jobs], _all(pool, jobs), strict=True))
    for load in loads:
        name = _name(kind, load, history)
        by_seed = {seed: {order: done[order, load, seed] for order in VALUE_ORDERS} for seed in size.seeds}
        for order in ("callsheet", "callsheet_uncut"):
            gains = [1 - each[order].top_decile_h / each["fifo"].top_decile_h for each in by_seed.values()]
            _spread(metrics, f"{name}_{order}_top_decile_below_fifo", gains)
            for oracle in ("oracle", IN_TIME):
                ratios = [
                    each[order].weighted_completion / each[oracle].weighted_completion for each in by_seed.values()
                ]
                _spread(metrics, f"{name}_{order}_weighted_completion_to_{oracle}", ratios)
        for order in VALUE_ORDERS:
            _spread(
                metrics,
                f"{name}_{order}_least_decile_p99_h",
                [each[order].least_decile_p99_h for each in by_seed.values()],
            )
        if history is None:
            bound_s = metrics["waiting_bound_h"] * HOUR_S
            drawn = [draw(replace(wanted, load=load, seed=seed), farm, _recipes()) for seed in size.seeds]
            _spread(metrics, f"{name}_busiest_bound", [busiest(each, farm, within_s=bound_s) for each in drawn])
        bound = _mean([each[order] for each in by_seed.values() for order in VALUE_ORDERS])
        figures = [_mean([each[order] for each in by_seed.values()]) for order in VALUE_ORDERS]
        _print(
            show.table(
                figures, title=f"{name}: mean of {len(size.seeds)} seeds, {bound.titles} titles each", focus=None
            )
        )


def _name(kind: str, load: float, history: Path | None) -> str:
    return kind if history is not None else f"{kind}_{load:g}".replace(".", "_")


def _charted(kind: str, wanted: Load, path: Path) -> None:
    """One of the farms as a chart."""
    charted, farm, recipes = replace(wanted, load=0.9, seed=SEEDS[0]), Farm(), load_recipes()
    titles = draw(charted, farm, recipes)
    path.parent.mkdir(exist_ok=True)
    runs = {order: run_order(order, titles, farm, recipes) for order in VALUE_ORDERS}
    show.chart(runs, path, title=f"Arrivals: {kind}, load 0.9, {len(titles)} titles, {farm.slots} slots")
    say(f"chart: {path}")


def _deadline_part(
    pool: ProcessPoolExecutor,
    kind: str,
    wanted: Load,
    size: Size,
    metrics: dict[str, float],
    *,
    premium: int,
    history: Path | None,
) -> None:
    farm = Farm(node_failures_per_day=FAILING_A_DAY)
    # One title in ten is premium.
    each_s = replace(wanted, titles=max(100, premium * 10 // len(size.deadline_seeds)), error=0.2)
    loads = size.deadline_loads if history is None else (0.0,)
    jobs: list[Job] = [
        (order, load, seed, each_s, replace(farm, seed=seed), history)
        for load in loads
        for order in DEADLINE_ORDERS
        for seed in size.deadline_seeds
    ]
    done = dict(zip([job[:3] for job in jobs], _all(pool, jobs), strict=True))
    for load in loads:
        runs = {order: [done[order, load, seed] for seed in size.deadline_seeds] for order in DEADLINE_ORDERS}
        _in_time(_name(kind, load, history), runs, metrics)


def _in_time(name: str, by_order: dict[str, list[Figures]], metrics: dict[str, float]) -> None:
    """Premium titles in time on one load, as figures and as a table."""
    table = Table(
        "order", "of", "in time", "worst seed", "95 % sure of", "late", "refused", "degraded", "VMAF lost",
        "most", "all late", title=f"premium in time: {name}, 5 % of the nodes fail a day, forecasts 20 % off",
        title_justify="left",
    )  # fmt: skip
    for order, runs in by_order.items():
        due = max(1, sum(each.due for each in runs))
        count, missed = sum(each.premium for each in runs), sum(each.premium_missed for each in runs)
        sure = lower_bound(count - missed, count)
        shares = [each.premium_on_time for each in runs]
        degraded = sum(each.premium_degraded for each in runs)
        lost = sum(each.premium_vmaf_lost * each.premium for each in runs) / max(1, count)
        found = {
            "titles": count,
            "on_time": round(1 - missed / max(1, count), 5),
            "on_time_worst_seed": round(min(shares), 5),
            "on_time_lower_bound_95": round(sure, 5),
            "late": sum(each.premium_late for each in runs),
            "refused": sum(each.premium_refused for each in runs),
            "degraded_share": round(degraded / max(1, count), 4),
            "vmaf_lost": round(lost, 4),
            "vmaf_lost_most": round(max(each.premium_vmaf_lost_most for each in runs), 3),
            "all_due": due,
            "all_late_share": round(sum(each.late for each in runs) / due, 5),
            "all_refused_in_time_share": round(sum(each.refused_in_time for each in runs) / due, 5),
            "all_promised_late_share": round(sum(each.promised_late for each in runs) / due, 5),
        }
        metrics.update({f"{name}_premium_{order}_{figure}": value for figure, value in found.items()})
        row = [f"{found['on_time']:.3%}", f"{min(shares):.3%}", f"{sure:.3%}", found["late"], found["refused"]]
        row += [f"{degraded / max(1, count):.1%}", f"{lost:.3f}", found["vmaf_lost_most"]]
        table.add_row(show.LABELS[order], str(count), *map(str, row), f"{found['all_late_share']:.2%}")
    _print(table)


def lower_bound(good: int, count: int, *, confidence: float = 0.95) -> float:
    """One-sided lower bound of a share, exact (Clopper and Pearson, 1934)."""
    from scipy.stats import beta  # type: ignore[import-untyped]  # it ships no types

    return float(beta.ppf(1 - confidence, good, count - good + 1)) if good else 0.0


def _all(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> list[Figures]:
    found = []
    for number, figures in enumerate(pool.map(_one, jobs), start=1):
        order, load, seed = jobs[number - 1][:3]
        say(f"{number} of {len(jobs)}: load {load:g}, seed {seed}, {order}")
        found.append(figures)
    return found


@cache
def _recipes() -> Recipes:
    """Read once per process: a file that changes meanwhile must not split the figures."""
    return load_recipes()


def _one(job: Job) -> Figures:
    order, load, seed, wanted, farm, history = job
    recipes = _recipes()
    titles: list[SimTitle] = (
        read_history(history, recipes, error=wanted.error, seed=seed)
        if history
        else draw(replace(wanted, load=load, seed=seed), farm, recipes)
    )
    run: Run = run_order(order, titles, farm, recipes)
    return run.figures


def _spread(metrics: dict[str, float], name: str, values: Sequence[float]) -> None:
    metrics[name] = round(statistics.mean(values), 4)
    metrics[f"{name}_least"] = round(min(values), 4)
    metrics[f"{name}_most"] = round(max(values), 4)


def _mean(figures: Sequence[Figures]) -> Figures:
    """Each number's mean over runs; whole numbers are rounded."""
    merged: dict[str, Any] = {"order": figures[0].order, "focus_h": None, "focus_late": None}
    for field, first in figures[0]:
        if field not in merged:
            mean = statistics.mean(getattr(each, field) for each in figures)
            merged[field] = round(mean) if isinstance(first, int) else mean
    return Figures.model_validate(merged)


def _print(table: Table) -> None:
    Console(stderr=True, width=130).print(table)


if __name__ == "__main__":
    sys.exit(main())
