"""A farm in a folder: titles taken through their tasks as Airflow takes them, and what must hold all the while."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import m3u8
import psutil
from sqlalchemy import select

from include.adapters.catalog import Catalog, TitleRecord
from include.adapters.catalog.schema import alerts, dead_letters, events, outbox
from include.adapters.store.local import LocalStore
from include.domain.plan.plan import Plan
from include.domain.title.request import parse_batch
from include.domain.title.title import TitleJob
from include.domain.title.work import own_folder, result_key
from include.pipelines.core import current_pipelines
from tests.nothing_lost import points
from tests.nothing_lost.points import Point

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.nothing_lost.victim"])
LIMIT_S = 120
ATTEMPTS = 3
"""As the operators have it: one attempt and two retries."""
ONCE = (
    "title.playable",
    "title.completed",
    "title.published",
    "title.degraded",
    "title.rejected",
    "title.failed",
    "title.cancelled",
)


@dataclass
class Farm:
    """Home folder, catalog, store and the title's way through the pipeline."""

    home: Path
    environment: dict[str, str]
    """Of every process, besides the home."""
    catalog_url: str = ""
    title_id: str = "alpha"
    batch_id: str = "spring"
    seen: dict[str, str] = field(default_factory=dict)
    """Hash of every file of a published version, from the first time that a reader could see it."""
    pointer: tuple[int, bool, int] = (-1, False, -1)
    """What the pointer named last: request number, whether the whole set, version."""
    finished: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Finished renditions, with what changes when one is written again."""
    log: Path = Path("unset")

    def __post_init__(self) -> None:
        self.catalog_url = self.catalog_url or f"sqlite:///{self.home / 'catalog.db'}"
        self.log = self.home / "log"

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.catalog_url)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.home / "store")

    @property
    def request_id(self) -> str:
        return f"{self.batch_id}/{self.title_id}"

    @property
    def record(self) -> TitleRecord:
        found = self.catalog.titles.get(self.request_id)
        assert found is not None
        return found

    @property
    def title(self) -> TitleJob:
        return self.record.job()

    def copied(self, home: Path, *, catalog_url: str = "") -> Farm:
        """This farm as it stands, in another folder."""
        shutil.copytree(self.home, home, symlinks=True)
        return Farm(home, self.environment, catalog_url, self.title_id, self.batch_id)

    def of(self, batch_id: str) -> Farm:
        """The same farm, looked at for another request of the title."""
        other = Farm(self.home, self.environment, self.catalog_url, self.title_id, batch_id)
        other.seen = self.seen
        return other

    def submit(self, mezzanine: str, **title: Any) -> None:
        """Enter the title's request in the catalog."""
        conf = {
            "batch_id": self.batch_id,
            "callback_url": self.environment["CALLBACK"],
            "titles": [{"title_id": self.title_id, "mezzanine": mezzanine, "tier": "ugc", **title}],
        }
        batch = parse_batch(conf, pipelines=frozenset({"vod"}))
        self.catalog.batches.accept(batch, pipeline_version=current_pipelines()["vod"].version, now=datetime.now(UTC))

    def steps(self) -> Iterator[str]:
        """The tasks of the title's life in order, each job of the plan one: ``encode.<job>``."""
        yield from ("release", "prepare", "plan")
        plan = Plan.from_json(self.store.get_bytes(result_key(self.title, "plan")))
        yield from (f"encode.{job.name}" for job in plan.earliest.jobs)
        yield "extras"
        if plan.early:
            yield from ("first_finish", "first_publish")
            yield from (f"encode.{name}" for name in plan.earliest.left_out())
        yield from ("finish", "publish", "settle")

    def start(self, step: str, *, point: Point | None = None, trace: Path | None = None,
              later_s: float = 0, **environment: str) -> Any:  # fmt: skip
        """Start a task's process."""
        given = {**self.environment, "CALLSHEET_HOME": str(self.home), "CALLSHEET_CATALOG_URL": self.catalog_url}
        given |= environment
        if point is not None:
            given[points.POINT_VARIABLE] = point.to_json()
        if trace is not None:
            given[points.TRACE_VARIABLE] = str(trace)
        call, arguments = "release", {"later_s": later_s}
        if step != "release":
            name, _, item = step.partition(".")
            record = self.record
            call = "task"
            arguments = {
                "dag_id": record.dag_id,
                "run_id": record.run_id,
                "name": name,
                "item": item or None,
                "version": record.pipeline_version,
            }  # type: ignore[dict-item]
        process = PROCESSES.Process(target=_run, args=(given, str(self.log), call, arguments))
        process.start()
        return process

    def run(self, step: str, **how: Any) -> int:
        """One attempt of a task; its exit code, negative for a signal."""
        process = self.start(step, **how)
        process.join(LIMIT_S)
        assert process.exitcode is not None, f"{step} hangs\n{self.said()}"
        return int(process.exitcode)

    def finish(self, step: str, **how: Any) -> None:
        """A task to its end, as often as Airflow would try."""
        codes = []
        for _ in range(ATTEMPTS):
            codes.append(self.run(step, **how))
            self.check()
            if codes[-1] == 0:
                return
        raise AssertionError(f"{step} ended with {codes}\n{self.said()}")

    def live(self, *, until: str | None = None, since: str | None = None, **how: Any) -> None:
        """All tasks of the title, or those before ``until``, or those after ``since``."""
        going = since is None
        for step in self.steps():
            if step == until:
                return
            if going:
                self.finish(step, **how)
            going = going or step == since

    def live_from(self, first: str, *, checks: bool = True) -> None:
        """The tasks from ``first`` on."""
        steps = list(self.steps())
        for step in steps[steps.index(first) :]:
            if checks:
                self.finish(step)
            else:
                assert self.run(step) == 0, self.said()

    def said(self) -> str:
        """What the processes wrote, for a failure's message."""
        return self.log.read_text()[-6000:] if self.log.exists() else ""

    def rows(self, table: Any) -> list[dict[str, Any]]:
        """Everything in a table of the catalog."""
        with self.catalog.database.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def check(self) -> None:
        """What must hold at every moment, also of what a killed process leaves behind."""
        look(self.store.root, self.title_id, self)
        done = self.done_renditions()
        rewritten = {name for name, was in self.finished.items() if done.get(name) != was}
        assert not rewritten, f"finished renditions were made again: {rewritten}"
        self.finished = done
        for table, columns in UNIQUE.items():
            counted = collections.Counter(tuple(str(row[name]) for name in columns) for row in self.rows(table))
            assert max(counted.values(), default=1) == 1, f"{table.name}: {counted}"
        for kind, of_request in collections.Counter(
            (row["kind"], row["request_id"]) for row in self.rows(events) if row["kind"] in ONCE
        ).items():
            assert of_request == 1, f"{kind} happened {of_request} times"

    def check_end(self, state: str = "published") -> None:
        """The title has come to exactly one end, whole, and nothing is left over."""
        self.check()
        record = self.record
        assert record.state == state, f"{record.state}: {record.message}\n{self.said()}"
        finals = [row for row in self.rows(events) if row["request_id"] == self.request_id
                  and row["kind"].removeprefix("title.") in FINAL]  # fmt: skip
        assert [row["kind"] for row in finals] == [f"title.{state}"]
        if state == "published":
            pointer = json.loads(self.store.get_bytes(f"titles/{self.title_id}/current.json"))
            current = self.catalog.versions.current(self.title_id)
            assert current is not None
            assert (pointer["version"], pointer["request_id"]) == (current.version, current.request_id)
            if pointer["request_id"] == self.request_id:
                assert datetime.fromisoformat(pointer["published_at"]) == current.published_at
                assert pointer["manifests"] == {"hls": current.hls, "dash": current.dash}
        assert self.children() == []

    def done_renditions(self) -> dict[str, tuple[int, int]]:
        """Media of renditions that a worker has finished, with what changes when they are written again."""
        folder = self.store.root / self.title.work / "renditions"
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in folder.glob("*.mp4")
            if not path.name.startswith(".")
        }

    @property
    def packaged(self) -> str:
        """Folder of the packaged set."""
        return f"{own_folder(self.title)}/package"

    def documents(self) -> list[str]:
        """Everything in the store but what only the last attempt has a word in."""
        names = (path.relative_to(self.store.root).as_posix() for path in self.store.root.rglob("*") if path.is_file())
        return sorted(
            name
            for name in names
            if not any(part.startswith(".") for part in name.split("/")) and "/errors/" not in name
        )

    def litter(self) -> list[str]:
        """Temporary files and folders that nobody will use again."""
        left = [
            str(path.relative_to(self.home))
            for path in (self.home / "store").rglob(".*")
            if path.is_file() and not path.name.endswith(".lock")
        ]
        scratch = self.home / "scratch"
        return left + [f"scratch/{path.name}" for path in scratch.glob("*")]

    def children(self) -> list[str]:
        """Media tools that are still running for this farm."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if process.info["status"] != "zombie" and any(str(self.home) in word for word in words):
                found.append(" ".join(words))
        return found


FINAL = frozenset({"published", "degraded", "rejected", "failed", "cancelled"})
UNIQUE: dict[Any, tuple[str, ...]] = {
    outbox: ("request_id", "type", "data"),
    alerts: ("request_id", "level"),
    dead_letters: ("request_id",),
}


def _run(environment: dict[str, str], log: str, call: str, arguments: dict[str, Any]) -> None:
    from tests.nothing_lost import victim

    victim.run(environment, log, call, arguments)


def look(root: Path, title_id: str, known: Farm) -> None:
    """What a reader does, and must always find: a pointer that only goes forward, and all that its manifests name."""
    try:
        pointer = json.loads((root / f"titles/{title_id}/current.json").read_bytes())
    except FileNotFoundError:
        assert known.pointer == (-1, False, -1), "the pointer has vanished"
        return
    now = (pointer["seq"], pointer["whole"], pointer["version"])
    assert now[:2] >= known.pointer[:2], f"the pointer went back from {known.pointer} to {now}"
    assert now[:2] != known.pointer[:2] or now == known.pointer, f"one set, two versions: {known.pointer}, {now}"
    known.pointer = now
    for version in (root / f"titles/{title_id}").glob("v*"):
        if version.name == f"v{pointer['version']}":
            named_files(version)
        if version.name == f"v{pointer['version']}" or any(name.startswith(f"{version.name}/") for name in known.seen):
            hashes = {
                f"{version.name}/{path.relative_to(version)}": hashlib.sha256(path.read_bytes()).hexdigest()
                for path in version.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            }
            before = {name: value for name, value in known.seen.items() if name.startswith(f"{version.name}/")}
            assert not before or hashes == before, f"{version.name} has changed"
            known.seen |= hashes


def named_files(version: Path) -> list[Path]:
    """Every file that the HLS manifests of a version name; raises where one is missing or empty."""
    found = []
    todo = [version / "hls.m3u8"]
    while todo:
        playlist = todo.pop()
        read = m3u8.loads(playlist.read_text())
        uris = [each.uri for each in [*read.playlists, *read.media, *read.segments, *read.segment_map] if each.uri]
        assert uris, f"{playlist} names nothing"
        for uri in uris:
            path = playlist.parent / uri
            assert path.stat().st_size > 0, f"{path} is empty"
            found.append(path)
            if uri.endswith(".m3u8"):
                todo.append(path)
    assert (version / "dash.mpd").read_text().rstrip().endswith("</MPD>")
    return found


class Reader:
    """A player's side: looks at the pointer and at everything behind it, again and again, while others write."""

    def __init__(self, farm: Farm) -> None:
        self.known = Farm(farm.home, farm.environment, farm.catalog_url, farm.title_id)
        self.faults: list[str] = []
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while not self._end.wait(0.002):
            try:
                look(self.known.store.root, self.known.title_id, self.known)
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                return
            self.looks += 1

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


@contextmanager
def reading(farm: Farm) -> Iterator[None]:
    """A reader looks on; what it found wrong fails the test."""
    with Reader(farm) as reader:
        yield
    assert reader.faults == []
    assert reader.looks > 0


def base_environment(**more: str) -> dict[str, str]:
    """What every process of a farm has in its environment."""
    kept = ("PATH", "LANG", "TMPDIR", "AIRFLOW_HOME", "AIRFLOW__CORE__LOAD_EXAMPLES")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CALLSHEET_ENCODE_SLOTS": "1",
        **more,
    }
