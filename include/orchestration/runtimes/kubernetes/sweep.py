"""Deletes worker pods that nobody waits for, and pods whose node is lost."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from kubernetes.client.exceptions import ApiException

from include.adapters.airflow_api import AirflowApi, DagUnknown
from include.base.settings import Settings
from include.orchestration.runtimes.kubernetes.endings import given_up_at, is_lost, is_silent
from include.orchestration.runtimes.kubernetes.spec import ANNOTATIONS, OURS
from include.orchestration.runtimes.kubernetes.waiting import ClusterHook, asking_again

log = logging.getLogger(__name__)

LIVING_STATES = frozenset({"running", "deferred", "queued", "scheduled", "up_for_retry", "restarting"})
"""States of a task instance that waits for its pod, or will take it over when it runs again. A cleared task instance
has no state, and is one of them."""
SWEEP_AFTER = timedelta(minutes=5)
"""Younger pods are left alone: their task may not have written down yet that it has one."""


def delete_by_force(core: Any, pod: Any) -> None:
    """Delete a pod whose node is lost, without waiting for that node: it would keep the pod's name and quota for ever.

    Its worker may still be at work, where the node is only cut off from the API server. It then runs beside the worker
    of the next attempt. That is safe, because no worker can spoil the work of another:

    - each has a scratch folder of its own;
    - an object appears in the store whole or not at all;
    - an object's key says what is in it, so two workers that write the same key write equal objects;
    - publishing compares what it publishes with what was checked, and changes one pointer by compare-and-set.
    """
    log.warning("pod %s has lost its node: deleted by force", pod.metadata.name)
    try:
        asking_again(core.delete_namespaced_pod)(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
    except ApiException as error:
        if error.status != 404:
            raise


def sweep_pods(api: AirflowApi, settings: Settings, *, now: datetime, client: Any = None) -> list[str]:
    """Delete worker pods that nobody waits for; returns their names.

    A pod outlives its task where the task runner or the triggerer had died before the task was cleared, failed or
    deleted. A pod outlives its own deletion where its node is lost.
    """
    core = client or ClusterHook(conn_id=settings.kubernetes_conn_id).core_v1_client
    selector = ",".join(f"{name}={value}" for name, value in OURS.items())
    swept: list[str] = []
    states: dict[tuple[str, str], dict[tuple[str, str], str | None]] = {}
    pods = asking_again(core.list_namespaced_pod)(settings.worker_namespace, label_selector=selector).items
    _tell_of_silent_nodes(pods)
    for pod in pods:
        meta = pod.metadata
        if meta.deletion_timestamp:
            if is_lost(pod, now):
                delete_by_force(core, pod)
                swept.append(meta.name)
            continue
        if now - meta.creation_timestamp < SWEEP_AFTER:
            continue
        dag_id, run_id, task_id, map_index = ((meta.annotations or {}).get(name, "") for name in ANNOTATIONS)
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


def _tell_of_silent_nodes(pods: Iterable[Any]) -> None:
    """Say which nodes do not answer while pods run there: where all nodes are silent, Kubernetes ends none of them."""
    nodes: dict[str, list[Any]] = defaultdict(list)
    for pod in filter(is_silent, pods):
        nodes[pod.spec.node_name].append(pod)
    for name, silent in sorted(nodes.items()):
        ends = [end for end in map(given_up_at, silent) if end is not None]
        log.warning(
            "the node %s does not answer, and %d worker pods run there; they are waited for until they should have "
            "ended, the first until %s",
            name, len(silent), min(ends, default="the end of its task"),
        )  # fmt: skip


def _states(api: AirflowApi, dag_id: str, run_id: str) -> dict[tuple[str, str], str | None]:
    """States of a run's task instances, by task id and map index; empty where Airflow does not know the run."""
    try:
        found = api.task_instances(dag_id, run_id)
    except DagUnknown:
        return {}
    return {(instance["task_id"], str(instance["map_index"])): instance["state"] for instance in found}
