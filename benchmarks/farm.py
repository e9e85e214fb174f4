"""The policies on a simulated farm: what value and deadlines gain, and whether the simulation is to be believed.

``python -m benchmarks.farm --json`` simulates 8 nodes with 2 slots each, on several seeds. First loads of 0.7, 0.9 and
0.95: the most valuable tenth against FIFO, value × turnaround against an oracle, the least valuable tenth. Then a load
of 0.9 with 5 % of the nodes failing a day and forecasts 20 % off: premium titles in time, against EDF and FIFO. About
five minutes on two quiet cores. ``--arrivals``, ``--views`` and ``--history`` take a user's own figures, in the forms
of ``callsheet simulate``.

``--validate [N]`` encodes N short clips for real on this machine, through two slots, then simulates the same jobs and
compares; about five minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from include.base.errors import CallsheetError
from include.base.settings import available_cores
from include.recipes import Recipes, load_recipes
from include.simulation import show
from include.simulation.figures import Figures, Run, run_order
from include.simulation.inputs import read_gaps, read_history, read_trends
from include.simulation.model import Farm, SimTitle
from include.simulation.scenarios import Load, draw

LOADS = (0.7, 0.9, 0.95)
SEEDS = (101, 102, 103)
"""Of the value part. The policy's numbers were chosen on seeds below 100."""
DEADLINE_SEEDS = (201, 202, 203, 204, 205)
VALUE_ORDERS = ("fifo", "callsheet", "callsheet_uncut", "oracle")
DEADLINE_ORDERS = ("callsheet", "callsheet_uncut", "edf", "fifo")
FAILING_A_DAY = 0.05
RESULTS = Path(__file__).parent / "results"
Job = tuple[str, float, int, Load, Farm, Path | None]
"""Order, load, seed, titles, farm, history."""


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.farm", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout (the default prints lines)")
    parser.add_argument("--titles", type=int, default=3000, help="per load and seed (default 3000)")
    parser.add_argument("--premium", type=int, default=3000, help="premium titles of the deadline part (default 3000)")
    parser.add_argument("--arrivals", type=Path, help="CSV with `submit` in seconds: when titles come")
    parser.add_argument("--views", type=Path, help="CSV with `video_id`, `views`, `date`: how popularity grows")
    parser.add_argument("--history", type=Path, help="CSV of past jobs instead of drawn titles, as they came")
    parser.add_argument("--validate", type=int, nargs="?", const=100, help="real encode jobs against simulated ones")
    arguments = parser.parse_args(argv)
    try:
        metrics = _validated(arguments.validate) if arguments.validate is not None else _simulated(arguments)
    except CallsheetError as error:
        print(f"benchmarks.farm: {error.message}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"benchmark": "farm", "metrics": metrics}))
    else:
        for name, value in metrics.items():
            print(f"{name:60} {value}")
    return 0


def _validated(jobs: int) -> dict[str, float]:
    from benchmarks._farm_validation import validate

    return validate(jobs, say=_say)


def _simulated(arguments: argparse.Namespace) -> dict[str, float]:
    began = time.monotonic()
    wanted = Load(
        titles=arguments.titles,
        gaps=read_gaps(arguments.arrivals) if arguments.arrivals else None,
        trends=read_trends(arguments.views) if arguments.views else None,
    )
    if arguments.history:
        read_history(arguments.history, load_recipes(), error=wanted.error, seed=0)
    metrics: dict[str, float] = {}
    _recipes()
    RESULTS.mkdir(exist_ok=True)
    with ProcessPoolExecutor(max_workers=min(2, available_cores())) as pool:
        _value_part(pool, wanted, metrics, history=arguments.history)
        _deadline_part(pool, wanted, metrics, premium=arguments.premium, history=arguments.history)
    metrics["seconds"] = round(time.monotonic() - began, 1)
    return metrics


def _value_part(pool: ProcessPoolExecutor, wanted: Load, metrics: dict[str, float], *, history: Path | None) -> None:
    loads = LOADS if history is None else (0.0,)
    farm = Farm()
    jobs: list[Job] = [
        (order, load, seed, wanted, farm, history) for load in loads for seed in SEEDS for order in VALUE_ORDERS
    ]
    done = dict(zip([job[:3] for job in jobs], _all(pool, jobs), strict=True))
    for load in loads:
        name = f"load_{load:g}".replace(".", "_") if history is None else "history"
        by_seed = {seed: {order: done[order, load, seed] for order in VALUE_ORDERS} for seed in SEEDS}
        for order in ("callsheet", "callsheet_uncut"):
            gains = [1 - each[order].top_decile_h / each["fifo"].top_decile_h for each in by_seed.values()]
            ratios = [each[order].weighted_completion / each["oracle"].weighted_completion for each in by_seed.values()]
            _spread(metrics, f"{name}_{order}_top_decile_below_fifo", gains)
            _spread(metrics, f"{name}_{order}_weighted_completion_to_oracle", ratios)
        for order in VALUE_ORDERS:
            _spread(
                metrics,
                f"{name}_{order}_least_decile_p99_h",
                [each[order].least_decile_p99_h for each in by_seed.values()],
            )
        bound = _mean([each[order] for each in by_seed.values() for order in VALUE_ORDERS])
        figures = [_mean([each[order] for each in by_seed.values()]) for order in VALUE_ORDERS]
        _print(show.table(figures, title=f"{name}: mean of {len(SEEDS)} seeds, {bound.titles} titles each", focus=None))
    metrics["waiting_bound_h"] = load_recipes().policy.priority.waiting_bound_h
    if history is None:
        charted = replace(wanted, load=0.9, seed=SEEDS[0])
        recipes = load_recipes()
        titles = draw(charted, farm, recipes)
        runs = {
            order: run_order(order, titles, farm, recipes) for order in (*VALUE_ORDERS[:1], "edf", *VALUE_ORDERS[1:])
        }
        show.chart(runs, RESULTS / "farm.png", title=f"Load 0.9, {len(titles)} titles, {farm.slots} slots")
        _say(f"chart: {RESULTS / 'farm.png'}")


def _deadline_part(
    pool: ProcessPoolExecutor, wanted: Load, metrics: dict[str, float], *, premium: int, history: Path | None
) -> None:
    farm = Farm(node_failures_per_day=FAILING_A_DAY)
    # One title in ten is premium.
    each_s = replace(wanted, titles=max(100, premium * 10 // len(DEADLINE_SEEDS)), error=0.2)
    jobs: list[Job] = [
        (order, 0.9, seed, each_s, replace(farm, seed=seed), history)
        for order in DEADLINE_ORDERS
        for seed in DEADLINE_SEEDS
    ]
    done = dict(zip([(job[0], job[2]) for job in jobs], _all(pool, jobs), strict=True))
    table = Table(
        "order", "of", "in time", "worst seed", "95 % sure of", "late", "refused", "degraded", "VMAF lost",
        "most", "all late", title="premium in time: load 0.9, 5 % of the nodes fail a day, forecasts 20 % off",
        title_justify="left",
    )  # fmt: skip
    for order in DEADLINE_ORDERS:
        runs = [done[order, seed] for seed in DEADLINE_SEEDS]
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
            "all_late_share": round(sum(each.late for each in runs) / max(1, sum(each.due for each in runs)), 5),
        }
        metrics.update({f"premium_{order}_{name}": value for name, value in found.items()})
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
        _say(f"{number} of {len(jobs)}: load {load:g}, seed {seed}, {order}")
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
