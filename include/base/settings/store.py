"""What is kept, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from include.base.settings.owner import OwnerSettings


class StoreSettings(OwnerSettings):
    """Where the catalog, the store and this machine's own files lie, and how S3 is reached."""

    home: Path = Path(".callsheet")
    """Folder of everything this machine keeps: catalog, local store, scratch space. Give an absolute path outside
    make."""
    catalog_url: str = Field(default="", repr=False)
    """SQLAlchemy URL of the catalog: ``sqlite:////path`` or ``postgresql+psycopg://user@host/database``; empty
    means SQLite in ``home``."""
    store_uri: str = ""
    """Root of the object store: ``file:///folder`` or ``s3://bucket/prefix``; empty means a folder in ``home``."""
    aws_conn_id: str = ""
    """Airflow connection (type aws) with which Airflow's tasks reach S3; empty means the environment or the workload
    identity, as for workers."""
    s3_sse: Literal["", "AES256", "aws:kms"] = ""
    """Server-side encryption asked for on every write to S3; empty leaves it to the bucket."""
    s3_kms_key_id: str = ""
    """Key for ``aws:kms``; empty means the account's default key."""

    @model_validator(mode="after")
    def _in_home(self) -> Self:
        home = self.home.expanduser().absolute()
        object.__setattr__(self, "home", home)
        object.__setattr__(self, "catalog_url", self.catalog_url or f"sqlite:///{home / 'catalog.db'}")
        object.__setattr__(self, "store_uri", (self.store_uri or (home / "store").as_uri()).rstrip("/"))
        return self

    @property
    def scratch(self) -> Path:
        """Folder for temporary files of running tasks."""
        return self.home / "scratch"
