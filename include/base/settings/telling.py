"""What others are told, and under which addresses."""

from __future__ import annotations

import base64
import binascii
from typing import Self

from pydantic import SecretStr, model_validator

from include.base.settings.owner import OwnerSettings

BASE64_PREFIX = "whsec_"


def signing_keys(secrets: str) -> tuple[bytes, ...]:
    """The keys of comma-separated secrets; raises :class:`ValueError` for one that only looks like base64."""
    return tuple(_key(secret.strip()) for secret in secrets.split(",") if secret.strip())


def _key(secret: str) -> bytes:
    if not secret.startswith(BASE64_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(BASE64_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError(f"{BASE64_PREFIX} must be followed by a key in base64")
    return key


class TellingSettings(OwnerSettings):
    """Links, webhooks and alerts."""

    public_base_url: str = ""
    """Where players reach the store (a CDN, say), as written into pointers and webhooks; empty means the media
    endpoint of Airflow's API server."""
    airflow_base_url: str = ""
    """Address of Airflow's API server in links for people and, without ``public_base_url``, in the addresses of
    manifests; empty means the connection ``callsheet_airflow``. ``make up`` sets it."""
    webhook_secret: SecretStr = SecretStr("")
    """Secrets that sign webhooks, as Standard Webhooks does: ``whsec_`` and base64, or plain text, whose bytes are
    then the key. Several, comma-separated and the newest first, each sign: so a secret is exchanged without a gap.
    ``make up`` makes one; empty refuses requests with a ``callback_url``."""
    slack_conn_id: str = "callsheet_slack"
    """Airflow connection (type slackwebhook) of the channel that alerts go to."""

    @model_validator(mode="after")
    def _sound_secrets(self) -> Self:
        # A fault of the model, not of the field: the message of a field's fault shows what was given.
        try:
            signing_keys(self.webhook_secret.get_secret_value())
        except ValueError as error:
            raise ValueError(f"CALLSHEET_WEBHOOK_SECRET: {error}") from None
        return self

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that sign webhooks, the newest first."""
        return signing_keys(self.webhook_secret.get_secret_value())
