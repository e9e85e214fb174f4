"""The configured store, by the scheme of ``CALLSHEET_STORE_URI``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from include.adapters.store.interface import ObjectStore
from include.adapters.store.local import LocalStore
from include.base.errors import ConfigurationError
from include.base.settings import Settings


def open_store(settings: Settings) -> ObjectStore:
    """The store at ``settings.store_uri``; raises :class:`ConfigurationError` for a scheme that is not served."""
    parts = urlsplit(settings.store_uri)
    if parts.scheme == "file" and not parts.netloc:
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        # boto3 costs half a second, which every parse of a DAG file would pay.
        from include.adapters.s3.store import S3Store

        return S3Store(settings.store_uri, settings)
    raise ConfigurationError(f"CALLSHEET_STORE_URI: file:///… or s3://… is served (got {settings.store_uri!r})")
