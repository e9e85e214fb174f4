"""How a pipeline is written and read.

A ``@pipeline`` function composes stages by calling them, and says with ``task`` which consecutive stages share one
Airflow task::

    @pipeline(version=1)
    def vod(title: Handle) -> None:
        with task("prepare"):
            source = inspect(title)
            analysis = analyse(source)
        with task("plan"):
            decision = plan(source, analysis)
        with task("encode", each_job_of=decision) as job:
            renditions = encode(source, decision, job)
        ...

The function runs once, at registration, and only describes. Airflow reads the tasks and their edges from it, the
worker reads which stages a task runs and which documents each of them takes: one object, both places.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from include import pipelines
from include.base.document import Document
from include.base.errors import ConfigurationError
from include.domain.order.steps import HEAVIEST_STEP
from include.domain.outcome.results import PublishResult
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.title.title import TitleJob
from include.stages.core import (
    TITLE,
    Handle,
    Input,
    Node,
    Place,
    Stage,
    accepts_many,
    accepts_none,
    being_described,
    document_type,
)

TriggerRule = Literal["all_success", "all_done"]
"""Airflow's word for when a task runs, given how its upstream tasks ended. A mapped one counts as well when it is done:
what follows takes the results that there are."""


ITEM = "item"
"""Producer of the handle that stands for the job of a mapped task."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Consecutive stages that share a process: one Airflow task, or for a mapped one a task per pool (names.py)."""

    name: str
    nodes: tuple[Node, ...]
    upstream: tuple[str, ...]
    """Tasks whose results it takes, and those it was told to follow."""
    trigger_rule: TriggerRule
    mapped_over: str | None
    """Stage whose result lists the jobs, for a mapped task."""
    edition: str | None = None
    """The edition before the complete one that it makes; it is skipped for a title whose plan does not list that."""
    edition_of: str | None = None
    """Stage whose result is that plan."""
    weight: int = 1
    """Its place among the tasks of titles of equal priority, 0 to 9: the higher one gets a free slot."""
    share: float = 1.0
    """Its share of a title's progress, in proportion to those of the other tasks; its stages have equal parts of it."""
    publishes: bool = False
    """Whether its last stage publishes a version."""
    apart: bool = False
    """Whether it is none of the title's run: a run of another DAG does it, when the title is settled."""

    @property
    def place(self) -> Place:
        """Where it runs: all its stages agree."""
        return self.nodes[0].stage.place


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A described pipeline. A batch's DAG names it by name and version, so that a deploy never changes a live run."""

    name: str
    version: int
    summary: str
    tasks: tuple[Task, ...]

    @property
    def of_run(self) -> tuple[Task, ...]:
        """The tasks of a title's run; the last of them settles the title."""
        return tuple(task for task in self.tasks if not task.apart)

    def before(self, edition: str | None) -> tuple[str, ...]:
        """The editions that go out before ``edition``; None is the complete one."""
        return self.editions if edition is None else self.editions[: self.editions.index(edition)]

    def task(self, name: str) -> Task:
        """The task called ``name``; raises :class:`ConfigurationError`."""
        for candidate in self.tasks:
            if candidate.name == name:
                return candidate
        known = ", ".join(each.name for each in self.tasks)
        raise ConfigurationError(f"pipeline {self.name} v{self.version} has no task {name!r} (it has {known})")

    def owner(self, stage: str) -> str:
        """Name of the task that ``stage`` runs in; for an early edition it is ``<edition>_<stage>``."""
        return next(task.name for task in self.tasks if any(node.name == stage for node in task.nodes))

    def maker_of(self, kind: type[Document]) -> Node | None:
        """The first stage that makes a document of ``kind``; None where no stage does."""
        nodes = (node for task in self.tasks for node in task.nodes)
        return next((node for node in nodes if issubclass(node.stage.result, kind)), None)

    @property
    def editions(self) -> tuple[str, ...]:
        """What it can publish before the complete set, by name and in this order."""
        return tuple(dict.fromkeys(task.edition for task in self.tasks if task.edition is not None))


@dataclass
class _Description:
    """A pipeline while its function runs."""

    pipeline: str
    tasks: list[Task] = field(default_factory=list)
    owner_of: dict[str, str] = field(default_factory=dict)
    """Stage name → task name."""
    result_of: dict[str, type[Document]] = field(default_factory=lambda: {TITLE.producer: TitleJob})
    """Stage name → what it makes."""
    open_task: Task | None = None
    """What the task that is being described says of itself; its stages come with its end."""
    nodes: list[Node] = field(default_factory=list)
    """Stages of the open task."""

    def add(self, stage: Stage, arguments: tuple[Handle, ...], options: dict[str, Any]) -> Handle:
        """Note one stage of the open task; returns the handle of its result."""
        where, task = f"pipeline {self.pipeline}: stage {stage.name}", self.open_task
        if task is None:
            raise ConfigurationError(f"{where}: call it inside `with task(…)`")
        if not stage.required <= len(arguments) <= len(stage.parameters):
            raise ConfigurationError(f"{where}: takes {len(stage.parameters)} documents, got {len(arguments)}")
        mapped = task.mapped_over is not None
        given = list(zip(arguments, stage.parameters, strict=False))
        for number, (handle, annotation) in enumerate(given, 1):
            self._check_argument(f"{where}: document {number}", handle, annotation, mapped=mapped)
        if mapped and stage.place != "worker":
            raise ConfigurationError(f"{where}: runs in {stage.place}; only workers run once per job")
        if self.nodes and self.nodes[0].stage.place != stage.place:
            raise ConfigurationError(f"{where}: runs in {stage.place}, the stages before it in this task do not")
        inputs = tuple(
            Input(producer=handle.producer, many=handle.many, optional=accepts_none(annotation))
            for handle, annotation in given
        )
        node = Node(stage=stage, inputs=inputs, options=options, mapped=mapped, edition=task.edition)
        if node.name in self.owner_of:
            raise ConfigurationError(f"{where}: appears twice; a stage runs once for each edition")
        self.nodes.append(node)
        self.owner_of[node.name] = task.name
        self.result_of[node.name] = stage.result
        return Handle(node.name, many=mapped)

    def _check_argument(self, where: str, handle: Handle, annotation: Any, *, mapped: bool) -> None:
        if handle.producer == ITEM and not mapped:
            raise ConfigurationError(f"{where} is the job of a mapped task; this task is not mapped")
        made = EncodeJob if handle.producer == ITEM else self.result_of.get(handle.producer)
        if made is None:
            raise ConfigurationError(f"{where} is the result of {handle.producer}, which this pipeline does not run")
        wanted = document_type(annotation)
        if not issubclass(made, wanted) or handle.many != accepts_many(annotation):
            given = f"{'every ' if handle.many else ''}{made.__name__} of {handle.producer}"
            raise ConfigurationError(f"{where} is {given}; the stage takes {annotation}")

    def open(self, task: Task) -> None:
        """Begin a task; :attr:`Task.upstream` are those that it was told to follow."""
        where = f"pipeline {self.pipeline}: task {task.name}"
        if self.open_task is not None:
            raise ConfigurationError(f"{where} opens inside {self.open_task.name}")
        known = [earlier.name for earlier in self.tasks]
        if task.name in known:
            raise ConfigurationError(f"{where}: appears twice")
        unknown = [name for name in task.upstream if name not in known]
        if unknown:
            raise ConfigurationError(f"{where}: follows {', '.join(unknown)}, which are not among the tasks before it")
        if task.mapped_over is not None and self.result_of.get(task.mapped_over) is not Plan:
            raise ConfigurationError(f"{where}: is mapped over {task.mapped_over}, which makes no plan")
        if task.edition is not None:
            task = replace(task, edition_of=self._plan_of_editions(f"{where}: makes the edition {task.edition!r}"))
        if not 0 <= task.weight <= HEAVIEST_STEP:
            raise ConfigurationError(f"{where}: weighs {task.weight}; a weight is a number from 0 to {HEAVIEST_STEP}")
        if task.apart and (task.mapped_over or task.edition):
            raise ConfigurationError(f"{where}: runs apart from the title's run; it has neither jobs nor an edition")
        if task.share < 0:
            raise ConfigurationError(f"{where}: its share of the progress, {task.share}, is below zero")
        self.open_task, self.nodes = task, []

    def _plan_of_editions(self, what: str) -> str:
        """The plan whose jobs the tasks before are mapped over: that one lists the editions."""
        plans = {earlier.mapped_over for earlier in self.tasks if earlier.mapped_over}
        if len(plans) != 1:
            found = ", ".join(sorted(plans)) or "none"
            raise ConfigurationError(f"{what}, and needs one plan over whose jobs tasks before it are mapped: {found}")
        return plans.pop()

    def close(self) -> None:
        """End the open task: it has its stages, and follows the tasks whose results they take."""
        task = self.open_task
        assert task is not None
        where = f"pipeline {self.pipeline}: task {task.name}"
        if not self.nodes:
            raise ConfigurationError(f"{where} has no stage")
        if task.publishes and not issubclass(self.nodes[-1].stage.result, PublishResult):
            raise ConfigurationError(f"{where}: publishes, but its last stage makes no {PublishResult.__name__}")
        producers = [given.producer for node in self.nodes for given in node.inputs]
        producers += [plan for plan in (task.mapped_over, task.edition_of) if plan]
        # A mapped task counts as well when it is done, so what follows it must follow its plan as well.
        plans = {earlier.name: earlier.mapped_over for earlier in self.tasks if earlier.mapped_over}
        producers += [plans[owner] for producer in producers if (owner := self.owner_of.get(producer)) in plans]
        from_inputs = [self.owner_of[producer] for producer in producers if producer in self.owner_of]
        upstream = tuple(dict.fromkeys(owner for owner in [*from_inputs, *task.upstream] if owner != task.name))
        late = [earlier.name for earlier in self.tasks if earlier.apart and earlier.name in upstream]
        if late and not task.apart:
            raise ConfigurationError(f"{where}: follows {', '.join(late)}, which runs when the title is settled")
        self.tasks.append(replace(task, nodes=tuple(self.nodes), upstream=upstream))


@contextmanager
def task(
    name: str,
    *,
    each_job_of: Handle | None = None,
    edition: str | None = None,
    after: tuple[str, ...] = (),
    trigger_rule: TriggerRule = "all_success",
    weight: int = 1,
    share: float = 1.0,
    publishes: bool = False,
    apart: bool = False,
) -> Iterator[Handle]:
    """The stages called in this block share one Airflow task.

    Args:
        name: Task id in Airflow; a mapped task has one per pool (include/orchestration/names.py).
        each_job_of: A plan: the task is mapped over its jobs, and the block's value is the job.
        edition: Name of an edition before the complete one: the task makes it, for a title whose plan lists it. Its
            stages see the plan, and the results of its jobs, as if there were no others, and leave results of their
            own. Editions go out in the order in which they are named here.
        after: Tasks to follow besides those whose results are taken.
        trigger_rule: When to run, given how the upstream tasks ended.
        weight: From 0 to 9: among titles of equal priority the task with the higher weight gets a free slot. What is
            nearly done should weigh the most.
        share: How much of a title's progress the task is, in proportion to the shares of the other tasks.
        publishes: Whether its last stage publishes a version.
        apart: Whether it runs by itself when the title is settled, and not in the title's run: nothing waits for it.
    """
    description = _description()
    description.open(
        Task(
            name=name,
            nodes=(),
            upstream=after,
            trigger_rule=trigger_rule,
            mapped_over=each_job_of.producer if each_job_of else None,
            edition=edition,
            weight=weight,
            share=share,
            publishes=publishes,
            apart=apart,
        )
    )
    try:
        yield Handle(ITEM)
        description.close()
    finally:
        description.open_task = None


def _description() -> _Description:
    """The pipeline that is being described; raises where a task is opened outside of one."""
    description = being_described.get()
    if not isinstance(description, _Description):
        raise ConfigurationError("a task is opened inside a @pipeline function")
    return description


_registry: dict[tuple[str, int], Pipeline] = {}


def pipeline(*, version: int, name: str | None = None) -> Callable[[Callable[[Handle], None]], Pipeline]:
    """Register a pipeline under the function's name (or ``name``) and ``version``.

    Raises :class:`ConfigurationError` for a description that cannot run.
    """

    def register(function: Callable[[Handle], None]) -> Pipeline:
        described = _Description(pipeline=name or function.__name__)
        token = being_described.set(described)
        try:
            function(TITLE)
        finally:
            being_described.reset(token)
        result = Pipeline(
            name=described.pipeline,
            version=version,
            summary=(function.__doc__ or "").strip().partition("\n")[0],
            tasks=tuple(described.tasks),
        )
        if not result.tasks:
            raise ConfigurationError(f"pipeline {result.name}: has no task")
        if not result.of_run or not any(task.share for task in result.tasks):
            raise ConfigurationError(f"pipeline {result.name}: no task has a share of the progress")
        if (result.name, version) in _registry:
            raise ConfigurationError(f"pipeline {result.name} v{version} is registered twice")
        _registry[result.name, version] = result
        return result

    return register


def registry() -> dict[tuple[str, int], Pipeline]:
    """All pipelines by name and version: every module in ``include/pipelines`` registers its own."""
    for module in sorted(found.name for found in pkgutil.iter_modules(pipelines.__path__)):
        importlib.import_module(f"include.pipelines.{module}")
    return dict(_registry)


def current_pipelines() -> dict[str, Pipeline]:
    """The newest version of each pipeline: what a new batch gets."""
    newest: dict[str, Pipeline] = {}
    for (name, _), each in sorted(registry().items()):
        newest[name] = each
    return newest


def find_pipeline(name: str, version: int) -> Pipeline:
    """A registered pipeline; raises :class:`ConfigurationError` that lists what there is."""
    found = registry().get((name, version))
    if found is None:
        known = ", ".join(f"{known} v{number}" for known, number in sorted(_registry))
        newer = any(known == name and number > version for known, number in _registry)
        way_out = (
            "the DAG dispatch moves its batches to the newest version within a minute, and so does `callsheet migrate`"
            if newer
            else "its batches wait for the release that has it (`callsheet doctor`, docs/runbook.md)"
        )
        raise ConfigurationError(f"pipeline {name} v{version} is not registered (known: {known}); {way_out}")
    return found
