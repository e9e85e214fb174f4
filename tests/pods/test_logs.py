"""A worker's lines in the log of its task: one reading begins where the one before it ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.utils.pod_manager import AsyncPodManager
from kubernetes.client import Configuration

from include.orchestration.runtimes.kubernetes import logs

READ_TO = datetime(2026, 3, 1, 12, 0, 10, 900_000, tzinfo=UTC)
"""The provider's reading has left the lines of this second, which began 0.9 s before."""


class Clock(datetime):
    """It is 0.6 s later."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2026, 3, 1, 12, 0, 11, 500_000, tzinfo=tz)


class Api:
    """Keeps what it was asked."""

    asked: dict[str, Any]

    def __init__(self, client: object) -> None:
        pass

    def read_namespaced_pod_log(self, name: str, namespace: str, **options: Any) -> list[bytes]:
        Api.asked = options
        return [b"a line\n"]


@pytest.mark.parametrize("since", [READ_TO, READ_TO.isoformat()])
def test_the_task_reads_the_lines_of_the_second_in_which_the_trigger_read_last(
    since: datetime | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "datetime", Clock)
    monkeypatch.setattr(logs, "CoreV1Api", Api)
    pod: Any = SimpleNamespace(metadata=SimpleNamespace(name="pod", namespace="callsheet-workers"))
    core: Any = SimpleNamespace(api_client=SimpleNamespace(configuration=Configuration()))

    assert list(logs.worker_lines(core, pod, since=since)) == ["a line"]

    assert Api.asked["since_seconds"] == 2


@pytest.mark.parametrize(("since", "begins"), [(None, None), (READ_TO, READ_TO.replace(microsecond=0))])
def test_the_trigger_s_next_reading_begins_with_the_second_that_it_left(
    since: datetime | None, begins: datetime | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def fetch(self: object, pod: object, container: str, since_time: datetime | None) -> str:
        asked.append(since_time)
        return "read to"

    monkeypatch.setattr(AsyncPodManager, "fetch_container_logs_before_current_sec", fetch)
    reader = logs.LogReader(async_hook=None)  # type: ignore[arg-type]  # nothing is asked of it
    pod: Any = None

    assert asyncio.run(reader.fetch_container_logs_before_current_sec(pod, "base", since)) == "read to"
    assert asked == [begins]
