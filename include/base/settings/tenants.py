"""Who shares this deployment."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import field_validator, model_validator
from pydantic_settings import NoDecode

from include.base.settings.owner import OwnerSettings


class TenantSettings(OwnerSettings):
    """Which users of Airflow post for the same tenant. A title id belongs to the tenant that posted it first."""

    tenants: Annotated[tuple[str, ...], NoDecode] = ()
    """Tenants by the users that post batches for them, as ``user=tenant``. A user that is not named posts for a tenant
    of its own name, so give no tenant the name of a user who does not belong to it."""

    @field_validator("tenants", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        users = [user for user, _ in map(_pair, self.tenants)]
        twice = {user for user in users if users.count(user) > 1}
        if twice:
            raise ValueError(f"CALLSHEET_TENANTS: {', '.join(sorted(twice))}: a user posts for one tenant")
        return self

    def tenant_of(self, user: str | None) -> str | None:
        """The tenant that a user of Airflow posts for; None where it is not known who posts."""
        return None if user is None else dict(map(_pair, self.tenants)).get(user, user)


def _pair(said: str) -> tuple[str, str]:
    user, equals, tenant = (part.strip() for part in said.partition("="))
    if not (user and equals and tenant) or len(tenant) > 250:
        raise ValueError(f"CALLSHEET_TENANTS: {said!a} is not of the form user=tenant")
    return user, tenant
