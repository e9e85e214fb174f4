"""One stand-in per module for the rules of the API, fresh ones for what changes the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from kubernetes import client, config

from tests.kube.admission import PriorityClass
from tests.kube.server import Kube, kube_server


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    with kube_server(
        tmp_path_factory.mktemp("kube"),
        priority_classes={"premium": 1000, "polite": PriorityClass(value=10, preemption="Never")},
        secrets_={"store-keys": {"AWS_ACCESS_KEY_ID": "key"}},
        entrypoint=("python", "-c"),
        env={"FROM_IMAGE": "image", "BOTH": "image"},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def api(kube: Kube) -> client.CoreV1Api:
    return core(kube)


@pytest.fixture(scope="module")
def http(kube: Kube) -> Iterator[httpx.Client]:
    with raw(kube) as session:
        yield session


def core(kube: Kube) -> client.CoreV1Api:
    """The official client, from the kubeconfig alone."""
    return client.CoreV1Api(config.new_client_from_config(str(kube.kubeconfig)))


def soon(reached: Callable[[], bool], what: str, limit_s: float = 20) -> None:
    """Return once it is so; pods of this stand-in start and end within milliseconds."""
    end = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < end, f"{what} did not come within {limit_s:.0f} s"
        time.sleep(0.02)


def raw(kube: Kube) -> httpx.Client:
    """Plain HTTP with the account's token, where a client library would be too well behaved."""
    return httpx.Client(base_url=kube.url, headers={"Authorization": f"Bearer {kube.token}"}, trust_env=False)
