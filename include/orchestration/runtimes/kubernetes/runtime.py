"""Worker tasks as pods of a Kubernetes cluster."""

from __future__ import annotations

from datetime import datetime

from include.adapters.airflow_api import AirflowApi
from include.base.settings import Settings
from include.orchestration.runtimes.kubernetes.spec import worker_environment
from include.orchestration.runtimes.kubernetes.sweep import sweep_pods
from include.orchestration.runtimes.kubernetes.task import PodTask
from include.orchestration.runtimes.runtime import Runtime
from include.orchestration.runtimes.task import TitleTask
from include.pipelines.core import Task


class Kubernetes(Runtime):
    """Pods: one for each attempt of a worker task, gone with it."""

    leftovers = "pods"

    def operator(self, task: Task) -> type[TitleTask]:
        """The task is deferred while its pod runs."""
        return PodTask

    def environment(self, settings: Settings) -> dict[str, str]:
        """What the pod's spec names; keys to the store come from a Secret or the workload identity instead."""
        return worker_environment()

    def sweep(self, api: AirflowApi, settings: Settings, *, now: datetime) -> list[str]:
        """Delete worker pods that nobody waits for; returns their names."""
        return sweep_pods(api, settings, now=now)


RUNTIME = Kubernetes()
