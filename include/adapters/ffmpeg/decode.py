"""Decodes a mezzanine, or a stretch of it, to learn whether it can be decoded and what comes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from include.adapters.ffmpeg.commands import decode_argv
from include.adapters.ffmpeg.reading import cut_short, decode_errors, last_complaint, meaning
from include.adapters.process import run
from include.domain.media.media import Window
from include.domain.outcome.results import Cost

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a decode gave. The exit code says little: ffmpeg ends well on a source that is cut short."""

    frames: int
    """Video frames behind the filters."""
    decoded_frames: int
    """Video frames as they came from the decoder."""
    errors: int
    """Video frames that were lost or came out damaged."""
    audio_errors: int
    last_s: float | None
    """Time of the last video frame; from the container's start, or the window's."""
    cut_short: bool
    """Whether the tool says that the data ends too early."""
    message: str
    """What the tool's last complaint means, for people; empty where it made none that helps them."""
    cost: Cost


def decode(
    program: str,
    address: str,
    *,
    video_index: int,
    audio_indexes: Sequence[int] = (),
    window: Window | None = None,
    from_keyframe: bool = False,
    constant_rate: str | None = None,
    threads: int,
    timeout_s: float,
    on_time: Callable[[float], None] = lambda seconds: None,
) -> Decoded:
    """Decode and count.

    Args:
        program: ffmpeg.
        address: Path or presigned address.
        video_index: The video stream.
        audio_indexes: Audio streams to decode as well.
        window: A stretch; None for all.
        from_keyframe: Count from the keyframe before the window on.
        constant_rate: Count the frames after they were brought to this rate.
        threads: Of the decoder.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        on_time: Gets the time of each frame.
    """
    frames, last = 0, None

    def count(line: str) -> None:
        nonlocal frames, last
        try:
            last = float(line)
        except ValueError:
            return
        frames += 1
        on_time(last)

    argv = decode_argv(
        program,
        address,
        video_index=video_index,
        audio_indexes=audio_indexes,
        window=window,
        from_keyframe=from_keyframe,
        constant_rate=constant_rate,
        threads=threads,
    )
    finished = run(argv, timeout_s=timeout_s, check=False, on_line=count)
    counted = decode_errors(finished.stderr, video_index=video_index)
    return Decoded(
        frames=frames,
        decoded_frames=counted.frames,
        errors=counted.errors,
        audio_errors=counted.audio_errors,
        last_s=last,
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
