"""Priority weights of task instances, from the conf that a title was released with.

A weight is the title's priority, and within one priority the weight of the step, which the pipeline says and which the
operator brings along (:mod:`include.orchestration.factory`).

A task whose trigger fires is scheduled anew and competes for a slot by its weight: a finished pod of a modest title
would wait behind every fresher task of a better one. :func:`weigh_resumed` gives it more than any task that has yet to
start; see ``docs/decisions/0014-weights-of-resumed-tasks.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.domain.order.steps import HEAVIEST_STEP
from include.orchestration.names import BATCH_PREFIX, PROOFS_DAG

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

PRIORITY_STEP = HEAVIEST_STEP + 1
"""A title's priority is worth so much: more than any step within it. What is added to a weight is a multiple of this,
so that a weight keeps the one that its step has, and nobody has to look the step up."""
DEFAULT_PRIORITY = 0
DEFAULT_STEP = 1
HIGHEST_PRIORITY = 1_000_000
"""The weight must fit Airflow's 32-bit column, or no task of the run could be created."""
RESUMED = 1_000_000_000
"""Added while a resumed task waits for its slot: above every other weight, and resumed tasks keep their order."""
BEYOND_SHARE = -2 * HIGHEST_PRIORITY * PRIORITY_STEP
"""Added to an encode beyond its title's share of the slots: it takes only what no other title wants."""

PROOF_WEIGHT = BEYOND_SHARE - PRIORITY_STEP
"""Of a proof of what is published already: below every task of every title."""


def weigh(task_instance: TaskInstance, dag_run: DagRun | None = None) -> None:
    """Set ``priority_weight`` of a batch DAG's task instance; leaves every other DAG alone. Never raises."""
    if dag_run is None or not str(task_instance.dag_id).startswith(BATCH_PREFIX):
        return
    conf = dag_run.conf if isinstance(dag_run.conf, dict) else {}
    priority, slots = whole_number(conf, "priority"), whole_number(conf, "slots")
    beyond = slots is not None and is_job(task_instance) and task_instance.map_index >= slots
    task_instance.priority_weight = weight_of(
        DEFAULT_PRIORITY if priority is None else priority, step_of(task_instance.priority_weight), beyond_share=beyond
    )


def weight_of(priority: int, step: int, *, beyond_share: bool = False) -> int:
    """The weight of a task of a title: its priority first, within one priority how near it is to the end.

    Args:
        priority: Of the title.
        step: Weight of the task within one priority, from 0 to ``HEAVIEST_STEP``.
        beyond_share: Whether the title's other encodes take all the slots that it may use while others wait.
    """
    weight = min(HIGHEST_PRIORITY, max(0, priority)) * PRIORITY_STEP + step
    return weight + BEYOND_SHARE if beyond_share else weight


def step_of(weight: int | None) -> int:
    """The weight of a task within its title, from any weight that it has had: the operator's own, or one of ours."""
    return (DEFAULT_STEP if weight is None else weight) % PRIORITY_STEP


def is_job(task_instance: TaskInstance) -> bool:
    """Whether it is one of a title's encodes, which share its slots."""
    return task_instance.map_index >= 0 and str(task_instance.task_id).endswith(("_cpu", "_gpu"))


def is_raised(weight: int | None) -> bool:
    """Whether a weight is that of a task that waits to resume."""
    return (weight or 0) > RESUMED // 2


def whole_number(conf: dict[str, Any], name: str) -> int | None:
    """A whole number of a run's conf, which anybody may have written; None where it is none."""
    value = conf.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def watch_resumptions() -> None:
    """Have :func:`weigh_resumed` called whenever this process writes a row of Airflow's. Once per process."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    # On every mapper: Airflow loads its local settings before its models can be imported.
    if not event.contains(Mapper, "before_update", weigh_resumed):
        event.listen(Mapper, "before_update", weigh_resumed)


def watches_resumptions() -> bool:
    """Whether :func:`watch_resumptions` was called in this process."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    return event.contains(Mapper, "before_update", weigh_resumed)


def weigh_resumed(mapper: Any, connection: Any, row: Any) -> None:
    """Raise the weight of a batch's task instance while it waits to resume; take it back once it has. Never raises.

    SQLAlchemy calls it before a changed row is written, hence in the very transaction in which the triggerer takes up a
    trigger's event: a task that defers itself has nothing to call.
    """
    if getattr(row, "__tablename__", None) != "task_instance":
        return
    if not str(row.dag_id).startswith(BATCH_PREFIX) and row.dag_id != PROOFS_DAG:
        return
    weight = row.priority_weight or 0
    waits = row.next_method is not None and row.state in ("scheduled", "queued")
    if waits and not is_raised(weight):
        row.priority_weight = weight + RESUMED
    elif not waits and is_raised(weight):
        row.priority_weight = weight - RESUMED
