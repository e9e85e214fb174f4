"""What is live, counted. It reads the tables of every release, so that it can be asked before a migration."""

from __future__ import annotations

from sqlalchemy import func, inspect, select

from include.adapters.catalog.database import Part
from include.adapters.catalog.schema import batches, titles
from include.adapters.catalog.titles import RELEASED_STATES
from include.base.document import Document
from include.domain.title.title import State


class LiveBatches(Document):
    """Batches that have not retired, of one version of a pipeline."""

    pipeline: str
    version: int
    batches: int


class Runs(Document):
    """Titles with a run that has not settled, by what it was begun with."""

    format: int | None
    """Of the documents in their work folders; None where the tables do not tell it yet."""
    version: int | None
    """Of their pipeline."""
    titles: int


class Counts(Document):
    """What there is of batches that have not retired."""

    batches: tuple[LiveBatches, ...]
    titles: dict[State, int]
    runs: tuple[Runs, ...]


class Census(Part):
    """Counts of what is live."""

    def live(self) -> Counts:
        """Batches by pipeline, titles by state, runs by what they were begun with."""
        unretired = batches.c.retired_at.is_(None)
        of_live = titles.join(batches, batches.c.batch_id == titles.c.batch_id)
        kinds = (batches.c.pipeline, batches.c.pipeline_version)
        with self._read() as connection:
            by_kind = connection.execute(
                select(*kinds, func.count()).where(unretired).group_by(*kinds).order_by(*kinds)
            ).all()
            by_state = connection.execute(
                select(titles.c.state, func.count()).select_from(of_live).where(unretired).group_by(titles.c.state)
            ).all()
            told = "run_format" in {column["name"] for column in inspect(connection).get_columns("titles")}
            begun = (titles.c.run_format, titles.c.run_pipeline_version)
            running = select(*begun, func.count()).where(titles.c.state.in_(RELEASED_STATES)).group_by(*begun)
            by_begin = [tuple(row) for row in connection.execute(running)] if told else []
        counts = {State(state): count for state, count in by_state}
        untold = sum(counts.get(state, 0) for state in RELEASED_STATES)
        if not told and untold:
            by_begin = [(None, None, untold)]
        by_begin.sort(key=lambda row: (row[0] or 0, row[1] or 0))
        return Counts(
            batches=tuple(LiveBatches(pipeline=name, version=number, batches=n) for name, number, n in by_kind),
            titles={state: counts[state] for state in State if state in counts},
            runs=tuple(Runs(format=found, version=version, titles=count) for found, version, count in by_begin),
        )
