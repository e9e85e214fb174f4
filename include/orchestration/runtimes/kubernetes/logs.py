"""A worker's lines in the log of its task.

Each reading of them has a limit: a node that has fallen silent leaves the request open.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import TRANSIENT_STATUS_CODES
from airflow.providers.cncf.kubernetes.utils.pod_manager import AsyncPodManager
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from include.orchestration.runtimes.kubernetes.spec import CONTAINER

Moment = TypeVar("Moment", bound=datetime)

log = logging.getLogger(__name__)

LOG_LIMIT_S = 20
"""How long one reading of a worker's lines may take: a kubelet that is well answers within a second."""
TRIES = 3
"""How often a reading is begun within its limit."""


def worker_lines(core: CoreV1Api, pod: k8s.V1Pod, *, since: datetime | str | None = None) -> Iterator[str]:
    """What a worker has written, line by line, as far as it can be read within :data:`LOG_LIMIT_S`.

    Args:
        core: Client of the cluster.
        pod: The worker's pod.
        since: The time of the last line that is known already; None is the beginning.

    Raises:
        ApiException: The API server, or the node that it asked, refuses.
        HTTPError: No answer within the limit.
    """
    end = time.monotonic() + LOG_LIMIT_S
    # The client of the provider sends a request without an answer four times.
    configuration = copy.copy(core.api_client.configuration)
    configuration.retries = False
    with ApiClient(configuration) as client:
        for line in _answer(CoreV1Api(client), pod, since, end):
            yield line.decode("utf-8", errors="backslashreplace").rstrip("\n")
            if time.monotonic() > end:
                log.warning("the log of pod %s takes long to read and is cut here", pod.metadata.name)
                return


def _answer(core: CoreV1Api, pod: k8s.V1Pod, since: datetime | str | None, end: float) -> Any:
    """The response with the lines, asked for again while there is time and the answer says "later"."""
    begin = _whole_second(datetime.fromisoformat(since) if isinstance(since, str) else since)
    tried = 0
    while True:
        tried += 1
        try:
            return core.read_namespaced_pod_log(
                pod.metadata.name,
                pod.metadata.namespace,
                container=CONTAINER,
                since_seconds=max(1, math.ceil((datetime.now(UTC) - begin).total_seconds())) if begin else None,
                _preload_content=False,
                _request_timeout=max(0.1, end - time.monotonic()),
            )
        except (ApiException, HTTPError) as error:
            passing = not isinstance(error, ApiException) or error.status in TRANSIENT_STATUS_CODES
            if tried >= TRIES or not passing or time.monotonic() > end - 1:
                raise
        time.sleep(1)


def _whole_second(since: Moment | None) -> Moment | None:
    """Where the next reading begins: the provider's left the lines of the second in which it read to it."""
    return since.replace(microsecond=0) if since else None


class LogReader(AsyncPodManager):
    """The provider's manager of pods for triggers; no log that cannot be read ends a trigger, or holds it up."""

    _told = False

    async def fetch_container_logs_before_current_sec(
        self, pod: k8s.V1Pod, container_name: str, since_time: Any = None
    ) -> Any:
        """Copy the worker's new lines into the task's log; returns since when the next reading has to read."""
        try:
            reading = super().fetch_container_logs_before_current_sec(pod, container_name, _whole_second(since_time))
            read_to = await asyncio.wait_for(reading, LOG_LIMIT_S)
        except Exception as error:  # of many kinds; the next reading begins where this one did
            if not self._told:
                log.warning("the log of pod %s cannot be read at present: %s", pod.metadata.name, error or "no answer")
            self._told = True
            return since_time
        self._told = False
        return read_to
