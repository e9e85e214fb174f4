"""Changes of runs that are under way: weights and deadlines, in Airflow's own database, so in its API server alone.

The catalog's word counts: :func:`tell_runs` brings each run to what the catalog says of its title at that moment, and
may be called at any time, by anyone, as often as one likes.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.domain.document import Document
from include.orchestration.deadlines import CONF_KEY
from include.orchestration.weights import RESUMED, weight_of

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

    from include.adapters.catalog import Catalog, TitleRecord

log = logging.getLogger(__name__)

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
    for title in catalog.untold_priorities():
        try:
            told.append(_tell(catalog, title))
        except Exception:  # another run's row may be well
            log.exception("%s: its run could not be told its priority; tried again within a minute", title.request_id)
    return told


def _tell(catalog: Catalog, title: TitleRecord) -> ToldRun:
    from airflow.utils.session import create_session

    assert title.run_id is not None  # the catalog lists released titles alone
    with _one_at_a_time:
        with create_session(scoped=False) as session:
            run = _locked_run(session, title.dag_id, title.run_id)
            # Read behind the lock: of two callers, the one that writes last has read last.
            current = catalog.title(title.request_id) or title
            change = _change(session, run, current)
        catalog.priority_told(current)
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
    run.conf = {**conf, "priority": title.priority, CONF_KEY: deadline}
    session.flush()
    moved = False
    if title.deadline is not None and had != deadline:
        _move_deadline(session, run, title.deadline)
        moved = True
    return ToldRun(**known, found=True, task_instances=_weigh(session, run, title.priority), deadline_moved=moved)


def _weigh(session: Session, run: DagRun, priority: int) -> int:
    """Weigh the run's task instances anew that have not started; those that come later are weighed from the conf."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import State, TaskInstanceState
    from sqlalchemy import or_, select

    waiting = [state for state in State.unfinished if state not in (None, TaskInstanceState.RUNNING)]
    query = select(TaskInstance).where(
        TaskInstance.dag_id == run.dag_id,
        TaskInstance.run_id == run.run_id,
        or_(TaskInstance.state.is_(None), TaskInstance.state.in_(waiting)),
    )
    changed = 0
    for each in session.scalars(query):
        raised = RESUMED if (each.priority_weight or 0) >= RESUMED else 0
        weight = weight_of(priority, each.task_id) + raised
        if each.priority_weight != weight:
            each.priority_weight = weight
            changed += 1
    return changed


def _move_deadline(session: Session, run: DagRun, moment: datetime) -> None:
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
