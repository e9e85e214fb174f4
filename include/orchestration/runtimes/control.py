"""Tasks whose stages run inside Airflow, with the catalog: planning, publishing, settling."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from include.adapters.catalog import Catalog
from include.adapters.store.interface import ObjectStore
from include.base.settings import Settings
from include.domain.plan.binding import FarmShare
from include.domain.plan.plan import Plan
from include.orchestration.after_settling import after_settling
from include.orchestration.runtimes.runtime import Runtime
from include.orchestration.runtimes.task import PREVIEW_KEY, TitleTask
from include.pipelines.core import Task
from include.pipelines.runner import TaskJob, run_task
from include.services.planning import farm_share_of, note_planned
from include.services.settling import conclude
from include.stages.core import ControlContext

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class PreviewLink(BaseOperatorLink):
    """Button on the publish task: the preview page of the version that it published."""

    name = "Preview"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Address of the preview page, empty until there is one."""
        return XCom.get_value(ti_key=ti_key, key=PREVIEW_KEY) or ""


class ControlTask(TitleTask):
    """A task whose stages run inside Airflow, with the catalog."""

    def work(
        self, task_job: TaskJob, *, settings: Settings, store: ObjectStore, catalog: Catalog, context: Context
    ) -> dict[str, Any] | None:
        """Run the stages here; after the last task, release what follows and send what is due."""

        @cache
        def farm_share() -> FarmShare:
            return farm_share_of(catalog, settings, task_job.title.request_id)

        described = self.described(task_job.title)
        planner = described.maker_of(Plan)
        try:
            # Where housekeeping finds what a killed task has left.
            settings.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{task_job.title.title_id}.", dir=settings.scratch) as scratch:
                run_task(
                    task_job,
                    lambda **given: ControlContext(
                        settings=settings, catalog=catalog, farm_share=farm_share, conclude=conclude, **given
                    ),
                    store=store,
                    scratch=Path(scratch),
                )
            if planner in described.task(task_job.task).nodes:
                return note_planned(
                    catalog, settings, task_job.title, store, farm_share=farm_share, now=datetime.now(UTC)
                )
        finally:
            if task_job.task == described.of_run[-1].name:
                after_settling(catalog, settings, task_job.title)
        return None


class PublishTask(ControlTask):
    """The control task that publishes: with a button in the UI that opens the preview page."""

    operator_extra_links = (PreviewLink(),)


class Gate(EmptyOperator):
    """Mapped over nothing or one item: what follows is skipped, or not. The scheduler does it without a process."""

    def __init__(self, *, job: str | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.job = job


class Control(Runtime):
    """Airflow's own processes. No pool of worker tasks names it: it runs the tasks that need the catalog."""

    def operator(self, task: Task) -> type[TitleTask]:
        """The task that publishes has a button of its own."""
        return PublishTask if task.publishes else ControlTask

    def environment(self, settings: Settings) -> dict[str, str]:
        """Nothing: no worker is started here."""
        return {}


RUNTIME = Control()
