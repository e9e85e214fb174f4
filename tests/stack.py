"""A real stack: Airflow's own processes, on free ports, in a temporary home."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from include.adapters.airflow_api import AirflowApi
from include.adapters.catalog import Catalog
from include.adapters.store.interface import ObjectStore
from include.adapters.store.opening import open_store
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.cli.client import Client
from include.local import stack as local_stack
from tests.receivers import Receiver, http_receiver


@dataclass(frozen=True, kw_only=True)
class LiveStack:
    """The running stack and everything around it."""

    settings: Settings
    stack: local_stack.Stack
    callbacks: Receiver
    """Where webhooks arrive."""
    slack: Receiver
    """Where Slack messages arrive."""
    faults: Path
    """A file here makes every ffmpeg command fail that matches its name, e.g. ``my-title.*h264_144p.mp4``."""

    apis: dict[str, AirflowApi] = field(default_factory=dict)

    def api(self, user: str = "callsheet") -> AirflowApi:
        """Airflow's API as one of the stack's users."""
        if user not in self.apis:
            self.apis[user] = self.stack.api(user)
        return self.apis[user]

    def client(self, user: str = "cms") -> Client:
        return Client(self.api(user))

    def token(self, user: str) -> str:
        """A bearer token of one of the stack's users."""
        answer = httpx.post(
            f"{self.stack.url}/auth/token", json={"username": user, "password": self.stack.passwords[user]}
        )
        return str(answer.json()["access_token"])

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> None:
        self.api().trigger(dag_id, run_id, conf=conf or {}, logical_date=datetime.now(UTC))

    def run_state(self, dag_id: str, run_id: str) -> str | None:
        run = self.api().run(dag_id, run_id)
        return run["state"] if run else None

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.catalog_url)

    @property
    def store(self) -> ObjectStore:
        return open_store(self.settings)

    @property
    def mezzanines(self) -> Path:
        folder = self.settings.mezzanine_roots[0]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def submit(self, batch_id: str, *titles: dict[str, Any], **batch: Any) -> dict[str, Any]:
        return self.client().submit({"batch_id": batch_id, "titles": list(titles), **batch})

    def settled(self, name: str) -> list[dict[str, Any]]:
        """The titles behind an id, once all of them are settled."""
        *_, last = self.client().watch(name, poll_s=0.3)
        return last


@contextmanager
def live_stack(home: Path) -> Iterator[LiveStack]:
    """Start a stack in ``home``; every process of it is gone afterwards."""
    with http_receiver() as callbacks, http_receiver() as slack:
        settings = Settings(
            home=home,
            allowed_origins=(callbacks.origin,),
            encode_slots=2,
            release_window=4,
            mezzanine_roots=(home / "mezzanines",),
        )
        faults = home / "faults"
        faults.mkdir(parents=True)
        extra = {
            "AIRFLOW_CONN_CALLSHEET_SLACK": slack_connection(slack),
            "CALLSHEET_FFMPEG": str(faulty_ffmpeg(home, faults)),
            # The script reads the faults, which no media tool could.
            "CALLSHEET_SANDBOX": "off",
            "NO_PROXY": "127.0.0.1",
        }
        said: list[str] = []
        stack = local_stack.up(settings, say=said.append, extra=extra)
        try:
            running = LiveStack(settings=settings, stack=stack, callbacks=callbacks, slack=slack, faults=faults)
            yield running
            for api in running.apis.values():
                api.close()
        finally:
            local_stack.down(settings)


def wait_for(reached: Callable[[], bool], what: str, limit_s: float = 120) -> None:
    """Return as soon as ``reached`` says so; fail the test after ``limit_s``."""
    end = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < end, f"{what} did not come within {limit_s:.0f} s"
        time.sleep(0.3)


def processes_of(title_id: str) -> list[psutil.Process]:
    """Worker and media tools of a title: its scratch folder is on their command lines, or is their working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(f"/{title_id}." in word or f"/{title_id}/" in word for word in words):
            found.append(process)
    return found


def slack_connection(receiver: Receiver) -> str:
    """The receiver as Airflow's connection of an incoming Slack webhook."""
    return json.dumps({"conn_type": "slackwebhook", "password": f"{receiver.origin}/services/T000/B000/token"})


def faulty_ffmpeg(home: Path, faults: Path) -> Path:
    """The real ffmpeg behind a script that crashes on command lines which match the name of a file in ``faults``."""
    script = home / "ffmpeg"
    script.write_text(
        "#!/bin/sh\nset -f\n"
        f"for fault in $(ls {shlex.quote(str(faults))}); do\n"
        '  case " $* " in *$fault*) echo "injected fault: $fault" >&2; exit 187;; esac\n'
        "done\n"
        f'exec {shlex.quote(ffmpeg(Settings()))} "$@"\n'
    )
    script.chmod(0o755)
    return script
