"""What a runtime is: a place where the tasks of a pipeline run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

from include.adapters.airflow_api import AirflowApi
from include.base.settings import Settings
from include.orchestration.runtimes.task import TitleTask
from include.pipelines.core import Task


class Runtime(ABC):
    """A place where tasks run, and how Airflow reaches it. Each is a module of this package with one ``RUNTIME``."""

    leftovers: str = ""
    """What :meth:`sweep` deletes, as a word for the log of ``dispatch``; empty where nothing can be left over."""

    @abstractmethod
    def operator(self, task: Task) -> type[TitleTask]:
        """The operator that runs this task here."""

    @abstractmethod
    def environment(self, settings: Settings) -> dict[str, str]:
        """All that a worker here sees of the environment, without :data:`WORKER_SECRETS`."""

    def sweep(self, api: AirflowApi, settings: Settings, *, now: datetime) -> list[str]:
        """Delete what works for a task that no longer wants it; returns the names of what was deleted."""
        return []
