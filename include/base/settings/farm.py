"""How much is encoded at once, and what gives way for a deadline."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from include.base.settings.owner import OwnerSettings


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: in a container fewer than the machine has.

    A pod's CPU limit is a share of time on all cores of its node. As many threads as cores would be stopped by it again
    and again.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return cores


class FarmSettings(OwnerSettings):
    """Slots of the pools, and the rules of release."""

    release_window: int = Field(default=4, ge=1, le=200)
    """Titles that may have an active run at once."""
    degrade: bool = True
    """Whether encodes give up quality for their title's deadline, as far as its tier allows; it is made good later."""
    work_retention_h: float = Field(default=72.0, ge=0)
    """Hours after which the work folder of a settled title is removed."""
    encode_slots: int = Field(default_factory=available_cores, ge=1)
    """Worker tasks at once on CPUs: slots of the pool ``cpu_encode``, which ``make up`` and ``callsheet configure``
    set. Each local encode gets its share of the cores."""
    gpu_slots: int = Field(default=0, ge=0)
    """Encodes at once on GPUs: slots of the pool ``gpu_encode``. 0 plans everything for CPUs."""
