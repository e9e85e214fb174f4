"""What the local stack keeps secret, in files that their owner alone can read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from include.base.settings import Settings

USERS = {"admin": "admin", "cms": "user", "callsheet": "op"}
"""Users of the local stack and their roles: a person, the CMS, Callsheet's own service account."""


def stack_secrets(settings: Settings) -> dict[str, str]:
    """Generated once per home, readable by its owner alone."""
    path = settings.home / "secrets.json"
    if path.exists():
        known: dict[str, str] = json.loads(path.read_text())
        return known
    made = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt")}
    made |= {f"password_{user}": secrets.token_urlsafe(12) for user in USERS}
    made["webhook"] = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    # A Fernet key is 32 random bytes in URL-safe base64.
    made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    write_private(path, json.dumps(made))
    return made


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, at once and whole; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
