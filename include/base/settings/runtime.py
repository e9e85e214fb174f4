"""Where worker tasks run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from include.base.settings.owner import OwnerSettings


class RuntimeSettings(OwnerSettings):
    """The runtime, and what its pods are given."""

    runtime: Literal["local", "kubernetes"] = "local"
    """Where worker tasks run: as processes on this machine, or as pods."""
    worker_socket: str = ""
    """Unix socket of the workers' container on this machine, for ``local`` (``docker/compose.yaml``). Empty: workers
    are processes beside their task."""
    kubernetes_conn_id: str = "kubernetes_default"
    """Airflow connection (type kubernetes) to the cluster that runs the workers."""
    worker_namespace: str = "callsheet-workers"
    """Namespace of the worker pods."""
    worker_image: str = ""
    """Image of the worker pods (docker/worker.Dockerfile), pinned by digest or version; needed for ``kubernetes``."""
    worker_service_account: str = "callsheet-worker"
    """Service account of the worker pods: carries the workload identity that reads and writes the store."""
    worker_secret: str = ""
    """Kubernetes Secret whose keys become the workers' environment (``AWS_…``); empty means workload identity."""
    cpu_schedule_timeout_s: int = Field(default=1800, ge=60)
    """Seconds that a CPU pod waits for a node at most."""
    gpu_schedule_timeout_s: int = Field(default=3600, ge=60)
    """Seconds that a GPU pod waits for a node at most; afterwards its encode falls back to CPUs."""
    gpu_nodes_on_demand: bool = False
    """GPU nodes are added when a pod waits for one (a pool that scales from zero): that there are none now says
    nothing. Otherwise an encode falls back to CPUs at once where no node has a GPU."""
    max_memory_mb: int = Field(default=65536, ge=1024)
    """Most MiB of memory that one worker pod may ask for, also after running out of memory."""
