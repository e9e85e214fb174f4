"""The runtimes by name, and which one runs the tasks of a pool."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from include.base.errors import ConfigurationError
from include.base.pools import Pool
from include.orchestration.runtimes.runtime import Runtime

_MODULES = {
    "control": "include.orchestration.runtimes.control",
    "local": "include.orchestration.runtimes.local",
    "kubernetes": "include.orchestration.runtimes.kubernetes.runtime",
}
"""Where the ``RUNTIME`` of that name is. A module is imported when its runtime is used: the Kubernetes client alone
costs more than all the rest of a parse."""


def find_runtime(name: str) -> Runtime:
    """The runtime of that name; raises :class:`ConfigurationError` that names those there are."""
    module = _MODULES.get(name)
    if module is None:
        raise ConfigurationError(f"there is no runtime {name!r}; there are {', '.join(_MODULES)}")
    found: Runtime = import_module(module).RUNTIME
    return found


def runtimes_of(pools: Iterable[Pool]) -> list[Runtime]:
    """The runtimes of these pools, each once."""
    return [find_runtime(name) for name in dict.fromkeys(pool.runtime for pool in pools)]
