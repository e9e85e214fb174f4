"""# Proofs: every frame of what is published

**What** Compares every frame of a published set with its mezzanine, where the title's tier asks for it (`proof` in
`include/recipes/tiers.yaml`). Each run is a slice of one title's proof: it works for about five minutes and leaves its
slot; the next slice is another run. Its weight is below that of every task of every title.
**When** `dispatch` starts the runs, at most as many as `cpu_encode` has slots.
**Reads** the title's work folder, its mezzanine. **Writes** into the work folder; the minute after, `dispatch` enters
`title.proved` or `title.proved_wrong` among the title's events; where a rendition is wrong, it queues a repair and an
alert.

**If it fails** The title stays as it is. `dispatch` starts the slice anew, three times in all; then the event
`title.not_proved` says why. Safe to clear: it goes on behind the stretches that are compared.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from include.orchestration.factory import apart_operator
from include.orchestration.names import PROOFS_DAG
from include.orchestration.weights import PROOF_WEIGHT
from include.services.proofs import TASK

with DAG(
    dag_id=PROOFS_DAG,
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    # Above any number of slots: how many run is decided by dispatch.
    max_active_runs=200,
    is_paused_upon_creation=False,
    tags={"callsheet", "proof"},
    doc_md=__doc__,
):
    apart_operator(TASK, weight=PROOF_WEIGHT)
