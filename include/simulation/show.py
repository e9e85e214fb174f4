"""What came of a simulated load, for people: a table and a chart."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
}
"""Told apart by people with any kind of colour blindness (Okabe and Ito, 2008)."""
LABELS = {
    "fifo": "FIFO",
    "tiers": "strict tiers",
    "edf": "EDF",
    "callsheet": "Callsheet",
    "callsheet_uncut": "Callsheet, no chunks",
    "oracle": "oracle, no chunks",
}
STYLES = {"fifo": ":", "tiers": (0, (1, 1)), "edf": "-.", "callsheet": "-", "callsheet_uncut": "--", "oracle": "-"}


def table(figures: Sequence[Figures], *, title: str, focus: str | None) -> Table:
    """One row per order.

    Turnaround of the most valuable tenth, value × turnaround against the oracle's, p99 of the least valuable tenth,
    premium titles in time, refused and degraded, all that were late, share of the slots held.
    """
    by_name = {each.order: each for each in figures}
    fifo, oracle = by_name.get("fifo"), by_name.get("oracle")
    shown = Table(title=title, title_justify="left")
    shown.add_column("order", no_wrap=True)
    columns = [
        "top tenth",
        "to FIFO",
        "to oracle",
        "least p99",
        "in time",
        "refused",
        "degraded",
    ]
    columns += ["VMAF lost", "late", "held"]
    for column in [*columns, *([focus] if focus else [])]:
        shown.add_column(column, justify="right")
    for each in figures:
        against = f"{each.top_decile_h / fifo.top_decile_h - 1:+.0%}" if fifo and fifo.top_decile_h else "–"
        weighted = each.weighted_completion / oracle.weighted_completion if oracle else None
        about = [] if focus is None else ["–" if each.focus_h is None else f"{each.focus_h:.2f} h"]
        shown.add_row(
            LABELS[each.order],
            f"{each.top_decile_h:.2f} h",
            against,
            "–" if weighted is None else f"{weighted:.2f}",
            f"{each.least_decile_p99_h:.1f} h",
            f"{each.premium_on_time:.1%}",
            str(each.premium_refused),
            str(each.premium_degraded),
            f"{each.premium_vmaf_lost:.3f}",
            f"{each.late} of {each.due}",
            f"{each.utilisation:.0%}",
            *about,
        )
    return shown


def chart(runs: Mapping[str, Run], path: Path, *, title: str) -> None:
    """Turnaround by class and lateness, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(textwrap.wrap(title, 110)), fontsize=13)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    groups = _groups(next(iter(runs.values())).outcomes)
    height = 0.8 / len(runs)
    for row, (name, run) in enumerate(runs.items()):
        turnaround = [
            [each.turnaround_s / HOUR_S for each in run.outcomes if each.title.group == group] for group in groups
        ]
        places = [place + 0.4 - height * (row + 0.5) for place in range(len(groups))]
        low, high = [quantile(each, 0.05) for each in turnaround], [quantile(each, 0.95) for each in turnaround]
        left.hlines(places, low, high, color=COLOURS[name], linewidth=2.2)
        left.plot(
            [quantile(each, 0.5) for each in turnaround],
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
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(runs), frameon=False)
    figure.savefig(path, dpi=110)


def _lateness(axes: Axes, runs: Mapping[str, Run]) -> None:
    """Share of the titles with a deadline that are later than so many hours."""
    most = 0.0
    for name, run in runs.items():
        late = sorted(each.late_s / HOUR_S for each in run.outcomes if each.late_s is not None)
        if not late:
            continue
        shares = [100 * (len(late) - rank) / len(late) for rank in range(1, len(late) + 1)]
        axes.step(late, shares, where="post", color=COLOURS[name], linestyle=STYLES[name], linewidth=1.8)
        most = max(most, late[-1])
    axes.axvline(0, color="#555555", linewidth=1)
    axes.text(0.0, 0.985, " the deadline", transform=axes.get_xaxis_transform(), va="top", fontsize=9, color="#555555")
    axes.set_xlim(-6, max(2.0, min(most * 1.05, 24.0)))
    axes.set_ylim(0, 100)
    axes.grid(color="#eeeeee")
    axes.set_xlabel("hours after the deadline (negative: before it)")
    axes.set_ylabel("% of titles with a deadline still not published")
    axes.set_title("Lateness", fontsize=11)


def _groups(outcomes: Sequence[Outcome]) -> list[str]:
    """Classes, the most valuable on top of the chart."""
    values: dict[str, list[int]] = {}
    for each in outcomes:
        values.setdefault(each.title.group, []).append(each.title.value)
    return sorted(values, key=lambda group: sum(values[group]) / len(values[group]))
