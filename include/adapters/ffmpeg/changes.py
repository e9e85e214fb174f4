"""Reads from ffmpeg's messages what changed within a stream while it was decoded. No other file knows their wording."""

from __future__ import annotations

import dataclasses
import re

from include.adapters.ffmpeg.ffprobe import number
from include.domain.media.changes import PictureState, SoundState, distinct

MAX_STATES = 1000
"""More are not kept: a stream that changes with every picture is damaged."""
MAX_LINE = 1000
_FIRST = re.compile(
    r"input from stream \S{1,16} @ \S{1,32} \[verbose\] w:(\d{1,5}) h:(\d{1,5}) pixfmt:(\S{1,32}) tb:\S{1,32} "
    r"fr:\S{1,32} sar:\S{1,32} csp:(\S{1,32}) range:(\S{1,32})"
)
_LOOKS = r"w: (\d{1,5}) h: (\d{1,5}) fmt: (-?\d{1,5}) csp: (\S{1,32}) range: ([^,\s]{1,32})"
_OTHER = re.compile(
    rf"filter context - w: \d{{1,5}} h: \d{{1,5}} fmt: (-?\d{{1,5}}) .{{1,160}}, incoming frame - {_LOOKS}"
    r".{0,64} pts_time: (\S{1,32})"
)
_AGAIN = re.compile(r"video frame properties congruent with link at pts_time: (\S{1,32})")
_SOUND = re.compile(
    r"\[ashowinfo@(\w{1,64}) @ \S{1,32} .{0,80}?pts_time:(\S{1,32}) +fmt:\S{1,16} channels:(\d{1,3}) "
    r"chlayout:(.{1,64}?) rate:(\d{1,7}) "
)


def picture_states(stderr: str, *, start_s: float) -> tuple[PictureState, ...]:
    """How the pictures of a decode were, from the first one on; empty where there were none.

    Args:
        stderr: With levels, at the loglevel ``verbose``, of a decode whose filters stay whatever comes
            (:func:`include.adapters.ffmpeg.steady.steady_options`).
        start_s: Time of the first picture.
    """
    states: list[PictureState] = []
    for line in stderr.splitlines():
        if len(states) >= MAX_STATES:
            break
        if not states:
            first = _FIRST.search(line[:MAX_LINE]) if " pixfmt:" in line else None
            if first is not None:
                width, height, name, matrix, range_ = first.groups()
                states.append(
                    PictureState(
                        at_s=start_s,
                        width=int(width),
                        height=int(height),
                        pixel_format=name,
                        matrix=matrix,
                        range=range_,
                    )
                )
        elif "incoming frame" in line or "congruent" in line:
            states += _later(states[0], line[:MAX_LINE])
    return distinct(states)


def _later(first: PictureState, line: str) -> list[PictureState]:
    other, again = _OTHER.search(line), _AGAIN.search(line)
    if again is not None:
        at_s = number(again[1])
        return [] if at_s is None else [dataclasses.replace(first, at_s=at_s)]
    at_s = number(other[7]) if other else None
    if other is None or at_s is None:
        return []
    # The first format is told by its name and its number, all others by their number alone.
    name = first.pixel_format if other[4] == other[1] else f"format {other[4]}"
    return [
        PictureState(
            at_s=at_s, width=int(other[2]), height=int(other[3]), pixel_format=name, matrix=other[5], range=other[6]
        )
    ]


def sound_states(stderr: str, name: str) -> tuple[SoundState, ...]:
    """How the samples of a track were, from the first one on.

    Args:
        stderr: At the loglevel ``info``, of a run of :func:`include.adapters.ffmpeg.steady.steady_track`.
        name: Of the track in that command.
    """
    states: list[SoundState] = []
    for line in stderr.splitlines():
        found = _SOUND.search(line[:MAX_LINE]) if "[ashowinfo@" in line else None
        at_s = number(found[2]) if found else None
        if found is None or found[1] != name or at_s is None or len(states) >= MAX_STATES:
            continue
        state = SoundState(at_s=at_s, channels=int(found[3]), layout=found[4], rate_hz=int(found[5]))
        if not states or dataclasses.replace(state, at_s=states[-1].at_s) != states[-1]:
            states.append(state)
    return tuple(states)
