"""How a pipeline is described, and what is refused while it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from include.base.document import Document
from include.base.errors import ConfigurationError
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.title.title import TitleJob
from include.pipelines import core
from include.pipelines.core import Pipeline, current_pipelines, find_pipeline, pipeline, registry, task
from include.stages.core import ControlContext, Handle, StageContext, document_type, stage


class Note(Document):
    """Something."""


class Other(Document):
    """Something else."""


@stage
def first(ctx: StageContext, title: TitleJob) -> Note:
    """First."""
    return Note()


@stage
def second(ctx: StageContext, note: Note) -> Other:
    """Second."""
    return Other()


@stage
def planning(ctx: StageContext, title: TitleJob) -> Plan:
    """Plans."""
    raise NotImplementedError


@stage
def replanning(ctx: StageContext, title: TitleJob) -> Plan:
    """Plans once more."""
    raise NotImplementedError


@stage
def remaking(ctx: StageContext, job: EncodeJob) -> Note:
    """Makes another."""
    return Note()


@stage
def making(ctx: StageContext, job: EncodeJob) -> Note:
    """Makes one."""
    return Note()


@stage
def gathering(ctx: StageContext, notes: tuple[Note, ...]) -> Other:
    """Gathers."""
    return Other()


@stage
def asking(ctx: StageContext, note: Document | None, more: Note | None = None) -> Other:
    """Does without."""
    return Other()


@stage(place="airflow")
def control(ctx: ControlContext, title: TitleJob) -> Note:
    """Inside Airflow."""
    return Note()


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    registry()
    monkeypatch.setattr(core, "_registry", dict(core._registry))


def no_task(title: Handle) -> None:
    pass


def outside_of_a_task(title: Handle) -> None:
    first(title)


def empty_task(title: Handle) -> None:
    with task("idle"):
        pass


def nested_tasks(title: Handle) -> None:
    with task("outer"), task("inner"):
        first(title)


def same_task_twice(title: Handle) -> None:
    with task("one"):
        first(title)
    with task("one"):
        control(title)


def same_stage_twice(title: Handle) -> None:
    with task("one"):
        first(title)
        first(title)


def too_few_documents(title: Handle) -> None:
    with task("one"):
        second()


def two_places(title: Handle) -> None:
    with task("one"):
        first(title)
        control(title)


def follows_nobody(title: Handle) -> None:
    with task("one", after=("nope",)):
        first(title)


def follows_itself(title: Handle) -> None:
    with task("one", after=("one",)):
        first(title)


def mapped_over_no_plan(title: Handle) -> None:
    with task("one"):
        note = first(title)
    with task("two", each_job_of=note) as job:
        making(job)


def mapped_over_the_title(title: Handle) -> None:
    with task("two", each_job_of=title) as job:
        making(job)


def mapped_apart(title: Handle) -> None:
    with task("one"):
        decision = planning(title)
    with task("two", each_job_of=decision, apart=True) as job:
        making(job)


def waits_for_what_is_apart(title: Handle) -> None:
    with task("late", apart=True):
        note = first(title)
    with task("two"):
        second(note)


def all_apart(title: Handle) -> None:
    with task("late", apart=True):
        first(title)


def job_outside_of_its_task(title: Handle) -> None:
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision) as job:
        making(job)
    with task("late"):
        gathering(job)


def mapped_inside_airflow(title: Handle) -> None:
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision):
        control(title)


def wrong_document(title: Handle) -> None:
    with task("one"):
        second(title)


def all_where_one_is_wanted(title: Handle) -> None:
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision) as job:
        notes = making(job)
    with task("late"):
        second(notes)


def one_where_all_are_wanted(title: Handle) -> None:
    with task("one"):
        note = first(title)
        gathering(note)


def of_another_pipeline(title: Handle) -> None:
    with task("one"):
        second(Handle("stranger"))


def first_of_no_mapped_plan(title: Handle) -> None:
    with task("plan"):
        planning(title)
    with task("early", edition="first"):
        first(title)


def two_plans(title: Handle) -> None:
    with task("plan"):
        one = planning(title)
        other = replanning(title)
    with task("make", each_job_of=one) as job:
        making(job)
    with task("make-others", each_job_of=other) as job:
        remaking(job)
    with task("early", edition="first"):
        first(title)


def first_set_twice(title: Handle) -> None:
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision) as job:
        making(job)
    with task("early", edition="first"):
        first(title)
        first(title)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        (first_of_no_mapped_plan, "task early: makes the edition 'first', and needs one plan .*: none"),
        (two_plans, "task early: makes the edition 'first', and needs one plan .*: planning, replanning"),
        (first_set_twice, "stage first: appears twice; a stage runs once for each edition"),
        (no_task, "has no task"),
        (outside_of_a_task, r"stage first: call it inside `with task"),
        (empty_task, "task idle has no stage"),
        (nested_tasks, "task inner opens inside outer"),
        (same_task_twice, "task one: appears twice"),
        (same_stage_twice, "stage first: appears twice"),
        (too_few_documents, "stage second: takes 1 documents, got 0"),
        (two_places, "stage control: runs in airflow, the stages before it in this task do not"),
        (follows_nobody, "task one: follows nope"),
        (follows_itself, "task one: follows one"),
        (mapped_over_no_plan, "task two: is mapped over first, which makes no plan"),
        (mapped_over_the_title, "task two: is mapped over title, which makes no plan"),
        (job_outside_of_its_task, "document 1 is the job of a mapped task; this task is not mapped"),
        (mapped_inside_airflow, "stage control: runs in airflow; only workers run once per job"),
        (wrong_document, "document 1 is TitleJob of title; the stage takes"),
        (all_where_one_is_wanted, "document 1 is every Note of making; the stage takes"),
        (one_where_all_are_wanted, "document 1 is Note of first; the stage takes"),
        (of_another_pipeline, "document 1 is the result of stranger, which this pipeline does not run"),
        (mapped_apart, "task two: runs apart from the title's run; it has neither jobs nor an edition"),
        (waits_for_what_is_apart, "task two: follows late, which runs when the title is settled"),
        (all_apart, "no task has a share of the progress"),
    ],
)
def test_a_description_that_cannot_run_is_refused_with_its_reason(
    description: Callable[[Handle], None], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^pipeline {description.__name__}: .*{complaint}"):
        pipeline(version=1)(description)
    assert (description.__name__, 1) not in registry()
    with pytest.raises(ConfigurationError, match="inside a @pipeline function"):
        first(Handle("title"))


def test_a_task_apart_is_none_of_the_titles_run_and_may_take_what_that_has_made() -> None:
    def with_a_later_look(title: Handle) -> None:
        with task("one"):
            note = first(title)
        with task("late", apart=True, share=0.0):
            second(note)
        with task("two"):
            control(title)

    described = pipeline(version=1)(with_a_later_look)

    assert [each.name for each in described.of_run] == ["one", "two"]
    assert described.task("late").upstream == ("one",)


def good(title: Handle) -> None:
    """A good one.

    With more to say.
    """
    with task("begin"):
        note = first(title)
        decision = planning(title)
    with task("make", each_job_of=decision) as job:
        notes = making(job)
    with task("end", after=("begin",), trigger_rule="all_done"):
        gathering(notes)
        asking(note)


def test_a_good_description_says_tasks_edges_and_inputs() -> None:
    described = pipeline(version=3, name="goodly")(good)

    assert (described.name, described.version, described.summary) == ("goodly", 3, "A good one.")
    assert [(each.name, each.upstream, each.trigger_rule, each.mapped_over) for each in described.tasks] == [
        ("begin", (), "all_success", None),
        ("make", ("begin",), "all_success", "planning"),
        ("end", ("make", "begin"), "all_done", None),
    ]
    assert [node.stage.name for node in described.task("end").nodes] == ["gathering", "asking"]
    (many,), (optional,) = (node.inputs for node in described.task("end").nodes)
    assert (many.many, many.optional, optional.many, optional.optional) == (True, False, False, True)
    assert described.owner("making") == "make"
    assert described.task("make").place == "worker"


def in_two_steps(title: Handle) -> None:
    """One that can publish a first version."""
    with task("plan"):
        decision = planning(title)
    with task("make", each_job_of=decision) as job:
        notes = making(job)
    with task("early", edition="first"):
        early = gathering(notes)
        asked = asking(early)
    with task("end", trigger_rule="all_done"):
        gathering(notes)
        asking(asked)


def test_stages_of_a_first_version_have_results_of_their_own() -> None:
    described = pipeline(version=1)(in_two_steps)

    assert described.editions == ("first",)
    assert pipeline(version=4)(good).editions == ()
    early, end = described.task("early"), described.task("end")
    assert (early.edition, early.edition_of, end.edition) == ("first", "planning", None)
    assert [node.name for node in (*early.nodes, *end.nodes)] == [
        "first_gathering", "first_asking", "gathering", "asking",
    ]  # fmt: skip
    assert [each.producer for node in end.nodes for each in node.inputs] == ["making", "first_asking"]
    assert (early.upstream, end.upstream) == (("make", "plan"), ("make", "early", "plan"))
    assert (described.owner("first_asking"), described.owner("asking")) == ("early", "end")


def test_a_task_that_does_not_exist_is_named_beside_those_that_do() -> None:
    described = pipeline(version=1)(good)

    with pytest.raises(ConfigurationError, match=r"good v1 has no task 'nope' \(it has begin, make, end\)"):
        described.task("nope")


def test_a_pipeline_is_registered_once_per_version_and_the_newest_is_current() -> None:
    one = pipeline(version=1)(good)
    ten = pipeline(version=10)(good)

    with pytest.raises(ConfigurationError, match="good v10 is registered twice"):
        pipeline(version=10)(good)
    assert current_pipelines()["good"] is ten
    assert find_pipeline("good", 1) is one
    with pytest.raises(ConfigurationError, match=r"good v2 is not registered \(known: good v1, good v10, .*vod v3"):
        find_pipeline("good", 2)


def test_a_pipeline_outside_of_the_registry_is_never_imported() -> None:
    for name in ("os", "os.system", "include.pipelines.vod", "../vod"):
        with pytest.raises(ConfigurationError, match="is not registered"):
            find_pipeline(name, 1)


@pytest.mark.parametrize("annotation", [int, tuple[int, ...], dict, str | None], ids=str)
def test_a_stage_takes_documents_only(annotation: object) -> None:
    with pytest.raises(TypeError, match="takes and gives documents"):
        document_type(annotation)


def test_the_registered_pipelines_are_good_from_end_to_end() -> None:
    found: list[Pipeline] = list(current_pipelines().values())

    assert {"vod", "vod-download"} <= {each.name for each in found}
    for each in found:
        assert each.summary
        assert each.of_run[-1].trigger_rule == "all_done"
