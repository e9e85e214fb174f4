"""Who this process is to S3, and the client for every request to it.

Inside Airflow the client comes from the connection ``CALLSHEET_AWS_CONN_ID``, where that is set; else, and in every
worker, from the environment or the workload identity, as with all of AWS's tools. The rights that are needed:
``s3:GetObject``, ``s3:PutObject``, ``s3:DeleteObject``, ``s3:AbortMultipartUpload`` and
``s3:ListMultipartUploadParts`` on the keys, ``s3:ListBucket`` and ``s3:ListBucketMultipartUploads`` on the bucket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config

from include.base.errors import ConfigurationError
from include.base.settings import Settings

ATTEMPTS = 8
"""Tries of one request (``AWS_MAX_ATTEMPTS`` overrides it), and of one body that breaks off: where 5 % of requests go
wrong, one in 10¹⁰ fails."""
CONNECT_LIMIT_S = 10
READ_LIMIT_S = 60
"""Longest wait for the next bytes."""
CONNECTIONS = 16
"""Requests at once of one client."""


@dataclass(frozen=True)
class Session:
    """boto3's session with what its clients need besides."""

    boto: Any
    endpoint: str | None = None
    """None for AWS's own, or the environment's."""
    verify: Any = None
    """Path of the authorities that vouch for the endpoint, or False, as boto3 takes it; None for its default."""
    config: Any = field(default_factory=Config)
    """Further options of the client."""

    def lasts(self, seconds: float) -> bool:
        """Whether the credentials are valid for that long."""
        credentials = self.boto.get_credentials()
        refresh_needed = getattr(credentials, "refresh_needed", None)
        return refresh_needed is None or not refresh_needed(seconds)


def s3_client(settings: Settings) -> Any:
    """A client for every request to S3, with retries, time limits and checksums; safe to share between threads.

    Raises :class:`ConfigurationError` for a connection that does not exist.
    """
    return client_of(open_session(settings))


def open_session(settings: Settings) -> Session:
    """The session of this process; raises :class:`ConfigurationError` for a connection that does not exist."""
    if settings.aws_conn_id:
        return _session_of_connection(settings.aws_conn_id)
    plain = botocore.session.get_session()
    plain.register_component("data_loader", _loader())
    return Session(boto3.Session(botocore_session=plain))


def client_of(session: Session) -> Any:
    """A client for every request to S3; raises :class:`ConfigurationError` for an endpoint that is no address."""
    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    ours = Config(
        # Older signatures know nothing of KMS, and their presigned addresses would be accepted in few regions.
        signature_version="s3v4",
        retries=retries,
        connect_timeout=CONNECT_LIMIT_S,
        read_timeout=READ_LIMIT_S,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )

    def client(config: Config) -> Any:
        return session.boto.client(
            "s3", endpoint_url=session.endpoint, verify=session.verify, config=config.merge(session.config)
        )

    try:
        first = client(ours)
        host = urlsplit(first.meta.endpoint_url).hostname or ""
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return first
        # Few who run their own S3 have a name in the DNS for each bucket.
        return client(ours.merge(Config(s3={"addressing_style": "path"})))
    except ValueError as error:
        raise ConfigurationError(f"S3's endpoint (AWS_ENDPOINT_URL_S3, or of the connection): {error}") from error


def worker_credentials(settings: Settings) -> dict[str, str]:
    """Environment with which a worker on this machine reaches S3 as the connection ``aws_conn_id`` does.

    Empty without a connection: the worker then finds its way as this process does. Keys of an assumed role end with
    the role's session; a worker that outlives it fails for want of credentials, and its next attempt gets new ones.
    """
    if not settings.aws_conn_id:
        return {}
    session = open_session(settings)
    credentials = session.boto.get_credentials()
    if credentials is None:
        return {}
    frozen = credentials.get_frozen_credentials()
    environment = {
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        # Set also where it is empty: the worker must not inherit the token of other keys.
        "AWS_SESSION_TOKEN": frozen.token or "",
    }
    # Without it the worker could not know that its keys end. botocore has no public name for it.
    expiry = getattr(credentials, "_expiry_time", None)
    optional = {
        "AWS_CREDENTIAL_EXPIRATION": expiry.isoformat() if expiry else None,
        "AWS_DEFAULT_REGION": session.boto.region_name,
        "AWS_ENDPOINT_URL_S3": session.endpoint,
        "AWS_CA_BUNDLE": session.verify if isinstance(session.verify, str) else None,
    }
    return environment | {name: value for name, value in optional.items() if value}


@cache
def _loader() -> Any:
    """AWS's services as botocore describes them: reading them is nearly all that making a client costs."""
    return botocore.loaders.create_loader()


def _session_of_connection(conn_id: str) -> Session:
    # At the top these would fail in a worker, which has no Airflow and no connection.
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    hook = AwsBaseHook(aws_conn_id=conn_id, client_type="s3")
    try:
        # The hook itself would go on silently, with whatever credentials this process has.
        hook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"CALLSHEET_AWS_CONN_ID: Airflow has no connection {conn_id!r}; add it (type aws), or leave "
            "the variable empty for the environment or the workload identity"
        ) from error
    return Session(
        # Of an assumed role it renews the keys by itself.
        boto=hook.get_session(),
        endpoint=hook.conn_config.get_service_endpoint_url("s3"),
        verify=hook.verify,
        config=hook.config,
    )
