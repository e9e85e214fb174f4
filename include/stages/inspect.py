"""Inspect: can the mezzanine be encoded, and what is in it? Where it cannot, the verdict says why."""

from __future__ import annotations

from include.adapters import tools
from include.adapters.ffmpeg.choices import chapters, container_title, without_covers
from include.adapters.ffmpeg.commands import CONTAINERS, MAX_SIDE
from include.adapters.ffmpeg.decode import decode
from include.adapters.ffmpeg.ffprobe import (
    Fields,
    Packets,
    Probe,
    fraction,
    integer,
    number,
    packets,
    picture_streams,
    probe,
    stream_duration_s,
    subtitle_stream,
    video_stream,
)
from include.adapters.ffmpeg.look import alpha_decoder, dolby_profile, is_cropped, is_mirrored, look
from include.adapters.ffmpeg.reading import cut_short, judge_probe
from include.adapters.ffmpeg.steady import steadies
from include.adapters.mezzanine import called_as_requested, forget_copy, identify, local_path, open_identified
from include.base.errors import MezzanineRejected, MezzanineUnreachable, ToolTimeout
from include.domain.media.colour import colour_findings
from include.domain.media.media import AudioStream, Finding, Inspection, MezzanineIdentity, VideoStream, Window
from include.domain.media.picture import as_seen, picture_findings, refused_picture
from include.domain.media.rejection import ARRIVING, Reason, judge_decode
from include.domain.media.sampling import sample_windows
from include.domain.recipe.codecs import SOURCE_CODECS
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.pace import measured_rate
from include.stages.tracks import sound_tracks, the_programme, without_picture

PICTURE_BRANDS = frozenset({"avif", "avis", "heic", "heix", "mif1", "msf1"})
"""ISO files that hold a still picture, which ffprobe takes for video."""
UNTIMED = frozenset({"mpeg"})
"""Containers without an index, whose length ffprobe only guesses from their ends: they are read whole for it."""
MAX_STREAMS = 100
MAX_DURATION_S = 24 * 3600.0
HEAD_BYTES = 16
PROBE_LIMIT_S = 60.0
PACKETS_LIMIT_S = 600.0
WINDOW_LIMIT_S = 120.0
SHORT_S = 12.0
"""Up to this length the whole mezzanine is decoded instead of windows."""
UNPROBED = frozenset({"png"})
"""Codecs that ffprobe names and cannot decode, and ffmpeg can."""
EDGE_S = 2.0
EARLY_S = 0.1
"""How much less than its header counts an AVI may hold."""
LATE_S = 0.5
"""How far frames may lie behind the end that the container declares: further ones would be cut off in silence."""
SLOW_FPS = 5
SAMPLES = 3
SAMPLE_S = 1.0
SEEK_TOLERANCE = 0.25
"""Share of a window that may be damaged: a jump into the middle leaves pictures without their references."""


@stage
def inspect(ctx: StageContext, title: TitleJob) -> Inspection:
    """Fetch or find the mezzanine, read its streams and decode its head, its tail and windows between."""
    try:
        with called_as_requested(ctx):
            return _inspect(ctx)
    except MezzanineRejected as error:
        if title.wait_until is not None and error.reason in ARRIVING:
            forget_copy(ctx)
            raise MezzanineUnreachable(
                f"the mezzanine has not arrived yet, waiting until {title.wait_until:%Y-%m-%d %H:%M} UTC "
                f"({error.message})",
                reason=error.reason,
            ) from error
        raise


def _inspect(ctx: StageContext) -> Inspection:
    identity = identify(ctx)
    if identity.size_bytes == 0:
        raise MezzanineRejected("the mezzanine is empty: 0 bytes", reason=Reason.EMPTY)
    address = open_identified(ctx, identity)
    program = tools.ffprobe(ctx.settings)
    found = probe(program, address, timeout_s=min(PROBE_LIMIT_S, ctx.time_left_s))
    _served(ctx, identity, found)
    found, programme, chosen = the_programme(ctx, identity, found)
    stream = _checked(ctx, address, found)
    ctx.report(0.2, "streams read")
    video, warnings = _video(ctx, program, address, found, stream)
    video, shown = _shown(ctx, address, stream, video)
    ctx.report(0.4, "decoding samples")
    _decode_samples(ctx, address, video)
    # After the picture: of a file that is cut short the picture says so, its sound may only look damaged.
    audio, heard = sound_tracks(ctx, address, found)
    warnings += [*chosen, *shown, *heard, *_findings(found, video, audio)]
    return Inspection(
        mezzanine=identity,
        container=str(found.container["format_name"]),
        duration_s=round(max(number(found.container.get("duration")) or 0.0, video.start_time_s + video.duration_s), 6),
        bitrate_kbps=round(identity.size_bytes * 8 / 1000 / (video.start_time_s + video.duration_s), 3),
        video=video,
        audio=audio,
        title=container_title(found),
        chapters=chapters(
            found,
            origin_s=number(found.container.get("start_time")) or 0.0,
            duration_s=video.start_time_s + video.duration_s,
        ),
        programme=programme,
        subtitles=tuple(subtitle_stream(each) for each in _of_type(found, "subtitle")),
        warnings=tuple(warnings),
        tool_version=tools.ffmpeg_version(ctx.settings),
    )


def _of_type(found: Probe, kind: str) -> list[Fields]:
    return [stream for stream in found.streams if stream.get("codec_type") == kind]


def _served(ctx: StageContext, identity: MezzanineIdentity, found: Probe) -> None:
    """Raises where Callsheet serves no such container."""
    if not found.readable:
        reason = judge_probe(found.stderr, _head(ctx, identity))
        if reason is Reason.TRUNCATED:
            raise MezzanineRejected(
                "the mezzanine is cut short: its index, or all but its beginning, is missing; it did not arrive as a "
                "whole, or was never finished",
                reason=reason,
            )
        raise _invalid("not a container that is served, or one whose beginning is damaged")
    names = set(str(found.container.get("format_name", "")).split(","))
    brand = str(found.container.get("tags", {}).get("major_brand", "")).strip()
    if not names & set(CONTAINERS) or brand in PICTURE_BRANDS:
        raise _invalid(f"{brand or found.container.get('format_name')} is not a container that is served")
    if len(found.streams) > MAX_STREAMS:
        raise _invalid(f"{len(found.streams)} streams, at most {MAX_STREAMS} are served")


def _checked(ctx: StageContext, address: str, found: Probe) -> Fields:
    """The video stream to encode; raises where there is none, or none of a codec that Callsheet serves."""
    moving = without_covers(picture_streams(found))
    if not moving:
        raise MezzanineRejected("there is no video stream in the mezzanine", reason=Reason.NO_VIDEO)
    # What nobody here decodes may stand beside the same picture in a codec that is served.
    stream = next((each for each in moving if each.get("codec_name") in SOURCE_CODECS), moving[0])
    codec, width, height = stream.get("codec_name"), stream.get("width", 0), stream.get("height", 0)
    if codec not in SOURCE_CODECS:
        raise _invalid(f"video codec {codec or 'unknown'} is not served")
    if max(width, height) > MAX_SIDE:
        raise _invalid(f"{width}×{height} pixels, at most {MAX_SIDE} a side are served")
    if min(width, height) < 1 or not (stream.get("pix_fmt") or codec in UNPROBED):
        raise without_picture(ctx, address, found, stream)
    return stream


def _head(ctx: StageContext, identity: MezzanineIdentity) -> bytes:
    """The first bytes of the mezzanine."""
    with local_path(ctx, identity).open("rb") as source:
        return source.read(HEAD_BYTES)


def _video(
    ctx: StageContext, program: str, address: str, found: Probe, stream: Fields
) -> tuple[VideoStream, list[Finding]]:
    """The video stream with duration, start and rate, measured where the container does not say."""
    warnings: list[Finding] = []
    index = int(stream["index"])
    container_start = number(found.container.get("start_time")) or 0.0
    start = max(0.0, (number(stream.get("start_time")) or container_start) - container_start)
    duration = stream_duration_s(stream)
    declared = number(found.container.get("duration"))
    if duration is None or found.container.get("format_name") in UNTIMED:
        every = packets(program, address, index=index, timeout_s=min(PACKETS_LIMIT_S, ctx.time_left_s))
        duration = _measured_s(every, container_start + start, declared)
        if stream_duration_s(stream) is None:
            warnings.append(Finding(code="no_duration", message="the container does not say how long the video is"))
    if duration > MAX_DURATION_S:
        raise MezzanineRejected(
            f"File too large: it claims {duration / 3600:.0f} h, at most {MAX_DURATION_S / 3600:.0f} h are served",
            reason=Reason.TOO_LARGE,
        )
    _counted(found, stream, duration)
    rate, told = measured_rate(ctx, address, found.container, stream, duration_s=duration)
    video = video_stream(
        stream, duration_s=duration, start_s=start, variable=rate.motion is not None, frame_rate=rate.average
    ).model_copy(update={"motion_rate": None if rate.motion is None else str(rate.motion)})
    warnings += told
    return video, warnings


def _shown(ctx: StageContext, address: str, stream: Fields, video: VideoStream) -> tuple[VideoStream, list[Finding]]:
    """The video stream as its first picture shows it; raises where it cannot be shown as it is meant."""
    decoder, dolby = alpha_decoder(stream), dolby_profile(stream)
    limit_s = min(WINDOW_LIMIT_S, ctx.time_left_s)
    seen = look(tools.ffmpeg(ctx.settings), address, index=video.index, decoder=decoder, timeout_s=limit_s)
    if seen is not None:
        video = as_seen(video, seen, decoder=decoder if seen.alpha else None)
    refusal = refused_picture(video, seen, dolby)
    if refusal:
        raise MezzanineRejected(refusal, reason=Reason.UNSUPPORTED_PICTURE)
    cropped = (int(stream["width"]), int(stream["height"])) if is_cropped(stream) else None
    altered = video.rotation != 0 or cropped is not None or is_mirrored(stream)
    video = video.model_copy(update={"followed": not altered and steadies(video)})
    found = picture_findings(video, cropped_from=cropped, mirrored=is_mirrored(stream), dolby=dolby)
    return video, [*found, *colour_findings(video)]


def _counted(found: Probe, stream: Fields, duration_s: float) -> None:
    """Refuse an AVI that holds fewer frames than its header counts.

    Where its index is missing ffprobe goes by the size of the file, and takes what was cut off for never there. In
    other containers duration and count come from one table.
    """
    frames, rate = integer(stream.get("nb_frames")), fraction(stream.get("avg_frame_rate"))
    if found.container.get("format_name") != "avi" or not frames or not rate:
        return
    promised = float(frames / rate)
    if promised - duration_s > max(EARLY_S, 2 / float(rate)):
        raise MezzanineRejected(
            f"the mezzanine is cut short: its header counts {frames} frames, {duration_s:.2f} of {promised:.2f} s are "
            "there",
            reason=Reason.TRUNCATED,
        )


def _measured_s(every: Packets, start_s: float, declared_s: float | None) -> float:
    """The duration that a stream's packets have."""
    if cut_short("\n".join(f"[error] {line}" for line in every.stderr.splitlines())):
        raise MezzanineRejected("the mezzanine is cut short: its data ends before its time", reason=Reason.TRUNCATED)
    if every.end_s is None or every.end_s <= start_s:
        if declared_s:
            return declared_s
        raise MezzanineRejected("the video stream holds no pictures", reason=Reason.UNDECODABLE)
    return every.end_s - start_s


def _decode_samples(ctx: StageContext, address: str, video: VideoStream) -> None:
    """Decode head, tail and windows between, or all of a short mezzanine; raises what is wrong."""
    end = video.start_time_s + video.duration_s
    if end <= SHORT_S:
        _judge(ctx, address, video, None, tolerance=ctx.settings.decode_error_tolerance, reaches=end)
        return
    head = Window(start_s=0.0, duration_s=video.start_time_s + EDGE_S)
    _judge(ctx, address, video, head, tolerance=SEEK_TOLERANCE, reaches=None)
    # ffmpeg counts a length from the keyframe that it starts at, which may lie far before: so to the end, however far.
    tail = Window(start_s=end - EDGE_S, duration_s=MAX_DURATION_S)
    _judge(ctx, address, video, tail, tolerance=SEEK_TOLERANCE, reaches=end)
    for window in sample_windows(end, count=SAMPLES, length_s=SAMPLE_S):
        _judge(ctx, address, video, window, tolerance=SEEK_TOLERANCE, reaches=None)


def _judge(
    ctx: StageContext,
    address: str,
    video: VideoStream,
    window: Window | None,
    *,
    tolerance: float,
    reaches: float | None,
) -> None:
    """Decode one window, or everything, and raise what is wrong with it."""
    try:
        result = decode(
            tools.ffmpeg(ctx.settings),
            address,
            video_index=video.index,
            window=window,
            # A picture that stands for long may begin before the window.
            from_keyframe=window is not None and window.start_s > 0,
            threads=tools.encode_threads(ctx.settings),
            timeout_s=min(WINDOW_LIMIT_S, ctx.time_left_s),
        )
    except ToolTimeout as error:
        raise MezzanineRejected(
            f"{error.message}: a few seconds of the mezzanine take longer to decode than any sound one",
            reason=Reason.UNDECODABLE,
        ) from error
    # Only a tail is asked to reach an end after its head was found sound: nothing there means that it was cut off.
    early = result.cut_short or (reaches is not None and window is not None and result.frames == 0)
    if reaches is not None and result.last_s is not None and not video.variable_frame_rate:
        last = (window.start_s if window else 0.0) + result.last_s + float(1 / video.fps)
        # Damage at the very end is the last piece of what was cut off.
        early = early or last < reaches - (1.5 * float(1 / video.fps) if result.errors else _slack_s(video))
    if reaches is not None and result.last_s is not None:
        last = (window.start_s if window else 0.0) + result.last_s
        if last > reaches + min(LATE_S, _slack_s(video)):
            raise MezzanineRejected(
                f"the mezzanine is {Reason.UNDECODABLE}: its container says that it ends at {reaches:.2f} s, and there "
                f"are frames up to {last:.2f} s; write it anew with a sound header",
                reason=Reason.UNDECODABLE,
            )
    end = video.start_time_s + video.duration_s
    length = min(window.duration_s, end - window.start_s) if window else video.duration_s
    verdict = judge_decode(
        frames=result.frames,
        expected=max(1, round(length * float(video.fps))),
        errors=result.errors,
        tolerance=tolerance,
        ends_early=early,
    )
    if verdict is not None:
        reason, text = verdict
        at = f" at {window.start_s:.1f} s" if window else ""
        raise MezzanineRejected(f"the mezzanine is {reason}{at}: {text}{_quoted(result.message)}", reason=reason)


def _slack_s(video: VideoStream) -> float:
    """How much earlier than declared a sound video may end: containers round, and count the sound's end in."""
    return max(0.2, 3 / float(video.fps), min(1.0, 0.03 * video.duration_s))


def _quoted(message: str) -> str:
    return f" ({message})" if message else ""


def _invalid(text: str) -> MezzanineRejected:
    return MezzanineRejected(f"Invalid file type: {text}", reason=Reason.INVALID_TYPE)


def _findings(found: Probe, video: VideoStream, audio: tuple[AudioStream, ...]) -> list[Finding]:
    """What is odd about a mezzanine that can be served all the same."""
    moving = without_covers(picture_streams(found))
    chroma = next((each for each in ("444", "422") if each in video.pixel_format), None)
    found_s = number(found.container.get("duration")) or 0.0
    odd: list[tuple[bool, str, str]] = [
        (not audio, "no_audio", "there is no audio: the title is published silent"),
        (
            any(each.language == "und" for each in audio),
            "no_language",
            "an audio track does not say its language",
        ),
        (len(moving) > 1, "more_video", f"{len(moving)} video streams: stream {video.index} is used"),
        (
            len(_of_type(found, "video")) > len(moving),
            "attached_picture",
            "an attached picture is ignored",
        ),
        (video.rotation != 0, "rotated", f"the picture is turned by {video.rotation}°"),
        (
            video.sample_aspect_ratio != "1:1",
            "non_square_pixels",
            f"pixels are {video.sample_aspect_ratio}: shown as {video.display_width}×{video.display_height}",
        ),
        (
            video.field_order not in {None, "progressive", "unknown"},
            "interlaced",
            f"declared as interlaced ({video.field_order})",
        ),
        (video.bit_depth > 8, "high_bit_depth", f"{video.bit_depth} bits a sample"),
        (chroma is not None, "chroma", f"chroma {chroma} becomes 420"),
        (video.fps < SLOW_FPS, "slow_video", f"a frame stands for {float(1 / video.fps):.2f} s"),
        (
            found_s - (video.start_time_s + video.duration_s) > max(0.5, found_s / 10),
            "short_video",
            f"the picture ends at {video.start_time_s + video.duration_s:.2f} s, the container at {found_s:.2f} s",
        ),
        (video.start_time_s > 0, "late_video", f"the video starts {video.start_time_s:.3f} s after the container"),
        (
            abs(number(found.container.get("start_time")) or 0.0) > 0,
            "start_time",
            f"timestamps start at {found.container.get('start_time')} s",
        ),
    ]
    return [Finding(code=code, message=message) for applies, code, message in odd if applies]
