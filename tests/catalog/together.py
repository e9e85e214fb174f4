"""Real processes that begin at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

PROCESSES = 4
_barrier: Barrier | None = None

Together = Callable[..., list[Any]]


@contextmanager
def processes() -> Iterator[Together]:
    """Calls a task with each of four tuples of arguments, at once and in a process each."""
    # Spawned, not forked: pytest has threads, and a worker in production shares nothing either.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(
        PROCESSES, mp_context=spawn, initializer=_join, initargs=(spawn.Barrier(PROCESSES),)
    ) as pool:

        def call(task: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
            assert len(arguments) == PROCESSES
            return [each.result() for each in [pool.submit(_synchronised, task, given) for given in arguments]]

        yield call


def _join(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _synchronised(task: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    assert _barrier is not None
    _barrier.wait(120)
    return task(*arguments)
