"""Registers Callsheet with Airflow and defines nothing of its own."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from include.api.app import app
from include.orchestration.deadlines import TitleDeadline
from include.orchestration.runtimes.control import PreviewLink


class CallsheetPlugin(AirflowPlugin):
    """API under ``/callsheet``, the queue's page in the menu, the deadline reference, the preview button."""

    name = "callsheet"
    fastapi_apps = [{"app": app, "url_prefix": "/callsheet", "name": "Callsheet"}]  # noqa: RUF012 - Airflow's form
    external_views = [  # noqa: RUF012 - Airflow's form
        {"name": "Queue", "href": "/callsheet/queue", "destination": "nav", "url_route": "callsheet-queue"},
    ]
    deadline_references = [TitleDeadline]  # noqa: RUF012 - Airflow's form
    operator_extra_links = [PreviewLink()]  # noqa: RUF012 - Airflow's form
