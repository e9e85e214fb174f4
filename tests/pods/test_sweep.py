"""The sweep of pods meets pods that are gone meanwhile, and an API server that refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from include.base.settings import Settings
from include.orchestration.runtimes.kubernetes.endings import SILENCE_S
from include.orchestration.runtimes.kubernetes.sweep import SWEEP_AFTER, sweep_pods

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATE = NOW + SWEEP_AFTER + timedelta(seconds=SILENCE_S + 60)


class Cluster:
    """Pods that nobody waits for; every deletion is answered with one status."""

    def __init__(self, status: int, **pods: bool) -> None:
        self.status, self.pods = status, pods
        self.asked: list[tuple[str, int | None]] = []

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> k8s.V1PodList:
        return k8s.V1PodList(items=[self._pod(name, dying) for name, dying in self.pods.items()])

    def delete_namespaced_pod(self, name: str, namespace: str, grace_period_seconds: int | None = None) -> None:
        self.asked.append((name, grace_period_seconds))
        raise ApiException(status=self.status)

    def _pod(self, name: str, dying: bool) -> k8s.V1Pod:
        meta = k8s.V1ObjectMeta(
            name=name, namespace="n", creation_timestamp=NOW, deletion_timestamp=NOW if dying else None
        )
        return k8s.V1Pod(metadata=meta, status=k8s.V1PodStatus(phase="Running"), spec=k8s.V1PodSpec(containers=[]))


class Airflow:
    """Knows no task instance: every pod works for nobody."""

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return []


def test_a_pod_that_is_gone_when_it_is_to_be_deleted_is_swept(tmp_path: Any) -> None:
    cluster = Cluster(404, dying=True, stray=False)

    swept = sweep_pods(Airflow(), Settings(home=tmp_path), now=LATE, client=cluster)  # type: ignore[arg-type]

    assert swept == ["dying", "stray"]
    assert cluster.asked == [("dying", 0), ("stray", None)]


@pytest.mark.parametrize("dying", [True, False])
def test_a_refused_deletion_is_not_taken_for_one(dying: bool, tmp_path: Any) -> None:
    cluster = Cluster(403, pod=dying)

    with pytest.raises(ApiException) as refused:
        sweep_pods(Airflow(), Settings(home=tmp_path), now=LATE, client=cluster)  # type: ignore[arg-type]

    assert refused.value.status == 403


def test_a_pod_that_is_being_deleted_has_time_to_end(tmp_path: Any) -> None:
    cluster = Cluster(403, pod=True)

    swept = sweep_pods(Airflow(), Settings(home=tmp_path), now=NOW + timedelta(seconds=1), client=cluster)  # type: ignore[arg-type]

    assert (swept, cluster.asked) == ([], [])
