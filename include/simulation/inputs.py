"""A user's own figures for the simulator: arrivals, views by day, past jobs. An error names file, line and column."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from include.base.errors import ConfigurationError
from include.domain.cost.past_jobs import PAST_JOBS
from include.domain.cost.rates import shape_of
from include.domain.cost.work import TitleWork
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import Recipes
from include.simulation.model import SimTitle
from include.simulation.scenarios import shaped, typical_work, valued

ARRIVALS = ("submit",)
VIEWS = ("video_id", "views", "date")
MOST = 1e12


def read_gaps(path: Path) -> tuple[float, ...]:
    """Times between arrivals from a CSV with a column ``submit`` (seconds); other columns are passed over."""
    moments = sorted(_number(path, line, row, "submit") for line, row in _rows(path, ARRIVALS))
    gaps = tuple(later - earlier for earlier, later in itertools.pairwise(moments))
    if sum(gaps) <= 0:
        raise ConfigurationError(f"{path}: has no two arrivals at different moments (column submit)")
    return gaps


def read_trends(path: Path) -> tuple[tuple[float, float], ...]:
    """Views of the first and of the second day of each video, from a CSV with ``video_id``, ``views`` and ``date``.

    The views are those in all up to that day, the date is ``day.month``; other columns are passed over.
    """
    days: dict[str, list[tuple[tuple[int, int], float]]] = {}
    for line, row in _rows(path, VIEWS):
        views = _number(path, line, row, "views")
        try:
            day, month = (int(part) for part in row["date"].split("."))
        except ValueError:
            raise _bad(path, line, "date", row["date"], "is no day.month, e.g. 13.09") from None
        days.setdefault(row["video_id"], []).append(((month, day), views))
    trends = []
    for known in days.values():
        first, second = (sorted(known) + [((0, 0), 0.0)] * 2)[:2]
        if len(known) > 1 and first[1] > 0:
            trends.append((first[1], second[1]))
    if not trends:
        raise ConfigurationError(f"{path}: no video has views on two days (columns video_id, views, date)")
    return tuple(trends)


def read_history(path: Path, recipes: Recipes, *, error: float, seed: int) -> list[SimTitle]:
    """A farm's own past jobs, one per line, as they came.

    Columns: ``submit_s`` (seconds on any clock), ``tier``, ``kind`` (may be empty), ``deadline_s`` (on the same clock;
    may be empty), ``predicted_s`` (slot seconds that were expected; may be empty), ``actual_s`` (slot seconds that it
    took) and ``views`` (expected in seven days; may be empty). How a job's seconds divide among its tasks is taken to
    be typical of its kind and tier.

    Args:
        path: The CSV.
        recipes: Ladders, tiers and policies of the backtest.
        error: Sigma of the forecast once a title is planned.
        seed: Of what the history does not say.
    """
    rng = random.Random(seed)  # noqa: S311 - chance that can be repeated is what is wanted
    titles = [_past(path, line, row, error, rng, recipes) for line, row in _rows(path, PAST_JOBS)]
    if not titles:
        raise ConfigurationError(f"{path}: has no jobs")
    start_s = min(title.arrival_s for title in titles)
    moved = [
        replace(
            title,
            arrival_s=title.arrival_s - start_s,
            deadline_s=None if title.deadline_s is None else title.deadline_s - start_s,
        )
        for title in titles
    ]
    return [valued(title, recipes) for title in sorted(moved, key=lambda title: title.arrival_s)]


def _past(path: Path, line: int, row: dict[str, str], error: float, rng: random.Random, recipes: Recipes) -> SimTitle:
    tier = Tier(_word(path, line, row, "tier", Tier))
    kind = Kind(_word(path, line, row, "kind", Kind)) if row["kind"] else None
    actual_s = _number(path, line, row, "actual_s")
    if actual_s == 0:
        raise _bad(path, line, "actual_s", row["actual_s"], "must be above 0")
    predicted_s = _number(path, line, row, "predicted_s") if row["predicted_s"] else actual_s
    source = shape_of(kind, rates=recipes.rates)
    typical = typical_work(source, tier, recipes)
    title = shaped(
        f"line {line}",
        " ".join(part.value for part in (tier, kind) if part),
        tier,
        kind,
        source,
        scaled(typical, actual_s / typical.total.p50_s),
        error,
        rng,
        recipes,
        complexity=1.0,
    )
    # Chance spread the seconds over the tasks; the sum is what was measured.
    exact = actual_s / title.true_work_s
    foreseen = max(predicted_s, 1e-3) / actual_s
    return replace(
        title,
        arrival_s=_number(path, line, row, "submit_s"),
        deadline_s=_number(path, line, row, "deadline_s") if row["deadline_s"] else None,
        signals=Signals(predicted_views_7d=_number(path, line, row, "views") if row["views"] else None),
        prepare_s=title.prepare_s * exact,
        extras_s=title.extras_s * exact,
        finish_s=title.finish_s * exact,
        encodes=tuple(replace(each, true_s=each.true_s * exact) for each in title.encodes),
        expected=scaled(title.expected, foreseen),
        least=scaled(title.least, foreseen * actual_s / typical.total.p50_s),
    )


def scaled(work: TitleWork, factor: float) -> TitleWork:
    """The same work, ``factor`` times as much."""
    return TitleWork(
        prepare=work.prepare.scaled(factor),
        encodes=tuple(each.scaled(factor) for each in work.encodes),
        extras=work.extras.scaled(factor),
        finish=work.finish.scaled(factor),
    )


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the wanted columns of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise ConfigurationError(
                    f"{path}: line 1: column {', '.join(missing)} missing (wanted: {', '.join(columns)})"
                )
            for row in reader:
                absent = [column for column in columns if row[column] is None]
                if absent:
                    raise ConfigurationError(f"{path}: line {reader.line_num}: {absent[0]}: the line ends before it")
                yield reader.line_num, {column: row[column].strip() for column in columns}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read as CSV: {error}") from error


def _number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        raise _bad(path, line, column, row[column], "is no number") from None
    if not math.isfinite(value) or not 0 <= value <= MOST:
        raise _bad(path, line, column, row[column], f"must lie between 0 and {MOST:g}")
    return value


def _word(path: Path, line: int, row: dict[str, str], column: str, known: type[StrEnum]) -> str:
    names = [each.value for each in known]
    if row[column] not in names:
        raise _bad(path, line, column, row[column], f"must be one of {', '.join(names)}")
    return row[column]


def _bad(path: Path, line: int, column: str, value: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: line {line}: {column}: {reason} (got {value!r})")
