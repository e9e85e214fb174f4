"""# Housekeeping: the day is told, and what is done is put away

**What** Sends the day's digest to Slack: published, degraded, deadlines kept and missed, CPU hours, what is due today
and at risk. Retires batches (their DAGs leave Airflow's list) once all titles are settled and no run is active, and
removes the work folders of settled titles after a grace period. Published versions are never touched.
**When** Nightly at 03:30 UTC.
**Reads** the catalog, Airflow's API. **Writes** the catalog; deletes beneath `work/` in the store.

**If it fails** Nothing is lost: the next night continues. Safe to clear at any time; a cleared `digest` is sent again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from include.orchestration.names import CONTROL_POOL


@dag(
    dag_id="housekeeping",
    schedule="30 3 * * *",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["callsheet", "control"],
    doc_md=__doc__,
    default_args={
        "pool": CONTROL_POOL,
        "weight_rule": "absolute",
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=1),
    },
)
def housekeeping() -> None:
    @task(doc_md="Tell the channel how the last day went.")
    def digest() -> bool:
        from include.services.housekeeping import send_digest

        return send_digest()

    @task(doc_md="Retire batches that have come to rest.")
    def retire_batches() -> list[str]:
        from include.services.housekeeping import retire_batches as retire

        return retire()

    @task(doc_md="Remove work folders that nobody will need again.")
    def clean_work() -> list[str]:
        from include.services.housekeeping import clean_work as clean

        return clean()

    # Work of a batch may still be wanted while a run of it is active: retire first.
    retire_batches() >> clean_work()
    digest()


housekeeping()
