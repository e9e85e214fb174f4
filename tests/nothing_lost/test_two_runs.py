"""Two requests of one title at once, as a re-submission, a replay or a repair makes them: never backwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.base.settings import Settings
from include.domain.title.title import State
from include.services.replay import replay_title
from tests.nothing_lost.conftest import Life
from tests.nothing_lost.farm import Farm, reading
from tests.nothing_lost.points import PAUSE_VARIABLE, Point, at, fired
from tests.orchestration.airflow_server import AirflowServer
from tests.stack import wait_for


@pytest.fixture(scope="module")
def packaged_twice(life: Life, mezzanine: Path, tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """Two requests of the title, both packaged and neither published."""
    older = life.before["publish"].copied(tmp_path_factory.mktemp("twice") / "farm")
    newer = older.of("summer")
    newer.submit(mezzanine.as_uri())
    newer.live(until="publish")
    return older


@pytest.fixture
def two(packaged_twice: Farm, tmp_path: Path) -> tuple[Farm, Farm]:
    """The older request, the newer."""
    older = packaged_twice.copied(tmp_path / "farm")
    return older, older.of("summer")


def pointer(farm: Farm) -> tuple[str, int]:
    found = json.loads(farm.store.get_bytes(f"titles/{farm.title_id}/current.json"))
    return found["request_id"], found["version"]


FLIP = at("publish", "before compare_and_set pointer", "before rename pointer", "before catalog.versions.publish")


@pytest.mark.parametrize("halt", FLIP, ids=lambda point: point.id)
@pytest.mark.parametrize("first", ["older", "newer"])
def test_one_publisher_overtakes_another_at_the_flip(first: str, halt: Point, two: tuple[Farm, Farm]) -> None:
    older, newer = two
    halted, other = (older, newer) if first == "older" else (newer, older)
    with reading(older):
        gate = halted.home / "gate"
        process = halted.start("publish", point=halt, **{PAUSE_VARIABLE: str(gate)})
        wait_for(lambda: gate.exists(), "the first publisher at its point", limit_s=60)
        # The lock of a local pointer is held in the middle of a flip: the other one waits for it.
        late = other.start("publish") if halt.step == "rename pointer" else None
        if late is None:
            other.run("publish")
        gate.unlink()
        for each in filter(None, (process, late)):
            each.join(60)
            assert each.exitcode is not None, older.said()
        for farm in (older, newer):
            farm.check()
            farm.run("publish")
            farm.run("settle")

    assert pointer(newer) == ("summer/alpha", newer.record.version)
    newer.check_end()
    assert older.record.state in {State.PUBLISHED, State.CANCELLED}
    older.check_end(older.record.state)
    if older.record.state is State.CANCELLED:
        assert older.record.reason == "superseded"
    else:
        assert older.record.version != newer.record.version
    # An older request that came second is refused before it has a version.
    versions = [each for each in (older, newer) if each.record.version is not None]
    assert all(
        sorted(farm.store.list(f"titles/alpha/v{farm.record.version}")) == sorted(farm.store.list(farm.packaged))
        for farm in versions
    )


@pytest.mark.parametrize("kill", [*FLIP, *at("publish", "after catalog.versions.publish")], ids=lambda point: point.id)
def test_an_older_request_that_dies_at_the_flip_does_not_come_back_over_a_newer_one(
    kill: Point, two: tuple[Farm, Farm]
) -> None:
    older, newer = two
    with reading(older):
        older.run("publish", point=kill)
        assert fired(older.home)
        newer.live(since="finish")
        older.run("publish")
        older.run("settle")

    assert pointer(newer)[0] == "summer/alpha"
    newer.check_end()
    older.check_end(older.record.state)
    assert older.record.state in {State.PUBLISHED, State.CANCELLED}


def test_a_repeated_title_takes_over_and_the_first_version_stays(
    life: Life, airflow: AirflowServer, tmp_path: Path
) -> None:
    first = life.end.copied(tmp_path / "farm")
    first.check()
    settings = Settings(home=first.home)
    batch_id = replay_title(first.catalog, settings, first.request_id, now=datetime.now(UTC))
    airflow.dags.add(f"batch__{batch_id}")
    again = first.of(batch_id)

    with reading(first):
        again.live()

    again.check_end()
    assert pointer(again) == (f"{batch_id}/alpha", 2)
    first.check_end()


def test_a_title_that_is_cancelled_while_its_set_is_copied_is_not_published(life: Life, tmp_path: Path) -> None:
    farm = life.before["publish"].copied(tmp_path / "farm")
    gate = farm.home / "gate"
    process = farm.start("publish", point=at("publish", "after copy_tree version")[0], **{PAUSE_VARIABLE: str(gate)})
    wait_for(lambda: gate.exists(), "the copied set", limit_s=60)
    farm.catalog.titles.settle(farm.request_id, State.CANCELLED, reason="by_hand", now=datetime.now(UTC))
    gate.unlink()
    process.join(60)

    assert process.exitcode == 1
    assert farm.store.size("titles/alpha/current.json") is None
    assert farm.run("publish") == 1
    assert farm.run("settle") == 1
    farm.check_end("cancelled")
    assert farm.catalog.history.dead_letters() == []
