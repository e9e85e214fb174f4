"""Tasks as Airflow executes them, with real workers: what they do, what they leave, how they fail."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.store.local import LocalStore
from include.base.errors import EXIT_CODES, ErrorDocument, Owner, Retry
from include.base.settings import Settings
from include.domain.title.work import result_key
from include.orchestration.runtimes import local
from include.orchestration.runtimes.control import ControlTask, PublishTask
from include.orchestration.runtimes.local import WorkerTask
from include.orchestration.runtimes.task import TitleTask, bound
from include.pipelines.core import find_pipeline
from include.pipelines.runner import TaskJob
from tests.catalog.samples import accept, packaged
from tests.clips import Clips
from tests.media_core.samples import inspection
from tests.orchestration.airflow_server import AirflowServer
from tests.orchestration.lab import Lab, Supervisor, context, released


def told(catalog: Catalog, title: TitleRecord) -> list[tuple[str, str | None, str | None]]:
    return [
        (e.kind, e.task, e.item)
        for e in catalog.history.events(request_id=title.request_id)
        if e.kind.startswith("task.")
    ]


def error_of(title: TitleRecord, store: LocalStore, task: str = "look-around") -> ErrorDocument:
    return ErrorDocument.from_json(store.get_bytes(TaskJob(task=task, title=title.job(), time_limit_s=0).error_key))


def test_a_users_own_pipeline_in_one_file_runs_from_end_to_end(lab: Lab, catalog: Catalog, store: LocalStore) -> None:
    title = released(catalog)
    around = context(title)

    assert lab.task("look-around").execute(around) is None
    assert lab.task("make-up-your-mind").execute(around) == ["h264_0p", "h264_1p"]
    for name in ("h264_0p", "h264_1p"):
        assert lab.task("make-them", job=name).execute(around) is None
    lab.task("add-up").execute(around)

    assert store.get_bytes(result_key(title.job(), "bill")) == b'{"names":["h264_0p","h264_1p"],"seen":true}'
    tasks = ["look-around", "make-up-your-mind", "make-them", "make-them", "add-up"]
    assert [each[1] for each in told(catalog, title)] == [name for name in tasks for _ in "se"]
    after = catalog.titles.get(title.request_id)
    assert after is not None
    assert after.progress == 1.0


def test_a_worker_is_told_the_time_limit_of_its_job_and_its_cost_is_noted(
    lab: Lab, catalog: Catalog, store: LocalStore
) -> None:
    title = released(catalog)
    around = context(title)
    for task in ("look-around", "make-up-your-mind"):
        lab.task(task).execute(around)

    lab.task("make-them", job="h264_1p").execute(around)

    job = TaskJob.from_json(store.get_bytes(f"{title.job().work}/jobs/make-them.h264_1p.json"))
    assert (job.item, job.time_limit_s) == ("h264_1p", 77)
    finished = [event for event in catalog.history.events(request_id=title.request_id) if event.kind == "task.finished"]
    assert finished[-1].item == "h264_1p"
    assert finished[-1].detail["cpu_s"] > 0
    assert finished[-1].detail["peak_memory_mb"] > 1


@pytest.mark.parametrize(
    ("do", "raised", "retry", "owner", "type_"),
    [
        ("reject", AirflowFailException, Retry.NEVER, Owner.SOURCE, "MezzanineRejected"),
        ("crash", AirflowException, Retry.TRANSIENT, Owner.ENCODER, "EncoderCrashed"),
        ("starve", AirflowException, Retry.MORE_MEMORY, Owner.ENCODER, "OutOfMemory"),
        ("foreign", AirflowException, Retry.TRANSIENT, Owner.PLATFORM, "ZeroDivisionError"),
        ("die", AirflowException, Retry.TRANSIENT, Owner.PLATFORM, "PlatformUnavailable"),
        ("quit", AirflowFailException, Retry.NEVER, Owner.PLATFORM, "ConfigurationError"),
        ("forget", AirflowException, Retry.TRANSIENT, Owner.PLATFORM, "PlatformUnavailable"),
    ],
)
def test_a_failure_keeps_its_class_all_the_way_to_airflow(
    do: str, raised: type[Exception], retry: Retry, owner: Owner, type_: str,
    lab: Lab, catalog: Catalog, store: LocalStore,
) -> None:  # fmt: skip
    title = released(catalog, metadata={"do": do})

    with pytest.raises(AirflowException, match=f"^{type_}: .*owner: {owner}") as caught:
        lab.task("look-around").execute(context(title))

    assert type(caught.value) is raised
    document = error_of(title, store)
    assert (document.type, document.retry, document.owner) == (type_, retry, owner)
    assert [kind for kind, *_ in told(catalog, title)] == ["task.started", "task.failed"]
    if do == "crash":
        assert (document.command, document.stderr_tail) == ("ffmpeg -i x", "boom")


def test_a_word_that_an_earlier_attempt_left_is_not_taken_for_this_ones(
    lab: Lab, catalog: Catalog, store: LocalStore
) -> None:
    title = released(catalog, metadata={"do": "die"})
    stale = TaskJob(task="look-around", title=title.job(), time_limit_s=0)
    old = ErrorDocument(type="MezzanineRejected", message="old", owner=Owner.SOURCE, retry=Retry.NEVER)
    store.put_bytes(stale.error_key, old.to_json().encode())

    with pytest.raises(AirflowException, match="ended with signal 9 and left no word"):
        lab.task("look-around").execute(context(title))

    assert error_of(title, store).type == "PlatformUnavailable"


def test_a_worker_sees_neither_credentials_nor_what_is_none_of_its_business(
    lab: Lab, catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "CALLSHEET_WEBHOOK_SECRET", "CALLSHEET_API_PASSWORD", "AIRFLOW_CONN_CALLSHEET_AIRFLOW", "SLACK_TOKEN",
        "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "DATABASE_PASSWORD",
    ):  # fmt: skip
        monkeypatch.setenv(name, "topsecret")
    monkeypatch.setenv("CALLSHEET_CATALOG_URL", catalog.database.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    title = released(catalog)

    lab.task("look-around").execute(context(title))

    seen = store.get_bytes(result_key(title.job(), "look")).decode()
    assert "topsecret" not in seen
    assert "eu-central-1" in seen
    assert "CALLSHEET_HOME" in seen
    assert "CALLSHEET_CATALOG_URL" not in seen
    job = store.get_bytes(f"{title.job().work}/jobs/look-around.json")
    assert b"topsecret" not in job
    assert '"niceness":10' in seen


def test_a_retry_finds_what_is_done_and_does_it_no_second_time(
    lab: Lab, catalog: Catalog, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = released(catalog)
    lab.task("look-around").execute(context(title))
    before = store.get_bytes(result_key(title.job(), "look"))
    monkeypatch.setenv("LANG", "changed")

    lab.task("look-around").execute(context(title))

    assert before == store.get_bytes(result_key(title.job(), "look"))


def test_a_task_without_its_plan_fails_for_good_and_says_so(lab: Lab, catalog: Catalog, store: LocalStore) -> None:
    title = released(catalog)

    with pytest.raises(AirflowFailException, match=r"MissingInput: .*has no plan"):
        lab.task("make-them", job="h264_0p").execute(context(title))

    job = TaskJob(task="make-them", title=title.job(), item="h264_0p", time_limit_s=0)
    assert ErrorDocument.from_json(store.get_bytes(job.error_key)).type == "MissingInput"


def test_an_unknown_job_of_a_plan_is_missing_input(lab: Lab, catalog: Catalog) -> None:
    title = released(catalog)
    for task in ("look-around", "make-up-your-mind"):
        lab.task(task).execute(context(title))

    with pytest.raises(AirflowFailException, match="the plan has no job 'h264_9p'"):
        lab.task("make-them", job="h264_9p").execute(context(title))


def test_the_plans_jobs_go_to_the_mapped_tasks_of_their_pools(
    lab: Lab, catalog: Catalog, supervisor: Supervisor
) -> None:
    title = released(catalog, metadata={"jobs": 3, "pools": {"h264_1p": "gpu_encode"}})
    lab.task("look-around").execute(context(title))

    assert lab.task("make-up-your-mind").execute(context(title)) == ["h264_0p", "h264_2p"]
    assert supervisor.xcoms == {("make-them_gpu_jobs", "return_value"): (["h264_1p"], 1)}


def test_a_job_for_a_pool_that_is_not_there_is_not_lost_in_silence(lab: Lab, catalog: Catalog) -> None:
    title = released(catalog, metadata={"pools": {"h264_1p": "tpu"}})
    lab.task("look-around").execute(context(title))

    with pytest.raises(AirflowFailException, match=r"ConfigurationError: job h264_1p asks for the pool 'tpu'"):
        lab.task("make-up-your-mind").execute(context(title))


def test_a_plan_without_jobs_is_an_empty_list(lab: Lab, catalog: Catalog) -> None:
    title = released(catalog, metadata={"jobs": 0})
    lab.task("look-around").execute(context(title))

    assert lab.task("make-up-your-mind").execute(context(title)) == []


@pytest.mark.parametrize("task", ["look-around", "add-up"])
@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "manual__1"},
        {"conf": {}, "run_id": "manual__1"},
        {"conf": {"request_id": "other/alpha"}, "run_id": "x"},
        {"conf": {"request_id": 7}, "run_id": "x"},
        {"conf": None, "run_id": "x"},
        {"dag_id": "batch__other"},
    ],
    ids=str,
)
def test_a_run_that_the_catalog_did_not_release_does_nothing(
    task: str, changes: dict[str, Any], lab: Lab, catalog: Catalog, store: LocalStore
) -> None:
    title = released(catalog)

    with pytest.raises(AirflowFailException, match=r"not released|not started by hand"):
        lab.task(task).execute(context(title, **changes))

    assert told(catalog, title) == []
    assert store.list("work") == {}


def test_the_worker_and_its_tools_end_with_the_task(lab: Lab, catalog: Catalog, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    title = released(catalog, metadata={"do": "hang", "pid_file": str(pid_file)})
    killed: list[psutil.Process] = []

    def kill() -> None:
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.05)
        worker = psutil.Process(int(pid_file.read_text()))
        while not (tools := worker.children()):
            time.sleep(0.05)
        killed.extend([worker, *tools])
        worker.terminate()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(AirflowException, match="exit code 143"):
        lab.task("look-around").execute(context(title))
    thread.join()

    assert len(killed) == 2
    _, alive = psutil.wait_procs(killed, timeout=10)
    assert alive == []


def test_a_worker_that_goes_on_beyond_its_limit_is_killed(
    lab: Lab, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_FFMPEG_TIMEOUT_S", "1")
    monkeypatch.setattr(local, "START_MARGIN_S", 1)
    title = released(catalog, metadata={"do": "disobey", "pid_file": os.devnull})

    with pytest.raises(AirflowException, match="signal 9"):
        lab.task("look-around").execute(context(title))


def test_a_worker_is_told_the_time_limit_of_its_titles_length(
    catalog: Catalog, store: LocalStore, settings: Settings
) -> None:
    title, pipeline = released(catalog, pipeline="vod"), find_pipeline("vod", 3)
    told = TaskJob(task="extras", title=title.job(), time_limit_s=1)

    def limit_s() -> float:
        return bound(told, title, settings, store, pipeline, resumed=False).time_limit_s

    assert limit_s() == settings.ffmpeg_timeout_s
    for hours, wanted in ((0.1, 1), (2, 1), (12, 6)):
        found = inspection(duration_s=hours * 3600)
        store.put_bytes(result_key(title.job(), "inspect"), found.to_json().encode())
        assert limit_s() == wanted * settings.ffmpeg_timeout_s


def test_a_worker_that_does_not_heed_the_end_of_its_task_is_killed(
    lab: Lab, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    marker = tmp_path / "pid"
    title = released(catalog, metadata={"do": "disobey", "pid_file": str(marker)})

    class Cleared(BaseException):
        """As Airflow's own, no Exception."""

    def clear(signum: int, frame: object) -> None:
        if not marker.exists():
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            return
        workers.extend(process for process in psutil.Process().children() if process not in others)
        raise Cleared

    # Servers of the test session, say.
    others = psutil.Process().children()
    workers: list[psutil.Process] = []
    before = signal.signal(signal.SIGALRM, clear)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Cleared):
            lab.task("look-around").execute(context(title))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert workers
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_a_real_clip_is_prepared_and_planned(
    catalog: Catalog, store: LocalStore, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clips("prepared.mp4", seconds=2)
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", str(clip.parent))
    title = released(catalog, pipeline="vod", mezzanine=clip.as_uri(), tier="ugc")
    around = context(title)

    WorkerTask(task_id="prepare", pipeline="vod", pipeline_version=3).execute(around)
    jobs = ControlTask(task_id="plan", pipeline="vod", pipeline_version=3).execute(around)

    assert jobs[0] == "h264_144p"
    assert len(jobs) == 2
    assert store.size(result_key(title.job(), "analyse"))
    running = catalog.titles.get(title.request_id)
    assert running is not None
    assert (running.state, running.task) == ("running", "plan")


def test_the_last_tasks_publish_settle_and_release_the_next(
    catalog: Catalog, store: LocalStore, airflow: AirflowServer
) -> None:
    title = released(catalog, pipeline="vod")
    around = context(title)
    package = packaged().model_copy(update={"prefix": f"{title.job().work}/package", "files": {"hls.m3u8": 7}})
    store.put_bytes(f"{package.prefix}/hls.m3u8", b"#EXTM3U")
    store.put_bytes(result_key(title.job(), "package"), package.to_json().encode())
    accept(catalog, "summer", "beta")
    airflow.dags.add("batch__summer")
    api_run = {"dag_run_id": title.run_id, "state": "running"}
    airflow.runs[title.dag_id, title.run_id or ""] = api_run

    PublishTask(task_id="publish", pipeline="vod", pipeline_version=3).execute(around)
    ControlTask(task_id="settle", pipeline="vod", pipeline_version=3).execute(around)

    preview = "https://airflow.example/callsheet/media/titles/alpha/v1/preview.html"
    assert around["ti"].xcoms == {"preview": preview}
    done = catalog.titles.get(title.request_id)
    assert done is not None
    assert (done.state, done.version, done.preview) == ("published", 1, preview)
    assert "beta__1" in airflow.started
    assert "[Preview]" in airflow.notes[title.dag_id, title.run_id or ""]


def test_a_title_that_came_to_nothing_is_settled_and_its_run_is_red(catalog: Catalog, airflow: AirflowServer) -> None:
    title = released(catalog, pipeline="vod")

    with pytest.raises(AirflowFailException, match="TitleEndedBadly: title failed: "):
        ControlTask(task_id="settle", pipeline="vod", pipeline_version=3).execute(context(title))

    done = catalog.titles.get(title.request_id)
    assert done is not None
    assert (done.state, done.reason) == ("failed", "no_result")


def test_the_base_class_does_no_work_of_its_own(lab: Lab, catalog: Catalog) -> None:
    title = released(catalog)

    with pytest.raises(AirflowFailException, match="does no work"):
        TitleTask(task_id="look-around", pipeline="lab", pipeline_version=1).execute(context(title))


def test_the_publishing_task_has_a_button_that_opens_the_preview() -> None:
    task = PublishTask(task_id="publish", pipeline="vod", pipeline_version=3)

    assert [link.name for link in task.operator_extra_links] == ["Preview"]


def test_exit_codes_tell_the_retry_classes_apart() -> None:
    assert {Retry.NEVER: 64, Retry.TRANSIENT: 75, Retry.LATER: 76, Retry.MORE_MEMORY: 137} == EXIT_CODES
