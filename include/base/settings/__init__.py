"""All settings of Callsheet: environment variables ``CALLSHEET_*``, read once, frozen, passed on as an argument.

Each owner has a file and a class of its own; what needs one owner's settings alone may name that class.
"""

from __future__ import annotations

from typing import Self

from pydantic import ValidationError, model_validator

from include.base.errors import ConfigurationError
from include.base.faults import faults
from include.base.settings.farm import FarmSettings, available_cores
from include.base.settings.media import MediaSettings
from include.base.settings.runtime import RuntimeSettings
from include.base.settings.store import StoreSettings
from include.base.settings.telling import TellingSettings
from include.base.settings.tenants import TenantSettings

__all__ = [
    "FarmSettings",
    "MediaSettings",
    "RuntimeSettings",
    "Settings",
    "StoreSettings",
    "TellingSettings",
    "TenantSettings",
    "available_cores",
    "load_settings",
]


class Settings(TellingSettings, TenantSettings, RuntimeSettings, FarmSettings, MediaSettings, StoreSettings):
    """Settings of one process, and what must hold between those of different owners."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        roots = self.mezzanine_roots or (self.home / "mezzanines",)
        object.__setattr__(self, "mezzanine_roots", tuple(root.expanduser().absolute() for root in roots))
        if self.runtime == "kubernetes" and not self.worker_image:
            raise ValueError("CALLSHEET_RUNTIME=kubernetes needs CALLSHEET_WORKER_IMAGE")
        if self.runtime == "kubernetes" and not self.store_uri.startswith("s3://"):
            raise ValueError("CALLSHEET_RUNTIME=kubernetes needs CALLSHEET_STORE_URI=s3://…: pods share no folder")
        return self


def load_settings() -> Settings:
    """The settings of this process; raises :class:`ConfigurationError` that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = faults(error)[0]
        if not first.field:  # about several variables, or a secret: the message names them
            raise ConfigurationError(first.message) from error
        name = f"CALLSHEET_{first.field.replace('.', '_').upper()}"
        raise ConfigurationError(f"{name}: {first.message} (got {first.value})") from error
