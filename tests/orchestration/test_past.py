"""A farm's own past as CSV, and back into the simulator."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from include.adapters.catalog import Catalog
from include.base.settings import Settings
from include.cli import farm
from include.domain.cost.work import TitleWork
from include.domain.order.valuation import Work
from include.domain.title.title import Kind, State, Tier
from include.pipelines.core import current_pipelines
from include.services.history import write_history
from include.simulation.inputs import read_history
from tests.catalog.samples import NOW, a_batch, after, find, publish, start
from tests.simulation.titles import RECIPES, sure

SOURCE = {"duration_s": 60, "width": 640, "height": 360, "frame_rate": 25}


def ran(catalog: Catalog, request_id: str, *tasks: tuple[str, str | None, float, float, str]) -> None:
    """Tasks of a title: name, item, second of the start and of the end, and how it ended."""
    for task, item, began_s, ended_s, how in tasks:
        for event, at_s in (("started", began_s), (how, ended_s)):
            catalog.titles.note_task(request_id, task=task, item=item, event=event, progress=None, now=after(at_s))  # type: ignore[arg-type]


def a_past(catalog: Catalog, version: int | None = None) -> None:
    """A film that was published, an upload that was published without a word of it, and one that failed."""
    number = current_pipelines()["vod"].version if version is None else version
    film = {"tier": "premium", "kind": "movie", "signals": {"predicted_views_7d": 1e6}, "source": SOURCE}
    for batch_id, fields in (("p", {**film, "publish_at": after(3600).isoformat()}), ("u", {"tier": "ugc"}), ("f", {})):
        catalog.batches.accept(a_batch(batch_id, "a", **fields), pipeline_version=number, now=NOW)  # type: ignore[arg-type]
    for request_id in ("p/a", "u/a", "f/a"):
        start(catalog, request_id)
    ran(
        catalog,
        "p/a",
        ("prepare", None, 0, 4, "finished"),
        ("plan", None, 4, 50, "finished"),
        ("encode", "h264_360p", 50, 60, "failed"),
        ("encode", "h264_360p", 70, 100, "finished"),
        ("encode", "h264_144p", 50, 57, "finished"),
        ("extras", None, 50, 52, "finished"),
        ("finish", None, 100, 109, "finished"),
    )
    ran(catalog, "u/a", ("prepare", None, 0, 2, "finished"))
    ran(catalog, "f/a", ("prepare", None, 0, 2, "finished"))
    work = TitleWork(prepare=sure(10), encodes=(sure(30),), extras=sure(1), finish=sure(1))
    catalog.queue.note_work("p/a", Work(full=work, least=work))
    for request_id in ("p/a", "u/a"):
        publish(catalog, request_id, now=after(120))
        catalog.titles.settle(request_id, State.PUBLISHED, now=after(120))
    catalog.titles.settle("f/a", State.FAILED, now=after(120))


def written(
    catalog: Catalog, *, since: datetime = NOW, until: datetime = NOW + timedelta(seconds=1000)
) -> list[dict[str, str]]:
    target = io.StringIO()
    count = write_history(catalog, target, since=since, until=until)
    rows = list(csv.DictReader(io.StringIO(target.getvalue())))
    assert count == len(rows)
    return rows


def test_each_published_title_is_a_line_with_the_slot_seconds_of_its_worker_tasks(catalog: Catalog) -> None:
    a_past(catalog)

    film, upload = written(catalog)

    assert film == {
        "submit_s": f"{NOW.timestamp():.3f}",
        "tier": "premium",
        "kind": "movie",
        "deadline_s": f"{after(3600).timestamp():.3f}",
        "predicted_s": "42.000",
        # 4 + 30 + 7 + 2 + 9: the plan holds no slot, and of the repeated encode its last attempt counts.
        "actual_s": "52.000",
        "views": "1000000",
    }
    assert (upload["kind"], upload["deadline_s"], upload["views"], upload["actual_s"]) == ("", "", "", "2.000")


def test_only_titles_of_the_time_are_told(catalog: Catalog) -> None:
    a_past(catalog)

    assert written(catalog, until=after(100)) == []
    assert written(catalog, since=after(121)) == []


def test_a_title_of_a_pipeline_that_is_gone_is_left_out(catalog: Catalog) -> None:
    a_past(catalog, version=99)

    assert written(catalog) == []


@pytest.mark.parametrize("idle", ["nothing ran", "its deadline had passed"])
def test_a_title_that_did_nothing_and_a_deadline_that_had_passed_say_nothing(idle: str, catalog: Catalog) -> None:
    number = current_pipelines()["vod"].version
    batch = a_batch("old", "a", publish_at=after(-5).isoformat())
    catalog.batches.accept(batch, pipeline_version=number, now=NOW)
    start(catalog, "old/a")
    if idle != "nothing ran":
        ran(catalog, "old/a", ("prepare", None, 0, 2, "finished"))
    publish(catalog, "old/a")
    catalog.titles.settle("old/a", State.PUBLISHED, now=NOW)
    assert find(catalog, "old/a").deadline is not None

    assert [row["deadline_s"] for row in written(catalog)] == ([] if idle == "nothing ran" else [""])


def test_the_simulator_reads_what_the_command_has_written(
    catalog: Catalog, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_past(catalog)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Clock:  # type: ignore[override]
            return cls.fromisoformat(after(3600).isoformat())

    monkeypatch.setattr(farm, "datetime", Clock)
    done = CliRunner().invoke(farm.app, ["history", "--days", "1"])
    assert (done.exit_code, done.stderr) == (0, "2 titles\n")
    path = tmp_path / "past.csv"
    path.write_text(done.stdout)

    film, upload = read_history(path, RECIPES, error=0.2, seed=1)

    assert (film.tier, film.kind, film.deadline_s) == (Tier.PREMIUM, Kind.MOVIE, 3600)
    assert film.true_work_s == pytest.approx(52)
    assert film.expected.total.p50_s == pytest.approx(42)
    assert upload.true_work_s == pytest.approx(2)
