"""VMAF of renditions against the mezzanine, in step by timestamps, both at the size in which viewers see them.

Frames all over a title are compared cheaply. The mezzanine is read once, and those frames of it lie ready at the
displayed size (:class:`Reference`); each rendition is compared with them while it is decoded for its other checks. VMAF
weighs what moves, and that takes the frame before and the one after: they are in the reference too, and libvmaf's
``n_subsample`` looks at them for their motion alone. So a frame has the score that it has where all are compared.

:func:`compare` compares every frame of a stretch, and reads both files for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.ffmpeg.commands import EncoderProgress, frame_times, prelude
from include.adapters.ffmpeg.excerpts import written
from include.adapters.ffmpeg.following import follow
from include.adapters.ffmpeg.landing import reach
from include.adapters.ffmpeg.opening import OpenedMezzanine, loglevel
from include.adapters.ffmpeg.picture import Node, decoder_options, scaled, source_filters
from include.adapters.ffmpeg.reading import frame_time_s
from include.adapters.ffmpeg.steady import SCALER
from include.adapters.process import Finished, failed, run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import VideoStream, Window
from include.domain.media.sampling import TOGETHER, ComparedFrames
from include.domain.outcome.results import Cost
from include.domain.recipe.treatment import SourceTreatment

LEAD_IN_FRAMES = 12
"""Decoded before a window and thrown away: a seek may miss its first frame, and deinterlacing needs neighbours."""
FAR_S = 10.0
"""Frames of the mezzanine that are further apart are sought one by one; what lies between nearer ones is decoded."""
_LOG = "vmaf.json"
_REFERENCE, _PART = "reference.raw", "part.raw"
_TAGS = "setparams=range=limited:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Frames of the mezzanine that renditions are compared with, at the displayed size."""

    path: Path
    """Raw 8-bit 4:2:0 pictures, one after the other."""
    frames: ComparedFrames
    width: int
    height: int
    frame_rate: str
    """Exact constant rate of the renditions."""
    model: str
    """Built-in model of libvmaf."""

    def argv(self, *, threads: int) -> tuple[list[str], list[str]]:
        """Arguments that compare the picture of a command's first input, and write ``vmaf.json`` where that runs.

        The first of the answers follows the command's first input, the other one its outputs.

        Args:
            threads: Of libvmaf; with a single one the filters' own does its work.
        """
        size = f"{self.width}x{self.height}"
        stored = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", size, "-framerate", self.frame_rate]
        clock = f"settb=1/({self.frame_rate}),setpts=N"
        chosen = "".join(f"select='{expression}'," for expression in _chosen(self.frames))
        scaler = f"scale={self.width}:{self.height}:flags={SCALER},setsar=1,format=yuv420p"
        graph = (
            f"[0:v:0]fps=fps={self.frame_rate}:start_time=0:round=near,{chosen}{scaler},{clock}[made];"
            # Raw pictures have no tags, and the filter would convert what differs by them.
            f"[1:v:0]setsar=1,{_TAGS},{clock}[source];"
            f"[made][source]libvmaf=model=version={self.model}:log_fmt=json:log_path={_LOG}:shortest=1"
            f":n_threads={threads if threads > 1 else 0}:n_subsample={TOGETHER if self.frames.neighbours else 1}[vmaf]"
        )
        output = ["-filter_complex", graph, "-map", "[vmaf]", "-fps_mode", "passthrough", "-f", "null", "-"]
        return [*stored, "-i", f"file:{self.path}"], output

    def scores(self, folder: Path) -> list[float]:
        """What a command with :meth:`argv` has written there; empty where that is nothing."""
        try:
            return _scores(folder / _LOG)
        except (OSError, ValueError, KeyError):
            return []


def reference_argv(
    program: str,
    source: OpenedMezzanine,
    video: VideoStream,
    treatment: SourceTreatment,
    output: str,
    *,
    frames: ComparedFrames,
    position: int | None,
    frame_rate: str,
    from_s: float = 0.0,
    threads: int,
) -> list[str]:
    """The command that writes frames of the mezzanine as :class:`Reference` wants them.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        video: Its video stream.
        treatment: What renditions do to the source before scaling.
        output: Path of the new file.
        frames: What is compared.
        position: Of the one frame of these that is written, with its neighbours; None for all of them.
        frame_rate: Exact constant rate of the renditions.
        from_s: Where reading the mezzanine begins (:func:`include.adapters.ffmpeg.landing.reach`).
        threads: Of the decoder.
    """
    import ffmpeg as graph

    fps = parse_rate(frame_rate)
    start = 0 if position is None else _lead_in_from(position)
    options = {"threads": threads, **decoder_options(video), **source.options(from_s=from_s)}
    opened = graph.input(source.target, **options)[str(video.index)]
    picture = source_filters(opened, video, treatment, frame_rate=frame_rate, start_s=float(start / fps))
    # A rendition holds its last picture where sound goes on.
    picture = picture.filter("tpad", stop=-1, stop_mode="clone")
    if position is None:
        count = frames.count
        # The held picture has no end by itself: a filter that drops all that follows would ask for more for ever.
        picture = picture.filter("trim", end_frame=frames.total)
        for expression in _chosen(frames):
            picture = picture.filter("select", expression)
    else:
        seen = frames.seen(position)
        count = len(seen)
        picture = picture.filter("trim", start_frame=seen.start - start, end_frame=seen.stop - start)
    width, height = _shown_size(video)
    picture = scaled(picture, video, treatment, width=width, height=height)
    stored = {"f": "rawvideo", "fps_mode": "passthrough", "frames:v": count}
    command = [*prelude(program, level=loglevel(source.address), overwrite=True), "-filter_threads", str(threads)]
    compiled: list[str] = graph.output(picture, output, **stored).compile(cmd=command)
    return compiled


def make_reference(
    settings: Settings,
    source: OpenedMezzanine,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    frames: ComparedFrames,
    frame_rate: str,
    model: str,
    threads: int,
    scratch: Path,
    timeout_s: float,
    on_share: Callable[[float], None] = lambda share: None,
) -> tuple[Reference, Cost]:
    """The frames of the mezzanine that renditions are compared with, and what reading them cost.

    ``on_share`` gets the share of them, 0–1, that has been read.

    Raises :class:`EncoderCrashed` where they cannot be had.
    """
    program = ffmpeg(settings)
    path, part, costs = scratch / _REFERENCE, scratch / _PART, []
    path.unlink(missing_ok=True)
    width, height = _shown_size(video)
    length_s = float(frames.total / parse_rate(frame_rate))

    def read(line: str) -> None:
        # All in one reading: the time of each picture, as it is decoded.
        with suppress(TypeError, ValueError, ZeroDivisionError):
            on_share(frame_time_s(*line.split()) / length_s)

    for position, from_s in _reads(program, source, video, frames, frame_rate=frame_rate, timeout_s=timeout_s):
        argv = reference_argv(
            program,
            source,
            video,
            treatment,
            _PART,
            frames=frames,
            position=position,
            frame_rate=frame_rate,
            from_s=from_s,
            threads=threads,
        )
        if position is None:
            argv += frame_times(video.index)
        finished = written(run(argv, timeout_s=timeout_s, check=False, cwd=scratch, on_line=read))
        on_share(1.0 if position is None else position / frames.total)
        wanted = frames.count if position is None else len(frames.seen(position))
        if finished.returncode != 0 or part.stat().st_size != wanted * width * height * 3 // 2:
            raise failed(finished, EncoderCrashed, "the pictures to compare with did not come of the mezzanine")
        costs.append(finished.cost)
        if position is None:
            part.replace(path)
            break
        with part.open("rb") as given, path.open("ab") as taken:
            shutil.copyfileobj(given, taken)
    reference = Reference(path=path, frames=frames, width=width, height=height, frame_rate=frame_rate, model=model)
    return reference, Cost.sum(costs)


def _reads(
    program: str,
    source: OpenedMezzanine,
    video: VideoStream,
    frames: ComparedFrames,
    *,
    frame_rate: str,
    timeout_s: float,
) -> list[tuple[int | None, float]]:
    """Which frames are read at a time, and from where: one by one, or all in one reading from the start."""
    fps = parse_rate(frame_rate)
    if frames.every / fps <= FAR_S or not source.seeks:
        return [(None, 0.0)]
    found: list[tuple[int | None, float]] = []
    for position in frames.positions:
        at_s = float(_lead_in_from(position) / fps)
        hint = reach(program, source, index=video.index, at_s=at_s, timeout_s=timeout_s)
        if hint == 0.0 and at_s > FAR_S * 2:
            # Nothing before it can be sought: each would be read from the start.
            return [(None, 0.0)]
        found.append((position, hint))
    return found


def _lead_in_from(position: int) -> int:
    """The frame where decoding for another one begins."""
    return max(0, position - 1 - LEAD_IN_FRAMES)


def _chosen(frames: ComparedFrames) -> Sequence[str]:
    """Expressions of the filter ``select``, one after the other, for the frames that are looked at."""
    return (f"lt(n,{frames.total})*lt(mod(n+1,{frames.every}),{TOGETHER})",) if frames.neighbours else ()


def _shown_size(video: VideoStream) -> tuple[int, int]:
    """Width and height in which viewers see the picture, without the odd line."""
    return video.display_width // 2 * 2, video.display_height // 2 * 2


def _scores(log: Path) -> list[float]:
    return [float(frame["metrics"]["vmaf"]) for frame in json.loads(log.read_text())["frames"]]


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
    width, height = _shown_size(video)

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
    command = prelude(program, level=loglevel(source.address), overwrite=True, progress=True)
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
    told: Callable[[EncoderProgress], None] = lambda state: None,
) -> tuple[list[float], Finished]:
    """Scores of the compared frames, and what that cost; raises :class:`EncoderCrashed` where there are none.

    ``told`` hears how far it is.
    """
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
    finished = follow(argv, told, timeout_s=timeout_s, cwd=scratch)
    try:
        scores = _scores(log)
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
