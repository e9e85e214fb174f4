"""What the settings of every owner have in common."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class OwnerSettings(BaseSettings):
    """Environment variables ``CALLSHEET_*``; lists are comma-separated."""

    model_config = SettingsConfigDict(
        env_prefix="CALLSHEET_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        # Some are secrets, and pydantic's text quotes all of them where the fault lies between two.
        hide_input_in_errors=True,
    )
