"""The catalog of the oldest release, filled through its own code: migrated, read whole, and taken one step back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, inspect, text

from include.adapters.catalog import Catalog
from include.domain.title.request import parse_batch
from include.domain.title.title import Origin, State
from include.domain.title.work import FORMAT
from tests.catalog.conftest import BACKENDS, create_database
from tests.catalog.samples import after
from tests.postgres import postgres_server
from tests.upgrade.past import Past

FILL = """
import sys
from datetime import timedelta
from pathlib import Path
import include
from include.adapters.catalog import Catalog, HistoryRow
from include.domain.steering import Steering
from include.domain.title import State
from include.errors import EncoderCrashed
from include.orchestration.valuation import value_batch
from include.settings import Settings
from tests.catalog.samples import NOW, a_batch, accept, after, publish, start
assert Path(include.__file__).is_relative_to(Path.cwd())
url, home = sys.argv[1:]
catalog = Catalog(url)
catalog.migrate()
names = ("running", "playable", "degraded", "rejected", "failed", "cancelled", "published")
accept(catalog, "spring", *names, publish_at=after(86400).isoformat(), metadata={"cms": 7})
for name in names:
    start(catalog, f"spring/{name}")
catalog.note_task("spring/running", task="encode_cpu", item="h264_144p", event="finished", progress=0.4, now=after(1))
publish(catalog, "spring/playable", whole=False)
publish(catalog, "spring/degraded", degraded=True)
assert catalog.settle("spring/degraded", State.DEGRADED, reason="renditions_failed", message="360p", now=after(2))
assert catalog.queue_repair("spring/degraded", ["h264_720p"], after(2))
assert catalog.settle("spring/rejected", State.REJECTED, reason="empty", message="nothing in it", now=after(2))
assert catalog.settle("spring/failed", State.FAILED, reason="crashed", message="x264 fell over", now=after(2))
assert catalog.settle("spring/cancelled", State.CANCELLED, now=after(2))
for name in ("rejected", "failed"):
    error = EncoderCrashed("x264 fell over", command="ffmpeg -i x", stderr_tail="boom").document()
    catalog.record_dead_letter(f"spring/{name}", error=error, task="encode", replay_command="callsheet replay", now=NOW)
    catalog.claim_alert(title_id=name, request_id=f"spring/{name}", level="failed", cause="x", message="m", now=NOW)
publish(catalog, "spring/published")
assert catalog.settle("spring/published", State.PUBLISHED, now=after(2))
catalog.record_history("spring/published", [HistoryRow(rendition="h264_360p", recipe_hash="abc", cpu_s=12.5,
    encoder_version="libx264 165", features={"si_mean": 41.5, "kind": None}, wall_s=7.0, peak_memory_mb=180.0,
    size_bytes=5_000_000_000, frames=240, duration_s=10.0, vmaf=94.0)], now=NOW)
accept(catalog, "again", "published")
start(catalog, "again/published")
publish(catalog, "again/published", now=after(5))
assert catalog.settle("again/published", State.PUBLISHED, now=after(6))
repair = catalog.new_request_from("spring/degraded", suffix="repair", now=after(7))
assert catalog.accept_batch(repair, pipeline_version=3, now=after(7))
later = a_batch("later", "waiting", "held", "pinned", publish_at=after(86400).isoformat())
valued = value_batch(later, catalog, Settings(home=Path(home)), now=after(8))
assert catalog.accept_batch(later, pipeline_version=3, now=after(8), valued=valued)
catalog.steer("later/held", Steering(hold=True, why="not yet"), by="ops", now=after(9))
catalog.steer("later/pinned", Steering(pin=True, why="first of all"), by="ops", now=after(9))
owed = catalog.claim_outbox(now=after(10), limit=1, ttl_s=60)
catalog.outbox_failed(owed[0].id, "HTTP 503", after(11))
"""
STATES = {
    "spring/running": State.RUNNING,
    "spring/playable": State.PLAYABLE,
    "spring/degraded": State.DEGRADED,
    "spring/rejected": State.REJECTED,
    "spring/failed": State.FAILED,
    "spring/cancelled": State.CANCELLED,
    "spring/published": State.PUBLISHED,
    "again/published": State.PUBLISHED,
    "spring-repair1/degraded": State.WAITING,
    "later/waiting": State.WAITING,
    "later/held": State.WAITING,
    "later/pinned": State.WAITING,
}


@pytest.fixture(scope="module", params=BACKENDS)
def old_url(
    request: pytest.FixtureRequest, first_past: Past, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A catalog that the oldest release has made and filled."""
    folder = tmp_path_factory.mktemp("old")
    with ExitStack() as closing:
        url = f"sqlite:///{folder / 'catalog.db'}"
        if request.param == "postgresql":
            server = closing.enter_context(postgres_server())
            url = f"{server}/{create_database(server, 'old')}"
        first_past.run(FILL, url, str(folder))
        yield url


@pytest.fixture(scope="module")
def old_revision(old_url: str) -> str:
    """The migration that the oldest release ends with; read before :func:`migrated` goes on."""
    with create_engine(old_url, poolclass=NullPool).connect() as connection:
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


@pytest.fixture(scope="module")
def migrated(old_url: str, old_revision: str) -> Catalog:
    """The same catalog, as today's release finds it after its migration."""
    catalog = Catalog(old_url)
    catalog.migrate()
    return catalog


def downgrade(catalog: Catalog, revision: str) -> None:
    """Take the catalog back to a revision."""
    config = Config()
    config.set_main_option("script_location", "include.adapters.catalog:migrations")
    with catalog.database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_every_title_is_read_with_its_state_and_what_it_was_asked_for(migrated: Catalog) -> None:
    titles = {title.request_id: title for title in migrated.titles.find()}

    assert {request_id: title.state for request_id, title in titles.items()} == STATES
    assert titles["spring/running"].progress == 0.4
    assert titles["spring/running"].deadline == after(86400)
    assert titles["spring/running"].request.metadata == {"cms": 7}
    assert titles["later/held"].held
    assert titles["later/pinned"].pinned
    assert titles["later/waiting"].valuation is not None
    assert titles["later/waiting"].work is not None
    assert (titles["spring-repair1/degraded"].origin, titles["later/waiting"].origin) == (Origin.REPAIR, Origin.NEW)
    assert all(title.job().request_id == request_id for request_id, title in titles.items())


def test_runs_under_way_are_known_to_be_of_another_release_and_others_are_not(migrated: Catalog) -> None:
    assert FORMAT > 1
    assert {title.request_id for title in migrated.titles.outdated()} == {"spring/running", "spring/playable"}
    assert not any(title.begun_by_another_release for title in migrated.titles.find(states={State.WAITING}))


def test_versions_history_repairs_letters_alerts_and_webhooks_are_read(migrated: Catalog) -> None:
    current = migrated.versions.current("published")
    assert current is not None
    assert (current.version, current.request_id, [rung.height for rung in current.rungs]) == (
        2,
        "again/published",
        [144, 360],
    )
    assert migrated.versions.of_request("spring/published", whole=True) is not None
    first = migrated.versions.of_request("spring/playable", whole=False)
    assert first is not None
    assert (first.whole, first.missing) == (False, ("h264_720p",))
    assert [row.vmaf for row in migrated.history.of_request("spring/published")] == [94.0]
    assert [(repair.request_id, repair.missing) for repair in migrated.repairs.pending()] == [
        ("spring/degraded", ("h264_720p",))
    ]
    assert {letter.request_id for letter in migrated.history.dead_letters()} == {"spring/rejected", "spring/failed"}
    owed = [row for request in STATES for row in migrated.outbox.of_request(request)]
    assert owed
    assert {row.state for row in owed} == {"pending"}
    assert max(row.attempts for row in owed) == 1
    events = migrated.history.events(limit=1000)
    assert {"task.finished", "dead_letter", "repair.queued"} <= {event.kind for event in events}
    assert {batch.batch_id for batch in migrated.batches.newest()} == {"spring", "again", "spring-repair1", "later"}
    assert {queued.request_id for queued in migrated.queue.in_order(limit=100)} == {
        request for request, state in STATES.items() if not state.final
    }
    assert [alert.title_id for alert in migrated.alerts.claim_due(after(60), 10, 60)] == ["rejected", "failed"]


def test_the_batch_that_was_accepted_before_is_the_same_request_today(migrated: Catalog) -> None:
    """A CMS that repeats its request during an upgrade gets no second batch, and no refusal."""
    conf = {
        "batch_id": "again",
        "callback_url": "https://cms.example/hooks",
        "titles": [{"title_id": "published", "mezzanine": "file:///media/published.mov"}],
    }
    assert not migrated.batches.check_new(parse_batch(conf, pipelines=frozenset({"vod"})))


def test_one_step_back_and_forth_again_keeps_every_title(old_url: str, migrated: Catalog) -> None:
    before = migrated.titles.find()
    downgrade(migrated, "-1")  # what promises add to valuations has no column: tests/catalog/test_migrations.py
    steps = (
        ("proofs", "request_id"), ("task_history", "cpu_s"), ("titles", "header"), ("titles", "arrived_at"),
        ("titles", "run_format"),
    )  # fmt: skip
    for table, column in steps:
        downgrade(migrated, "-1")
        with create_engine(old_url, poolclass=NullPool).connect() as connection:
            there = inspect(connection)
            assert not there.has_table(table) or column not in {each["name"] for each in there.get_columns(table)}
    with create_engine(old_url, poolclass=NullPool).connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM titles")) == len(STATES)

    migrated.migrate()

    assert migrated.titles.find() == before


def test_the_oldest_release_reads_its_tables_again_after_going_all_the_way_back(
    old_url: str, old_revision: str, migrated: Catalog, first_past: Past
) -> None:
    downgrade(migrated, old_revision)
    try:
        read = (
            "import json, sys\nfrom include.adapters.catalog import Catalog\n"
            "catalog = Catalog(sys.argv[1]); catalog.migrate()\n"
            "print(json.dumps({title.request_id: title.state for title in catalog.titles()}))"
        )
        assert json.loads(first_past.run(read, old_url)) == {request: state.value for request, state in STATES.items()}
    finally:
        migrated.migrate()
