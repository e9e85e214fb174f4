"""The first task of the DAG ``intake``: a request that is refused ends it at once, as no retry can change it."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from include.base.errors import RequestRejected
from include.services import intake


def accept_request(conf: Any, *, user: str | None = None) -> str:
    """Enter a batch request in the catalog; returns its batch id. The same request again changes nothing.

    Args:
        conf: The request.
        user: Who posts it, by the name that Airflow knows them by; None where Airflow does not say.

    Raises :class:`AirflowFailException` that names field, value and reason of a request that is wholly bad.
    """
    try:
        return intake.accept_request(conf, user=user)
    except RequestRejected as error:
        raise AirflowFailException(f"batch request refused: {error.message}") from error
