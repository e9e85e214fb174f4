"""Puts an inspected mezzanine on the title's clock and decodes samples of it: is it sound, where does it begin and end?

What a decode that starts in the middle finds is a suspicion: a seek may miss in containers without an index, and some
decoders need what stands in the first picture. It is tried again from an earlier keyframe, and a mezzanine is refused
only for what a decode from its beginning shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from include.adapters import tools
from include.adapters.ffmpeg.decode import Decoded, decode
from include.adapters.ffmpeg.landing import first_times
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.base.errors import MezzanineRejected, ToolTimeout
from include.domain.media.changes import PictureState, distinct
from include.domain.media.clock import origin, sound_end_s, title_length
from include.domain.media.media import AudioStream, VideoStream, Window
from include.domain.media.rejection import Reason, judge_decode
from include.domain.media.sampling import sample_windows
from include.domain.recipe.codecs import RESIZED
from include.stages.core import StageContext
from include.stages.progress import counting, part

DECODE_FROM = 0.4
"""Share of the inspection's progress at which decoding begins."""
HEAD_S = 30.0
"""How far the first picture and the first samples are looked for; streams that begin later are believed."""
WINDOW_LIMIT_S = 120.0
SHORT_S = 12.0
"""Up to this length the whole mezzanine is decoded instead of windows."""
EDGE_S = 2.0
HELD_MOST_S = 3600.0
"""For so long a picture is held at most, before the first and after the last: a still may stand under a talk."""
REORDERED = 16
"""Pictures that a decoder may hold back to put them in order."""
LATE_S = 0.5
"""How far frames may lie behind the end that the container declares: further ones would be cut off in silence."""
SAMPLES = 3
SAMPLE_S = 1.0
KEYFRAMES_LIMIT_S = 60.0
KEYFRAMES_SPEED = 60
"""Reading the keyframes may take a minute, of a title of more than an hour a 60th of its length."""
SEEK_TOLERANCE = 0.25
"""Share of a window that may be damaged: a jump into the middle leaves pictures without their references."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A mezzanine's streams on the title's clock."""

    opened: OpenedMezzanine
    video: VideoStream
    audio: tuple[AudioStream, ...]
    missing_s: float = 0.0
    """How long the pictures are that stand before the first that can be decoded."""
    looks: tuple[PictureState, ...] = ()
    """How its pictures are, where they were decoded, in order."""
    whole: bool = False
    """Whether all of it was decoded."""


def on_title_clock(
    ctx: StageContext, address: str, video: VideoStream, audio: tuple[AudioStream, ...], *, container: str
) -> Timed:
    """The streams, whose times are the container's, on the title's clock."""
    sounds = sorted({index for track in audio for index in track.streams})
    found = first_times(
        tools.ffmpeg(ctx.settings),
        OpenedMezzanine(address=address),
        indexes=[video.index, *sounds],
        within_s=HEAD_S,
        timeout_s=min(WINDOW_LIMIT_S, ctx.time_left_s),
    )
    first = found.get(video.index, video.start_time_s)
    lag = _lag_s(video, first) if container == "avi" else 0.0
    first -= lag
    starts = [min([found[each] for each in track.streams if each in found] or [track.start_time_s]) for track in audio]
    apart_s = first - min((first, *starts))
    if apart_s > HELD_MOST_S:
        raise MezzanineRejected(
            f"the picture starts {apart_s:.0f} s after the sound: at most {HELD_MOST_S:.0f} s of a held picture are "
            "published",
            reason=Reason.BROKEN_CLOCK,
        )
    zero = round(origin(first, starts, video.fps), 6)
    end = video.end_s
    picture = {
        "start_time_s": round(first - zero, 6),
        "duration_s": round(max(end - first, float(1 / video.fps)), 6),
        "lag_s": lag,
    }
    return Timed(
        opened=OpenedMezzanine(address=address, origin_s=zero),
        video=video.model_copy(update=picture),
        audio=tuple(
            track.model_copy(update={"start_time_s": max(0.0, round(start - zero, 6))})
            for track, start in zip(audio, starts, strict=True)
        ),
        missing_s=round(max(0.0, first - video.start_time_s), 6),
    )


def _lag_s(video: VideoStream, first_s: float) -> float:
    """How much later than they are meant the pictures of an AVI come out: as many as the decoder puts in order."""
    lag = first_s - video.start_time_s
    return round(lag, 6) if 0 < lag <= float(REORDERED / video.fps) else 0.0


def length_s(timed: Timed) -> float:
    """How long the title is; raises where the picture would be held for too long."""
    length = title_length(timed.video, timed.audio)
    if length - timed.video.end_s > HELD_MOST_S:
        raise MezzanineRejected(
            f"the picture ends at {timed.video.end_s:.0f} s and the sound at {length:.0f} s: at most "
            f"{HELD_MOST_S:.0f} s of a held picture are published",
            reason=Reason.BROKEN_CLOCK,
        )
    return round(length, 6)


def decode_samples(ctx: StageContext, timed: Timed) -> Timed:
    """Decode head, tail and windows between, or all of a short mezzanine; raises what is wrong with it.

    Returns the streams with the ends that were found.
    """
    if _end_s(timed) <= SHORT_S:
        return _all(ctx, timed)
    head = Window(start_s=0.0, duration_s=timed.video.start_time_s + EDGE_S)
    tail = Window(start_s=max(0.0, timed.video.end_s - EDGE_S), duration_s=EDGE_S)
    between = sample_windows(timed.video.end_s, count=SAMPLES, length_s=SAMPLE_S)
    ended, looks = timed, list[PictureState]()
    for window in (head, tail, *between):
        decoded, damaged = _sound(ctx, timed, window, tail=window is tail)
        if decoded is None:
            whole = _all(ctx, timed)
            # What came out damaged is sound when it is read from the start: nobody may begin in the middle.
            return replace(whole, opened=replace(whole.opened, seeks=not damaged))
        looks += decoded.looks
        if window is tail:
            ended = _ended(timed, decoded)
    return replace(ended, looks=distinct([*looks, *_at_keyframes(ctx, timed, distinct(looks))]))


def _at_keyframes(ctx: StageContext, timed: Timed, seen: tuple[PictureState, ...]) -> tuple[PictureState, ...]:
    """How the keyframes look, where samples have shown a change or one is to be expected; empty for all others.

    The largest size may lie between samples, and it is that of the title.
    """
    if len(seen) < 2 and timed.video.codec not in RESIZED:
        return ()
    try:
        return decode(
            tools.ffmpeg(ctx.settings),
            timed.opened,
            video_index=timed.video.index,
            keyframes=True,
            threads=tools.encode_threads(ctx.settings),
            timeout_s=min(max(KEYFRAMES_LIMIT_S, _end_s(timed) / KEYFRAMES_SPEED), ctx.time_left_s),
        ).looks
    except ToolTimeout:
        return ()


def _end_s(timed: Timed) -> float:
    return max(timed.video.end_s, *(sound_end_s(track) for track in timed.audio), 0.0)


def _all(ctx: StageContext, timed: Timed) -> Timed:
    """Decode everything and raise what is wrong."""
    end_s = _end_s(timed)
    limit_s = min(WINDOW_LIMIT_S, ctx.time_left_s) if end_s <= SHORT_S else ctx.time_left_s

    decoding = part(ctx, DECODE_FROM, 1.0)
    told = counting(decoding, lambda seconds: f"decoded {seconds:.0f} of {end_s:.0f} s", whole=end_s)
    result = _decoded(ctx, timed, from_s=0.0, to_s=None, limit_s=limit_s, on_time=told)
    _judge(timed, result, None, tolerance=ctx.settings.decode_error_tolerance)
    return replace(_ended(timed, result), looks=result.looks, whole=True)


def _sound(ctx: StageContext, timed: Timed, window: Window, *, tail: bool) -> tuple[Decoded | None, bool]:
    """What a window decodes to, from a keyframe near before it; None where no try shows that it is sound.

    The other answer is whether it came out damaged where a try had reached it.
    """
    damaged = False
    for from_s in timed.opened.tries(window.start_s):
        if from_s <= 0 < window.start_s:
            break
        to_s = None if tail else window.start_s + window.duration_s
        result = _decoded(ctx, timed, from_s=from_s, to_s=to_s, limit_s=min(WINDOW_LIMIT_S, ctx.time_left_s))
        if result.first_s is None or result.first_s > window.start_s + float(1 / timed.video.fps):
            continue
        try:
            _judge(timed, result, window, tolerance=SEEK_TOLERANCE, tail=tail)
        except MezzanineRejected as error:
            damaged = damaged or error.reason == Reason.UNDECODABLE
            continue
        return result, False
    return None, damaged


def _decoded(
    ctx: StageContext,
    timed: Timed,
    *,
    from_s: float,
    to_s: float | None,
    limit_s: float,
    on_time: Callable[[float], None] = lambda seconds: None,
) -> Decoded:
    try:
        return decode(
            tools.ffmpeg(ctx.settings),
            timed.opened,
            video_index=timed.video.index,
            audio_indexes=() if to_s is not None else sorted({each for track in timed.audio for each in track.streams}),
            from_s=from_s,
            to_s=to_s,
            threads=tools.encode_threads(ctx.settings),
            timeout_s=limit_s,
            on_time=on_time,
        )
    except ToolTimeout as error:
        raise MezzanineRejected(
            f"{error.message}: a few seconds of the mezzanine take longer to decode than any sound one",
            reason=Reason.UNDECODABLE,
        ) from error


def _judge(timed: Timed, result: Decoded, window: Window | None, *, tolerance: float, tail: bool = True) -> None:
    """Raise what is wrong with one window, or with everything."""
    video, end = timed.video, timed.video.end_s + timed.video.lag_s
    early = result.cut_short
    if tail and result.last_s is not None:
        frame_s = float(1 / video.fps)
        if not video.variable_frame_rate:
            # Damage at the very end is the last piece of what was cut off.
            slack_s = 1.5 * frame_s if result.errors else _slack_s(video)
            early = early or result.last_s + frame_s < end - slack_s
        if result.last_s > end + min(LATE_S, _slack_s(video)):
            raise MezzanineRejected(
                f"the mezzanine is {Reason.UNDECODABLE}: its container says that it ends at {end:.2f} s, and there "
                f"are frames up to {result.last_s:.2f} s; write it anew with a sound header",
                reason=Reason.UNDECODABLE,
            )
    length = min(window.duration_s, end - window.start_s) if window else video.duration_s
    # What stands before the first picture that can be decoded is known, and left out.
    missing = round(timed.missing_s * float(video.fps)) if window is None or window.start_s == 0 else 0
    verdict = judge_decode(
        frames=result.frames,
        expected=max(1, round(length * float(video.fps))),
        errors=max(0, result.errors - missing),
        tolerance=tolerance,
        ends_early=early,
    )
    if verdict is not None:
        reason, text = verdict
        at = f" at {window.start_s:.1f} s" if window else ""
        raise MezzanineRejected(f"the mezzanine is {reason}{at}: {text}{_quoted(result.message)}", reason=reason)


def _ended(timed: Timed, result: Decoded) -> Timed:
    """The streams with the ends that a decode to the end of the mezzanine has found."""
    video = timed.video
    if result.last_s is not None and not video.variable_frame_rate:
        length = result.last_s + float(1 / video.fps) - video.lag_s - video.start_time_s
        video = video.model_copy(update={"duration_s": round(length, 6)})
    return replace(timed, video=video, audio=tuple(_heard(track, result) for track in timed.audio))


def _heard(track: AudioStream, result: Decoded) -> AudioStream:
    """The track with its length, where the decode met its end."""
    ends = [result.sounds[each][1] for each in track.streams if each in result.sounds]
    return track.model_copy(update={"duration_s": round(max(ends) - track.start_time_s, 6)}) if ends else track


def _slack_s(video: VideoStream) -> float:
    """How much earlier than declared a sound video may end: containers round, and count the sound's end in."""
    return max(0.2, float(3 / video.fps), min(1.0, 0.03 * video.duration_s))


def _quoted(message: str) -> str:
    return f" ({message})" if message else ""
