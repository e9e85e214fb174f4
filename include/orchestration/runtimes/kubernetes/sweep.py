"""Deletes pods that work for nobody."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException

from include.base.settings import Settings
from include.orchestration.runtimes.kubernetes.endings import (
    is_lost,
)
from include.orchestration.runtimes.kubernetes.spec import (
    ANNOTATIONS,
    OURS,
)
from include.orchestration.runtimes.kubernetes.waiting import (
    ClusterHook,
    asking_again,
)

if TYPE_CHECKING:
    from include.adapters.airflow_api import AirflowApi

log = logging.getLogger(__name__)


LIVING_STATES = frozenset({"running", "deferred", "queued", "scheduled", "up_for_retry", "restarting"})
"""Of a task instance (or none: it was cleared): it waits for its pod, or takes it over when it runs."""

SWEEP_AFTER = timedelta(minutes=5)


def delete_by_force(core: Any, pod: Any) -> None:
    """Delete a pod that is lost without waiting for its node, which would keep the name and the quota for ever.

    Its worker may live on, where the node is cut off from the API server alone, and end beside the one that the next
    attempt starts. That is safe because no worker can spoil another's work: each has a scratch folder of its own, an
    object of the store is whole or not there, its key says what it holds, whichever of two equal ones came last is as
    good, and what is published is compared with what was checked and stands behind one compare-and-set.
    """
    log.warning("pod %s has lost its node: deleted by force", pod.metadata.name)
    try:
        asking_again(core.delete_namespaced_pod)(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
    except ApiException as error:
        if error.status != 404:
            raise


def sweep_pods(api: AirflowApi, settings: Settings, *, now: datetime, client: Any = None) -> list[str]:
    """Delete worker pods that nobody waits for; returns their names.

    A pod outlives its task where task runner or triggerer died before the task was cleared, failed or deleted; and its
    deletion where its node is lost.
    """
    core = client or ClusterHook(conn_id=settings.kubernetes_conn_id).core_v1_client
    selector = ",".join(f"{name}={value}" for name, value in OURS.items())
    swept: list[str] = []
    states: dict[tuple[str, str], dict[tuple[str, str], str | None]] = {}
    for pod in asking_again(core.list_namespaced_pod)(settings.worker_namespace, label_selector=selector).items:
        meta = pod.metadata
        if meta.deletion_timestamp:
            if is_lost(pod, now):
                delete_by_force(core, pod)
                swept.append(meta.name)
            continue
        if now - meta.creation_timestamp < SWEEP_AFTER:
            continue
        dag_id, run_id, task_id, map_index = ((meta.annotations or {}).get(each, "") for each in ANNOTATIONS)
        if (dag_id, run_id) not in states:
            states[dag_id, run_id] = _states(api, dag_id, run_id)
        known = states[dag_id, run_id]
        if (task_id, map_index) in known:
            state = known[task_id, map_index]
            if state is None or state in LIVING_STATES:
                continue
        log.warning("pod %s works for nobody: deleted", meta.name)
        try:
            asking_again(core.delete_namespaced_pod)(meta.name, meta.namespace)
        except ApiException as error:
            if error.status != 404:
                raise
        swept.append(meta.name)
    return swept


def _states(api: AirflowApi, dag_id: str, run_id: str) -> dict[tuple[str, str], str | None]:
    from include.adapters.airflow_api import DagUnknown

    try:
        found = api.task_instances(dag_id, run_id)
    except DagUnknown:
        return {}
    return {(each["task_id"], str(each["map_index"])): each["state"] for each in found}
