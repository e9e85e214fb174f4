"""Uploads a file as a worker does, in a process that a test can kill: ``python -m tests.store.upload KEY FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from include.adapters.s3 import transfer
from include.adapters.store.opening import open_store
from include.base.settings import load_settings
from tests.store.conftest import LEAST_PART

if __name__ == "__main__":
    transfer.PART_BYTES = LEAST_PART
    open_store(load_settings()).put_file(sys.argv[1], Path(sys.argv[2]))
