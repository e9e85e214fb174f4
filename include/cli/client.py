"""How the command line talks to a running Callsheet: through Airflow's API and Callsheet's own, never the database."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

from include.adapters.airflow_api import AirflowApi, DagUnknown, RequestRefused
from include.base.document import digest
from include.base.errors import CallsheetError, ConfigurationError, RequestRejected
from include.base.settings import Settings
from include.domain.title.title import GOOD_STATES, State
from include.local.stack import find

BASE = "/callsheet/api/v1"
POLL_S = 1.0
INTAKE_PATIENCE_S = 120.0
_SUCCESS_AND_FAILURE = {"success", "failed"}


class NotFound(CallsheetError):
    """Neither a batch, nor a request, nor a title has this id."""


class Client:
    """A Callsheet, as the CMS and operators see it."""

    def __init__(self, api: AirflowApi) -> None:
        self.api = api

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()

    @classmethod
    def connect(cls, settings: Settings) -> Client:
        """The Callsheet of ``CALLSHEET_API_URL``, ``_USER`` and ``_PASSWORD``, else the local stack.

        Raises :class:`ConfigurationError` that says how to get one.
        """
        url = os.environ.get("CALLSHEET_API_URL")
        if url:
            user, password = os.environ.get("CALLSHEET_API_USER"), os.environ.get("CALLSHEET_API_PASSWORD")
            if not user or not password:
                raise ConfigurationError("CALLSHEET_API_URL is set: CALLSHEET_API_USER and CALLSHEET_API_PASSWORD too")
            return cls(AirflowApi(url, user, password))
        stack = find(settings)
        if stack is None:
            raise ConfigurationError(
                "no Callsheet to talk to: start one with `make up`, or set CALLSHEET_API_URL, CALLSHEET_API_USER and "
                "CALLSHEET_API_PASSWORD"
            )
        return cls(stack.api("admin"))

    def submit(self, request: Any, *, wait: bool = True) -> dict[str, Any]:
        """Post a batch request; returns the batch as accepted (``wait``) or the name of the intake run.

        Raises :class:`RequestRejected` with what intake said. The run id comes from the content, so that a repeated
        call is one request; one that was refused before is asked again, as the reason may be gone.
        """
        if not isinstance(request, dict):
            raise RequestRejected("the batch request must be a JSON object")
        batch_id = request.get("batch_id")
        first = f"cms__{re.sub(r'[^A-Za-z0-9_-]', '_', str(batch_id))[:100]}__{digest(request)[:12]}"
        run_id, attempt = first, 1
        while not self.api.trigger("intake", run_id, conf=request, logical_date=datetime.now(UTC)):
            if self._accepted(run_id) != "failed":
                break
            attempt += 1
            run_id = f"{first}__{attempt}"
        if not wait:
            return {"dag_run_id": run_id}
        end = time.monotonic() + INTAKE_PATIENCE_S
        while time.monotonic() < end:
            accepted = self._accepted(run_id)
            if accepted == "failed":
                raise RequestRejected(self._refusal(run_id))
            if accepted == "success":
                return self.batch(str(batch_id))
            time.sleep(POLL_S / 2)
        raise CallsheetError(
            f"intake run {run_id} has not ended after {INTAKE_PATIENCE_S:.0f} s; look at it in Airflow's UI"
        )

    def batch(self, batch_id: str) -> dict[str, Any]:
        """A batch with its titles."""
        found: dict[str, Any] = self.api.request("GET", f"{BASE}/batches/{_safe(batch_id)}")
        return found

    def title(self, name: str) -> dict[str, Any]:
        """A title by ``<title_id>`` (its newest request) or ``<batch_id>/<title_id>``."""
        found: dict[str, Any] = self.api.request("GET", f"{BASE}/titles/{_safe(name)}")
        return found

    def find(self, name: str) -> tuple[str, dict[str, Any]]:
        """``("batch", …)`` or ``("title", …)``, whichever has this id; raises :class:`NotFound`."""
        look: list[tuple[str, Callable[[str], dict[str, Any]]]] = [("batch", self.batch), ("title", self.title)]
        for kind, ask in look[1:] if "/" in name else look:
            try:
                return kind, ask(name)
            except DagUnknown:
                continue
        raise NotFound(f"no batch and no title has the id {name!r} (or you may not read it)")

    def replay(self, name: str) -> dict[str, Any]:
        """Start a settled title again; returns ``{"batch_id", "request_id"}`` of the new request."""
        title = self.title(name)
        new: dict[str, Any] | None = self.api.request("POST", f"{BASE}/titles/{title['request_id']}/replay")
        if new is None:
            raise CallsheetError(f"{title['request_id']} is {title['state']}: only a settled title can be replayed")
        # The minute hand would find it too; this is for people who wait.
        self.api.trigger("dispatch", f"replay__{new['batch_id']}", conf={}, logical_date=datetime.now(UTC))
        return new

    def resend(self, name: str) -> int:
        """Have a request's webhooks sent again; returns how many."""
        title = self.title(name)
        done = self.api.request("POST", f"{BASE}/titles/{title['request_id']}/webhooks/replay")
        return int(done["queued"])

    def steer(self, name: str, change: dict[str, Any]) -> dict[str, Any]:
        """Change a title that is under way; returns it as it is then. A refusal raises :class:`RequestRejected`."""
        return self._changed("PATCH", f"{BASE}/titles/{_safe(name)}", change, name)

    def signal(self, name: str, signals: dict[str, float], *, why: str) -> dict[str, Any]:
        """Tell new signals of a title; returns it as it is valued then."""
        body = {"signals": signals, "why": why}
        return self._changed("POST", f"{BASE}/titles/{_safe(name)}/signals", body, name)

    def queue(self, limit: int) -> dict[str, Any]:
        """Open titles in the policy's order, with counts."""
        found: dict[str, Any] = self.api.request("GET", f"{BASE}/queue", params={"limit": limit})
        return found

    def quote(self, request: Any) -> dict[str, Any]:
        """What a batch request would come to; enters nothing."""
        return self._changed("POST", f"{BASE}/quotes", request, "the intake")

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """Failures with owner, command and the way to replay them, newest first."""
        found: list[dict[str, Any]] = self.api.request("GET", f"{BASE}/dead-letters", params={"limit": limit})
        return found

    def watch(self, name: str, *, poll_s: float = POLL_S) -> Iterator[list[dict[str, Any]]]:
        """The titles behind an id, again and again, until all are settled."""
        while True:
            kind, found = self.find(name)
            titles = found["titles"] if kind == "batch" else [found]
            yield titles
            if all(State(title["state"]).final for title in titles):
                return
            time.sleep(poll_s)

    def _changed(self, method: str, path: str, body: Any, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.api.request(method, path, json=body, conflict_is_done=False)
        except RequestRefused as error:
            raise RequestRejected(error.detail or error.message) from error
        except DagUnknown as error:
            raise NotFound(f"no title has the id {name!r} (or you may not read it)") from error
        return found

    def _accepted(self, run_id: str) -> str | None:
        """How the task ``accept`` of an intake run ended; None while it has not."""
        for instance in self.api.task_instances("intake", run_id):
            if instance["task_id"] == "accept" and instance["state"] in _SUCCESS_AND_FAILURE:
                return str(instance["state"])
        return None

    def _refusal(self, run_id: str) -> str:
        path = f"/api/v2/dags/intake/dagRuns/{run_id}/taskInstances/accept/logs/1"
        text = json.dumps(self.api.request("GET", path, params={"full_content": True}), ensure_ascii=False)
        told, quote, _ = text.replace('\\"', "'").partition("batch request refused: ")[2].partition('"')
        return told if quote else f"intake run {run_id} failed; its log in Airflow's UI says why"


def all_good(titles: list[dict[str, Any]]) -> bool:
    """Whether every title was published, at least degraded."""
    return bool(titles) and all(State(title["state"]) in GOOD_STATES for title in titles)


def _safe(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)?", name):
        raise NotFound(f"{name!r} is not an id: letters, digits, _ and - (and one / between batch and title)")
    return name
