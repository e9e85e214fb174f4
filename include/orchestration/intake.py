"""The first task of the DAG ``intake``: a request that is refused ends it at once, as no retry can change it."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from include.base.errors import RequestRejected
from include.services import intake


def accept_request(conf: Any) -> str:
    """Enter a batch request in the catalog; returns its batch id. The same request again changes nothing.

    Raises :class:`AirflowFailException` that names field, value and reason of a request that is wholly bad.
    """
    try:
        return intake.accept_request(conf)
    except RequestRejected as error:
        raise AirflowFailException(f"batch request refused: {error.message}") from error
