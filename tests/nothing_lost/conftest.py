"""One title's life, recorded once per session: every test starts from the moment before its task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters.catalog import Catalog
from tests.clips import Clips
from tests.nothing_lost.farm import Farm, base_environment
from tests.orchestration.airflow_server import AirflowServer, airflow_server
from tests.receivers import Receiver, http_receiver

CALL_SHEET_SECRET = "shared-with-the-cms"


@pytest.fixture(scope="session")
def cms() -> Iterator[Receiver]:
    """Where webhooks arrive."""
    with http_receiver() as running:
        yield running


@pytest.fixture(scope="session")
def airflow() -> Iterator[AirflowServer]:
    """Airflow's API, which knows the batches."""
    with airflow_server() as running:
        running.dags |= {"batch__spring", "batch__summer"}
        yield running


@pytest.fixture(scope="session")
def mezzanine(clips: Clips) -> Path:
    return clips("nothing_lost.mp4", seconds=1.0, size="426x240")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, cms: Receiver, airflow: AirflowServer, mezzanine: Path) -> Farm:
    """A farm whose catalog has one title, which waits."""
    home = tmp_path_factory.mktemp("farm") / "empty"
    home.mkdir()
    environment = base_environment(
        CALLBACK=f"{cms.origin}/hooks",
        CALLSHEET_ALLOWED_ORIGINS=cms.origin,
        CALLSHEET_WEBHOOK_SECRET=CALL_SHEET_SECRET,
        CALLSHEET_MEZZANINE_ROOTS=str(mezzanine.parent),
        CALLSHEET_AIRFLOW_BASE_URL="https://airflow.example",
        AIRFLOW_CONN_CALLSHEET_AIRFLOW=airflow.connection,
    )
    farm = Farm(home, environment)
    Catalog(farm.catalog_url).migrate()
    farm.submit(mezzanine.as_uri())
    return farm


class Life:
    """A title's whole life without a mishap: the farm before each of its tasks, and the steps of each."""

    def __init__(self, folder: Path, start: Farm) -> None:
        self.folder = folder
        self.before: dict[str, Farm] = {}
        self.steps: dict[str, list[str]] = {}
        self.order: list[str] = []
        farm = start.copied(folder / "living")
        for number, step in enumerate(farm.steps()):
            self.order.append(step)
            self.before[step] = farm.copied(folder / f"before_{number}")
            trace = folder / f"{number}.steps"
            farm.finish(step, trace=trace)
            self.steps[step] = trace.read_text().splitlines()
        farm.check_end()
        self.end = farm


@pytest.fixture(scope="session")
def life_in_two_versions(tmp_path_factory: pytest.TempPathFactory, empty: Farm, mezzanine: Path) -> Life:
    """The life of a title whose core rung goes out first, and the other one with the next version."""
    folder = tmp_path_factory.mktemp("two_versions")
    farm = empty.copied(folder / "empty").of("summer")
    farm.submit(mezzanine.as_uri(), playable_first=True)
    return Life(folder, farm)


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory, empty: Farm) -> Life:
    return Life(tmp_path_factory.mktemp("life"), empty)
