"""Two living workers of one job: a node that is cut off from the cluster works on beside the next attempt."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from include.adapters import tools
from include.adapters.process import run
from include.adapters.store.documents import load_document
from include.adapters.store.interface import Moved, unheard
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.domain.outcome.results import EncodeResult
from include.domain.title.work import result_key
from include.pipelines.core import current_pipelines
from include.pipelines.runner import TaskJob, run_task
from include.stages.core import StageContext
from tests.clips import Clips, stage_context
from tests.titles import fast, make_title

JOB = "h264_144p"
WRITES = 3
"""Of a worker that encodes: the rendition's record, the rendition, the stage's result."""
ORDERS = [
    "".join("a" if number in (0, *others) else "b" for number in range(2 * WRITES))
    for others in combinations(range(1, 2 * WRITES), WRITES - 1)
]
"""Every order in which two workers may write, the first being a."""


class Turns:
    """Who may write next."""

    def __init__(self, order: str) -> None:
        self.order: Iterator[str] = iter(order)
        self.changed = threading.Condition()
        self.next = next(self.order)

    def take(self, who: str, write: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.next == who, timeout=60), f"{who} waits for {self.next}"
            write()
            self.next = next(self.order, "")
            self.changed.notify_all()


class Slow(LocalStore):
    """The store of a worker that writes when its turn comes."""

    def __init__(self, root: Path, who: str, turns: Turns) -> None:
        super().__init__(root)
        self.who, self.turns = who, turns
        self.renditions: list[bytes] = []

    def put_bytes(self, key: str, data: bytes) -> None:
        if "/progress/" in key:
            return
        self.turns.take(self.who, lambda: LocalStore.put_bytes(self, key, data))

    def put_file(self, key: str, path: Path, moved: Moved = unheard) -> None:
        self.renditions.append(path.read_bytes())
        self.turns.take(self.who, lambda: LocalStore.put_file(self, key, path, moved))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> Path:
    """A home whose title has all results that an encode needs, and no rendition."""
    folder = tmp_path_factory.mktemp("two")
    made = make_title(
        folder, clips("two.mp4", seconds=1.0, size="64x36", languages=()), change=fast, pipeline_version=version()
    )
    store, title = LocalStore(folder / "store"), made.ctx.title
    for stage, document in (("inspect", made.source), ("analyse", made.analysis), ("plan", made.decision)):
        store.put_bytes(result_key(title, stage), document.to_json().encode())
    for kind in ("renditions", "encode"):
        store.delete_tree(made.ctx.kept_key(kind))
    return folder


def version() -> int:
    return current_pipelines()["vod"].version


@pytest.mark.parametrize("order", ORDERS)
def test_whatever_the_order_in_which_two_workers_write_one_rendition_is_whole_and_named(
    order: str, before: Path, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another number of threads makes other bytes of the same rendition.
    monkeypatch.setattr(tools, "encode_threads", lambda settings: settings.encode_slots)
    clip = clips("two.mp4", seconds=1.0, size="64x36", languages=())
    ctx = stage_context(tmp_path, clip, pipeline_version=version())
    root, turns = Path(ctx.settings.store_uri.removeprefix("file://")), Turns(order)
    shutil.copytree(before / "store", root)
    job = TaskJob(task="encode", title=ctx.title, item=JOB, time_limit_s=60)
    stores = {who: Slow(root, who, turns) for who in "ab"}
    failed: list[BaseException] = []

    def work(who: str) -> None:
        settings = ctx.settings.model_copy(update={"encode_slots": 1 if who == "a" else 12})

        def context(**given: Any) -> StageContext:
            return StageContext(settings=settings, **given)

        try:
            run_task(job, context, store=stores[who], scratch=tmp_path / who)
        except BaseException as error:
            failed.append(error)

    both = [threading.Thread(target=work, args=(who,)) for who in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join()

    assert failed == []
    made = [data for store in stores.values() for data in store.renditions]
    assert len({len(data) for data in made}) == 2
    plain = LocalStore(root)
    result = load_document(plain, result_key(ctx.title, "encode", JOB), EncodeResult)
    there = plain.get_bytes(result.uri)
    assert there in made
    assert list(plain.list(ctx.title.work + "/renditions")) == [
        result.uri.rpartition("/")[2].replace(".mp4", ".json"), result.uri.rpartition("/")[2],
    ]  # fmt: skip
    decoded = run(
        [tools.ffmpeg(Settings()), "-v", "error", "-i", plain.readable(result.uri), "-f", "null", "-"], timeout_s=60
    )
    assert decoded.stderr == ""
    # Whoever comes third finds the rendition, or makes it again where its record is the other's.
    plain.delete(result_key(ctx.title, "encode", JOB))
    run_task(job, lambda **given: StageContext(settings=ctx.settings, **given), store=plain, scratch=tmp_path / "c")
    third = load_document(plain, result_key(ctx.title, "encode", JOB), EncodeResult)
    assert plain.size(third.uri) == third.size_bytes
