"""Pod tasks as Airflow drives them: execute, defer, the trigger's own coroutine, resume; against the stand-in's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.local import LocalStore
from include.base.errors import ErrorDocument
from include.orchestration.runtimes.kubernetes.task import PodTask
from include.pipelines.runner import TaskJob
from tests.kube.server import Kube
from tests.orchestration.lab import TaskInstance

NAMESPACE = "callsheet-workers"
Item = dict[str, Any]


@dataclass
class Bench:
    """A title of the lab pipeline in a cluster, and its tasks' contexts."""

    kube: Kube
    catalog: Catalog
    store: LocalStore
    title: TitleRecord
    state: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The task state store by task: it outlives attempts."""
    tries: dict[str, int] = field(default_factory=dict)
    patience_s: int | None = None
    """Instead of the configured time that a pod may wait for its node, which is never short."""
    deadline_s: int | None = None
    """Instead of the footprint's time that a pod may run, which is never short either."""

    watch_s: int = 1
    """How long a watch of a pod's events lasts before it is renewed."""

    def task(self, name: str = "look-around", *, job: str | None = None, **arguments: Any) -> PodTask:
        """A new operator, as each process has its own."""
        quick = {
            "poll_interval": 0.1,
            "startup_check_interval_seconds": self.watch_s,
            "logging_interval": 1,
            **arguments,
        }
        task = _Impatient(task_id=name, pipeline="lab", pipeline_version=1, job=job, **quick)
        task.patience_s, task.deadline_s = self.patience_s, self.deadline_s
        return task

    def context(self, name: str = "look-around", *, job: str | None = None) -> Any:
        """The context of the next attempt, or of the one under way."""
        ti = TaskInstance()
        ti.__dict__.update(
            dag_id=self.title.dag_id, task_id=name, run_id=self.title.run_id,
            map_index=-1 if job is None else int(job[5]),
            try_number=self.tries.get(name, 1), start_date=datetime.now(UTC),
        )  # fmt: skip
        run = SimpleNamespace(
            dag_id=self.title.dag_id, run_id=self.title.run_id, conf={"request_id": self.title.request_id}
        )
        state = StateStore(self.state.setdefault(name, {}))
        return {"dag_run": run, "ti": ti, "run_id": run.run_id, "dag": SimpleNamespace(), "task_state_store": state}

    def start(self, name: str = "look-around", *, job: str | None = None) -> TaskDeferred:
        """An attempt until it defers."""
        self.tries[name] = self.tries.get(name, 0) + 1
        try:
            self.task(name, job=job).execute(self.context(name, job=job))
        except TaskDeferred as deferred:
            return deferred
        raise AssertionError("the task did not defer")

    def attempt(self, name: str = "look-around", *, job: str | None = None) -> Any:
        """One attempt from beginning to end: what it returns, or raises."""
        self.tries[name] = self.tries.get(name, 0) + 1
        try:
            return self.task(name, job=job).execute(self.context(name, job=job))
        except TaskDeferred as deferred:
            return self.finish(deferred, name, job=job)

    def finish(
        self,
        deferred: TaskDeferred,
        name: str = "look-around",
        *,
        job: str | None = None,
        before_resuming: Callable[[], None] = lambda: None,
    ) -> Any:
        """The rest of an attempt that was deferred."""
        while True:
            event = fired(deferred)
            before_resuming()
            resume = getattr(self.task(name, job=job), deferred.method_name)
            try:
                return resume(self.context(name, job=job), event=event, **(deferred.kwargs or {}))
            except TaskDeferred as again:
                deferred = again

    def pods(self) -> list[Item]:
        return self.kube.pods(NAMESPACE)

    def error(self, name: str = "look-around", *, job: str | None = None) -> ErrorDocument:
        return ErrorDocument.from_json(self.store.get_bytes(self.document(name, job).error_key))

    def document(self, name: str = "look-around", job: str | None = None) -> TaskJob:
        """Where the task's documents lie."""
        return TaskJob(task=name, title=self.title.job(), item=job, time_limit_s=0)

    def job(self, name: str, job: str) -> TaskJob:
        return TaskJob.from_json(self.store.get_bytes(self.document(name, job).key))

    def told(self) -> list[str]:
        """Kinds of the title's task events."""
        events = self.catalog.history.events(request_id=self.title.request_id)
        return [each.kind for each in events if each.kind.startswith("task.")]


class _Impatient(PodTask):
    """A pod task that waits no longer than the test does."""

    patience_s: int | None = None
    deadline_s: int | None = None

    def _shape(self, *arguments: Any) -> TaskJob:
        shaped = super()._shape(*arguments)
        self.schedule_timeout_seconds = self.patience_s or self.schedule_timeout_seconds
        self.active_deadline_seconds = self.deadline_s or self.active_deadline_seconds
        return shaped


class StateStore:
    """Airflow's task state store, as far as it is used: JSON by key."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))


def trigger_of(deferred: TaskDeferred) -> Any:
    """The trigger as the triggerer makes it: from its class path and arguments."""
    path, arguments = deferred.trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(**arguments)


def fired(deferred: TaskDeferred) -> dict[str, Any]:
    """The event of a deferred task's trigger."""

    async def first() -> dict[str, Any]:
        async for event in trigger_of(deferred).run():
            found: dict[str, Any] = event.payload
            return found
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(asyncio.wait_for(first(), timeout=60))
