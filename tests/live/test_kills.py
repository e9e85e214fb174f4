"""Clearing, a time-out and SIGKILL of a task: no encoder outlives it, no half set goes out, no work is done twice."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.errors import ErrorDocument
from include.base.settings import Settings
from include.domain.title.request import parse_batch
from include.domain.title.work import FORMAT
from include.orchestration.runtimes.local import WorkerTask
from tests.clips import make_clip
from tests.stack import LiveStack, processes_of, wait_for

NOISE = "noise=alls=40:allf=t"
"""Hard to encode, so that there is an encoder to kill."""


@pytest.fixture(scope="module")
def clip(live: LiveStack) -> Path:
    return make_clip(live.mezzanines / "noisy.mp4", seconds=12, size="640x360", filters=NOISE)


def encoder_of(title_id: str, rendition: str) -> psutil.Process | None:
    for process in processes_of(title_id):
        try:
            words = process.cmdline()
            if "include.worker" not in words and any(word.endswith(f"/{rendition}.mp4") for word in words):
                return process
        except psutil.Error:
            continue
    return None


def done_renditions(live: LiveStack, title_id: str) -> dict[str, tuple[int, int]]:
    """Finished renditions of a title, with what changes when they are written again."""
    folder = Path(live.store.readable("work/none")).parent / title_id
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("*/renditions/*")
        if not path.name.startswith(".")
    }


def start(live: LiveStack, title_id: str, clip: Path) -> psutil.Process:
    """Submit a title and wait until its top rung is being encoded, by the answer, and a lower one is finished."""
    live.submit(title_id, {"title_id": title_id, "mezzanine": clip.as_uri(), "tier": "standard"})
    found: list[psutil.Process] = []

    def is_encoding() -> bool:
        encoder = encoder_of(title_id, "h264_360p")
        found.extend([encoder] if encoder is not None and done_renditions(live, title_id) else [])
        return bool(found)

    wait_for(is_encoding, f"the encoder of {title_id}")
    return found[0]


def check_end(live: LiveStack, title_id: str, done: dict[str, tuple[int, int]]) -> None:
    """The title is published once and whole, and what had been finished was not encoded again."""
    (record,) = live.settled(title_id)
    assert (record["state"], record["version"]) == ("published", 1)
    assert [rung["rendition"] for rung in record["rungs"]] == ["h264_144p", "h264_240p", "h264_360p"]
    now = done_renditions(live, title_id)
    assert done == {name: now[name] for name in done}
    assert [version for version in range(1, 4) if live.store.list(f"titles/{title_id}/v{version}")] == [1]
    assert processes_of(title_id) == []


def test_sigkill_of_the_task_leaves_no_encoder_and_a_retry_does_the_rest(live: LiveStack, clip: Path) -> None:
    encoder = start(live, "killed", clip)
    worker = encoder.parent()
    assert worker is not None
    task = worker.parent()
    assert task is not None
    done = done_renditions(live, "killed")

    os.kill(task.pid, signal.SIGKILL)

    wait_for(lambda: not worker.is_running() and not encoder.is_running(), "the end of worker and encoder", limit_s=10)
    check_end(live, "killed", done)


def test_clearing_a_running_encode_stops_it_and_encodes_the_rest_again(live: LiveStack, clip: Path) -> None:
    encoder = start(live, "cleared", clip)
    done = done_renditions(live, "cleared")
    record = live.catalog.titles.find(title_id="cleared")[0]
    running = [
        [each["task_id"], each["map_index"]]
        for each in live.api().task_instances(record.dag_id, record.run_id or "")
        if each["task_id"] == "encode_cpu" and each["state"] == "running"
    ]

    live.api("admin").request(
        "POST",
        f"/api/v2/dags/{record.dag_id}/clearTaskInstances",
        json={"dry_run": False, "dag_run_id": record.run_id, "task_ids": running, "only_failed": False},
    )

    wait_for(lambda: not encoder.is_running(), "the end of the cleared encoder", limit_s=60)
    check_end(live, "cleared", done)


@pytest.fixture
def released(tmp_path: Path, live: LiveStack, clip: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerTask:
    """The prepare task of a title that is released in a catalog of its own."""
    monkeypatch.setenv("CALLSHEET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", str(clip.parent))
    # A tool that never ends.
    hanging = tmp_path / "ffprobe"
    hanging.write_text("#!/bin/sh\nexec sleep 1000 # $@\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("CALLSHEET_FFPROBE", str(hanging))
    # The test looks for the worker as the tool's parent.
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")
    catalog = Catalog(f"sqlite:///{tmp_path / 'home' / 'catalog.db'}")
    catalog.migrate()
    conf = {"batch_id": "hung", "titles": [{"title_id": "hung", "mezzanine": clip.as_uri()}]}
    now = datetime.now(UTC)
    catalog.batches.accept(parse_batch(conf, pipelines=frozenset({"vod"})), pipeline_version=3, now=now)
    catalog.titles.claim(window=1, now=now, claimant="test")
    return WorkerTask(task_id="prepare", pipeline="vod", pipeline_version=3)


def test_a_task_that_times_out_takes_its_worker_and_tools_along(released: WorkerTask) -> None:
    class TimedOut(BaseException):
        """What Airflow raises inside the task is no Exception either."""

    context: Any = {"dag_run": SimpleNamespace(dag_id="batch__hung", run_id="hung__1", conf={}), "ti": None}
    me = psutil.Process()

    def expire(signum: int, frame: object) -> None:
        for process in me.children(recursive=True):
            # Others end while they are looked at: of the test session, or a tool that the worker asked for its version.
            with suppress(psutil.Error):
                worker = process.parent()
                if "sleep" in process.name() and worker is not None:
                    seen.extend([process, worker])
                    raise TimedOut
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    seen: list[psutil.Process] = []
    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimedOut):
            released.execute(context)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    left = f"work/hung/hung.1/format{FORMAT}/errors/prepare.json"
    failure = ErrorDocument.from_json(open_store(Settings()).get_bytes(left))
    assert failure.type == "TimedOut"
    assert len(seen) == 2
    wait_for(lambda: not any(process.is_running() for process in seen), "the end of the worker's tools", limit_s=10)
