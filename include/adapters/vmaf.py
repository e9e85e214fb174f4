"""VMAF of a rendition against the mezzanine, in step by timestamps, both at the size in which viewers see them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.landing import reach
from include.adapters.ffmpeg.opening import OpenedMezzanine, loglevel
from include.adapters.ffmpeg.picture import Node, decoder_options, scaled, source_filters
from include.adapters.ffmpeg.steady import SCALER
from include.adapters.process import Finished, failed, run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import VideoStream, Window
from include.domain.recipe.treatment import SourceTreatment

LEAD_IN_FRAMES = 12
"""Decoded before a window and thrown away: a seek may miss its first frame, and deinterlacing needs neighbours."""
_LOG = "vmaf.json"


def vmaf_argv(
    program: str,
    source: OpenedMezzanine,
    rendition: str,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    frame_rate: str,
    model: str,
    window: Window | None,
    from_s: float = 0.0,
    threads: int,
) -> list[str]:
    """The command that compares one rendition with the mezzanine and writes ``vmaf.json`` where it runs.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        rendition: Path of the rendition.
        video: The mezzanine's video stream.
        treatment: What the rendition does to the source before scaling.
        frame_rate: Exact constant rate of the rendition.
        model: Built-in model of libvmaf.
        window: The stretch to compare, starting on a frame of ``frame_rate``; None for all of it.
        from_s: Where reading the mezzanine begins (:func:`include.adapters.ffmpeg.landing.reach`).
        threads: For decoding and libvmaf each.
    """
    import ffmpeg as graph

    start_s, lead_in, cut = 0.0, 0, {}
    if window:
        start_s, lead_in = _lead_in(window, frame_rate)
        frames = max(1, round(Fraction(window.duration_s) * parse_rate(frame_rate)))
        cut = {"start_frame": lead_in, "end_frame": lead_in + frames}
    width, height = video.display_width // 2 * 2, video.display_height // 2 * 2

    options = {"threads": threads, **decoder_options(video), **source.options(from_s=from_s)}
    opened = graph.input(source.target, **options)
    reference = source_filters(opened[str(video.index)], video, treatment, frame_rate=frame_rate, start_s=start_s)
    # The rendition holds its last picture where sound goes on.
    reference = reference.filter("tpad", stop=-1, stop_mode="clone")
    reference = scaled(_cut(reference, cut), video, treatment, width=width, height=height)
    # Ours has an index and closed groups of pictures: a seek in it is exact. Its times stay, as those of the source do.
    seek = {"ss": f"{start_s:.6f}"} if start_s else {}
    encoded = graph.input(f"file:{rendition}", threads=threads, **seek).video
    encoded = _cut(encoded.filter("fps", fps=frame_rate, start_time=f"{start_s:.6f}", round="near"), cut)
    encoded = encoded.filter("scale", width, height, flags=SCALER).filter("setsar", 1).filter("format", "yuv420p")
    compared = graph.filter(
        [_counted(encoded, frame_rate), _counted(reference, frame_rate)],
        "libvmaf",
        model=f"version={model}",
        log_fmt="json",
        log_path=_LOG,
        n_threads=threads,
        shortest=1,
    )
    command = prelude(program, level=loglevel(source.address), overwrite=True)
    command += ["-filter_threads", str(threads)]
    compiled: list[str] = graph.output(compared, "-", f="null").compile(cmd=command)
    return compiled


def compare(
    settings: Settings,
    source: OpenedMezzanine,
    rendition: Path,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    frame_rate: str,
    model: str,
    window: Window | None,
    threads: int,
    scratch: Path,
    timeout_s: float,
) -> tuple[list[float], Finished]:
    """Scores of the compared frames, and what that cost; raises :class:`EncoderCrashed` where there are none."""
    start_s, _ = _lead_in(window, frame_rate) if window else (0.0, 0)
    argv = vmaf_argv(
        ffmpeg(settings),
        source,
        str(rendition),
        video,
        treatment,
        frame_rate=frame_rate,
        model=model,
        window=window,
        from_s=reach(ffmpeg(settings), source, index=video.index, at_s=start_s, timeout_s=timeout_s),
        threads=threads,
    )
    log = scratch / _LOG
    log.unlink(missing_ok=True)
    finished = run(argv, timeout_s=timeout_s, cwd=scratch)
    try:
        frames = json.loads(log.read_text())["frames"]
        scores = [float(frame["metrics"]["vmaf"]) for frame in frames]
    except (OSError, ValueError, KeyError) as error:
        raise failed(finished, EncoderCrashed, f"libvmaf wrote no scores: {error!r}") from error
    if not scores:
        raise failed(finished, EncoderCrashed, "libvmaf compared no frames")
    return scores, finished


def _lead_in(window: Window, frame_rate: str) -> tuple[float, int]:
    """Where decoding for a window begins, in seconds, and how many frames lie between there and the window."""
    fps = parse_rate(frame_rate)
    start = round(Fraction(window.start_s) * fps)
    lead_in = min(LEAD_IN_FRAMES, start)
    return float((start - lead_in) / fps), lead_in


def _cut(node: Node, cut: dict[str, Any]) -> Node:
    return node.filter("trim", **cut) if cut else node


def _counted(node: Node, frame_rate: str) -> Node:
    """Both sides are on the same grid by now; this makes their timestamps equal to the last tick."""
    return node.filter("settb", f"1/({frame_rate})").filter("setpts", "PTS-STARTPTS")
