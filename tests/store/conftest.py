"""An S3 server for the whole session, and stores on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.adapters.s3 import transfer
from include.adapters.s3.store import S3Store
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.settings import Settings
from tests.s3 import S3, s3_server

LEAST_PART = 5 * 1024**2
"""S3 takes no smaller parts but the last."""


@pytest.fixture(scope="session")
def _s3() -> Iterator[S3]:
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(_s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, which nobody has asked anything yet; the environment leads to it."""
    for name, value in _s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(transfer, "PART_BYTES", LEAST_PART)
    _s3.faults, _s3.decide = 0.0, lambda asked: None
    _s3.asked.clear()
    _s3.hurt.clear()
    return _s3


@pytest.fixture
def opened(s3: S3) -> Callable[..., S3Store]:
    """Opens an empty store on S3."""

    def open_it(**settings: object) -> S3Store:
        uri = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
        return S3Store(uri, Settings(store_uri=uri, **settings))

    return open_it


@pytest.fixture
def store(opened: Callable[..., S3Store]) -> S3Store:
    return opened()


@pytest.fixture(params=["local", "s3"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A store of each kind: what both must do alike."""
    if request.param == "local":
        return open_store(Settings(store_uri=(tmp_path / "a store").as_uri()))
    made: ObjectStore = request.getfixturevalue("store")
    return made
