"""``python -m include.worker``: exit codes, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import include
from include.adapters.process import run
from include.adapters.store.local import LocalStore
from include.base.errors import ErrorDocument, ToolTimeout
from include.domain.title.title import TitleJob
from include.domain.title.work import FORMAT, result_key
from include.pipelines.runner import TaskJob
from include.worker import main
from tests.clips import stage_context

ROOT = Path(next(iter(include.__path__))).parent


class Bench:
    """A worker with a store of its own."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder, self.project = folder, project
        self.store = LocalStore(folder / "home" / "store")
        ctx = stage_context(folder, "file:///nowhere/x.mov", pipeline="lab", pipeline_version=1)
        self.title: TitleJob = ctx.title

    def job(self, task: str = "look-around", **metadata: Any) -> TaskJob:
        job = TaskJob(task=task, title=self.title.model_copy(update={"metadata": metadata}), time_limit_s=60)
        self.store.put_bytes(job.key, job.to_json().encode())
        return job

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        env = {
            **os.environ,
            "CALLSHEET_HOME": str(self.folder / "home"),
            "PYTHONPATH": str(self.project),
            **environment,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "include.worker", *arguments], cwd=self.project, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def address(self, job: TaskJob) -> str:
        return f"{self.store.uri}/{job.key}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.orchestration.lab import built_project

    return built_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def bench(tmp_path: Path, project: Path) -> Bench:
    return Bench(tmp_path, project)


def test_a_task_that_is_done_exits_with_0_and_leaves_its_result_and_no_scratch(bench: Bench) -> None:
    job = bench.job()

    code, out, err = bench.run("look-around", "--job", bench.address(job))

    assert (code, out) == (0, "")
    assert "stage look took" in err
    assert bench.store.size(result_key(bench.title, "look"))
    assert list((bench.folder / "home" / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("do", "code", "type_"),
    [("reject", 64, "MezzanineRejected"), ("crash", 75, "EncoderCrashed"), ("starve", 137, "OutOfMemory"),
     ("foreign", 75, "ZeroDivisionError")],
)  # fmt: skip
def test_the_exit_code_is_the_retry_class_and_the_document_says_the_rest(
    do: str, code: int, type_: str, bench: Bench
) -> None:
    job = bench.job(do=do)

    found, _, err = bench.run("look-around", "--job", bench.address(job))

    assert found == code
    assert ErrorDocument.from_json(bench.store.get_bytes(job.error_key)).type == type_
    assert "Traceback" in err
    assert bench.store.size(result_key(bench.title, "look")) is None


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("another task", 64, "is for task look-around, not encode"),
        ("foreign store", 75, "is not in the configured store"),
        ("wrong setting", 64, "CALLSHEET_RELEASE_WINDOW"),
        ("no such pipeline", 64, "is not registered"),
    ],
)
def test_a_worker_that_is_called_wrongly_says_so_by_its_exit_code(
    case: str, code: int, message: str, bench: Bench
) -> None:
    job = bench.job()
    task, address, environment = "look-around", bench.address(job), {}
    if case == "another task":
        task = "encode"
    elif case == "foreign store":
        address = "file:///etc/passwd"
    elif case == "wrong setting":
        environment = {"CALLSHEET_RELEASE_WINDOW": "none"}
    else:
        bench.title = bench.title.model_copy(update={"pipeline_version": 99})
        address = bench.address(bench.job())

    found, _, err = bench.run(task, "--job", address, **environment)

    assert found == code
    assert message in err


def test_sigterm_leaves_no_child_and_no_scratch(bench: Bench) -> None:
    pid_file = bench.folder / "pid"
    job = bench.job(do="hang", pid_file=str(pid_file))
    process = bench.start("look-around", "--job", bench.address(job))
    children = _children(process.pid)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert list((bench.folder / "home" / "scratch").iterdir()) == []
    assert bench.store.size(result_key(bench.title, "look")) is None


def test_sigkill_of_the_worker_takes_its_tools_along(bench: Bench) -> None:
    job = bench.job(do="hang", pid_file=str(bench.folder / "pid"))
    process = bench.start("look-around", "--job", bench.address(job), CALLSHEET_SANDBOX="off")
    children = _children(process.pid)

    process.kill()
    process.communicate(timeout=30)

    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_worker_whose_parent_is_gone_already_does_not_begin(bench: Bench) -> None:
    job = bench.job()

    code, _, _ = bench.run("look-around", "--job", bench.address(job), CALLSHEET_PARENT_PID="1")

    assert code == -signal.SIGKILL
    assert bench.store.size(result_key(bench.title, "look")) is None


def test_a_job_document_that_is_not_there_is_not_a_success(bench: Bench) -> None:
    code, _, err = bench.run("look-around", "--job", f"{bench.store.uri}/work/none.json")

    assert code != 0
    assert "nothing at" in err


def test_the_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    assert "--job URI" in capsys.readouterr().out


def test_a_child_past_its_limit_takes_its_own_children_down_by_closing_their_pipe() -> None:
    with pytest.raises(ToolTimeout):
        run([sys.executable, "-c", "import time\nprint('x' * 100, flush=True)\ntime.sleep(600)"], timeout_s=1.0)

    assert [words for words in map(_command, psutil.Process().children()) if "sleep(600)" in " ".join(words)] == []


def test_stdout_is_bounded() -> None:
    from include.adapters.process import STDOUT_LIMIT

    megabytes = STDOUT_LIMIT // 1024**2 + 8
    finished = run(
        [
            sys.executable,
            "-c",
            f"import sys\nfor _ in range({megabytes}): sys.stdout.write('x' * 1024**2)\nprint('end')",
        ],
        timeout_s=60,
    )

    assert len(finished.stdout) == STDOUT_LIMIT
    assert finished.stdout.endswith(b"xend\n")


def _command(process: psutil.Process) -> list[str]:
    """Its command line; none of a process that ends while it is looked at."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    while not (found := process.children(recursive=True)):
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("said", [{"format": 1}, {"format": FORMAT + 1, "brand_new": {}}, {"format": None}], ids=str)
def test_a_job_of_another_release_is_not_tried_and_nothing_is_written_over_it(
    said: dict[str, Any], bench: Bench
) -> None:
    job = bench.job()
    theirs = json.dumps({**json.loads(job.to_json()), **said}).encode()
    bench.store.put_bytes(job.key, theirs)

    code, _, err = bench.run("look-around", "--job", bench.address(job))

    assert code == 76
    assert f"this release reads format {FORMAT}" in err
    assert list(bench.store.list(job.title.work)) == ["jobs/look-around.json"]
    assert bench.store.get_bytes(job.key) == theirs


def test_a_job_of_a_release_before_formats_says_none(bench: Bench) -> None:
    job = bench.job()
    old = {name: value for name, value in json.loads(job.to_json()).items() if name != "format"}
    bench.store.put_bytes(job.key, json.dumps(old).encode())

    code, _, err = bench.run("look-around", "--job", bench.address(job))

    assert (code, "is a job of format 1" in err) == (76, True)


def test_a_worker_that_outlived_its_task_writes_nothing_over_what_a_newer_release_has_begun(
    bench: Bench, tmp_path: Path
) -> None:
    job = bench.job(do="linger", pid_file=str(tmp_path / "pid"))
    process = bench.start("look-around", "--job", bench.address(job))
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.05)
    newer = json.dumps({**json.loads(job.to_json()), "format": FORMAT + 1, "brand_new": {}}).encode()
    bench.store.put_bytes(job.key, newer)
    result = result_key(job.title, "look")
    bench.store.put_bytes(result, b'{"of": "the newer release"}')
    (tmp_path / "pid").unlink()

    _, err = process.communicate(timeout=60)

    assert (process.returncode, f"is a job of format {FORMAT + 1}" in err) == (76, True)
    assert bench.store.get_bytes(result) == b'{"of": "the newer release"}'
    assert bench.store.get_bytes(job.key) == newer
    assert bench.store.size(job.error_key) is None
    assert bench.store.size(job.usage_key) is None
