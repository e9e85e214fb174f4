"""Kills processes of a farm at chosen points of its titles' lives, and watches what readers see meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import m3u8
import psutil

from include.adapters.store.interface import ObjectStore
from include.base.errors import CallsheetError
from include.domain.title.title import FINAL_STATES, State
from tests.farm import UNITS, Farm

POLL_S = 0.2
LOOK_EVERY_S = 0.3
TOOL_PATIENCE_S = 5.0
_EXECUTOR = "airflow worker -- LocalExecutor: "
_FINAL_EVENTS = frozenset(f"title.{state}" for state in FINAL_STATES)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A task instance of a title that is under way."""

    instance: str
    """Airflow's id of it, which is on the command lines of its processes."""
    dag_id: str
    run_id: str
    task: str
    state: str

    @property
    def begun(self) -> bool:
        """Whether it runs or is deferred."""
        return self.state in UNDER_WAY


UNDER_WAY = ("running", "deferred")
SOON = ("scheduled", "queued")
"""States in which a task instance has the id already that its processes will have."""


def under_way(farm: Farm, states: Sequence[str] = UNDER_WAY) -> list[Running]:
    """Task instances of titles in some of Airflow's states; empty while Airflow does not answer."""
    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
    params = {"state": list(states), "limit": 200}
    try:
        found = farm.api().request("GET", path, params=params)["task_instances"]
    except (CallsheetError, httpx.HTTPError):
        return []
    return [
        Running(
            instance=each["id"],
            dag_id=each["dag_id"],
            run_id=each["dag_run_id"],
            task=each["task_id"],
            state=each["state"],
        )
        for each in found
        if each["dag_id"].startswith("batch__")
    ]


def task_processes(farm: Farm, kind: str) -> dict[str, psutil.Process]:
    """Processes by task instance: each one's ``supervisor`` in the executor, or the ``task`` process beneath it."""
    found: dict[str, psutil.Process] = {}
    try:
        executor = psutil.Process(farm.pid("scheduler")).children()
    except psutil.Error:  # the scheduler is dead just now
        return found
    for process in executor:
        with suppress(psutil.Error):
            title = " ".join(process.cmdline()).strip()
            instance = title.removeprefix(_EXECUTOR)
            if title.startswith(_EXECUTOR) and instance != "<idle>":
                below = process.children()
                if below:
                    found[instance] = process if kind == "supervisor" else below[0]
    return found


def workers(farm: Farm, task: str) -> list[psutil.Process]:
    """Worker processes of this farm, on this machine or in pods, that run ``task`` (a prefix of its name)."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            # What closes a pod's worker in has the worker's command among its own arguments.
            own = words[1:3] == ["-m", "include.worker"] and words[-1].startswith(farm.store.uri)
            if own and words[3].startswith(task) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Something that dies while a title is in a task."""

    victim: str
    """A component of Airflow; ``supervisor``, ``task``, ``worker`` or ``tool`` of the task; ``connections`` to the
    database, or the ``database``."""
    task: str = ""
    """Prefix of the name of the task that is under way; empty for any."""

    @property
    def id(self) -> str:
        """A name for people."""
        return f"{self.victim} in {self.task or 'any task'}"


VICTIMS = (*UNITS, "supervisor", "task", "worker", "tool", "connections", "database")


def kill(farm: Farm, what: Kill, found: Sequence[Running] | None = None) -> bool:
    """Kill it if the point has come; False where nothing of the kind is there to be killed now.

    ``found`` are task instances as Airflow has told of them a moment ago; without it, it is asked.
    """
    known = under_way(farm, UNDER_WAY + SOON) if found is None else found
    instances = [instance for instance in known if instance.task.startswith(what.task)]
    if what.victim in {"supervisor", "task"}:
        return _kill_process(farm, what, instances)
    instances = [instance for instance in instances if instance.begun]
    if not instances:
        return False
    if what.victim in UNITS:
        # It may be dead already, from the kill before.
        with suppress(ProcessLookupError):
            farm.kill(what.victim)
            return True
        return False
    if what.victim == "connections":
        farm.database.cut_connections()
        return True
    if what.victim == "database":
        farm.database.restart()
        return True
    return _kill_process(farm, what, instances)


def _kill_process(farm: Farm, what: Kill, instances: list[Running]) -> bool:
    victims: list[psutil.Process]
    if what.victim in {"supervisor", "task"}:
        # A short task is over before Airflow's API has told of it: it is looked for by the id that it will have.
        processes = task_processes(farm, what.victim) if instances else {}
        # The last one: the other kills strike the first, and a title that all of them strike runs out of attempts.
        victims = [processes[each.instance] for each in reversed(instances) if each.instance in processes]
    else:
        victims = (_tools if what.victim == "tool" else workers)(farm, what.task)
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            return True
    return False


def _tools(farm: Farm, task: str) -> list[psutil.Process]:
    """Media tools at work: those of a short title live for a moment, so that it takes several looks."""
    end = time.monotonic() + TOOL_PATIENCE_S
    while time.monotonic() < end:
        for worker in workers(farm, task):
            with suppress(psutil.Error):
                while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
                    if tools := worker.children():
                        return tools
    return []


def kill_when_due(farm: Farm, wanted: list[Kill], top_up: Callable[[], None], *, limit_s: float = 480) -> Kill:
    """Wait until the point of one of them has come and kill there; returns which. ``top_up`` keeps titles coming.

    The limit leaves a busy machine its time: after some kills Airflow waits minutes before it begins a task again.
    """
    end = time.monotonic() + limit_s
    while True:
        # The database may be the one that does not answer just now.
        with suppress(CallsheetError):
            top_up()
        # What is over soonest is looked for first: the question to Airflow and the look at tools take their time.
        found = under_way(farm, UNDER_WAY + SOON)
        for each in sorted(wanted, key=lambda kill: kill.victim != "task"):
            if kill(farm, each, found):
                return each
        if time.monotonic() > end:
            raise TimeoutError(f"nothing to kill within {limit_s:.0f} s: {', '.join(each.id for each in wanted)}")
        time.sleep(POLL_S)


@dataclass
class Watch:
    """A reader's and an accountant's side of some titles."""

    store: ObjectStore
    titles: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    looks: int = 0
    _pointers: dict[str, tuple[int, int]] = field(default_factory=dict)
    _versions: dict[str, dict[str, int]] = field(default_factory=dict)
    """Files and sizes of each version that a pointer has named."""
    _hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    _encodes: dict[str, str] = field(default_factory=dict)
    """Result of each finished encode, by what changes when it is written again."""

    def look(self) -> None:
        """Everything that a reader can see now, against what it saw before."""
        for title_id in list(self.titles):
            self._look_at_pointer(title_id)
            self._look_at_encodes(title_id)
        self.looks += 1

    def last_look(self) -> None:
        """All that was ever published is there and unchanged, byte by byte."""
        self.look()
        for prefix, known in self._hashes.items():
            if self._hashed(prefix) != known:
                self._violated(f"{prefix} has changed since it was published")

    def _look_at_pointer(self, title_id: str) -> None:
        try:
            pointer = json.loads(self.store.get_bytes(f"titles/{title_id}/current.json"))
        except FileNotFoundError:
            if title_id in self._pointers:
                self._violated(f"{title_id}: the pointer has vanished")
            return
        before, now = self._pointers.get(title_id, (-1, -1)), (pointer["seq"], pointer["version"])
        if now < before:
            self._violated(f"{title_id}: the pointer went back from {before} to {now}")
        self._pointers[title_id] = now
        prefix = f"titles/{title_id}/v{now[1]}"
        files = self.store.list(prefix)
        missing = [name for name in named_files(self.store, prefix) if not files.get(name)]
        if missing:
            self._violated(f"{prefix}: a reader finds no {', '.join(missing[:3])}")
        if self._versions.setdefault(prefix, files) != files:
            self._violated(f"{prefix} has other files than when it was published")
        if prefix not in self._hashes:
            self._hashes[prefix] = self._hashed(prefix)

    def _look_at_encodes(self, title_id: str) -> None:
        for name in self.store.list(f"work/{title_id}"):
            if re.fullmatch(r"[^/]+/encode\.[^/]+\.json", name):
                key = f"work/{title_id}/{name}"
                marker = self.store.marker(key) or "gone"
                if self._encodes.setdefault(key, marker) != marker:
                    self._violated(f"{key}: a finished rendition was encoded again")
                    self._encodes[key] = marker

    def _hashed(self, prefix: str) -> dict[str, str]:
        return {
            name: hashlib.sha256(self.store.get_bytes(f"{prefix}/{name}")).hexdigest()
            for name in self.store.list(prefix)
        }

    def _violated(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)


def named_files(store: ObjectStore, prefix: str) -> Iterator[str]:
    """Names of all files that the HLS manifests of a version name, and of the manifests."""
    todo = ["hls.m3u8"]
    yield from ("hls.m3u8", "dash.mpd")
    while todo:
        playlist = todo.pop()
        folder = playlist.rpartition("/")[0]
        try:
            read = m3u8.loads(store.get_bytes(f"{prefix}/{playlist}").decode())
        except FileNotFoundError:
            continue  # its name is among those yielded
        for each in [*read.playlists, *read.media, *read.segments, *read.segment_map]:
            if each.uri:
                name = f"{folder}/{each.uri}" if folder else each.uri
                yield name
                if name.endswith(".m3u8"):
                    todo.append(name)


@contextmanager
def watching(farm: Farm) -> Iterator[Watch]:
    """Look at the farm's titles all the while; the last look is taken at the end of the block."""
    watch, over = Watch(farm.store), threading.Event()
    broken: list[Exception] = []

    def read() -> None:
        while not over.wait(LOOK_EVERY_S):
            try:
                watch.look()
            except Exception as error:
                broken.append(error)
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
    if broken:
        raise broken[0]
    watch.last_look()


def end_violations(farm: Farm, batches: list[str]) -> list[str]:
    """What is wrong with batches of which every title should have come to exactly one end."""
    wrong = []
    for batch_id in batches:
        for title in farm.catalog.titles.find(batch_id=batch_id):
            if not title.state.final:
                wrong.append(f"{title.request_id} is {title.state} for ever")
                continue
            ends = [each.kind for each in farm.catalog.history.events(request_id=title.request_id, limit=5000)
                    if each.kind in _FINAL_EVENTS]  # fmt: skip
            if ends != [f"title.{title.state}"]:
                wrong.append(f"{title.request_id} is {title.state} and came to these ends: {ends}")
    wrong += [f"{run} is still {state} in Airflow" for run, state in active_runs(farm)]
    wrong += [f"a worker is left: {shown(process)}" for process in workers(farm, "")]
    return wrong


def at_rest(farm: Farm, batches: list[str]) -> bool:
    """Whether all titles of the batches have come to an end, and all runs with them."""
    titles = [title for batch_id in batches for title in farm.catalog.titles.find(batch_id=batch_id)]
    return all(title.state.final for title in titles) and not active_runs(farm)


def active_runs(farm: Farm) -> list[tuple[str, str]]:
    """Runs of titles that Airflow does not call finished."""
    found = farm.api().request("GET", "/api/v2/dags/~/dagRuns", params={"state": ["queued", "running"], "limit": 200})
    return [(each["dag_run_id"], each["state"]) for each in found["dag_runs"] if each["dag_id"].startswith("batch__")]


def shown(process: psutil.Process) -> str:
    """The process's command line."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "(gone)"


def states(farm: Farm, batches: list[str]) -> Counter[str]:
    """How many titles are in which state."""
    return Counter(str(each.state) for batch_id in batches for each in farm.catalog.titles.find(batch_id=batch_id))


def wait_until(reached: Callable[[], bool], limit_s: float) -> bool:
    """Whether it was reached within the limit."""
    end = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True


@dataclass
class Stream:
    """Short titles, as many as it takes to keep a farm busy."""

    farm: Farm
    mezzanine: str
    name: str
    """Prefix of its batches and titles."""
    watch: Watch
    ahead: int = 6
    """Titles that wait or run at any time."""
    batches: list[str] = field(default_factory=list)

    def top_up(self) -> None:
        """Submit a batch where only half of them are left: as intake does it, which may itself be dead just now."""
        from include.domain.title.request import parse_batch
        from include.pipelines.core import current_pipelines
        from include.services.release import release_when_parsed

        open_titles = sum(count for state, count in states(self.farm, self.batches).items() if not State(state).final)
        if open_titles > self.ahead // 2:
            return
        batch_id = f"{self.name}-{len(self.batches)}"
        titles = [f"{batch_id}-{number}" for number in range(self.ahead - open_titles)]
        known = current_pipelines()
        conf = {
            "batch_id": batch_id,
            "titles": [{"title_id": each, "mezzanine": self.mezzanine, "tier": "ugc"} for each in titles],
        }
        parsed = parse_batch(conf, pipelines=frozenset(known))
        self.watch.titles += titles
        self.farm.catalog.batches.accept(parsed, pipeline_version=known["vod"].version, now=datetime.now(UTC))
        self.batches.append(batch_id)
        # Where this fails, the DAG dispatch does it within a minute.
        with suppress(CallsheetError):
            release_when_parsed(self.farm.catalog, self.farm.api(), self.farm.settings, patience_s=15)
