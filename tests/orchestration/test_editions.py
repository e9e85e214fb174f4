"""A made-up pipeline of three editions: what it describes, and the DAG that it becomes without a line of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.base.document import Document
from include.domain.plan.plan import COMPLETE, Edition, Plan
from include.domain.title.title import TitleJob
from include.domain.title.work import result_key
from include.orchestration.factory import batch_dag
from include.orchestration.runtimes import task as runtime
from include.pipelines import core
from include.pipelines.core import Pipeline, pipeline, task
from include.pipelines.runner import TaskJob, run_task, share_done
from include.stages.core import Handle, StageContext, stage
from tests.policy.test_binding import planned
from tests.titles import stage_context

POOLS = ("cpu_encode", "gpu_encode")
JOBS = ("a", "b", "c")
PLAN = planned()[0]


class Set(Document):
    """What an edition holds, by what its stages saw."""

    edition: str | None
    planned: tuple[str, ...]
    made: tuple[str, ...]


class Made(Document):
    """One rendition."""

    name: str


@stage
def planning(ctx: StageContext, title: TitleJob) -> Plan:
    """Lists what the title's metadata wants."""
    jobs = tuple(PLAN.jobs[0].model_copy(update={"name": name}) for name in JOBS)
    wanted = title.metadata.get("editions", [])
    held = {"proxy": JOBS[:1], "core": JOBS[:2], COMPLETE: JOBS}
    editions = tuple(Edition(name=name, jobs=held[name]) for name in wanted)
    return PLAN.model_copy(update={"jobs": jobs, "editions": editions})


@stage
def making(ctx: StageContext, title: TitleJob) -> Made:
    """Makes one."""
    return Made(name="one")


@stage
def finishing(ctx: StageContext, decision: Plan, made: tuple[Made, ...], before: Set | None = None) -> Set:
    """Says what it was given."""
    names = tuple(sorted(each.name for each in made))
    return Set(edition=ctx.edition, planned=tuple(job.name for job in decision.jobs), made=names)


@stage
def publishing(ctx: StageContext, title: TitleJob, finished: Set) -> Set:
    """Publishes nothing."""
    return finished


def three(title: Handle) -> None:
    """Publishes a proxy, then the core, then everything."""
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision):
        made = making(title)
    with task("proxy_finish", edition="proxy"):
        proxy = finishing(decision, made)
    with task("proxy_publish", edition="proxy"):
        publishing(title, proxy)
    with task("core_finish", edition="core"):
        core_set = finishing(decision, made, proxy)
    with task("core_publish", edition="core"):
        publishing(title, core_set)
    with task("finish"):
        complete = finishing(decision, made, core_set)
    with task("publish"):
        publishing(title, complete)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    core.registry()
    monkeypatch.setattr(core, "_registry", dict(core._registry))
    return pipeline(version=1)(three)


def test_a_pipeline_says_its_editions_by_its_tasks(described: Pipeline) -> None:
    assert described.editions == ("proxy", "core")
    assert [described.before(edition) for edition in ("proxy", "core", None)] == [(), ("proxy",), ("proxy", "core")]
    results = [node.name for each in described.tasks for node in each.nodes]
    assert results == [
        "planning", "making", "proxy_finishing", "proxy_publishing", "core_finishing", "core_publishing",
        "finishing", "publishing",
    ]  # fmt: skip


def test_its_dag_has_a_gate_two_tasks_and_a_join_for_each_edition(described: Pipeline) -> None:
    dag = batch_dag(batch_id="spring", pipeline=described.name, pipeline_version=described.version)
    above = {each.task_id: each.upstream_task_ids for each in dag.tasks}

    for edition, behind in (("proxy", "make_rest_proxy"), ("core", "make_rest_core")):
        waiting = {f"{behind}_cpu", f"{behind}_gpu"}
        made = {f"{edition}_finish", f"{edition}_publish"}
        assert above[f"{edition}_asked"] == {"plan"}
        assert above[edition] == {f"{edition}_asked"}
        assert all(edition in above[each] for each in waiting | made)
        assert above[f"{edition}_done"] == waiting | made
        assert "make_done" in above[f"{edition}_finish"]
    # The second edition, and what waits behind it, follow the first one's join: its tasks may be skipped.
    for name in ("core_finish", "make_rest_core_cpu", "make_rest_core_gpu"):
        assert "proxy_done" in above[name]
        assert not any(each.startswith(("proxy_f", "proxy_p")) for each in above[name])
    assert above["finish"] == {"plan", "make_done", "proxy_done", "core_done"}
    assert above["publish"] == {"finish"}


@pytest.mark.parametrize(
    ("editions", "asked", "lists"),
    [
        ((), (), {"": "abc"}),
        (("core",), ("core",), {"": "ab", "_rest_core": "c"}),
        (("proxy",), ("proxy",), {"": "a", "_rest_proxy": "bc"}),
        (("proxy", "core"), ("proxy", "core"), {"": "a", "_rest_proxy": "b", "_rest_core": "c"}),
    ],
)
def test_a_plan_lists_any_of_them_and_each_job_starts_behind_the_edition_before_it(
    editions: tuple[str, ...], asked: tuple[str, ...], lists: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    described: Pipeline,
) -> None:  # fmt: skip
    pushed: dict[str, list[str]] = {}
    monkeypatch.setattr(runtime, "push_list", lambda task_id, items, context: pushed.update({task_id: items}))
    title: Any = SimpleNamespace(metadata={"editions": [*editions, COMPLETE] if editions else []})
    plan = planning.function(None, title)
    assert isinstance(plan, Plan)

    pushed["plan"] = runtime.push_jobs(plan, "make", SimpleNamespace(), pools=POOLS, editions=described.editions)

    def jobs(part: str) -> list[str]:
        return pushed["plan"] if not part else pushed[f"make{part}_cpu_jobs"]

    assert {part: "".join(jobs(part)) for part in ("", "_rest_proxy", "_rest_core") if jobs(part)} == lists
    assert [edition for edition in described.editions if pushed[f"{edition}_asked"]] == list(asked)


def test_the_stages_of_an_edition_see_its_jobs_alone_and_the_progress_counts_what_the_plan_lists(
    described: Pipeline, tmp_path: Path
) -> None:
    place = stage_context(tmp_path, "file:///x.mov", pipeline=described.name, pipeline_version=described.version)
    plan = planning.function(place, place.title.model_copy(update={"metadata": {"editions": ["core", COMPLETE]}}))
    place.store.put_bytes(result_key(place.title, "planning"), plan.to_json().encode())
    for name in JOBS:
        place.store.put_bytes(result_key(place.title, "making", name), Made(name=name).to_json().encode())
    before = share_done(described, place.title, place.store)

    for name in ("core_finish", "core_publish", "finish", "publish"):
        run_task(
            TaskJob(task=name, title=place.title, time_limit_s=60),
            lambda **given: StageContext(settings=place.settings, **given),
            store=place.store,
            scratch=tmp_path / "scratch",
        )

    def told(name: str) -> Set:
        return Set.from_json(place.store.get_bytes(result_key(place.title, name)))

    assert told("core_finishing") == Set(edition="core", planned=JOBS[:2], made=JOBS[:2])
    assert told("finishing") == Set(edition=None, planned=JOBS, made=JOBS)
    assert (before, share_done(described, place.title, place.store)) == (round(2 / 6, 3), 1.0)
