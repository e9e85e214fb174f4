"""What the content is like, from sampled windows: detail, motion, scenes, bars, combing, black, loudness."""

from __future__ import annotations

import logging

from include.adapters import tools
from include.adapters.ffmpeg.commands import analysis_argv, loudness_argv, matched_argv
from include.adapters.ffmpeg.following import follow_reading
from include.adapters.ffmpeg.landing import reach
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.reading import parse_ebur128, parse_frames
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import run
from include.base.errors import ToolFailed
from include.domain.media.content import Frame, summarise
from include.domain.media.fields import pulldown_suspected, pulled_down, top_field_first
from include.domain.media.media import Analysis, Inspection, VideoStream, Window
from include.domain.media.sampling import sample_windows
from include.domain.recipe.rungs import output_frame_rate
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.progress import Tell, counting, part, within

log = logging.getLogger(__name__)

WINDOWS = 3
WINDOW_S = 4.0
LIMIT_S = 600.0
FRAMES = "frames.txt"


@stage
def analyse(ctx: StageContext, title: TitleJob, source: Inspection) -> Analysis:
    """Measure up to three windows of four seconds; what cannot be measured is None."""
    opened = open_mezzanine(ctx, source)
    video = source.video
    windows = sample_windows(source.duration_s, count=WINDOWS, length_s=WINDOW_S)
    measured: list[tuple[Frame, ...]] = []
    for number, window in enumerate(windows):
        first, last = (each / (len(windows) + 1) for each in (number, number + 1))
        measured.append(_measured(ctx, opened, video.index, window, part(ctx, first, last)))
        ctx.report(last, f"window {number + 1} of {len(windows)} measured")
    loudness = peak = None
    if source.audio:
        argv = loudness_argv(tools.ffmpeg(ctx.settings), opened, audio_index=source.audio[0].index, windows=windows)
        try:
            loudness, peak = parse_ebur128(run(argv, timeout_s=min(LIMIT_S, ctx.time_left_s)).stderr)
        except ToolFailed as error:
            log.warning("%s: loudness was not measured: %s", title.request_id, error.message)
    analysis = summarise(windows, measured, video, loudness_lufs=loudness, true_peak_dbtp=peak)
    frames = [frame for each in measured for frame in each]
    if not pulldown_suspected(frames, analysis, video):
        return analysis
    top_first = top_field_first(frames)
    tell = part(ctx, len(windows) / (len(windows) + 1), 1.0)
    parts = [within(tell, number / len(windows), (number + 1) / len(windows)) for number in range(len(windows))]
    again = [_matched(ctx, opened, video, *each, top_first=top_first) for each in zip(windows, parts, strict=True)]
    return (
        analysis.model_copy(update={"pulled_down": True, "top_field_first": top_first})
        if pulled_down(again)
        else analysis
    )


def _measured(ctx: StageContext, opened: OpenedMezzanine, index: int, window: Window, tell: Tell) -> tuple[Frame, ...]:
    """The frames of one window as they were measured; the plan can do without, so a failure is only logged."""
    program, threads = tools.ffmpeg(ctx.settings), tools.encode_threads(ctx.settings)
    limit_s = min(LIMIT_S, ctx.time_left_s)
    try:
        from_s = reach(program, opened, index=index, at_s=window.start_s, timeout_s=limit_s)
        argv = analysis_argv(
            program, opened, video_index=index, window=window, from_s=from_s, threads=threads, output=FRAMES
        )
        return _frames(ctx, argv, index, window, tell)
    except ToolFailed as error:
        log.warning("%s: a window was not measured: %s", ctx.title.request_id, error.message)
        return ()


def _frames(ctx: StageContext, argv: list[str], index: int, window: Window, tell: Tell) -> tuple[Frame, ...]:
    """What a command writes of the frames of a window, which it may take long to reach; raises :class:`ToolFailed`."""
    written, end_s = ctx.scratch / FRAMES, window.start_s + window.duration_s
    written.unlink(missing_ok=True)
    told = counting(tell, lambda at_s: f"measuring at {window.start_s:.0f} s: {at_s:.0f} s read", whole=end_s)
    follow_reading(argv, told, index=index, to_s=end_s, timeout_s=min(LIMIT_S, ctx.time_left_s), cwd=ctx.scratch)
    return parse_frames(written.read_text(encoding="utf-8", errors="replace").splitlines()) if written.is_file() else ()


def _matched(
    ctx: StageContext, opened: OpenedMezzanine, video: VideoStream, window: Window, tell: Tell, *, top_first: bool
) -> tuple[Frame, ...]:
    """The frames of one window after their fields were matched: the second look at what may be film."""
    program = tools.ffmpeg(ctx.settings)
    limit_s = min(LIMIT_S, ctx.time_left_s)
    try:
        argv = matched_argv(
            program,
            opened,
            video_index=video.index,
            window=window,
            from_s=reach(program, opened, index=video.index, at_s=window.start_s, timeout_s=limit_s),
            frame_rate=str(output_frame_rate(video)),
            top_field_first=top_first,
            threads=tools.encode_threads(ctx.settings),
            output=FRAMES,
        )
        return _frames(ctx, argv, video.index, window, tell)
    except ToolFailed as error:
        log.warning("%s: the fields of a window were not matched: %s", ctx.title.request_id, error.message)
        return ()
