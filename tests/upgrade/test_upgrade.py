"""The release of ``FROM`` works on a home, is ended at once at a random point, and today's release goes on there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks import upgrade as benchmark
from include.base.release import RELEASES, VERSION
from include.domain.title.title import State
from tests.benchmarks.smallest import printed
from tests.upgrade import looks
from tests.upgrade.home import AtStop, Home, as_json, fill, go_back, is_settled, old_home, reach, stop, upgrade
from tests.upgrade.past import LAST, Past, revision

pytestmark = pytest.mark.timeout(1500)  # two starts of Airflow, and the lives of a dozen titles between them
SEED = 1
LONGEST_S = 5.0
"""How long the release of before goes on, at most, once every title is in its state."""


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """A home on which today's release has gone on to the end of every title."""

    home: Home
    at_stop: AtStop
    steering: list[str]
    """What had gone of holds, pins and deadlines right after the upgrade."""


@pytest.fixture(scope="module")
def upgraded(past: Past, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    with old_home(tmp_path_factory.mktemp("upgrade"), past) as home:
        fill(home)
        at_stop = stop(home, after_s=random.Random(SEED).uniform(0, LONGEST_S))
        upgrade(home)
        steering = looks.steering(home)
        looks.go_on(home)
        yield Upgraded(home=home, at_stop=at_stop, steering=steering)


def test_the_past_was_real_and_every_state_was_there(upgraded: Upgraded) -> None:
    assert (upgraded.at_stop.revision, revision(upgraded.home.settings)) == (RELEASES[LAST], RELEASES[VERSION])
    assert upgraded.at_stop.states == {
        "films/twice": "published",
        "again/twice": "published",
        "films/dead": "rejected",
        "films/fragile": "degraded",
        "films/soon": "playable",
        "mid/mid": "running",
        "fillers/filler-1": "running",
        "fillers/filler-2": "running",
        "next/queued": "waiting",
        "next/held": "waiting",
        "next/pinned": "waiting",
    }
    assert upgraded.at_stop.pending_repairs == 1
    assert {"mid/h264_144p", "mid/h264_240p", "soon/h264_360p"} <= upgraded.at_stop.finished


def test_every_title_comes_to_its_end(upgraded: Upgraded) -> None:
    assert looks.ends(upgraded.home) == []
    assert upgraded.home.catalog.titles.get("films-repair1/fragile") is not None


def test_no_finished_rendition_is_encoded_again(upgraded: Upgraded) -> None:
    assert looks.encoded_twice(upgraded.home, upgraded.at_stop.finished) == []
    # The look sees encodes at all: what had not been finished was made after the stop.
    assert {"mid/h264_360p", "soon/h264_480p"} <= set(upgraded.home.encodes_since(upgraded.home.stopped_at))


def test_versions_and_their_reports_stay_readable_and_the_first_one_is_not_touched(upgraded: Upgraded) -> None:
    assert looks.versions(upgraded.home) == []
    assert upgraded.home.store.list("titles/soon/v1") == upgraded.at_stop.first_version


def test_holds_pins_and_deadlines_stay(upgraded: Upgraded) -> None:
    assert upgraded.steering == []
    held = upgraded.home.catalog.titles.get("next/held")
    assert held is not None
    assert (held.state, held.held) == (State.WAITING, True)


def test_webhooks_that_were_owed_go_out(upgraded: Upgraded) -> None:
    upgraded.home.tell()
    assert looks.webhooks(upgraded.home) == []


def test_the_move_is_told_of_each_run_that_was_under_way(upgraded: Upgraded) -> None:
    assert looks.moved(upgraded.home, upgraded.at_stop.under_way) == []


def test_todays_api_answers_for_all_of_them(upgraded: Upgraded) -> None:
    assert looks.api_views(upgraded.home) == []


def test_no_dag_is_broken_and_no_task_complains_of_a_document(upgraded: Upgraded) -> None:
    assert looks.import_errors(upgraded.home) == []
    assert looks.task_logs(upgraded.home) == []


def test_the_benchmark_counts_what_was_seen(upgraded: Upgraded, capsys: pytest.CaptureFixture[str]) -> None:
    code = benchmark.main(["--json", "--smallest"], on=(upgraded.home, upgraded.at_stop))

    out, _ = capsys.readouterr()
    found = printed(out)
    assert (code, found["violations"]) == (0, [])
    assert (found["metrics"]["stops"], found["metrics"]["titles"]) == (1, len(upgraded.home.expected.ends))
    assert (found["metrics"]["titles_lost"], found["metrics"]["renditions_encoded_twice"]) == (0, 0)
    assert found["metrics"]["renditions_finished"] == len(upgraded.at_stop.finished)


def test_one_step_back_the_release_of_before_goes_on_with_the_home(upgraded: Upgraded) -> None:
    """The last test of this file: it leaves the home to the release of before."""
    home = upgraded.home
    before = home.states()

    said = go_back(home)

    assert revision(home.settings) == RELEASES[LAST], said
    assert home.states() == before
    home.submit("later", {"title_id": "queued", "tier": "ugc"})
    with home.client() as client:
        client.steer("next/held", {"hold": False, "why": "the upgrade's test"})
    reach(lambda: is_settled(home, "later/queued", "next/held"), "the ends of titles after going back")
    assert [home.states()[name] for name in ("later/queued", "next/held")] == ["published", "published"]
    assert as_json(home, "titles/queued/current.json")["version"] == 2
    # What today's release published is still there for the one of before.
    assert home.store.size("titles/mid/v1/report.json") is not None
    assert looks.import_errors(home) == []
    home.tell()
