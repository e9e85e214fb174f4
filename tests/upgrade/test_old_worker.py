"""A worker of the release before outlives its task, whose run goes on under this one: nothing is written over."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from include.adapters.store.local import LocalStore
from include.adapters.tools import ffmpeg
from include.base.errors import EXIT_CODES, Retry
from include.base.settings import Settings
from include.local.environment import ROOT
from include.pipelines.runner import Progress, TaskJob, drop_unreadable
from include.stages.core import StageContext
from tests.clips import Clips, stage_context
from tests.upgrade.home import reach
from tests.upgrade.past import Past

WRITE_JOB = """
import sys
from pathlib import Path
from include.domain.title.title import TitleJob
from include.pipelines.runner import TaskJob
job = TaskJob(task=sys.argv[1], title=TitleJob.from_json(sys.argv[2].encode()), time_limit_s=600)
target = Path(sys.argv[3]) / job.key
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(job.to_json())
"""
LIMIT_S = 120


def worker(ctx: StageContext, task: str, python: Path, tree: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start a worker of the release in ``tree`` on the task's job document."""
    key = TaskJob(task=task, title=ctx.title, time_limit_s=600).key
    settings |= {
        "CALLSHEET_HOME": str(ctx.settings.home),
        "CALLSHEET_STORE_URI": ctx.store.uri,
        "CALLSHEET_MEZZANINE_ROOTS": ",".join(map(str, ctx.settings.mezzanine_roots)),
    }
    return subprocess.Popen(
        [str(python), "-m", "include.worker", task, "--job", f"{ctx.store.uri}/{key}"],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(tree), **settings}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def waiting_ffmpeg(folder: Path) -> Path:
    """The real ffmpeg, behind a script that waits as long as the folder has a file ``gate``."""
    (folder / "gate").touch()
    script = folder / "ffmpeg"
    gate = shlex.quote(str(folder / "gate"))
    real = shlex.quote(ffmpeg(Settings()))
    script.write_text(f'#!/bin/sh\nwhile [ -e {gate} ]; do sleep 0.1; done\nexec {real} "$@"\n')
    script.chmod(0o755)
    return script


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, with what changes when it is written again."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def doing(store: LocalStore, title: str) -> str:
    """The stage that the title's ``extras`` were last heard of in; empty before they have begun."""
    for name in store.list(title):
        if name.endswith("progress/extras.json"):
            return Progress.from_json(store.get_bytes(f"{title}/{name}")).stage
    return ""


def test_a_worker_that_outlives_its_task_writes_over_nothing_of_this_release(
    past: Past, clips: Clips, tmp_path: Path
) -> None:
    clip = clips("outlived.mp4", seconds=2, size="160x90")
    ctx: StageContext = stage_context(tmp_path, clip)
    title, store = ctx.title, ctx.store
    assert isinstance(store, LocalStore)
    asked = title.model_dump_json(exclude_defaults=True)
    for task in ("prepare", "extras"):
        past.run(WRITE_JOB, task, asked, str(store.root))
    assert worker(ctx, "prepare", past.python, past.tree).wait(LIMIT_S) == 0
    old = worker(ctx, "extras", past.python, past.tree, CALLSHEET_FFMPEG=str(waiting_ffmpeg(tmp_path)))
    try:
        reach(lambda: doing(store, title.work) == "audio", "the older worker at its sound", LIMIT_S)
        drop_unreadable(title, store)
        for task in ("prepare", "extras"):
            job = TaskJob(task=task, title=title, time_limit_s=600)
            store.put_bytes(job.key, job.to_json().encode())
            assert worker(ctx, task, Path(sys.executable), ROOT).wait(LIMIT_S) == 0
        ours = files(store.root / title.work)
        (tmp_path / "gate").unlink()

        assert old.wait(LIMIT_S) == EXIT_CODES[Retry.LATER]
    finally:
        old.kill()
        old.wait()
    now = files(store.root / title.work)
    assert {name: now.get(name) for name in ours} == ours
    assert any(name.startswith("audio/") for name in now.keys() - ours.keys())
