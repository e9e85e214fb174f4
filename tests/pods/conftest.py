"""A cluster per module, and a title of the lab pipeline per test whose worker tasks run as its pods."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from airflow.providers.cncf.kubernetes import kubernetes_helper_functions
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from tests.deploy.manifests import MANIFESTS, node_pools
from tests.kube.cluster import Node
from tests.kube.server import Kube, kube_server
from tests.orchestration.conftest import catalog, lab, lab_project, migrated, settings, store, supervisor  # noqa: F401
from tests.orchestration.lab import Lab, released
from tests.pods.bench import NAMESPACE, Bench

(_CPU_LABELS, _CPU_TAINTS), (_GPU_LABELS, _GPU_TAINTS) = (node_pools()[each] for each in ("NODE", "GPU-NODE"))
CPU_NODE = Node(name="cpu-1", memory="64Gi", labels=_CPU_LABELS, taints=_CPU_TAINTS)
GPU_NODE = Node(name="gpu-1", gpu=1, labels=_GPU_LABELS, taints=_GPU_TAINTS)
"""As the guide has them labelled and tainted."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, lab_project: Path) -> Iterator[Kube]:  # noqa: F811
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(lab_project),
        # The project's folder is the working directory of every container: its own include must not come first.
        "PYTHONSAFEPATH": "1",
    }
    with kube_server(
        tmp_path_factory.mktemp("kube"),
        nodes=[CPU_NODE],
        env=environment,
        image=[lab_project],
        # Its pods meet what an administrator lays down: rights, quota, limits, pod security, priority classes.
        manifests=MANIFESTS,
        secrets_={"store-keys": {"AWS_ACCESS_KEY_ID": "key"}},
    ) as running:
        yield running


@pytest.fixture
def kube(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """The cluster without faults; Airflow's connection leads to it, and nobody waits for long."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(cluster.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(kubernetes_helper_functions, "_default_wait", tenacity.wait_fixed(0.05))
    monkeypatch.setattr(KubernetesPodTrigger._get_pod.retry, "wait", tenacity.wait_fixed(0.05))  # type: ignore[attr-defined]
    yield cluster
    cluster.faults.clear()
    cluster.add_node(CPU_NODE)


@pytest.fixture
def bench(kube: Kube, lab: Lab, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:  # noqa: F811
    """A released title."""
    for name, value in {
        "CALLSHEET_STORE_URI": settings.store_uri,
        "CALLSHEET_WORKER_IMAGE": "callsheet-worker:0.2.0",
        "CALLSHEET_WORKER_NAMESPACE": NAMESPACE,
        "CALLSHEET_WEBHOOK_SECRET": "planted-secret",
    }.items():
        monkeypatch.setenv(name, value)
    # The store, and the file by which a worker says that it hangs.
    kube.cluster.outside = (tmp_path,)
    known = Catalog(settings.catalog_url)
    return Bench(kube, known, LocalStore(settings.home / "store"), released(known))
