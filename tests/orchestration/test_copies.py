"""Where ``callsheet encode`` has a file read from, and when a copy that it made goes again."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.adapters.catalog import Catalog
from include.adapters.store import files
from include.base.settings import Settings
from include.domain.title.title import FINAL_STATES, GOOD_STATES, State
from include.services.copies import COPIES, clean_copies, placed
from tests.catalog.samples import a_batch, publish, start

LATER = timedelta(days=4)


@pytest.fixture
def rooted(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", mezzanine_roots=(tmp_path / "root",))


def untold(done: int, size: int) -> None:
    raise AssertionError("nothing is copied")


def removed(catalog: Catalog, settings: Settings, *, later: timedelta = LATER) -> list[str]:
    """What is cleaned so much later, with a grace of three days."""
    now = datetime.now(UTC) + later
    live = catalog.titles.find(states=set(State) - FINAL_STATES)
    settled = catalog.titles.find(states=FINAL_STATES, settled=(now - timedelta(days=33), now))
    return clean_copies(settings, live, settled, before=now - timedelta(days=3))


def entered(catalog: Catalog, batch_id: str, mezzanine: Path) -> str:
    batch = a_batch(batch_id, "film")
    title = batch.titles[0].model_copy(update={"mezzanine": mezzanine.as_uri()})
    catalog.batches.accept(batch.model_copy(update={"titles": (title,)}), pipeline_version=1, now=datetime.now(UTC))
    return f"{batch_id}/film"


def ended(catalog: Catalog, request: str, state: State) -> None:
    if state in GOOD_STATES:
        start(catalog, request, now=datetime.now(UTC))
        publish(catalog, request, now=datetime.now(UTC), degraded=state is State.DEGRADED)
    assert catalog.titles.settle(request, state, now=datetime.now(UTC))


def test_a_file_on_another_file_system_is_copied_and_its_progress_told(
    rooted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*paths: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(files, "CHUNK_BYTES", 8)
    file, told = tmp_path / "film.mov", []
    file.write_bytes(b"x" * 20)

    copy = placed(file, "film-1", rooted, lambda *seen: told.append(seen))

    assert told == [(8, 20), (16, 20), (20, 20)]
    assert copy == tmp_path / "root" / COPIES / "film-1.mov"
    assert (copy.read_bytes(), copy.samefile(file)) == (file.read_bytes(), False)


def test_a_link_into_a_root_is_read_where_it_leads(rooted: Settings, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "film.mov").write_bytes(b"film")
    (tmp_path / "shown.mov").symlink_to(tmp_path / "root" / "film.mov")

    assert placed(tmp_path / "shown.mov", "film-1", rooted, untold) == tmp_path / "root" / "film.mov"


@pytest.mark.parametrize("state", [State.PUBLISHED, State.REJECTED, State.CANCELLED])
def test_a_copy_goes_when_its_title_is_settled_for_good_and_nothing_else_with_it(
    state: State, catalog: Catalog, rooted: Settings, tmp_path: Path
) -> None:
    file, delivered = tmp_path / "film.mov", tmp_path / "root" / "delivered.mov"
    file.write_bytes(b"film")
    copy = placed(file, "film-1", rooted, untold)
    delivered.write_bytes(b"film")
    request = entered(catalog, "encode-1", copy)

    assert removed(catalog, rooted) == [], "it waits"
    ended(catalog, request, state)
    assert removed(catalog, rooted, later=timedelta(days=2)) == [], "it has just been settled"
    assert removed(catalog, rooted) == ["film-1.mov"]
    assert (file.exists(), delivered.exists(), copy.exists()) == (True, True, False)


def test_a_copy_stays_for_what_may_be_tried_again_until_that_is_done(
    catalog: Catalog, rooted: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "film.mov"
    file.write_bytes(b"film")
    copy = placed(file, "film-1", rooted, untold)
    ended(catalog, entered(catalog, "encode-1", copy), State.DEGRADED)

    assert removed(catalog, rooted) == [], "it may be repaired"
    again = entered(catalog, "encode-2", copy)
    assert removed(catalog, rooted) == [], "it is being repaired"
    ended(catalog, again, State.FAILED)
    assert removed(catalog, rooted) == [], "it may be replayed"
    assert removed(catalog, rooted, later=timedelta(days=40)) == ["film-1.mov"]


def test_a_copy_whose_request_is_on_its_way_stays(catalog: Catalog, rooted: Settings, tmp_path: Path) -> None:
    file = tmp_path / "film.mov"
    file.write_bytes(b"film")
    placed(file, "film-1", rooted, untold)

    assert removed(catalog, rooted, later=timedelta(0)) == []
    assert removed(catalog, rooted) == ["film-1.mov"]
