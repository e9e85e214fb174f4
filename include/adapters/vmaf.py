"""VMAF of a rendition against the mezzanine, in step by timestamps, both at the size in which viewers see them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.ffmpeg.commands import input_options, loglevel, prelude
from include.adapters.ffmpeg.picture import Node, decoder_options, scaled, source_filters
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
_SCALER = "bicubic+accurate_rnd+full_chroma_int"


def vmaf_argv(
    program: str,
    address: str,
    rendition: str,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    frame_rate: str,
    model: str,
    window: Window | None,
    threads: int,
) -> list[str]:
    """The command that compares one rendition with the mezzanine and writes ``vmaf.json`` where it runs.

    Args:
        program: ffmpeg.
        address: Path or presigned address of the mezzanine.
        rendition: Path of the rendition.
        video: The mezzanine's video stream.
        treatment: What the rendition does to the source before scaling.
        frame_rate: Exact constant rate of the rendition.
        model: Built-in model of libvmaf.
        window: The stretch to compare, starting on a frame of ``frame_rate``; None for all of it.
        threads: For decoding and libvmaf each.
    """
    import ffmpeg as graph

    fps = parse_rate(frame_rate)
    start = round(Fraction(window.start_s) * fps) if window else 0
    lead_in = min(LEAD_IN_FRAMES, start)
    seek = {"ss": f"{float((start - lead_in) / fps):.6f}"} if start > lead_in else {}
    cut: dict[str, Any] = {"start_frame": lead_in} if window else {}
    if window:
        cut["end_frame"] = lead_in + max(1, round(Fraction(window.duration_s) * fps))
    width, height = video.display_width // 2 * 2, video.display_height // 2 * 2

    options = {"threads": threads, **decoder_options(video), **input_options(address), **seek}
    opened = graph.input(address if "://" in address else f"file:{address}", **options)
    reference = source_filters(opened[str(video.index)], video, treatment, frame_rate=frame_rate)
    reference = scaled(_cut(reference, cut), video, treatment, width=width, height=height)
    encoded = graph.input(f"file:{rendition}", threads=threads, **seek).video
    encoded = _cut(encoded.filter("fps", fps=frame_rate, start_time=0, round="near"), cut)
    encoded = encoded.filter("scale", width, height, flags=_SCALER).filter("setsar", 1).filter("format", "yuv420p")
    compared = graph.filter(
        [_counted(encoded, frame_rate), _counted(reference, frame_rate)],
        "libvmaf",
        model=f"version={model}",
        log_fmt="json",
        log_path=_LOG,
        n_threads=threads,
        shortest=1,
    )
    command = prelude(program, level=loglevel(address), overwrite=True)
    command += ["-filter_threads", str(threads)]
    compiled: list[str] = graph.output(compared, "-", f="null").compile(cmd=command)
    return compiled


def compare(
    settings: Settings,
    address: str,
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
    argv = vmaf_argv(
        ffmpeg(settings),
        address,
        str(rendition),
        video,
        treatment,
        frame_rate=frame_rate,
        model=model,
        window=window,
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


def _cut(node: Node, cut: dict[str, Any]) -> Node:
    return node.filter("trim", **cut) if cut else node


def _counted(node: Node, frame_rate: str) -> Node:
    """Both sides are on the same grid by now; this makes their timestamps equal to the last tick."""
    return node.filter("settb", f"1/({frame_rate})").filter("setpts", "PTS-STARTPTS")
