"""One production-like farm for the session: PostgreSQL, S3, and Airflow's components as separate processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.farm import Farm, farm
from tests.s3 import S3, s3_server

WATCHFUL = {
    # The stack's own values, shortened: what is waited for is the same.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
}


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """The farm's object store; a few of its requests fail."""
    with s3_server(faults=0.02) as running:
        yield running


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Farm]:
    """The running farm."""
    with pytest.MonkeyPatch.context() as here:
        # The tests look past the faults.
        for name, value in {**s3.environment, "AWS_ENDPOINT_URL_S3": s3.upstream}.items():
            here.setenv(name, value)
        with farm(
            tmp_path_factory.mktemp("production") / "home",
            extra={**WATCHFUL, **s3.environment},
            store_uri=s3.uri,
            mezzanine_buckets=(s3.bucket,),
            public_base_url=f"{s3.upstream}/{s3.uri.removeprefix('s3://')}",
        ) as running:
            yield running
