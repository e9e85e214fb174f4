"""What a stage is, and what it gets to work with.

A stage is a function from typed documents to one typed document::

    @stage
    def analyse(ctx: StageContext, source: Inspection) -> Analysis: ...

Called inside a ``@pipeline`` function it does not run: the recorder of that pipeline notes that it is wanted, and
which results it takes; see :mod:`include.pipelines.core`. Called by the worker it runs. Its result is written to the
work folder under the stage's name, so that a retry finds what is done.
"""

from __future__ import annotations

import inspect as python_inspect
import time
import types
import typing
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from include.adapters.store.interface import ObjectStore
from include.base.document import Document
from include.base.errors import ConfigurationError
from include.base.settings import Settings
from include.domain.outcome.settlement import RunResults, Settlement
from include.domain.plan.binding import FarmShare
from include.domain.title.title import TitleJob
from include.domain.title.work import own_folder
from include.recipes import load_recipes

if TYPE_CHECKING:
    # A worker has no SQLAlchemy.
    from include.adapters.catalog import Catalog

Place = Literal["worker", "airflow"]
"""``worker``: a process or pod without Airflow and without the catalog. ``airflow``: inside an Airflow task."""


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a stage that runs in a worker gets."""

    settings: Settings
    store: ObjectStore
    title: TitleJob
    scratch: Path
    """Empty folder for temporary files; removed after the stage."""
    report: Callable[[float, str], None] = lambda share, message: None
    """Progress of this stage: share done (0–1) and a short line for people."""
    hardware: bool = True
    """Whether this attempt may use a hardware encoder: it runs where a GPU may be."""
    edition: str | None = None
    """The edition that is made: plan and renditions hold its jobs alone. None for the complete one."""
    editions: tuple[str, ...] = ()
    """What the title's pipeline can publish before the complete set, by name and in this order."""
    deadline: float = field(default_factory=lambda: time.monotonic() + 6 * 3600)
    """``time.monotonic()`` after which media tools are stopped with :class:`ToolTimeout`."""

    def key(self, name: str) -> str:
        """Store key of what this stage writes, in the folder that workers of another release do not touch."""
        return f"{own_folder(self.title)}/{name}"

    def kept_key(self, name: str) -> str:
        """Store key of what is used again whichever release made it: its name or record tells what it is made from."""
        return f"{self.title.work}/{name}"

    @property
    def time_left_s(self) -> float:
        """Seconds until :attr:`deadline`, at least one."""
        return max(1.0, self.deadline - time.monotonic())


def _concludes_nothing(context: ControlContext, results: RunResults) -> Settlement:
    raise ConfigurationError(f"{context.title.request_id}: nobody who concludes titles was handed in")


@dataclass(frozen=True, kw_only=True)
class ControlContext(StageContext):
    """What a stage that runs inside Airflow gets besides."""

    catalog: Catalog
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    farm_share: Callable[[], FarmShare] = lambda: FarmShare(predictor=load_recipes().prior)
    """How quickly the title gets on with this farm; asked by the stage that forecasts."""
    conclude: Callable[[ControlContext, RunResults], Settlement] = _concludes_nothing
    """Brings the title to its end with what its run has left; for the stage that settles. The services do it, which
    stand above the stages: so it is handed in."""


class Handle:
    """The future result of a stage, inside a ``@pipeline`` function."""

    def __init__(self, producer: str, *, many: bool = False) -> None:
        self.producer = producer
        self.many = many
        """True for a stage that runs once per job of the plan."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One argument of a stage: which result it is, and whether the stage can do without."""

    producer: str
    """Name of the stage whose result it is; ``title`` for the title itself, ``item`` for the job of a mapped stage."""
    many: bool
    optional: bool


@dataclass(frozen=True, kw_only=True)
class Node:
    """One stage in one pipeline."""

    stage: Stage
    inputs: tuple[Input, ...]
    """One per document; those that the stage has a default for may be left out at the end."""
    options: dict[str, Any]
    mapped: bool
    edition: str | None = None
    """The edition before the complete one that it works for."""

    @property
    def name(self) -> str:
        """Name of the result: the stage's, with an early edition's name in front: ``first_package``."""
        return f"{self.edition}_{self.stage.name}" if self.edition else self.stage.name


TITLE = Handle("title")


@dataclass(frozen=True)
class Stage:
    """A stage function with its place. Made by :func:`stage`."""

    function: Callable[..., Document]
    place: Place

    @property
    def name(self) -> str:
        """The function's name: file name of the result."""
        return self.function.__name__

    @cached_property
    def _documents(self) -> list[python_inspect.Parameter]:
        parameters = python_inspect.signature(self.function).parameters.values()
        return [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD][1:]

    @cached_property
    def _types(self) -> tuple[tuple[Any, ...], type[Document]]:
        hints = typing.get_type_hints(self.function, localns=_context_types())
        result = hints.pop("return")
        return tuple(hints[each.name] for each in self._documents), result

    @property
    def required(self) -> int:
        """How many of its documents it must be given; those after them have defaults."""
        return sum(each.default is each.empty for each in self._documents)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """Annotated types of the documents it takes, the context left out."""
        return self._types[0]

    @property
    def result(self) -> type[Document]:
        """Type of the document it makes."""
        return self._types[1]

    def __call__(self, *arguments: Handle, **options: Any) -> Handle:
        """Note this stage in the pipeline that is being described."""
        recorder = being_described.get()
        if recorder is None:
            raise ConfigurationError("a stage is called inside a @pipeline function; to run it, call its .function")
        return recorder.add(self, arguments, options)


class Recorder(Protocol):
    """Notes the stages that a ``@pipeline`` function calls."""

    def add(self, stage: Stage, arguments: tuple[Handle, ...], options: dict[str, Any]) -> Handle:
        """Note one call; returns the handle of its result."""
        ...


being_described: ContextVar[Recorder | None] = ContextVar("pipeline being described", default=None)
"""The pipeline whose function runs now; ``@pipeline`` sets it."""


@overload
def stage(function: Callable[..., Document]) -> Stage: ...
@overload
def stage(*, place: Place) -> Callable[[Callable[..., Document]], Stage]: ...
def stage(
    function: Callable[..., Document] | None = None, *, place: Place = "worker"
) -> Stage | Callable[[Callable[..., Document]], Stage]:
    """Mark a function ``(ctx, document, …, *, option=…) -> document`` as a stage."""
    if function is None:
        return lambda inner: Stage(inner, place)
    return Stage(function, place)


def accepts_none(annotation: Any) -> bool:
    """Whether a parameter is annotated ``X | None``: the stage can do without it."""
    return isinstance(annotation, types.UnionType) and type(None) in annotation.__args__


def accepts_many(annotation: Any) -> bool:
    """Whether a parameter is annotated ``tuple[X, ...]``: all results of a mapped stage."""
    return typing.get_origin(annotation) is tuple


def document_type(annotation: Any) -> type[Document]:
    """The document class inside ``X``, ``X | None`` or ``tuple[X, ...]``."""
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in annotation.__args__ if part is not type(None))
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    if not (isinstance(annotation, type) and issubclass(annotation, Document)):
        raise TypeError(f"a stage takes and gives documents, not {annotation!r}")
    return annotation


def _context_types() -> dict[str, Any]:
    return {"StageContext": StageContext, "ControlContext": ControlContext}
