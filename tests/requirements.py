"""What a test wants from the machine besides Python packages: PostgreSQL, Chromium and the like."""

from __future__ import annotations

import os
from typing import NoReturn, TypeVar

import pytest

Found = TypeVar("Found")


def missing(component: str, how_to_install: str) -> NoReturn:
    """End the test: skipped on a person's machine, failed under ``CI=true``, where everything has to be there."""
    message = f"{component} is missing: {how_to_install}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require(component: str, how_to_install: str, found: Found | None = None) -> Found:
    """``found``, or the end of the test where the component was not found.

    Args:
        component: Name for people, e.g. ``PostgreSQL server``.
        how_to_install: What a person does about it, e.g. ``apt-get install postgresql``.
        found: The result of looking for it (a path, say); None, the default, means that it is not there.
    """
    if found is None:
        missing(component, how_to_install)
    return found
