"""Changes of runs that are under way: weights and deadlines, in Airflow's own database, so in its API server alone.

The catalog's word counts: :func:`tell_runs` brings each run to what the catalog says of its title at that moment, and
may be called at any time, by anyone, as often as one likes. So may :func:`share_slots`, which lets a title's next
encode in where one has ended.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.adapters.catalog import Catalog, TitleRecord
from include.base.document import Document
from include.orchestration.deadlines import CONF_KEY
from include.orchestration.names import BATCH_PREFIX
from include.orchestration.weights import RESUMED, is_job, is_raised, step_of, weight_of, whole_number

if TYPE_CHECKING:
    from uuid import UUID

    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

HOLDS_SLOT = frozenset({"queued", "running", "deferred", "restarting"})
"""States of a task instance that has its slot."""

_one_at_a_time = threading.Lock()
"""SQLite has no row locks: there, one API server is all there is."""


class ToldRun(Document):
    """What was changed in one run."""

    dag_id: str
    run_id: str
    priority: int
    publish_at: datetime | None
    found: bool
    """False where Airflow has no such run (any more)."""
    task_instances: int = 0
    """Whose weight is another now; running and finished ones keep theirs."""
    deadline_moved: bool = False


def tell_runs(catalog: Catalog) -> list[ToldRun]:
    """Tell every run that does not know its title's priority and deadline; one Airflow transaction each.

    What fails stays untold, and is told by the next call.
    """
    told: list[ToldRun] = []
    for title in catalog.queue.untold():
        try:
            told.append(_tell(catalog, title))
        except Exception:  # another run's row may be well
            log.exception("%s: its run could not be told its priority; tried again within a minute", title.request_id)
    return told


def share_slots(ended: UUID | None = None) -> int:
    """Weigh anew the encodes that wait beyond their titles' shares of the slots; returns how many have another weight.

    Args:
        ended: A task instance that is about to free its slot: the next encode of its title may have it.
    """
    changed = 0
    try:
        for dag_id, run_id in _with_encodes_beyond_their_share():
            changed += _share(dag_id, run_id, ended)
    except Exception:  # an operator's change has been told; the next call shares what this one did not
        log.exception("the slots could not be shared out; tried again within a minute")
    return changed


def _with_encodes_beyond_their_share() -> list[tuple[str, str]]:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import select

    waits = (
        select(TaskInstance.id)
        .where(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id)
        .where(TaskInstance.priority_weight < 0, _not_started())
        .exists()
    )
    of_batches = DagRun.dag_id.startswith(BATCH_PREFIX, autoescape=True)
    runs = select(DagRun.dag_id, DagRun.run_id).where(DagRun.state == DagRunState.RUNNING, of_batches, waits)
    with create_session(scoped=False) as session:
        return [(dag_id, run_id) for dag_id, run_id in session.execute(runs)]


def _share(dag_id: str, run_id: str, ended: UUID | None) -> int:
    from airflow.utils.session import create_session

    with _one_at_a_time, create_session(scoped=False) as session:
        run = _locked_run(session, dag_id, run_id)
        return 0 if run is None else _weigh(session, run, ended=ended)


def _tell(catalog: Catalog, title: TitleRecord) -> ToldRun:
    from airflow.utils.session import create_session

    assert title.run_id is not None  # the catalog lists released titles alone
    with _one_at_a_time:
        with create_session(scoped=False) as session:
            run = _locked_run(session, title.dag_id, title.run_id)
            # Read behind the lock: of two callers, the one that writes last has read last.
            current = catalog.titles.get(title.request_id) or title
            change = _change(session, run, current)
        catalog.queue.told(current)
    return change


def _locked_run(session: Session, dag_id: str, run_id: str) -> DagRun | None:
    """The run, locked against the scheduler, which expands mapped tasks under the same lock."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return session.scalar(
        select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id).with_for_update(of=DagRun)
    )


def _change(session: Session, run: DagRun | None, title: TitleRecord) -> ToldRun:
    assert title.run_id is not None
    known: dict[str, Any] = {
        "dag_id": title.dag_id,
        "run_id": title.run_id,
        "priority": title.priority,
        "publish_at": title.deadline,
    }
    if run is None:
        return ToldRun(**known, found=False)
    deadline = title.deadline.isoformat() if title.deadline else None
    conf = run.conf if isinstance(run.conf, dict) else {}
    had = conf.get(CONF_KEY)
    # A new dictionary: a change inside of the old one would not be written.
    slots = title.valuation.slots if title.valuation else None
    run.conf = {**conf, "priority": title.priority, "slots": slots, CONF_KEY: deadline}
    session.flush()
    moved = False
    if title.deadline is not None and had != deadline:
        move_deadline(session, run, title.deadline)
        moved = True
    return ToldRun(**known, found=True, task_instances=_weigh(session, run), deadline_moved=moved)


def _not_started() -> ColumnElement[bool]:
    """Task instances that have yet to start, or to resume."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import State, TaskInstanceState
    from sqlalchemy import or_

    waiting = [state for state in State.unfinished if state not in (None, TaskInstanceState.RUNNING)]
    return or_(TaskInstance.state.is_(None), TaskInstance.state.in_(waiting))


def _weigh(session: Session, run: DagRun, *, ended: UUID | None = None) -> int:
    """Weigh the run's task instances anew that have not started; those that come later are weighed from the conf."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import or_, select

    conf = run.conf if isinstance(run.conf, dict) else {}
    mine = (TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
    query = select(TaskInstance).where(*mine, or_(TaskInstance.state == TaskInstanceState.RUNNING, _not_started()))
    held, jobs = 0, []
    changed = 0
    for instance in session.scalars(query):
        if is_job(instance) and (instance.state in HOLDS_SLOT or is_raised(instance.priority_weight)):
            held += instance.id != ended
        if instance.state == TaskInstanceState.RUNNING:
            continue
        if is_job(instance) and instance.state not in HOLDS_SLOT and not is_raised(instance.priority_weight):
            jobs.append(instance)
        else:
            changed += _set_weight(instance, conf["priority"])
    jobs.sort(key=lambda instance: (-step_of(instance.priority_weight), instance.map_index))
    slots = whole_number(conf, "slots")
    for place, instance in enumerate(jobs, start=held):
        beyond = slots is not None and place >= slots
        changed += _set_weight(instance, conf["priority"], beyond_share=beyond)
    return changed


def _set_weight(instance: TaskInstance, priority: int, *, beyond_share: bool = False) -> bool:
    """Weigh a task instance by its title's priority; returns whether it has another weight than before.

    One that waits to resume keeps its raise.
    """
    weight = weight_of(priority, step_of(instance.priority_weight), beyond_share=beyond_share)
    weight += RESUMED if is_raised(instance.priority_weight) else 0
    if instance.priority_weight == weight:
        return False
    instance.priority_weight = weight
    return True


def move_deadline(session: Session, run: DagRun, moment: datetime) -> None:
    """Move Airflow's own deadline of the run, which it has evaluated once, when the run was created."""
    from airflow.models.deadline import Deadline
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    pending = list(session.scalars(select(Deadline).where(Deadline.dagrun_id == run.id, ~Deadline.missed)))
    for each in pending:
        each.deadline_time = moment
    if not pending:
        # The title had none, or Airflow has noted its miss already: what creates a run makes one from the conf.
        found = session.scalar(
            select(SerializedDagModel).where(SerializedDagModel.dag_version_id == run.created_dag_version_id)
        )
        if found is not None:
            found.dag._process_dagrun_deadline_alerts(run, session)
