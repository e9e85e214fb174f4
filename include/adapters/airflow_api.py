"""The one way into Airflow: its public REST API, as a service account of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import TellingSettings

CONNECTION_ID = "callsheet_airflow"
ATTEMPTS = 5
BACKOFF_S = 0.5
ACTIVE_RUN_STATES = ("queued", "running")


class DagUnknown(PlatformUnavailable):
    """Airflow has not parsed this DAG yet, or no longer has it."""


class _NotAnswered(Exception):
    """One attempt in which Airflow gave no answer that counts."""


class RequestRefused(ConfigurationError):
    """Airflow will not do this one thing: trigger a DAG that no longer parses, say. Other requests may be well."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        """What the server said, without the request around it."""


class AirflowApi:
    """A client of one Airflow. Requests are retried where Airflow may not have answered; all of them are idempotent."""

    def __init__(self, base_url: str, username: str, password: str, *, timeout_s: float = 30.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._credentials = {"username": username, "password": password}
        self._client = httpx.Client(base_url=self.base_url, timeout=timeout_s)
        self._token: str | None = None

    @classmethod
    def from_connection(cls, connection_id: str = CONNECTION_ID) -> Self:
        """The client of the Airflow connection; raises :class:`ConfigurationError` where it does not exist."""
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

        try:
            connection = BaseHook.get_connection(connection_id)
        except (AirflowNotFoundException, AirflowRuntimeError) as error:
            raise ConfigurationError(
                f"the Airflow connection {connection_id} does not exist; it holds address and service account "
                "of Airflow's own API (type http, see airflow_settings.yaml)"
            ) from error
        scheme = connection.schema or "http"
        port = f":{connection.port}" if connection.port else ""
        return cls(f"{scheme}://{connection.host}{port}", connection.login or "", connection.password or "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        conflict_is_done: bool = True,
    ) -> Any:
        """The decoded answer of one request.

        404 raises :class:`DagUnknown`; 409 returns None (it is done already), or raises :class:`RequestRefused` where
        a conflict is none of that kind.
        """
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=BACKOFF_S),
            retry=retry_if_exception_type(_NotAnswered),
            reraise=True,
        )
        try:
            answer = retrying(self._answer, method, path, json=json, params=params)
        except _NotAnswered as error:
            raise PlatformUnavailable(
                f"Airflow's API at {self.base_url} did not answer {method} {path}: {error}"
            ) from error
        if answer.status_code == 404:
            raise DagUnknown(f"{method} {path}: {_detail(answer)}")
        if answer.status_code == 409 and conflict_is_done:
            return None
        if answer.status_code >= 400:
            detail = _detail(answer)
            said = f"Airflow refused {method} {path}: {answer.status_code} {detail}"
            raise ConfigurationError(said) if answer.status_code == 403 else RequestRefused(said, detail=detail)
        return self._decoded(answer) if answer.content else {}

    def _answer(self, method: str, path: str, *, json: Any, params: Mapping[str, Any] | None) -> httpx.Response:
        """One attempt; raises :class:`_NotAnswered` where another may end differently."""
        try:
            if self._token is None:
                self._token = self._new_token()
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = self._client.request(method, path, json=json, params=params, headers=headers)
        except httpx.TransportError as error:
            raise _NotAnswered(f"{type(error).__name__}: {error}") from error
        if answer.status_code == 401:
            self._token = None
            raise _NotAnswered("401 Unauthorized")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _NotAnswered(f"{answer.status_code} {_detail(answer)}")
        return answer

    def trigger(
        self, dag_id: str, run_id: str, *, conf: Mapping[str, Any], logical_date: datetime | None = None
    ) -> bool:
        """Start a run; False where this run id exists already, which is as good."""
        body = {
            "dag_run_id": run_id,
            "logical_date": logical_date.isoformat() if logical_date else None,
            "conf": dict(conf),
        }
        return self.request("POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", json=body) is not None

    def run(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """A run as Airflow shows it, None where there is none."""
        try:
            found: dict[str, Any] = self.request("GET", f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}")
        except DagUnknown:
            return None
        return found

    def has_active_runs(self, dag_id: str) -> bool:
        """Whether any run of the DAG is queued or running."""
        try:
            found = self.request(
                "GET",
                f"/api/v2/dags/{quote(dag_id)}/dagRuns",
                params={"state": list(ACTIVE_RUN_STATES), "limit": 1},
            )
        except DagUnknown:
            return False
        return bool(found["total_entries"])

    def knows_dag(self, dag_id: str) -> bool:
        """Whether the DAG is parsed and not stale."""
        try:
            found = self.request("GET", f"/api/v2/dags/{quote(dag_id)}")
        except DagUnknown:
            return False
        return not found.get("is_stale", False)

    def parsed_at(self, dag_id: str) -> datetime | None:
        """When Airflow last read the DAG well; None where it does not have it, or could not read it since."""
        try:
            found = self.request("GET", f"/api/v2/dags/{quote(dag_id)}")
        except DagUnknown:
            return None
        if found.get("is_stale") or found.get("has_import_errors") or not found.get("last_parsed_time"):
            return None
        return datetime.fromisoformat(found["last_parsed_time"])

    def begin_again(self, dag_id: str, run_id: str) -> None:
        """Clear every task of a run, so that it begins again by the newest form of its DAG; running ones are ended."""
        self.request(
            "POST",
            f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/clear",
            json={"dry_run": False, "only_failed": False, "run_on_latest_version": True},
        )

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Set a run to failed: what it runs is ended, what waits is skipped."""
        self.request(
            "PATCH",
            f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}",
            json={"state": "failed"},
            params={"update_mask": "state"},
        )

    def health(self) -> dict[str, Any]:
        """What Callsheet's plugin says of itself and of the deployment, well or not; asked once.

        Raises :class:`PlatformUnavailable` without an answer, :class:`ConfigurationError` where it is not Callsheet's.
        """
        try:
            self._token = self._token or self._new_token()
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = self._client.get("/callsheet/api/v1/health", headers=headers)
        except httpx.TransportError as error:
            raise PlatformUnavailable(f"Callsheet's plugin did not answer: {error}") from error
        found: dict[str, Any] = self._decoded(answer)
        return found

    def tell_weights(self, *, ended: str | None = None) -> int:
        """Have Callsheet's plugin bring live runs to the catalog's priorities; returns how many it told.

        Args:
            ended: Id of a task instance that is about to free its slot: the next encode of its title may have it.
        """
        return len(self.request("POST", "/callsheet/api/v1/weights", params={"ended": ended} if ended else None))

    def note(self, dag_id: str, run_id: str, text: str) -> None:
        """Put a note (Markdown) on a run."""
        self.request(
            "PATCH",
            f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}",
            json={"note": text},
            params={"update_mask": "note"},
        )

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        found = self.request(
            "GET", f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances", params={"limit": 1000}
        )
        return list(found["task_instances"])

    def _new_token(self) -> str:
        answer = self._client.post("/auth/token", json=self._credentials)
        if answer.status_code in (401, 403):
            raise ConfigurationError(
                f"Airflow at {self.base_url} refused the account {self._credentials['username']!r}; "
                "check the connection's login and password"
            )
        if answer.status_code >= 300:
            raise httpx.TransportError(f"/auth/token answered {answer.status_code}")
        found = self._decoded(answer)
        if not isinstance(found, dict) or "access_token" not in found:
            raise ConfigurationError(f"what answers at {self.base_url} is not Airflow: it gave no token")
        return str(found["access_token"])

    def _decoded(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            # Airflow answers unknown paths with the page of its UI, and 200.
            raise ConfigurationError(
                f"{answer.url} answered something that is not JSON: is this Airflow, and did Callsheet's plugin load?"
            ) from error


def ui_base_url(settings: TellingSettings) -> str:
    """Where people find Airflow's UI: the setting, else the connection; empty where neither says."""
    if settings.airflow_base_url:
        return settings.airflow_base_url.rstrip("/")
    try:
        with AirflowApi.from_connection() as api:
            return api.base_url
    except ConfigurationError:
        return ""


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))[:500]
    except ValueError:
        return answer.text[:200]
