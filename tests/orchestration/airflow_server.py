"""An HTTP server in the place of Airflow's API: it keeps runs, and fails on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from include.adapters.airflow_api import AirflowApi

PASSWORD = "open-sesame"
HANG_UP = 0
"""As a status: the connection is closed without an answer."""


@dataclass
class Fault:
    """How requests that match are answered, ``times`` times; without an end where that is None."""

    method: str
    path: str
    status: int
    body: bytes = b'{"detail": "made to fail"}'
    times: int | None = None


@dataclass
class AirflowServer:
    """What the server knows, and what it was asked."""

    origin: str = ""
    dags: set[str] = field(default_factory=set)
    runs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    notes: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    queries: list[tuple[str, str]] = field(default_factory=list)
    """Path and query string of each request that has one."""
    bodies: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and document of each request that brought one."""
    parsed: dict[str, Any] = field(
        default_factory=lambda: {"has_import_errors": False, "last_parsed_time": "2026-01-01T00:00:00Z"}
    )
    """What it says of every DAG."""
    version: str = "3.3.2"
    health: dict[str, Any] = field(
        default_factory=lambda: {
            name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
        }
    )
    plugin: dict[str, Any] = field(default_factory=lambda: {"healthy": True, "checks": {"plugin": "ok", "store": "ok"}})
    cleared: list[str] = field(default_factory=list)
    """Runs that were to begin again."""
    html: set[str] = field(default_factory=set)
    """Paths that are answered with the page of the UI, as Airflow does with those that it does not know."""
    logins: int = 0
    expired: set[str] = field(default_factory=set)
    """Tokens that are refused."""

    def api(self, password: str = PASSWORD) -> AirflowApi:
        return AirflowApi(self.origin, "callsheet", password, timeout_s=5)

    @property
    def connection(self) -> str:
        """The server as an Airflow connection."""
        return self.origin.replace("http://", f"http://callsheet:{PASSWORD}@") + "/http"

    @property
    def started(self) -> list[str]:
        """Ids of the runs, in the order in which they were started."""
        return [run_id for _, run_id in self.runs]

    def fail(self, method: str, path: str, status: int, **how: Any) -> None:
        self.faults.append(Fault(method, path, status, **how))

    def fault(self, method: str, path: str) -> Fault | None:
        """The first one that matches, used up by one."""
        for each in self.faults:
            if each.method == method and re.search(each.path, path) and each.times != 0:
                if each.times is not None:
                    each.times -= 1
                return each
        return None

    def end(self, dag_id: str, run_id: str, state: str, end_date: str | None) -> None:
        self.runs[dag_id, run_id] |= {"state": state, "end_date": end_date}

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Status and document of one request."""
        if path == "/auth/token":
            self.logins += 1
            good = body["password"] == PASSWORD
            return (201, {"access_token": f"token{self.logins}"}) if good else (401, {"detail": "no"})
        if token in self.expired or not token.startswith("token"):
            return 401, {"detail": "no token"}
        if path == "/callsheet/api/v1/weights":
            return 200, []
        own = {
            "/api/v2/version": (200, {"version": self.version, "git_version": None}),
            "/api/v2/monitor/health": (200, self.health),
            "/callsheet/api/v1/health": (200 if self.plugin["healthy"] else 503, self.plugin),
        }
        if path in own:
            return own[path]
        dag_id, run_id = _ids(path)
        if dag_id not in self.dags:
            return 404, {"detail": f"no DAG {dag_id}"}
        if path.endswith("/dagRuns"):
            if method == "GET":
                active = [run for (dag, _), run in self.runs.items() if dag == dag_id and run["state"] == "running"]
                return 200, {"dag_runs": active, "total_entries": len(active)}
            key = (dag_id, body["dag_run_id"])
            if key in self.runs:
                return 409, {"detail": "exists"}
            self.runs[key] = {"dag_run_id": key[1], "conf": body["conf"], "state": "running", "end_date": None}
            return 200, self.runs[key]
        if run_id is None:
            return 200, {"dag_id": dag_id, "is_stale": False, **self.parsed}
        if (dag_id, run_id) not in self.runs:
            return 404, {"detail": "no run"}
        self.change(method, path, (dag_id, run_id), body)
        return 200, self.runs[dag_id, run_id]

    def change(self, method: str, path: str, run: tuple[str, str], body: Any) -> None:
        """What a request does to a run."""
        if path.endswith("/clear"):
            self.cleared.append(run[1])
            self.end(*run, "queued", None)
        elif method == "PATCH" and "note" in body:
            self.notes[run] = body["note"]
        elif method == "PATCH":
            self.end(*run, body["state"], None)


def _ids(path: str) -> tuple[str, str | None]:
    found = re.match(r"/api/v2/dags/([^/]+)(?:/dagRuns/([^/]+))?", path)
    return (found[1], found[2]) if found else ("", None)


def _handler(known: AirflowServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            known.asked.append((self.command, path))
            if query := urlsplit(self.path).query:
                known.queries.append((path, query))
            if raw:
                known.bodies.append((self.command, path, json.loads(raw)))
            if path in known.html:
                self.reply(200, b"<!doctype html><title>Airflow</title>", kind="text/html")
                return
            fault = known.fault(self.command, path)
            if fault is not None:
                self.reply(fault.status, fault.body)
                return
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, document = known.answer(self.command, path, token, json.loads(raw) if raw else None)
            self.reply(status, json.dumps(document).encode())

        def do_GET(self) -> None:
            self.handle_one()

        def do_POST(self) -> None:
            self.handle_one()

        def do_PATCH(self) -> None:
            self.handle_one()

        def reply(self, status: int, body: bytes, *, kind: str = "application/json") -> None:
            if status == HANG_UP:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    return Handler


@contextmanager
def airflow_server() -> Iterator[AirflowServer]:
    """A running server."""
    known = AirflowServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(known)) as server:
        known.origin = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()
