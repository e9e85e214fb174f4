"""What a home lies beside: files of its own, or PostgreSQL and S3 as on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.postgres import postgres
from tests.s3 import s3_server
from tests.upgrade import postgresql

FILES = "files"
"""SQLite and a folder."""
SERVICES = "services"
"""PostgreSQL for the catalog and for Airflow, and an S3 store."""
BESIDE = (FILES, SERVICES)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where a home's catalog and store are, and what its processes need to reach them."""

    catalog_url: str = ""
    store_uri: str = ""
    """Empty ones are in the home."""
    extra: dict[str, str] = field(default_factory=dict)
    """Environment variables."""


@contextmanager
def services(beside: str) -> Iterator[Services]:
    """Running services; they outlive a stop of the home's processes. :data:`FILES` needs none."""
    if beside == FILES:
        yield Services()
        return
    with postgres() as database, s3_server() as s3, pytest.MonkeyPatch.context() as here:
        for name, value in s3.environment.items():
            here.setenv(name, value)
        airflow = database.create_database("airflow")
        yield Services(
            catalog_url=database.create_database("callsheet"),
            store_uri=s3.uri,
            extra={
                **s3.environment,
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow,
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": airflow,
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": f"{postgresql.__name__}.CONNECT_ARGS",
            },
        )
