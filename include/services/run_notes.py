"""What an operator reads beside a title's run in Airflow's UI."""

from __future__ import annotations

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog, TitleRecord
from include.domain.title.title import State, TitleJob

NOTE_LIMIT = 600
"""Characters of one piece of foreign text in a note."""

MOST_OF_A_NOTE = 980
"""Airflow takes 1,000 characters of a note."""


def run_note(title: TitleRecord) -> str:
    """What an operator reads beside a title's run in Airflow's UI (Markdown)."""
    first = f"**{title.state}** {_as_code(title.request.name or title.title_id)}"
    if title.version is not None:
        # The run's page shows the first line alone.
        links = {"Preview": title.preview, "HLS": title.hls, "DASH": title.dash}
        shown = " · ".join(f"[{name}]({address})" for name, address in links.items() if address)
        first += f" v{title.version} · {shown}"
    lines = [first]
    if title.message:
        lines.append(_as_code(title.message))
    if title.state in {State.FAILED, State.REJECTED}:
        lines.append(f"again: `callsheet replay {title.request_id}`")
    if title.valuation is not None:
        for said in (f"score {title.valuation.score}", f"priority {title.valuation.priority}"):
            if sum(map(len, lines)) + len(said) < MOST_OF_A_NOTE:
                lines.append(said)
    return "\n\n".join(lines)


def _as_code(text: str) -> str:
    """Text of foreign origin as code: no link and no markup of it comes to life."""
    return "`" + text.replace("`", "'").replace("\n", " ")[:NOTE_LIMIT] + "`"


def put_note(catalog: Catalog, job: TitleJob) -> None:
    """Put what became of a title on its run in Airflow's UI."""
    title = catalog.titles.get(job.request_id)
    if title is not None and title.run_id is not None:
        with AirflowApi.from_connection() as api:
            api.note(title.dag_id, title.run_id, run_note(title))
