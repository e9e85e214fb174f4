"""# Intake: a batch request becomes titles

**What** Validates a batch request, enters it in the catalog and releases its titles as far as the farm has room; then
looks at the headers of mezzanines whose length and size the request does not say.
**When** Triggered over REST: `POST /api/v2/dags/intake/dagRuns` with the request as `conf` (`callsheet schema`
prints its JSON Schema).
**Reads** the run's conf. **Writes** the catalog (batch, titles, refusals, outbox); starts runs of `batch__<batch_id>`.

**If it fails** The log of `accept` says which field of the request is wrong. Nothing of a refused request is kept. Safe
to clear: the same request again changes nothing. If only `release` failed, `dispatch` repeats it within a minute.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from include.orchestration.names import CONTROL_POOL

INTAKE_WEIGHT = 1_000_000
"""Above every title: a request must be answered while the farm is full."""


@dag(
    dag_id="intake",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=16,
    is_paused_upon_creation=False,
    tags=["callsheet", "intake"],
    doc_md=__doc__,
    default_args={
        "pool": CONTROL_POOL,
        "priority_weight": INTAKE_WEIGHT,
        "weight_rule": "absolute",
        "retries": 3,
        "retry_delay": timedelta(seconds=3),
        "retry_exponential_backoff": 2.0,
        "execution_timeout": timedelta(minutes=5),
    },
)
def intake() -> None:
    @task(doc_md="Validate the request and enter it in the catalog, whole or not at all.")
    def accept(dag_run: Any = None) -> str:
        from include.orchestration.intake import accept_request

        return accept_request(dag_run.conf, user=dag_run.triggering_user_name)

    @task(doc_md="Start the titles' runs, as many as the release window has room for; tell the CMS.")
    def release(batch_id: str) -> None:
        from include.services.intake import release_batch

        release_batch(batch_id)

    release(accept())  # type: ignore[arg-type]  # Airflow hands over the value, not the XComArg


intake()
