"""Lock files as they are read: requirements with the hashes of their files."""

from __future__ import annotations


def entries(text: str) -> list[tuple[str, list[str]]]:
    """The requirements of a lock file, each with the hashes of the files that pip may install for it."""
    lines = text.replace("\\\n", " ").splitlines()
    words = (line.split(" --hash=") for line in lines if line.strip() and not line.startswith("#"))
    return [(requirement.strip(), [each.strip() for each in hashes]) for requirement, *hashes in words]
