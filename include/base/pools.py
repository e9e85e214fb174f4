"""The pools of worker tasks: how many run at once in each, and where they run.

Everything that counts slots or names a pool asks here, from the plan up to the DAGs. Which operator runs the tasks of a
runtime is said in :mod:`include.orchestration.runtimes.registry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The domain names pools, and has no business with settings.
    from include.base.settings import Settings

CPU_POOL = "cpu_encode"
GPU_POOL = "gpu_encode"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Airflow's limit of worker tasks at once, for the tasks of one runtime."""

    name: str
    slots: int
    """Tasks at once; 0 where this deployment has no such place."""
    runtime: str
    """Name of the runtime that its tasks run on: ``local`` or ``kubernetes``."""
    gpu: bool = False
    """Whether its encodes want a GPU."""


def worker_pools(settings: Settings) -> tuple[Pool, ...]:
    """The pools that worker tasks run in; one more entry is one more pool, with its own mapped tasks in every DAG.

    The first one also takes the tasks that are not encodes. Airflow's own tasks are in the pool ``control``, which is
    none of these: ``airflow_settings.yaml`` gives it its slots.
    """
    return (
        Pool(name=CPU_POOL, slots=settings.encode_slots, runtime=settings.runtime),
        Pool(name=GPU_POOL, slots=settings.gpu_slots, runtime=settings.runtime, gpu=True),
    )


def worker_slots(settings: Settings) -> int:
    """How many worker tasks the farm runs at once, over all pools."""
    return sum(pool.slots for pool in worker_pools(settings))


def wants_gpu(settings: Settings, name: str) -> bool:
    """Whether the encodes of that pool want a GPU; False also where there is no such pool."""
    return any(pool.gpu for pool in worker_pools(settings) if pool.name == name)
