"""``python3 docker/make_env.py``: write docker/.env with fresh secrets. Standard library only; never overwrites."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

TEMPLATE = Path(__file__).with_name(".env.example")


def filled(template: str) -> str:
    """``template`` with a fresh value behind each name that has none.

    Letters and digits only, as some of them stand inside an address; a Fernet key is 32 bytes in URL-safe base64, the
    secret of webhooks 32 bytes in base64 behind ``whsec_``.
    """
    lines = []
    for line in template.splitlines():
        if line.endswith("=") and not line.startswith("#"):
            line += _fresh(line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _fresh(name: str) -> str:
    if "FERNET" in name:
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    if "WEBHOOK" in name:
        return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    return secrets.token_hex(24)


def main() -> int:
    """Write the file, readable by its owner alone; returns the exit code."""
    target = TEMPLATE.with_name(".env")
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists and was left alone: new secrets would lock out the databases made with the old ones",
              file=sys.stderr)  # fmt: skip
        return 1
    with os.fdopen(handle, "w") as file:
        file.write(filled(TEMPLATE.read_text()))
    print(f"{target} written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
