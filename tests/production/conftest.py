"""One production-like farm for this folder: Airflow's components as processes, pods, PostgreSQL and S3.

It is stopped after the last test here: what is idle takes the others' time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import Clips
from tests.deploy.manifests import MANIFESTS
from tests.farm import Farm, farm
from tests.kube.cluster import Node
from tests.kube.faults import ApiFault
from tests.kube.server import Kube, kube_server
from tests.s3 import CREDENTIALS, S3, s3_server

WATCHFUL = {
    # The stack's own values, shortened: what is waited for is the same.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
}
CDN = "https://cdn.example"
"""Where players would find the bucket."""
NAMESPACE = "callsheet-workers"
NODE = Node(name="cpu-1", memory="64Gi", labels={"callsheet/pool": "cpu"})
FAULTS = 0.02
"""Share of requests to S3 and to Kubernetes that go wrong all the while."""


@pytest.fixture(scope="package")
def s3() -> Iterator[S3]:
    """The farm's object store."""
    with s3_server(faults=FAULTS) as running:
        yield running


@pytest.fixture(scope="package")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """The farm's cluster; the image brings nothing but programs, keys to the store come from a secret."""
    with kube_server(
        tmp_path_factory.mktemp("kube"),
        nodes=[NODE],
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        faults=[ApiFault(rate=FAULTS)],
        manifests=MANIFESTS,
        secrets_={"store-keys": CREDENTIALS},
    ) as running:
        yield running


@pytest.fixture(scope="package")
def production(tmp_path_factory: pytest.TempPathFactory, s3: S3, kube: Kube) -> Iterator[Farm]:
    """The running farm."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kube.kubeconfig)}}
    with pytest.MonkeyPatch.context() as here:
        # The tests look past the faults.
        for name, value in {**s3.environment, "AWS_ENDPOINT_URL_S3": s3.upstream}.items():
            here.setenv(name, value)
        with farm(
            tmp_path_factory.mktemp("production") / "home",
            extra={**WATCHFUL, **s3.environment, "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection)},
            runtime="kubernetes",
            worker_image="callsheet-worker:0.2.0",
            worker_namespace=NAMESPACE,
            worker_secret="store-keys",
            store_uri=s3.uri,
            mezzanine_buckets=(s3.bucket,),
            public_base_url=CDN,
        ) as running:
            yield running


@pytest.fixture(scope="package")
def mezzanine(clips: Clips, s3: S3) -> str:
    """Address of a short mezzanine in the bucket."""
    s3.client().upload_file(str(clips("production.mp4", seconds=1, size="160x90")), s3.bucket, "in/production.mp4")
    return f"s3://{s3.bucket}/in/production.mp4"
