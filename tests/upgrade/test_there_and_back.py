"""A title in the middle of its encodes: begun by the release before and ended by this one, then the other way round.

The real tasks and workers of both releases, on one catalog and one store; Airflow's API is a stand-in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.local.environment import ROOT
from tests.catalog.conftest import BACKENDS, create_database
from tests.clips import Clips
from tests.nothing_lost.farm import base_environment
from tests.orchestration.airflow_server import AirflowServer, airflow_server
from tests.postgres import postgres_server
from tests.receivers import http_receiver
from tests.upgrade.past import Past

LIVE = """
import json, os, sys
from pathlib import Path
given = json.loads(sys.argv[1])
os.environ.update(given["environment"])
import include
from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.services.upgrade import begin_runs_again
from tests.nothing_lost.farm import Farm
assert Path(include.__file__).is_relative_to(Path.cwd())
farm = Farm(Path(given["home"]), given["environment"], given["catalog_url"], batch_id=given["batch"])
if given["mezzanine"]:
    Catalog(given["catalog_url"]).migrate()
    farm.submit(given["mezzanine"])
    farm.live(until="encode.h264_240p")
else:
    with AirflowApi.from_connection() as api:
        begun = begin_runs_again(farm.catalog, api, farm.store)
    farm.finished = farm.done_renditions()
    assert begun and farm.finished, (begun, farm.finished)
    farm.live(since="release")
    farm.check()
    assert farm.record.state == "published", farm.record.message
    print(len(farm.done_renditions()))
"""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What both releases work on."""

    home: Path
    catalog_url: str
    environment: dict[str, str]
    mezzanine: str
    airflow: AirflowServer

    def live(self, release: Past, batch: str, *, begins: bool) -> list[str]:
        """Have a release take a new title of ``batch`` into its encodes, or one that is there to its end.

        Returns how many renditions have been made of one that has ended.
        """
        given = {
            "home": str(self.home),
            "catalog_url": self.catalog_url,
            "environment": {**self.environment, "PYTHONPATH": str(release.tree)},
            "batch": batch,
            "mezzanine": self.mezzanine if begins else "",
        }
        return release.run(LIVE, json.dumps(given)).strip().splitlines()[-1:]

    def callsheet(self, *words: str) -> str:
        """Run today's ``callsheet``; returns what it says."""
        environment = {
            **os.environ,
            **self.environment,
            "CALLSHEET_HOME": str(self.home),
            "CALLSHEET_CATALOG_URL": self.catalog_url,
        }
        done = subprocess.run(
            [str(Path(sys.executable).with_name("callsheet")), *words],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    def version(self) -> tuple[Any, Any]:
        """The published version, and the request that it is of."""
        pointer = json.loads(LocalStore(self.home / "store").get_bytes("titles/alpha/current.json"))
        return pointer["version"], pointer["request_id"]


@pytest.fixture(params=BACKENDS)
def shared(request: pytest.FixtureRequest, clips: Clips, tmp_path: Path) -> Iterator[Shared]:
    """An empty farm, with its catalog on either database."""
    home = tmp_path / "home"
    home.mkdir()
    clip = clips("there.mp4", seconds=1.0, size="426x240")
    with ExitStack() as closing:
        catalog_url = f"sqlite:///{home / 'catalog.db'}"
        if request.param == "postgresql":
            server = closing.enter_context(postgres_server())
            catalog_url = f"{server}/{create_database(server, 'shared')}"
        cms = closing.enter_context(http_receiver())
        airflow = closing.enter_context(airflow_server())
        airflow.dags |= {"batch__spring", "batch__summer"}
        environment = base_environment(
            CALLBACK=f"{cms.origin}/hooks",
            CALLSHEET_ALLOWED_ORIGINS=cms.origin,
            CALLSHEET_MEZZANINE_ROOTS=str(clip.parent),
            CALLSHEET_AIRFLOW_BASE_URL="https://airflow.example",
            AIRFLOW_HOME=str(tmp_path / "airflow"),
            AIRFLOW_CONN_CALLSHEET_AIRFLOW=airflow.connection,
        )
        yield Shared(
            home=home, catalog_url=catalog_url, environment=environment, mezzanine=clip.as_uri(), airflow=airflow
        )


def test_a_title_in_mid_work_goes_on_under_the_next_release_without_encoding_twice_and_another_under_the_one_before(
    shared: Shared, past: Past
) -> None:
    today = Past(tree=ROOT, python=Path(sys.executable))
    shared.live(past, "spring", begins=True)

    shared.callsheet("migrate")
    assert shared.live(today, "spring", begins=False) == ["2"], "an encode was made twice"

    assert shared.airflow.cleared == ["alpha__1"]
    assert shared.version() == (1, "spring/alpha")
    events = Catalog(shared.catalog_url).history.events(request_id="spring/alpha")
    assert [event.kind for event in events].count("title.moved") == 1

    shared.live(today, "summer", begins=True)
    said = shared.callsheet("migrate", "--back")

    assert said.splitlines()[-1].endswith("begin again within a minute or two: summer/alpha")
    shared.live(past, "summer", begins=False)
    assert shared.airflow.cleared == ["alpha__1", "alpha__1"]
    assert shared.version() == (2, "summer/alpha")
