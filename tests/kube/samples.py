"""Pods for tests of the stand-in."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from tests.kube.status import REASONS

Item = dict[str, Any]
_numbers = itertools.count()

SLEEPS = ("python", "-c", "import time; print('up', flush=True); time.sleep(600)")
STUBBORN = (
    "python",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
)


def new_name(prefix: str = "pod") -> str:
    """A name that no other test has."""
    return f"{prefix}-{next(_numbers)}"


def make_pod(*argv: str, name: str | None = None, labels: dict[str, str] | None = None, **spec: Any) -> Item:
    """A pod of one container ``base``; ``container`` changes that, every other keyword the spec."""
    container = {
        "name": "base",
        "image": "callsheet/worker:1",
        "command": list(argv or ("python", "-c", "print('done')")),
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name or new_name(), "labels": labels or {}},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def changed(item: Item, path: str, value: Any) -> Item:
    """A copy with one field set: ``spec.containers.0.image``."""
    item = copy.deepcopy(item)
    *parts, last = path.split("/")
    holder: Any = item
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    holder[last] = value
    return item


def is_status(document: Item, code: int) -> bool:
    """Whether an answer is the Status object that belongs to its code."""
    return (
        (document["kind"], document["apiVersion"], document["status"], document["code"])
        == ("Status", "v1", "Failure", code)
    ) and document["reason"] in (REASONS[code], "AlreadyExists")
