"""A title taken through the tasks of its pipeline: worker tasks as real worker processes, the others in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.base.errors import EXIT_CODES, Retry
from include.base.settings import Settings
from include.domain.plan.plan import Plan
from include.domain.title.request import parse_batch
from include.pipelines.core import Task, find_pipeline
from include.pipelines.runner import TaskJob, load_plan, run_task
from include.services.settling import conclude
from include.stages.core import ControlContext
from tests.catalog.samples import NOW, find, start

LIMIT_S = 240


@dataclass
class Life:
    """A title of the pipeline ``vod`` and where it stands."""

    settings: Settings
    catalog: Catalog
    folder: Path

    @property
    def store(self) -> ObjectStore:
        return open_store(self.settings)

    @property
    def record(self) -> TitleRecord:
        return find(self.catalog, "spring/alpha")

    def submit(self, mezzanine: str) -> None:
        """Have a catalog that has released the title."""
        self.catalog.migrate()
        conf = {"batch_id": "spring", "titles": [{"title_id": "alpha", "mezzanine": mezzanine, "tier": "ugc"}]}
        assert self.catalog.batches.accept(parse_batch(conf, pipelines=frozenset({"vod"})), pipeline_version=3, now=NOW)
        start(self.catalog, "spring/alpha")

    @property
    def tasks(self) -> tuple[Task, ...]:
        return find_pipeline("vod", 3).tasks

    def jobs(self, task: Task) -> list[TaskJob]:
        """The task's job documents: one, or one for each encode job of the plan."""
        names: list[str | None] = [None]
        if task.mapped_over:
            plan: Plan = load_plan(self.record.job(), task, self.store)
            names = [job.name for job in plan.jobs]
        elif task.edition and load_plan(self.record.job(), task, self.store).early_edition(task.edition) is None:
            return []
        title = self.record.job()
        return [TaskJob(task=task.name, title=title, item=name, time_limit_s=LIMIT_S) for name in names]

    def worker(self, job: TaskJob) -> subprocess.CompletedProcess[str]:
        """Run one worker task in a process of its own."""
        store = self.store
        store.put_bytes(job.key, job.to_json().encode())
        argv = [sys.executable, "-m", "include.worker", job.task, "--job", f"{store.uri}/{job.key}"]
        return subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def control(self, job: TaskJob) -> None:
        """Run one task as Airflow's tasks do."""
        scratch = self.folder / f"scratch.{job.task}"
        scratch.mkdir(exist_ok=True)
        run_task(
            job,
            lambda **given: ControlContext(
                settings=self.settings, catalog=self.catalog, clock=lambda: NOW, conclude=conclude, **given
            ),
            store=self.store,
            scratch=scratch,
        )

    def live(self) -> None:
        """All tasks, in order."""
        for task in self.tasks:
            for job in self.jobs(task):
                if task.place == "airflow":
                    self.control(job)
                else:
                    done = self.worker(job)
                    if done.returncode == EXIT_CODES[Retry.TRANSIENT]:
                        # As Airflow does: not every break of a tool's connection can be mended within its run.
                        done = self.worker(job)
                    assert done.returncode == 0, done.stderr[-6000:]
