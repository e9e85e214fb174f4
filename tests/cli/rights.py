"""An auth manager that knows rights per DAG, as FAB's and Keycloak's do: Airflow's simple one ignores the DAG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

READ, EDIT = frozenset({"GET"}), frozenset({"GET", "PUT"})
RIGHTS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "spring_reader": {"batch__spring": READ},
    "spring_editor": {"batch__spring": EDIT},
    "summer_editor": {"batch__summer": EDIT},
    "autumn_reader": {"batch__autumn": READ},
    "spring_poster": {"batch__spring": READ, "intake": frozenset({"POST"})},
}
"""What these users may do to the runs of which DAGs. Every other user may do with all DAGs what their role says."""


class RightsPerDag(SimpleAuthManager):
    """The simple auth manager, but for users whose rights are on single DAGs."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Whether the user may do this to runs of one DAG; without a DAG the question is about all of them."""
        rights = RIGHTS.get(user.username)
        if rights is None:
            allowed: bool = super().is_authorized_dag(
                method=method, user=user, access_entity=access_entity, details=details
            )
            return allowed
        if details is None or details.id is None or access_entity is not DagAccessEntity.RUN:
            return False
        return method in rights.get(details.id, ())
