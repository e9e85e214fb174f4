"""A home that the release of before has worked in, and today's release started on it.

In a filled home (:func:`fill`) a title is in every state, in a busy one (:func:`work`) titles are at work. The states
are held by a script in ffmpeg's place: encodes that match a file in ``faults`` crash, those that match one in ``gates``
wait. It notes every command line, so that what is encoded twice shows.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.adapters.tools import ffmpeg
from include.base.release import RELEASES, VERSION
from include.base.settings import Settings
from include.cli.client import Client
from include.domain.title.title import State
from include.local import stack as local_stack
from tests.clips import make_clip
from tests.receivers import Receiver, http_receiver
from tests.stack import slack_connection
from tests.upgrade.past import Past, kill, revision, rows
from tests.upgrade.services import FILES, Services, services

WINDOW = 4
"""Titles that may run at once: ``soon``, ``mid`` and the fillers at the stop."""
STATE_LIMIT_S = 400.0
DEADLINE = datetime(2100, 1, 1, tzinfo=UTC)
FAULT = "fragile.*_240p.mp4"
FILLERS = ("filler-1", "filler-2")
"""Titles that stand at their first media command."""
GATES = ("mid.*_360p.mp4", "soon.*_480p.mp4")
FILLERS_GATE = "filler-"
_PUBLISHED = (
    "films/twice", "again/twice", "films/soon", "mid/mid", "next/queued", "next/pinned", "films-repair1/fragile",
    "films-replay1/dead",
)  # fmt: skip
_SETTLED = frozenset(state.value for state in State if state.final)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What becomes of a home's titles in the end."""

    ends: dict[str, State]
    """State by request."""
    versions: dict[str, int]
    """How many versions each title has."""


FILLED = Expected(
    ends={
        **dict.fromkeys(_PUBLISHED, State.PUBLISHED),
        "films/fragile": State.DEGRADED,
        "films/dead": State.REJECTED,
        "next/held": State.WAITING,
        **dict.fromkeys((f"fillers/{name}" for name in FILLERS), State.CANCELLED),
    },
    versions={"twice": 2, "soon": 2, "mid": 1, "queued": 1, "pinned": 1, "fragile": 2, "dead": 1},
)
BUSY = Expected(
    ends={
        **dict.fromkeys(("films/twice", "films/soon", "mid/mid", "next/queued"), State.PUBLISHED),
        "films/dead": State.REJECTED,
    },
    versions={"twice": 1, "soon": 2, "mid": 1, "queued": 1},
)
EVENTS = 90
"""So many the titles of a busy home have had when the last of them is nearly done."""


@dataclass(frozen=True, kw_only=True)
class AtStop:
    """What was true of a home when the release of before ended."""

    states: dict[str, str]
    """State by request."""
    finished: set[str]
    """Encodes of live titles that have a result."""
    pending_repairs: int
    revision: str
    """Of the catalog."""
    first_version: dict[str, int]
    """Files of the version of ``soon`` that plays already, with their sizes."""

    @property
    def under_way(self) -> set[str]:
        """Requests whose runs are at work."""
        return {request for request, state in self.states.items() if state in {"running", "playable"}}


@dataclass
class Home:
    """The home, what runs on it, and who listens."""

    settings: Settings
    past: Past
    receiver: Receiver
    slack: Receiver
    services: Services
    stack: local_stack.Stack | None = None
    expected: Expected = FILLED
    stopped_at: float = 0.0
    """Unix time of the stop; 0 before it."""
    said: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Path:
        """A folder beside the home's own."""
        found = self.settings.home.parent / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def store(self) -> ObjectStore:
        return open_store(self.settings)

    @property
    def catalog(self) -> Catalog:
        """Today's catalog: not to be used before today's release has migrated it."""
        return Catalog(self.settings.catalog_url)

    @contextmanager
    def client(self, user: str = "admin") -> Iterator[Client]:
        assert self.stack is not None
        with Client(self.stack.api(user)) as client:
            yield client

    @contextmanager
    def api(self) -> Iterator[AirflowApi]:
        assert self.stack is not None
        with self.stack.api("admin") as api:
            yield api

    def states(self) -> dict[str, str]:
        """State by request, whichever release's catalog it is."""
        return dict(rows(self.settings, "SELECT request_id, state FROM titles"))

    def mezzanine(self, name: str) -> str:
        return (self.settings.mezzanine_roots[0] / name).as_uri()

    def submit(self, batch_id: str, *titles: dict[str, Any]) -> None:
        """Post titles, whose mezzanines are called after them unless they say otherwise."""
        asked = [{"mezzanine": self.mezzanine(f"{title['title_id']}.mp4"), **title} for title in titles]
        with self.client("cms") as client:
            client.submit({"batch_id": batch_id, "titles": asked, "callback_url": f"{self.receiver.origin}/cms"})

    def pause(self, dag_id: str, *, paused: bool) -> None:
        with self.api() as api:
            api.request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def finished_renditions(self) -> set[str]:
        """``<title>/<rendition>`` of encodes with a result, of titles that have not settled."""
        live = {request_id.partition("/")[2] for request_id, state in self.states().items() if state not in _SETTLED}
        found = (re.fullmatch(r"([^/]+)/[^/]+/encode\.([^/]+)\.json", name) for name in self.store.list("work"))
        return {f"{match[1]}/{match[2]}" for match in found if match and match[1] in live}

    def pending_repairs(self) -> int:
        """Repairs that nobody has taken."""
        ((count,),) = rows(self.settings, "SELECT count(*) FROM repairs WHERE taken_at IS NULL")
        return int(count)

    def tell(self) -> None:
        """Have the webhooks that are due sent, and wait until none is owed."""
        with self.api() as api:
            api.trigger("dispatch", f"tell-{time.time_ns()}", conf={}, logical_date=datetime.now(UTC))
        owed = "SELECT count(*) FROM outbox WHERE state = 'pending'"
        reach(lambda: rows(self.settings, owed) == [(0,)], "the last webhook")

    def encodes_since(self, moment: float) -> list[str]:
        """``<title>/<rendition>`` of every encoder that was started after a moment, in order."""
        found = []
        for line in (self.settings.home.parent / "encodes").read_text().splitlines():
            at, _, output = line.partition(" ")
            match = re.search(r"/scratch/([A-Za-z0-9-]+)\.[^/]+/encode\.([a-z0-9_]+)\.", output)
            if float(at) > moment and match:
                found.append(f"{match[1]}/{match[2]}")
        return found


@contextmanager
def old_home(folder: Path, past: Past, beside: str = FILES) -> Iterator[Home]:
    """The release of before, running on a new home in ``folder``; whatever runs there at the end is stopped.

    Args:
        folder: An empty one.
        past: The release.
        beside: One of :data:`tests.upgrade.services.BESIDE`.
    """
    with http_receiver() as receiver, http_receiver() as slack, services(beside) as running:
        settings = Settings(
            home=folder / "home",
            allowed_origins=(receiver.origin,),
            encode_slots=4,
            release_window=WINDOW,
            mezzanine_roots=(folder / "mezzanines",),
            catalog_url=running.catalog_url,
            store_uri=running.store_uri,
        )
        home = Home(settings=settings, past=past, receiver=receiver, slack=slack, services=running)
        home.folder("mezzanines")
        receiver.answer = lambda received, handler: 503
        home.stack = past.up(settings, extra=_extra(home))
        try:
            yield home
        finally:
            alive = local_stack.find(settings)
            if alive is not None:
                kill(settings, alive)


def fill(home: Home) -> None:
    """Bring a title into each state, and leave ``soon`` and ``mid`` at work behind their gates."""
    _make_clips(home)
    (home.folder("faults") / FAULT).touch()
    for gate in (*GATES, FILLERS_GATE, FAULT):
        (home.folder("gates") / gate).touch()
    publish_at = DEADLINE.isoformat()
    home.submit(
        "films",
        {"title_id": "twice", "tier": "ugc"},
        {"title_id": "dead"},
        {"title_id": "fragile", "tier": "premium"},
        {"title_id": "soon", "tier": "ugc", "playable_first": True, "publish_at": publish_at},
    )
    home.submit("mid", {"title_id": "mid"})
    reach(lambda: is_settled(home, "films/twice", "films/dead"), "the first two ends")
    home.submit("again", {"title_id": "twice", "tier": "ugc"})
    reach(lambda: is_settled(home, "again/twice"), "the second version")
    home.submit("fillers", *({"title_id": name} for name in FILLERS))
    reach(lambda: "running" in {home.states()[f"fillers/{name}"] for name in FILLERS}, "a full window")
    home.submit("next", {"title_id": "queued"}, {"title_id": "held", "publish_at": publish_at}, {"title_id": "pinned"})
    with home.client() as client:
        client.steer("next/held", {"hold": True, "why": "the upgrade's test"})
        client.steer("next/pinned", {"hold": True, "pin": True, "why": "the upgrade's test"})
        # They have the places of titles that settle: "queued" gets none.
        for name in FILLERS:
            client.steer(f"fillers/{name}", {"pin": True, "why": "the upgrade's test"})
    reach(lambda: home.states()["films/soon"] == "playable", "the first version")
    reach(lambda: is_in_the_middle(home), "a title in the middle of its encodes")
    reach(lambda: bool(home.receiver.requests), "a webhook that is refused")
    # Each minute's work would take the repair at once.
    home.pause("dispatch", paused=True)
    (home.folder("gates") / FAULT).unlink()
    reach(lambda: is_settled(home, "films/fragile"), "the degraded title")
    reach(lambda: all(home.states()[f"fillers/{name}"] == "running" for name in FILLERS), "the full window")


def work(home: Home, events: int) -> None:
    """Send titles that nothing holds up; returns after so many events of them, or when all have come to their ends."""
    _make_clips(home)
    home.expected = BUSY
    home.submit("mid", {"title_id": "mid"})
    home.submit(
        "films",
        {"title_id": "twice", "tier": "ugc"},
        {"title_id": "dead"},
        {"title_id": "soon", "tier": "ugc", "playable_first": True, "publish_at": DEADLINE.isoformat()},
    )
    home.submit("next", {"title_id": "queued"})
    reach(lambda: _events(home) >= events or is_settled(home, *BUSY.ends), f"{events} events", 2 * STATE_LIMIT_S)


def is_in_the_middle(home: Home) -> bool:
    """Whether an encode of ``mid`` waits at its gate while the others are finished."""
    finished = home.finished_renditions()
    return {"mid/h264_144p", "mid/h264_240p"} <= finished and "mid/h264_360p" in home.encodes_since(0)


def stop(home: Home, *, after_s: float, open_gates: bool = False) -> AtStop:
    """Let the release of before go on for a while, then end it at once; returns what it leaves.

    Args:
        home: With the release of before at work.
        after_s: How long it goes on.
        open_gates: Whether the encodes that wait go on meanwhile.
    """
    assert home.stack is not None
    if open_gates:
        _open_gates(home)
    time.sleep(after_s)
    kill(home.settings, home.stack)
    home.stack, home.stopped_at = None, time.time()
    return AtStop(
        states=home.states(),
        finished=home.finished_renditions(),
        pending_repairs=home.pending_repairs(),
        revision=revision(home.settings),
        first_version=home.store.list("titles/soon/v1"),
    )


def upgrade(home: Home) -> None:
    """Start today's release on the home; encodes crash and wait no more, and the receiver takes what it is sent."""
    _open_gates(home)
    (home.folder("faults") / FAULT).unlink(missing_ok=True)
    home.receiver.answer = lambda received, handler: 200
    home.stack = local_stack.up(home.settings, say=home.said.append, extra=_extra(home))
    assert revision(home.settings) == RELEASES[VERSION]
    home.pause("dispatch", paused=False)


def go_back(home: Home) -> str:
    """Stop today's release and start the one of before on the home, as docs/deploy.md has it for one machine.

    Returns what ``callsheet migrate --back`` says.
    """
    assert local_stack.down(home.settings)
    environment = {
        **os.environ,
        **home.services.extra,
        "CALLSHEET_HOME": str(home.settings.home),
        "CALLSHEET_CATALOG_URL": home.settings.catalog_url,
        "CALLSHEET_STORE_URI": home.settings.store_uri,
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("callsheet")), "migrate", "--back"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home.stack = home.past.up(home.settings, extra=_extra(home))
    return done.stderr


def reach(reached: Callable[[], bool], what: str, limit_s: float = STATE_LIMIT_S) -> None:
    """Return as soon as ``reached`` says so; raises :class:`TimeoutError` that says what did not come."""
    end = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {limit_s:.0f} s")
        time.sleep(0.3)


def is_settled(home: Home, *requests: str) -> bool:
    """Whether these requests have come to their ends."""
    states = home.states()
    return all(states.get(request) in _SETTLED for request in requests)


def _events(home: Home) -> int:
    ((count,),) = rows(home.settings, "SELECT count(*) FROM events")
    return int(count)


def _make_clips(home: Home) -> None:
    root = home.settings.mezzanine_roots[0]
    for name in ("twice", "fragile", "queued", "pinned", "held", *FILLERS):
        make_clip(root / f"{name}.mp4", seconds=2)
    make_clip(root / "soon.mp4", seconds=4, size="854x480")
    make_clip(root / "mid.mp4", seconds=4, size="640x360")
    (root / "dead.mp4").touch()


def _open_gates(home: Home) -> None:
    for gate in GATES:
        (home.folder("gates") / gate).unlink(missing_ok=True)


def _extra(home: Home) -> dict[str, str]:
    return {
        "AIRFLOW_CONN_CALLSHEET_SLACK": slack_connection(home.slack),
        "CALLSHEET_FFMPEG": str(_ffmpeg(home)),
        # The script reads faults and gates, which no media tool could.
        "CALLSHEET_SANDBOX": "off",
        "NO_PROXY": "127.0.0.1",
        **home.services.extra,
    }


def _ffmpeg(home: Home) -> Path:
    """The real ffmpeg behind a script that crashes, waits and takes notes."""
    folder = home.settings.home.parent
    faults, gates, notes = (shlex.quote(str(folder / name)) for name in ("faults", "gates", "encodes"))
    home.folder("faults")
    home.folder("gates")
    script = folder / "ffmpeg"
    script.write_text(
        "#!/bin/sh\nset -f\n"
        'for output in "$@"; do :; done\n'
        f'case "$output" in *.mp4) echo "$(date +%s.%N) $output" >> {notes};; esac\n'
        f"for gate in $(ls {gates}); do\n"
        f'  case " $* " in *$gate*) while [ -e {gates}/"$gate" ]; do sleep 0.2; done;; esac\n'
        "done\n"
        f"for fault in $(ls {faults}); do\n"
        '  case " $* " in *$fault*) echo "injected fault: $fault" >&2; exit 187;; esac\n'
        "done\n"
        f'exec {shlex.quote(ffmpeg(Settings()))} "$@"\n'
    )
    script.chmod(0o755)
    return script


def as_json(home: Home, key: str) -> Any:
    """A document of the store."""
    return json.loads(home.store.get_bytes(key))
