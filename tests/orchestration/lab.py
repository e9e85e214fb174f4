"""The project with a pipeline of a user's own (``lab_pipeline.py``), for this process and for workers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import SetXCom

import include
import include.pipelines
from include.adapters.catalog import Catalog, TitleRecord
from include.domain.title.request import parse_batch
from include.orchestration.runtimes import local
from include.orchestration.runtimes.control import ControlTask
from include.orchestration.runtimes.local import WorkerTask
from include.orchestration.runtimes.task import TitleTask
from include.pipelines import core
from include.pipelines.core import Pipeline, current_pipelines, find_pipeline

SOURCE = Path(__file__).with_name("lab_pipeline.py")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def built_project(folder: Path) -> Path:
    """The project by links, and the user's file among its pipelines."""
    package = Path(next(iter(include.__path__)))
    copy = folder / "include"
    (copy / "pipelines").mkdir(parents=True)
    for each in package.iterdir():
        if each.name != "pipelines":
            (copy / each.name).symlink_to(each)
    for each in (package / "pipelines").glob("*.py"):
        (copy / "pipelines" / each.name).symlink_to(each)
    (copy / "pipelines" / "lab.py").write_text(SOURCE.read_text())
    return folder


@dataclass
class Lab:
    """The pipeline, and tasks of its titles."""

    pipeline: Pipeline

    @classmethod
    def install(cls, project: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
        core.registry()
        monkeypatch.setattr(local, "PROJECT_ROOT", project)
        monkeypatch.setattr(include.pipelines, "__path__", [str(project / "include" / "pipelines")])
        monkeypatch.setattr(core, "_registry", dict(core._registry))
        # Each test registers it anew, in a copy of what is registered already.
        monkeypatch.delitem(sys.modules, "include.pipelines.lab", raising=False)
        return cls(find_pipeline("lab", 1))

    def task(self, name: str, *, job: str | None = None) -> TitleTask:
        kind = WorkerTask if self.pipeline.task(name).place == "worker" else ControlTask
        return kind(task_id=name, pipeline="lab", pipeline_version=1, job=job)


def released(catalog: Catalog, *, batch_id: str = "spring", pipeline: str = "lab", **title: Any) -> TitleRecord:
    """A title with a run."""
    conf = {"batch_id": batch_id, "pipeline": pipeline,
            "titles": [{"title_id": "alpha", "mezzanine": "file:///media/alpha.mov", **title}]}  # fmt: skip
    catalog.batches.accept(
        parse_batch(conf, pipelines=frozenset({pipeline})),
        pipeline_version=current_pipelines()[pipeline].version,
        now=NOW,
    )
    (claimed,) = catalog.titles.claim(window=100, now=NOW, claimant="test")
    catalog.titles.mark_released(claimed.request_id, claimant="test", run_id=claimed.run_id or "", now=NOW)
    found = catalog.titles.get(claimed.request_id)
    assert found is not None
    return found


class Supervisor:
    """Airflow's end of what a task says to it: keeps the XComs."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str], tuple[Any, int | None]] = {}
        """By task id and key: the value, and the length to map over."""

    def send(self, message: SetXCom) -> None:
        self.xcoms[message.task_id, message.key] = message.value, message.mapped_length


class TaskInstance:
    """What a task may do with its task instance."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context(title: TitleRecord, **changes: Any) -> Any:
    """The context of a task in a title's run."""
    run = {"dag_id": title.dag_id, "run_id": title.run_id, "conf": {"request_id": title.request_id}, **changes}
    return {"dag_run": SimpleNamespace(**run), "ti": TaskInstance()}
