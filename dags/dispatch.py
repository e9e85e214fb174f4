"""# Dispatch: the minute hand

**What** Values every open title anew, tells live runs their weights and deadlines, stops the runs of cancelled titles,
releases waiting titles into runs, settles runs that Airflow lost, notes missed deadlines (also of titles that
never got a run), queues repairs of degraded titles, sends alerts to Slack and webhooks to the CMS, then looks for
mezzanines that may still arrive, and at the headers of those whose length and size no request says.
**When** Every minute. Intake and the end of each title do the same at once; this run catches what they could not.
**Reads** the catalog, Airflow's API. **Writes** the catalog; starts runs of `batch__*`; posts to Slack, callbacks.

**If it fails** The next minute repeats it; each step is tried on its own; the log names the failed ones. Safe to clear.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from include.orchestration.names import CONTROL_POOL

DISPATCH_WEIGHT = 900_000
"""Above every title, below intake."""


@dag(
    dag_id="dispatch",
    schedule=timedelta(minutes=1),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["callsheet", "control"],
    doc_md=__doc__,
    default_args={
        "pool": CONTROL_POOL,
        "priority_weight": DISPATCH_WEIGHT,
        "weight_rule": "absolute",
        "retries": 0,  # the next minute is the retry
        "execution_timeout": timedelta(minutes=5),
    },
)
def dispatch() -> None:
    @task(doc_md="All steps in one process: a task of its own for each would cost more than it does.")
    def tick() -> dict[str, str]:
        from include.orchestration.tick import tick as every_step

        return every_step()

    tick()


dispatch()
