"""Decodes a mezzanine, or a stretch of it, to learn whether it can be decoded and what comes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from include.adapters.ffmpeg.changes import picture_states
from include.adapters.ffmpeg.commands import decode_argv
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.reading import cut_short, decode_errors, frame_time_s, last_complaint, meaning
from include.adapters.process import run
from include.domain.media.changes import PictureState
from include.domain.outcome.results import Cost

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a decode gave. The exit code says little: ffmpeg ends well on a source that is cut short."""

    frames: int
    """Video frames behind the filters."""
    errors: int
    """Video frames that were lost or came out damaged."""
    audio_errors: int
    first_s: float | None
    """Time of the first video frame in the title."""
    last_s: float | None
    """Time of the last video frame in the title."""
    sounds: dict[int, tuple[float, float]]
    """Start and end of what was decoded of each audio stream, by its index, in the title."""
    looks: tuple[PictureState, ...]
    """How the pictures were, from the first on; more than one where they changed on the way."""
    cut_short: bool
    """Whether the tool says that the data ends too early."""
    message: str
    """What the tool's last complaint means, for people; empty where it made none that helps them."""
    cost: Cost


@dataclass(kw_only=True)
class _Seen:
    """What the lines of a decode tell, line by line."""

    audio_indexes: Sequence[int]
    on_time: Callable[[float], None]
    frames: int = 0
    first_s: float | None = None
    last_s: float | None = None
    sounds: dict[int, tuple[float, float]] = field(default_factory=dict)

    def count(self, line: str) -> None:
        """Take one line: a picture's time, or time and length of a piece of sound, each in ticks of its clock."""
        try:
            kind, *values = line.split()
            if kind == "v":
                self.last_s = frame_time_s(values[0], values[1])
                self.first_s = self.last_s if self.first_s is None else self.first_s
                self.frames += 1
                self.on_time(self.last_s)
            elif kind == "a":
                # The picture is stream 0 of those that are decoded.
                index = self.audio_indexes[int(values[0]) - 1]
                start = frame_time_s(values[1], values[3])
                end = start + frame_time_s(values[2], values[3])
                known = self.sounds.get(index, (start, end))
                self.sounds[index] = (min(start, known[0]), max(end, known[1]))
        except (ValueError, IndexError, ZeroDivisionError):
            return


def decode(
    program: str,
    source: OpenedMezzanine,
    *,
    video_index: int,
    audio_indexes: Sequence[int] = (),
    from_s: float = 0.0,
    to_s: float | None = None,
    constant_rate: str | None = None,
    keyframes: bool = False,
    threads: int,
    timeout_s: float,
    on_time: Callable[[float], None] = lambda seconds: None,
) -> Decoded:
    """Decode and count.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        video_index: The video stream.
        audio_indexes: Audio streams to decode as well.
        from_s: Where to begin: at a keyframe near before, if the container can find it.
        to_s: Where to end; None for the end of the mezzanine.
        constant_rate: Count the frames after they were brought to this rate.
        keyframes: Whether to decode nothing but keyframes.
        threads: Of the decoder.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        on_time: Gets the time of each frame.
    """
    seen = _Seen(audio_indexes=audio_indexes, on_time=on_time)
    argv = decode_argv(
        program,
        source,
        video_index=video_index,
        audio_indexes=audio_indexes,
        from_s=from_s,
        to_s=to_s,
        constant_rate=constant_rate,
        keyframes=keyframes,
        threads=threads,
    )
    finished = run(argv, timeout_s=timeout_s, check=False, on_line=seen.count)
    counted = decode_errors(finished.stderr, video_index=video_index)
    return Decoded(
        frames=seen.frames,
        errors=counted.errors,
        audio_errors=counted.audio_errors,
        first_s=seen.first_s,
        last_s=seen.last_s,
        sounds=seen.sounds,
        looks=picture_states(finished.stderr, start_s=seen.first_s or 0.0),
        cut_short=cut_short(finished.stderr),
        message=_told(finished.stderr),
        cost=finished.cost,
    )


def _told(stderr: str) -> str:
    """What the tool's last complaint means; its own words go to the log."""
    complaint = last_complaint(stderr)
    if complaint:
        log.info("the decoder's last complaint: %s", complaint)
    return meaning(complaint)
