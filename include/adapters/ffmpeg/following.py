"""Runs ffmpeg and hears from it how far it is."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from include.adapters.ffmpeg.commands import EncoderProgress, ProgressParser, frame_times
from include.adapters.ffmpeg.reading import frame_time_s
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


def follow_reading(
    argv: list[str], told: Callable[[float], None], *, index: int, to_s: float | None = None, **options: Any
) -> Finished:
    """As :func:`include.adapters.process.run`, of a command that reads a picture and may write nothing of it for long.

    Args:
        argv: The command. It must not write to stdout itself.
        told: Gets the time of each picture as it is decoded, on the input's clock, in seconds.
        index: Of the picture's stream in the command's first input.
        to_s: From where on nothing is told; None for to the end.
        options: As of ``run``.
    """

    def read(line: str) -> None:
        with suppress(TypeError, ValueError, ZeroDivisionError):
            told(frame_time_s(*line.split()[:2]))

    return run([*argv, *frame_times(index, to_s=to_s)], on_line=read, **options)
