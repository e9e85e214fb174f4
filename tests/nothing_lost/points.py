"""Places at which a process is killed, and what it takes to kill it exactly there.

A *step* is something that a process does to the world: a write to the store or the catalog, a rename or a link on disk,
a media tool that starts. Steps have readable names that are the same in every run::

    put_file work/renditions/h264_144p.*.mp4      the store's methods, with the key
    rename version/video/h264_144p/init.mp4       what happens on disk inside of them
    catalog.versions.publish                      the catalog's methods
    tool h264_144p.mp4                            a media tool that writes this file
    received, trigger                             bytes of a download; a run that Airflow is asked for

:func:`install` wraps them in a process that is about to work: it kills itself with SIGKILL, which no handler sees, at
the point that it is given, or writes down which steps it takes.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

POINT_VARIABLE = "CALLSHEET_TEST_KILL_POINT"
"""Set for a process that is to be killed: a point as JSON."""
PAUSE_VARIABLE = "CALLSHEET_TEST_GATE"
"""Set for a process that is to wait at its point instead: a file that it makes there; it goes on when that is gone."""
CUT_VARIABLE = "CALLSHEET_TEST_CUT"
"""Set for a process whose connection to PostgreSQL is to be ended by the server: at which statement or commit."""
TRACE_VARIABLE = "CALLSHEET_TEST_STEPS"
"""Set for a process that is to write down its steps: a file."""

STORE_STEPS = ("put_file", "put_bytes", "delete", "delete_tree", "copy_tree", "compare_and_set")
CATALOG_STEPS = (
    "batches.accept",
    "titles.claim",
    "titles.mark_released",
    "titles.begin",
    "titles.note_task",
    "versions.allocate",
    "versions.publish",
    "history.record",
    "repairs.queue",
    "history.record_dead_letter",
    "alerts.enter",
    "titles.settle",
    "outbox.claim_due",
    "outbox.delivered",
)
PROGRESS = "put_bytes work/*/progress/*"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place in one task of a title's life."""

    task: str
    """``prepare``, ``encode.h264_144p``, ``publish`` …"""
    step: str
    """Pattern of the step's name."""
    when: Literal["before", "during", "after"] = "before"
    """``during``: a media tool has begun to write its output."""
    nth: int = 1
    """Which of the steps that match."""

    @property
    def id(self) -> str:
        """A test's name."""
        number = f" (the {self.nth}.)" if self.nth > 1 else ""
        return f"{self.task}: {self.when} {self.step}{number}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def at(task: str, *steps: str) -> list[Point]:
    """Points of one task, each written ``before|during|after [<nth>] <step>``."""
    points = []
    for text in steps:
        when, _, rest = text.partition(" ")
        number, _, step = rest.partition(" ") if rest[0].isdigit() else ("1", "", rest)
        points.append(Point(task=task, step=step, when=when, nth=int(number)))  # type: ignore[arg-type]
    return points


ENCODE = "encode.h264_240p"
POINTS: list[Point] = [
    *at(
        "release", "after catalog.titles.claim", "before trigger", "after trigger", "after catalog.titles.mark_released"
    ),
    *at(
        "prepare",
        "before catalog.titles.begin",
        "after catalog.titles.begin",
        "after put_bytes work/jobs/prepare.json",
        "before rename work/inspect.json",
        "after put_bytes work/inspect.json",
        "during 4 tool -",
        "before put_bytes work/analyse.json",
        "after put_bytes work/analyse.json",
        "before catalog.titles.note_task finished",
        "after catalog.titles.note_task finished",
    ),
    *at(
        "plan",
        "before rename work/plan.json",
        "after put_bytes work/plan.json",
        "before catalog.titles.note_task finished",
    ),
    *at(
        ENCODE,
        "before tool *h264_240p.mp4",
        "during tool *h264_240p.mp4",
        "before put_bytes work/renditions/h264_240p.*.json",
        "before rename work/renditions/h264_240p.*.json",
        "after put_bytes work/renditions/h264_240p.*.json",
        "after put_file work/renditions/h264_240p.*.mp4",
        "before put_bytes work/encode.h264_240p.json",
        "before rename work/encode.h264_240p.json",
        "after put_bytes work/encode.h264_240p.json",
        "before catalog.titles.note_task finished",
    ),
    *at(
        "extras",
        "during tool aac_*",
        "after put_bytes work/audio.json",
        "after 3 put_file work/*/images/*",
        "before put_bytes work/verify_source.json",
    ),
    *at(
        "finish",
        "after put_bytes work/check.json",
        "before put_file work/*/package/*",
        "after 5 put_file work/*/package/*",
        "before put_bytes work/package.json",
        "after put_bytes work/package.json",
    ),
    *at(
        "publish",
        "before catalog.versions.allocate",
        "after catalog.versions.allocate",
        "before link version/*",
        "before 7 rename version/*",
        "before 8 link version/*",
        "after copy_tree version",
        "before rename pointer",
        "after compare_and_set pointer",
        "before catalog.versions.publish",
        "after catalog.versions.publish",
        "before put_bytes work/publish.json",
        "after put_bytes work/publish.json",
        "before catalog.titles.note_task finished",
    ),
    *at(
        "settle",
        "before catalog.history.record",
        "after catalog.history.record",
        "before catalog.titles.settle",
        "after catalog.titles.settle",
        "before put_bytes work/settle.json",
        "after put_bytes work/settle.json",
        "before catalog.outbox.claim_due",
        "after catalog.outbox.claim_due",
        "after catalog.outbox.delivered",
        "before catalog.titles.note_task finished",
    ),
]
"""The kill points of a good title's life."""
FIRST_POINTS: list[Point] = [
    *at("plan", "before rename work/plan.json", "after put_bytes work/plan.json"),
    *at(
        "first_finish",
        "after put_bytes work/first_check.json",
        "before put_file work/*/first_package/*",
        "after 5 put_file work/*/first_package/*",
        "before put_bytes work/first_package.json",
        "after put_bytes work/first_package.json",
    ),
    *at(
        "first_publish",
        "after catalog.versions.allocate",
        "before 7 rename version/*",
        "after copy_tree version",
        "before rename pointer",
        "after compare_and_set pointer",
        "before catalog.versions.publish",
        "after catalog.versions.publish",
        "before put_bytes work/first_publish.json",
        "after put_bytes work/first_publish.json",
    ),
    *at(ENCODE, "after put_bytes work/renditions/h264_240p.*.json", "after put_file work/renditions/h264_240p.*.mp4"),
    *at("finish", "before put_bytes work/check.json", "after put_bytes work/check.json"),
    *at("finish", "after 5 put_file work/*/package/*", "before put_bytes work/package.json"),
    *at(
        "publish",
        "after catalog.versions.allocate",
        "after copy_tree version",
        "before rename pointer",
        "after compare_and_set pointer",
        "before catalog.versions.publish",
        "after catalog.versions.publish",
        "before put_bytes work/publish.json",
    ),
    *at("settle", "before catalog.history.record", "before catalog.titles.settle", "after catalog.titles.settle"),
]
"""The kill points of a title with a first version, as far as they differ."""


def random_points(seed: int, count: int, steps: dict[str, list[str]]) -> list[Point]:
    """``count`` points drawn from the steps that a life really took.

    Args:
        seed: The same seed draws the same points.
        count: How many.
        steps: Names of the steps by task, as :func:`install` has written them down.
    """
    draw = random.Random(seed)
    places = [(task, position) for task, names in sorted(steps.items()) for position in range(len(names))]
    points = []
    for task, position in (draw.choice(places) for _ in range(count)):
        step = steps[task][position]
        nth = steps[task][: position + 1].count(step)
        # Names may hold the characters of a pattern.
        points.append(Point(task=task, step=_literally(step), when=draw.choice(["before", "after"]), nth=nth))
    return points


def install(environment: dict[str, str] | os._Environ[str] = os.environ) -> None:
    """Wrap every step of this process, as the environment says."""
    if CUT_VARIABLE in environment:
        _cut_at(int(environment[CUT_VARIABLE]))
    text, trace = environment.get(POINT_VARIABLE), environment.get(TRACE_VARIABLE)
    if text is None and trace is None:
        return
    _Wrapped(Point(**json.loads(text)) if text else None, Path(trace) if trace else None).install()


def fired(home: Path) -> bool:
    """Whether the point was reached, since it was asked for the last time."""
    mark = home / "killed"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


class _Wrapped:
    """The steps of this process: counted, written down, and the last one not survived."""

    def __init__(self, point: Point | None, trace: Path | None) -> None:
        self.point, self.trace = point, trace
        self.seen = 0
        self.busy = threading.local()

    def install(self) -> None:
        from include.adapters import fetching
        from include.adapters.airflow_api import AirflowApi
        from include.adapters.catalog import Catalog
        from include.adapters.store.local import LocalStore

        for name in STORE_STEPS:
            self.wrap(LocalStore, name, functools.partial(_store_step, name))
        parts = {name: type(part) for name, part in vars(Catalog("sqlite://")).items()}
        for step in CATALOG_STEPS:
            part, _, method = step.partition(".")
            self.wrap(parts[part], method, functools.partial(_catalog_step, step))
        self.wrap(fetching, "_write", lambda *_: "received")
        self.wrap(AirflowApi, "trigger", lambda *_, **__: "trigger")
        sys.addaudithook(self.audit)

    def wrap(self, owner: Any, name: str, naming: Callable[..., str]) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def step(*arguments: Any, **options: Any) -> Any:
            named = naming(*arguments, **options)
            mine = self.reach(named)
            result = inner(*arguments, **options)
            if mine:
                self.die()
            return result

        setattr(owner, name, step)

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in {"os.rename", "os.link", "subprocess.Popen"} or getattr(self.busy, "now", False):
            return
        self.busy.now = True
        try:
            if event == "subprocess.Popen":
                argv = [str(word) for word in given[1]]
                output = Path(argv[-1])
                if self.reach(f"tool {output.name}", during=True):
                    writes = output if output.is_absolute() and not output.exists() else None
                    threading.Thread(target=self.die_when_at_work, args=(argv, writes), daemon=True).start()
            else:
                path = str(given[1])
                home = os.environ["CALLSHEET_HOME"] + "/store/"
                if path.startswith(home):
                    kind = event.removeprefix("os.")
                    self.reach(f"{kind} {place(path.removeprefix(home))}")
        finally:
            self.busy.now = False

    def reach(self, name: str, *, during: bool = False) -> bool:
        """The process comes to a step; True if it is to be killed after it, or in the middle of it."""
        if self.trace is not None:
            with self.trace.open("a") as file:
                file.write(name + "\n")
        point = self.point
        if point is None or not fnmatch.fnmatchcase(name, point.step):
            return False
        if (point.when == "during" and not during) or (point.when == "after" and during):
            return False
        self.seen += 1
        if self.seen != point.nth:
            return False
        if point.when == "before":
            self.die()
        return point.when != "before"

    def die_when_at_work(self, argv: list[str], output: Path | None) -> None:
        """Die as soon as the tool runs, and its output is there: small encodes are over in no time."""
        me = psutil.Process()
        while not any(_command(child) == argv for child in me.children()) or not (output is None or output.exists()):
            time.sleep(0.0005)
        self.die()

    def die(self) -> None:
        gate = os.environ.get(PAUSE_VARIABLE)
        if gate is not None:
            Path(gate).touch()
            while Path(gate).exists():
                time.sleep(0.002)
            return
        os.close(os.open(os.environ["CALLSHEET_HOME"] + "/killed", os.O_CREAT | os.O_WRONLY))
        os.kill(os.getpid(), signal.SIGKILL)


def _cut_at(number: int) -> None:
    """Have the server end the connection of this process at its ``number``-th statement or commit."""
    import psycopg
    from sqlalchemy import Connection, Engine, event

    counted = 0

    def cut(connection: Connection) -> None:
        nonlocal counted
        counted += 1
        if counted != number:
            return
        driver: Any = connection.connection.dbapi_connection
        os.close(os.open(os.environ["CALLSHEET_HOME"] + "/killed", os.O_CREAT | os.O_WRONLY))
        with psycopg.connect(driver.info.dsn, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (driver.info.backend_pid,))

    event.listen(Engine, "before_cursor_execute", lambda connection, *_: cut(connection))
    event.listen(Engine, "commit", cut)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def place(key: str) -> str:
    """A key without what differs from run to run: title, run, version, the suffix of a temporary name."""
    key = re.sub(r"^work/[^/]+/[^/]+/", "work/", key)
    key = re.sub(r"^titles/[^/]+/v\d+", "version", key)
    key = re.sub(r"^titles/[^/]+/current\.json", "pointer", key)
    key = re.sub(r"/\.([^/]+)\.[a-z0-9_]{8}$", r"/\1", key)
    return re.sub(r"\.[0-9a-f]{16}\.", ".*.", key)


def _store_step(name: str, store: object, *keys: Any) -> str:
    return f"{name} {place(keys[1] if name == 'copy_tree' else keys[0])}"


def _catalog_step(name: str, part: object, *_: object, **given: Any) -> str:
    return f"catalog.{name} {given['event']}" if name == "titles.note_task" else f"catalog.{name}"


def _literally(step: str) -> str:
    return step.replace("[", "[[]").replace("?", "[?]")
