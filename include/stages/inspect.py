"""Inspect: can the mezzanine be encoded, and what is in it? Where it cannot, the verdict says why."""

from __future__ import annotations

from include.adapters import tools
from include.adapters.ffmpeg.choices import chapters, container_title
from include.adapters.ffmpeg.ffprobe import (
    Fields,
    Probe,
    fraction,
    integer,
    number,
    picture_streams,
    probe,
    stream_duration_s,
    subtitle_stream,
    video_stream,
)
from include.adapters.ffmpeg.look import alpha_decoder, dolby_profile, is_cropped, is_mirrored, look
from include.adapters.ffmpeg.opening import CONTAINERS, MAX_SIDE
from include.adapters.ffmpeg.reading import cut_short, judge_probe
from include.adapters.ffmpeg.spacing import Read
from include.adapters.ffmpeg.steady import steadies
from include.adapters.mezzanine import called_as_requested, forget_copy, identify, open_identified, reader
from include.base.errors import MezzanineRejected, MezzanineUnreachable
from include.domain.media.changes import picture_finding, with_changes
from include.domain.media.clock import clock_findings
from include.domain.media.colour import colour_findings
from include.domain.media.media import AudioStream, Finding, Inspection, MezzanineIdentity, VideoStream
from include.domain.media.picture import as_seen, picture_findings, refused_picture, with_base_layer
from include.domain.media.rejection import ARRIVING, Reason
from include.domain.plan.limits import LONGEST_S
from include.domain.recipe.codecs import SOURCE_CODECS
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.pace import measured_rate, packets_read
from include.stages.progress import part
from include.stages.samples import DECODE_FROM, Timed, decode_samples, length_s, on_title_clock
from include.stages.tracks import sound_tracks, the_programme, without_picture

PICTURE_BRANDS = frozenset({"avif", "avis", "heic", "heix", "mif1", "msf1"})
"""ISO files that hold a still picture, which ffprobe takes for video."""
UNTIMED = frozenset({"mpeg"})
"""Containers without an index, whose length ffprobe only guesses from their ends: they are read whole for it."""
MAX_STREAMS = 100
HEAD_BYTES = 16
PROBE_LIMIT_S = 60.0
LOOK_LIMIT_S = 120.0
"""For the first picture."""
UNPROBED = frozenset({"png"})
"""Codecs that ffprobe names and cannot decode, and ffmpeg can."""
FETCHED = 0.2
"""Share of the stage's progress at which the mezzanine is here."""
EARLY_S = 0.1
"""How much less than its header counts an AVI may hold."""
SLOW_FPS = 5


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
    identity = identify(ctx, part(ctx, 0.0, FETCHED))
    if identity.size_bytes == 0:
        raise MezzanineRejected("the mezzanine is empty: 0 bytes", reason=Reason.EMPTY)
    address = open_identified(ctx, identity)
    program = tools.ffprobe(ctx.settings)
    found = probe(program, address, timeout_s=min(PROBE_LIMIT_S, ctx.time_left_s))
    _served(ctx, identity, found)
    found, programme, chosen = the_programme(ctx, identity, address, found)
    stream = _checked(ctx, address, found)
    ctx.report(FETCHED, "streams read")
    video, warnings = _video(ctx, address, found, stream)
    video, shown = _shown(ctx, address, stream, video)
    ctx.report(DECODE_FROM, "decoding samples")
    timed, heard = _timed(ctx, address, found, video)
    video, audio = with_changes(timed.video, timed.looks), timed.audio
    changed = picture_finding(timed.looks, video, sampled=not timed.whole)
    if changed and not video.followed and len({(state.width, state.height) for state in timed.looks}) > 1:
        raise MezzanineRejected(
            f"{changed.message.partition(';')[0]}; that is served only where its container neither turns nor crops it: "
            "deliver it in one form",
            reason=Reason.UNSUPPORTED_PICTURE,
        )
    duration_s = length_s(timed)
    warnings += [*chosen, *shown, *([changed] if changed else []), *heard, *_findings(found, video, audio)]
    warnings += clock_findings(video, audio, duration_s=duration_s, missing_s=timed.missing_s)
    return Inspection(
        mezzanine=identity,
        container=str(found.container["format_name"]),
        origin_s=timed.opened.origin_s,
        duration_s=duration_s,
        seeks=timed.opened.seeks,
        missing_s=timed.missing_s,
        bitrate_kbps=round(identity.size_bytes * 8 / 1000 / duration_s, 3),
        video=video,
        audio=audio,
        title=container_title(found),
        chapters=chapters(found, origin_s=timed.opened.origin_s, duration_s=duration_s),
        programme=programme,
        subtitles=tuple(subtitle_stream(each) for each in _of_type(found, "subtitle")),
        warnings=tuple(warnings),
        tool_version=tools.ffmpeg_version(ctx.settings),
    )


def _timed(ctx: StageContext, address: str, found: Probe, video: VideoStream) -> tuple[Timed, list[Finding]]:
    """Picture and sound on the title's clock, decoded in samples."""
    audio: tuple[AudioStream, ...] = ()
    heard: list[Finding] = []
    deaf: MezzanineRejected | None = None
    try:
        audio, heard = sound_tracks(ctx, address, found)
    except MezzanineRejected as error:
        deaf = error
    container = str(found.container["format_name"])
    timed = decode_samples(ctx, on_title_clock(ctx, address, video, audio, container=container))
    # After the picture: of a file that is cut short the picture says so, its sound may only look damaged.
    if deaf is not None:
        raise deaf
    return timed, heard


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
    moving = picture_streams(found)
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
    return reader(ctx, identity)(0, HEAD_BYTES)


def _video(ctx: StageContext, address: str, found: Probe, stream: Fields) -> tuple[VideoStream, list[Finding]]:
    """The video stream with duration, start and rate, measured where the container does not say.

    Its start is that of the container's own clock.
    """
    warnings: list[Finding] = []
    start = number(stream.get("start_time"))
    if start is None:
        start = number(found.container.get("start_time")) or 0.0
    declared = stream_duration_s(stream)
    known = None if found.container.get("format_name") in UNTIMED else declared
    promised_s = _promised_s(found, stream, known)
    tell, to_end = part(ctx, FETCHED, DECODE_FROM), known is None or promised_s is not None
    read = packets_read(ctx, address, found.container, stream, tell, to_end=to_end)
    duration = _measured_s(read, start, number(found.container.get("duration"))) if known is None else known
    if declared is None:
        warnings.append(Finding(code="no_duration", message="the container does not say how long the video is"))
    if duration > LONGEST_S:
        raise MezzanineRejected(
            f"File too large: it claims {duration / 3600:.0f} h, at most {LONGEST_S / 3600:.0f} h are served",
            reason=Reason.TOO_LARGE,
        )
    if promised_s is not None:
        duration = _counted(read, stream, promised_s)
    rate, told = measured_rate(read, found.container, stream, duration_s=duration)
    video = video_stream(
        stream, duration_s=duration, start_s=start, variable=rate.motion is not None, frame_rate=rate.average
    ).model_copy(update={"motion_rate": None if rate.motion is None else str(rate.motion)})
    warnings += told
    return video, warnings


def _shown(ctx: StageContext, address: str, stream: Fields, video: VideoStream) -> tuple[VideoStream, list[Finding]]:
    """The video stream as its first picture shows it; raises where it cannot be shown as it is meant."""
    decoder, dolby = alpha_decoder(stream), dolby_profile(stream)
    limit_s = min(LOOK_LIMIT_S, ctx.time_left_s)
    seen = look(tools.ffmpeg(ctx.settings), address, index=video.index, decoder=decoder, timeout_s=limit_s)
    if seen is not None:
        video = as_seen(video, seen, decoder=decoder if seen.alpha else None)
    video = with_base_layer(video, dolby)
    refusal = refused_picture(video, seen, dolby)
    if refusal:
        raise MezzanineRejected(refusal, reason=Reason.UNSUPPORTED_PICTURE)
    cropped = (int(stream["width"]), int(stream["height"])) if is_cropped(stream) else None
    altered = video.rotation != 0 or cropped is not None or is_mirrored(stream)
    video = video.model_copy(update={"followed": not altered and steadies(video)})
    found = picture_findings(video, cropped_from=cropped, mirrored=is_mirrored(stream), dolby=dolby)
    return video, [*found, *colour_findings(video)]


def _promised_s(found: Probe, stream: Fields, duration_s: float | None) -> float | None:
    """How long an AVI is by the frames that its header counts, where ``duration_s`` is less; else None.

    Where its index is missing ffprobe goes by the size of the file: too short for a sound one as well as for one that
    was cut off. In other containers duration and count come from one table.
    """
    frames, rate = integer(stream.get("nb_frames")), fraction(stream.get("avg_frame_rate"))
    if found.container.get("format_name") != "avi" or not frames or not rate or duration_s is None:
        return None
    promised_s = float(frames / rate)
    return promised_s if promised_s - duration_s > max(EARLY_S, 2 / float(rate)) else None


def _counted(read: Read, stream: Fields, promised_s: float) -> float:
    """What an AVI promises, where its packets bear that out; else it is refused as cut short."""
    rate = float(fraction(stream.get("avg_frame_rate")) or 1)
    there_s = read.spacing.count / rate
    if promised_s - there_s > max(EARLY_S, 2 / rate):
        raise MezzanineRejected(
            f"the mezzanine is cut short: its header counts {promised_s * rate:.0f} frames, {there_s:.2f} of "
            f"{promised_s:.2f} s are there",
            reason=Reason.TRUNCATED,
        )
    return promised_s


def _measured_s(every: Read, start_s: float, declared_s: float | None) -> float:
    """The duration that a stream's packets have; the container's where they tell none."""
    if cut_short("\n".join(f"[error] {line}" for line in every.stderr.splitlines())):
        raise MezzanineRejected("the mezzanine is cut short: its data ends before its time", reason=Reason.TRUNCATED)
    if every.end_s is None or every.end_s <= start_s:
        if declared_s:
            return declared_s
        raise MezzanineRejected("the video stream holds no pictures", reason=Reason.UNDECODABLE)
    return every.end_s - start_s


def _invalid(text: str) -> MezzanineRejected:
    return MezzanineRejected(f"Invalid file type: {text}", reason=Reason.INVALID_TYPE)


def _findings(found: Probe, video: VideoStream, audio: tuple[AudioStream, ...]) -> list[Finding]:
    """What is odd about a mezzanine that can be served all the same."""
    moving = picture_streams(found)
    chroma = next((each for each in ("444", "422") if each in video.pixel_format), None)
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
            abs(number(found.container.get("start_time")) or 0.0) > 0,
            "start_time",
            f"timestamps start at {found.container.get('start_time')} s",
        ),
    ]
    return [Finding(code=code, message=message) for applies, code, message in odd if applies]
