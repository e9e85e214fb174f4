"""Programs that a test starts in a process of their own count for the coverage as well."""

from __future__ import annotations

import sys
from pathlib import Path

import coverage

import include

ROOT = Path(next(iter(include.__path__))).parent


def python() -> list[str]:
    """The command that runs a Python program: measured where this process is, as its data lies beside this one's."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        return [sys.executable]
    options = (f"--rcfile={ROOT / 'pyproject.toml'}", f"--data-file={Path(measuring.config.data_file).absolute()}")
    return [sys.executable, "-m", "coverage", "run", "--parallel-mode", *options]
