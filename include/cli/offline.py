"""``callsheet plan``: inspect, analyse and plan one local file, without Airflow and without leaving anything behind."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.errors import ConfigurationError
from include.base.settings import Settings
from include.domain.title.title import Tier, TitleJob
from include.domain.title.work import result_key
from include.pipelines.core import current_pipelines
from include.pipelines.runner import TaskJob, run_task
from include.stages.core import ControlContext

STAGES = ("inspect", "analyse", "plan")
LIMIT_S = 3600.0


def plan_file(
    settings: Settings, file: Path, *, tier: Tier, publish_at: datetime | None, pipeline: str
) -> dict[str, Any]:
    """What the pipeline would make of ``file``: the results of the stages inspect, analyse and plan, by name.

    Raises :class:`MezzanineRejected` for a file that the pipeline would reject.
    """
    known = current_pipelines()
    if pipeline not in known:
        raise ConfigurationError(f"no pipeline {pipeline!r} is registered (known: {', '.join(sorted(known))})")
    chosen = known[pipeline]
    with tempfile.TemporaryDirectory(prefix="callsheet-plan-") as folder:
        place = settings.model_copy(
            update={"mezzanine_roots": (file.absolute().parent,), "store_uri": (Path(folder) / "store").as_uri()}
        )
        store = open_store(place)
        title = TitleJob(
            request_id="plan/file",
            batch_id="plan",
            title_id="file",
            run_key="plan.1",
            pipeline=chosen.name,
            pipeline_version=chosen.version,
            mezzanine=file.absolute().as_uri(),
            name=file.name,
            tier=tier,
            publish_at=publish_at,
            binding_deadline=publish_at,
        )
        for task in dict.fromkeys(chosen.owner(stage) for stage in STAGES):
            run_task(
                TaskJob(task=task, title=title, time_limit_s=LIMIT_S),
                # The stage `plan` runs inside Airflow, beside a catalog that it does not need.
                lambda **given: ControlContext(settings=place, catalog=Catalog("sqlite://"), **given),
                store=store,
                scratch=Path(folder) / "scratch",
            )
        return {stage: json.loads(store.get_bytes(result_key(title, stage))) for stage in STAGES}
