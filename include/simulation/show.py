"""What came of a simulated load, for people: a table and a chart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from include.simulation.figures import HOUR_S, Figures, Run, quantile
from include.simulation.model import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "fifo": "#999999",
    "tiers": "#56B4E9",
    "edf": "#E69F00",
    "callsheet": "#0072B2",
    "callsheet_uncut": "#009E73",
    "oracle": "#CC79A7",
    "oracle_in_time": "#D55E00",
}
"""Told apart by people with any kind of colour blindness (Okabe and Ito, 2008)."""
LABELS = {
    "fifo": "FIFO",
    "tiers": "strict tiers",
    "edf": "EDF",
    "callsheet": "Callsheet",
    "callsheet_uncut": "Callsheet, no chunks",
    "oracle": "oracle, no chunks",
    "oracle_in_time": "oracle, in time",
}
HEADS = {name: label.replace(", ", "\n").replace("strict ", "strict\n") for name, label in LABELS.items()}
"""The same in two lines, for narrow columns."""
STYLES = {
    "fifo": ":",
    "tiers": (0, (1, 1)),
    "edf": "-.",
    "callsheet": "-",
    "callsheet_uncut": "--",
    "oracle": "-",
    "oracle_in_time": "--",
}


def table(figures: Sequence[Figures], *, title: str, focus: str | None) -> Table:
    """One column per order, for a terminal of 80 columns. Turnarounds are in hours."""
    by_name = {column.order: column for column in figures}
    fifo, oracle = by_name.get("fifo"), by_name.get("oracle")
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    shown.add_column("", no_wrap=True)
    for column in figures:
        shown.add_column(HEADS[column.order], justify="right", no_wrap=True)

    def row(name: str, of: Callable[[Figures], str], *, last: bool = False) -> None:
        shown.add_row(name, *map(of, figures), end_section=last)

    def to_fifo(column: Figures) -> str:
        return f"{column.top_decile_h / fifo.top_decile_h - 1:+.0%}" if fifo and fifo.top_decile_h else "–"

    def to_oracle(column: Figures) -> str:
        return f"{column.weighted_completion / oracle.weighted_completion:.2f}" if oracle else "–"

    row("most valuable tenth, h", lambda column: f"{column.top_decile_h:.2f}")
    row("  against FIFO", to_fifo)
    row("least valuable, p99 h", lambda column: f"{column.least_decile_p99_h:.1f}")
    row("value × time, to oracle", to_oracle, last=True)
    row("premium in time", lambda column: f"{column.premium_on_time:.1%}")
    row("  refused", lambda column: str(column.premium_refused))
    row("  degraded", lambda column: str(column.premium_degraded))
    row("  a rung left out", lambda column: str(column.premium_dropped))
    row("  VMAF lost, mean", lambda column: f"{column.premium_vmaf_lost:.3f}")
    due = max((column.due for column in figures), default=0)
    row(f"late, of {due} due", lambda column: str(column.late), last=True)
    if focus is not None:
        row(f"{focus}, h", lambda column: "–" if column.focus_h is None else f"{column.focus_h:.2f}")
        row("  late", lambda column: "–" if column.focus_late is None else str(column.focus_late), last=True)
    row("slots held", lambda column: f"{column.utilisation:.0%}")
    if any(column.lost_h for column in figures):
        row("lost to failures, slot h", lambda column: f"{column.lost_h:.1f}")
    return shown


def chart(runs: Mapping[str, Run], path: Path, *, title: str) -> None:
    """Turnaround by class and lateness, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(textwrap.wrap(title, 120)), fontsize=12, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    groups = _groups(next(iter(runs.values())).outcomes)
    height = 0.8 / len(runs)
    for row, (name, run) in enumerate(runs.items()):
        turnaround = [
            [outcome.turnaround_s / HOUR_S for outcome in run.outcomes if outcome.title.group == group]
            for group in groups
        ]
        places = [place + 0.4 - height * (row + 0.5) for place in range(len(groups))]
        low, high = (
            [quantile(times_h, 0.05) for times_h in turnaround],
            [quantile(times_h, 0.95) for times_h in turnaround],
        )
        left.hlines(places, low, high, color=COLOURS[name], linewidth=2.2)
        left.plot(
            [quantile(times_h, 0.5) for times_h in turnaround],
            places,
            "o",
            color=COLOURS[name],
            markersize=5.5,
            label=LABELS[name],
        )
    for place in range(1, len(groups)):
        left.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left.set_yticks(range(len(groups)), groups)
    left.set_ylim(-0.6, len(groups) - 0.4)
    left.grid(axis="x", color="#eeeeee")
    left.set_xlabel("hours from arrival to publication (logarithmic)")
    left.set_title("Turnaround by class: median, and from the 5th to the 95th percentile", fontsize=11)
    _lateness(right, runs)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(runs), frameon=False)
    figure.savefig(path, dpi=110)


def _lateness(axes: Axes, runs: Mapping[str, Run]) -> None:
    """Share of the titles with a deadline that are later than so many hours."""
    most = 0.0
    for name, run in runs.items():
        late = sorted(outcome.late_s / HOUR_S for outcome in run.outcomes if outcome.late_s is not None)
        if not late:
            continue
        shares = [100 * (len(late) - rank) / len(late) for rank in range(1, len(late) + 1)]
        axes.step(late, shares, where="post", color=COLOURS[name], linestyle=STYLES[name], linewidth=1.8)
        most = max(most, late[-1])
    axes.axvline(0, color="#555555", linewidth=1)
    axes.text(0.0, 0.985, " the deadline", transform=axes.get_xaxis_transform(), va="top", fontsize=9, color="#555555")
    axes.set_xlim(-6, max(2.0, min(most * 1.05, 24.0)))
    # Few titles are late under most orders, and how few is the question.
    axes.set_yscale("log")
    axes.set_ylim(0.1, 100)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#eeeeee")
    axes.set_xlabel("hours after the deadline (negative: before it)")
    axes.set_ylabel("% of titles with a deadline still not published (logarithmic)")
    axes.set_title("Lateness", fontsize=11)


def _groups(outcomes: Sequence[Outcome]) -> list[str]:
    """Classes, the most valuable on top of the chart."""
    values: dict[str, list[int]] = {}
    for outcome in outcomes:
        values.setdefault(outcome.title.group, []).append(outcome.title.value)
    return sorted(values, key=lambda group: sum(values[group]) / len(values[group]))
