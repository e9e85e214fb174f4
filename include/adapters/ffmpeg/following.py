"""Runs ffmpeg and hears from it how far it is."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

from include.adapters.ffmpeg.commands import EncoderProgress, ProgressParser
from include.adapters.process import Finished, run

KEPT_LINES = 200
"""Of stdout: the last blocks of ``-progress``, which count what came out."""


def follow(argv: list[str], told: Callable[[EncoderProgress], None], **options: Any) -> Finished:
    """As :func:`include.adapters.process.run`, of a command that tells its progress on stdout (``-progress pipe:1``).

    Args:
        argv: The command.
        told: Gets each block. The last ones are the result's stdout.
        options: As of ``run``.
    """
    last: deque[str] = deque(maxlen=KEPT_LINES)
    parser = ProgressParser()

    def read(line: str) -> None:
        last.append(line)
        state = parser.feed(line)
        if state is not None:
            told(state)

    finished = run(argv, on_line=read, **options)
    return dataclasses.replace(finished, stdout="\n".join(last).encode())
