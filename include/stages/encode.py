"""Encodes one rendition, or finds it done, by whichever of its job's options.

Where the plan wants a hardware encoder that is tried first; whatever is wrong with it, the software encoder makes the
same rendition in the same attempt, and the result says why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from include.adapters import tools
from include.adapters.ffmpeg import nvenc
from include.adapters.ffmpeg.commands import ProgressParser, encode_argv
from include.adapters.ffmpeg.ffprobe import number, picture_streams, probe
from include.adapters.ffmpeg.listing import list_packets
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import Finished, failed, run
from include.adapters.store.documents import load_if_valid
from include.base.document import digest
from include.base.errors import EncoderCrashed, ToolFailed
from include.domain.media.clock import title_frames
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Inspection
from include.domain.outcome.results import Cost, EncodeResult, Fallback, HardwareFault
from include.domain.plan.degradation import Binding
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.codecs import CODECS
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.progress import counting, moving, part

log = logging.getLogger(__name__)

ENCODED, COUNTED = 0.97, 0.98
"""Shares of the stage's progress: the encoder has ended, and its packets are counted. What follows is the storing."""
PROBE_LIMIT_S = 60.0
ABOVE_THE_CAP = 4
"""No rendition comes near so many times its capped rate: libvpx may exceed it for a while, tiny ones have overhead."""
ROOM_BYTES = 16 * 1024**2
HARDWARE_SHARE = 0.5
"""Of the time limit: a card that hangs must leave the software encoder time to do the work."""


@stage
def encode(ctx: StageContext, title: TitleJob, source: Inspection, plan: Plan, job: EncodeJob) -> EncodeResult:
    """Encode video only, with closed and aligned GOPs at an exact constant rate; verify it; then store it."""
    version = tools.ffmpeg_version(ctx.settings)
    others = [way.rendition for way in job.options if way.option.allowed]
    forms = [form for form in (job.hardware, job.rendition, *others) if form is not None]
    for form in dict.fromkeys(forms):
        record = _name(ctx, form, rendition_key(source, form, version)) + ".json"
        known = load_if_valid(ctx.store, record, EncodeResult)
        if known is not None and ctx.store.size(known.uri) == known.size_bytes:
            return known
    if job.binding is not None and job.binding.dropped:
        log.warning("%s: %s", job.name, job.binding)
        return _left_out(job.binding, version)

    fallback: Fallback | None = None
    if job.hardware is not None:
        made = _by_hardware(ctx, source, job.hardware, limit_s=job.time_limit_s)
        if isinstance(made, EncodeResult):
            return made
        fallback = made
        log.warning("%s: %s instead of %s: %s", job.name, job.rendition.encoder, made.encoder, made.message)
    ran = _run(ctx, source, job.rendition, limit_s=min(job.time_limit_s, ctx.time_left_s))
    given_up = job.binding if job.binding is not None and job.binding.degraded else None
    return _stored(ctx, source, ran, fallback=fallback, degradation=given_up)


def _left_out(binding: Binding, version: str) -> EncodeResult:
    """The result that says: this rung was left out, so that the title keeps its deadline."""
    return EncodeResult(
        rendition=binding.rendition, key="", uri="", size_bytes=0, frames=0, duration_s=0.0, bitrate_kbps=0.0,
        encoder_version=version, degradation=binding, command="",
        cost=Cost(wall_s=0.0, cpu_s=0.0, peak_memory_mb=0.0),
    )  # fmt: skip


def _by_hardware(
    ctx: StageContext, source: Inspection, rendition: Rendition, *, limit_s: float
) -> EncodeResult | Fallback:
    """The run of the hardware encoder, or in words why it has left nothing that can be used."""
    if not ctx.hardware:
        return Fallback(
            encoder=rendition.encoder,
            fault=HardwareFault.NOT_ALLOWED,
            message="this attempt runs on CPUs: no node with a GPU took it in time",
        )
    fault = nvenc.trial(tools.ffmpeg(ctx.settings), rendition)
    if fault is not None:
        return fault
    try:
        ran = _run(ctx, source, rendition, limit_s=min(limit_s, ctx.time_left_s) * HARDWARE_SHARE)
    except ToolFailed as error:
        return nvenc.fallback(rendition, error)
    try:
        return _stored(ctx, source, ran)
    except EncoderCrashed as error:
        return Fallback(encoder=rendition.encoder, fault=HardwareFault.BAD_OUTPUT, message=error.message)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """An encoder that ended well."""

    rendition: Rendition
    output: Path
    finished: Finished
    frames: int
    """As many as were ordered."""


def _run(ctx: StageContext, source: Inspection, rendition: Rendition, *, limit_s: float) -> _Run:
    frames = title_frames(source.duration_s, parse_rate(rendition.frame_rate))
    output = ctx.scratch / f"{rendition.name}.{CODECS[rendition.codec].container}"
    argv = encode_argv(
        tools.ffmpeg(ctx.settings),
        open_mezzanine(ctx, source),
        source.video,
        rendition,
        str(output),
        threads=tools.encode_threads(ctx.settings),
        frames=frames,
        held=_held(source, rendition, frames),
    )
    parser = ProgressParser()

    def progress(line: str) -> None:
        state = parser.feed(line)
        if state is not None:
            speed = f", {state.speed:.2g}×" if state.speed else ""
            share = min(1.0, state.frames / frames)
            ctx.report(ENCODED * share, f"{rendition.name}: frame {state.frames} of {frames}{speed}")

    finished = run(
        argv,
        timeout_s=limit_s,
        on_line=progress,
        folder=ctx.scratch,
        file_bytes=most_bytes(rendition, duration_s=source.duration_s),
    )
    # A source that was replaced while it was read gives a rendition of neither.
    open_mezzanine(ctx, source)
    return _Run(rendition=rendition, output=output, finished=finished, frames=frames)


def _held(source: Inspection, rendition: Rendition, frames: int) -> int:
    """For how many frames the last picture is held at most.

    As long as the sound goes on, and half a second more, as containers round. A source of which less was read gives a
    rendition that lacks frames.
    """
    fps = parse_rate(rendition.frame_rate)
    shown = round(source.video.end_s * float(fps))
    return max(0, frames - shown) + max(2, int(fps / 2))


def _stored(
    ctx: StageContext,
    source: Inspection,
    ran: _Run,
    *,
    fallback: Fallback | None = None,
    degradation: Binding | None = None,
) -> EncodeResult:
    """The rendition, verified and in the store."""
    version = tools.ffmpeg_version(ctx.settings)
    key = rendition_key(source, ran.rendition, version)
    name = _name(ctx, ran.rendition, key)
    uri = f"{name}.{CODECS[ran.rendition.codec].container}"
    verified = _verified(ctx, ran.rendition, ran.output, ran.finished, frames=ran.frames)
    made = {"key": key, "uri": uri, "encoder_version": version, "fallback": fallback, "degradation": degradation}
    result = verified.model_copy(update=made)
    # The record first: a rendition that lies in the store has one, and is never encoded again.
    ctx.store.put_bytes(f"{name}.json", result.to_json().encode())
    ctx.store.put_file(
        uri, ran.output, moving(part(ctx, COUNTED, 1.0), f"storing {result.rendition}", result.size_bytes)
    )
    return result


def most_bytes(rendition: Rendition, *, duration_s: float) -> int:
    """Bytes that no good rendition comes to, however long the title is: an encoder that writes more is stopped."""
    return int(rendition.maxrate_kbps * 125 * duration_s * ABOVE_THE_CAP) + ROOM_BYTES


def _name(ctx: StageContext, rendition: Rendition, key: str) -> str:
    return ctx.kept_key(f"renditions/{rendition.name}.{key}")


def rendition_key(source: Inspection, rendition: Rendition, encoder_version: str) -> str:
    """Sixteen hex digits over everything that decides the bytes."""
    identity = source.mezzanine
    return digest(
        {
            "mezzanine": [identity.size_bytes, identity.marker],
            "clock": [source.origin_s, source.duration_s],
            "video": source.video.model_dump(mode="json"),
            "recipe": rendition.recipe_hash,
            "encoder": encoder_version,
        }
    )[:16]


def _verified(
    ctx: StageContext, rendition: Rendition, output: Path, finished: Finished, *, frames: int
) -> EncodeResult:
    """What came out, measured; raises :class:`EncoderCrashed` where it is not what was wanted."""
    size = output.stat().st_size if output.is_file() else 0
    if size == 0:
        raise failed(finished, EncoderCrashed, f"{rendition.name}: the encoder ended well and wrote nothing")
    program = tools.ffprobe(ctx.settings)
    found = probe(program, str(output), timeout_s=min(PROBE_LIMIT_S, ctx.time_left_s))
    streams = picture_streams(found)
    fps = float(parse_rate(rendition.frame_rate))
    if len(found.streams) != 1 or len(streams) != 1:
        raise failed(finished, EncoderCrashed, f"{rendition.name}: {len(found.streams)} streams instead of one video")
    stream = streams[0]
    told = counting(part(ctx, ENCODED, COUNTED), lambda done: f"counting {rendition.name}: frame {done}", whole=frames)
    counted, _ = list_packets(program, output, timeout_s=ctx.time_left_s, on_count=told)
    got = (stream.get("codec_name"), stream.get("width"), stream.get("height"))
    if got != (rendition.codec, rendition.width, rendition.height):
        wanted = (rendition.codec, rendition.width, rendition.height)
        raise failed(finished, EncoderCrashed, f"{rendition.name}: {got} came out instead of {wanted}")
    if counted.count != frames:
        raise failed(finished, EncoderCrashed, f"{rendition.name}: {counted.count} frames came out instead of {frames}")
    wanted_keys = list(range(0, counted.count, rendition.gop_frames))
    if counted.keyframes != wanted_keys:
        odd = min(set(wanted_keys) ^ set(counted.keyframes))
        raise failed(
            finished,
            EncoderCrashed,
            f"{rendition.name}: keyframes are not every {rendition.gop_frames} frames (first at frame {odd})",
        )
    duration = number(found.container.get("duration")) or 0.0
    if abs(duration - counted.count / fps) > max(0.1, 2 / fps):
        raise failed(
            finished, EncoderCrashed, f"{rendition.name}: plays {duration:.3f} s with {counted.count} frames at {fps:g}"
        )
    return EncodeResult(
        rendition=rendition.name,
        key="",
        uri="",
        size_bytes=size,
        frames=counted.count,
        duration_s=round(counted.count / fps, 6),
        bitrate_kbps=round(size * 8 / 1000 * fps / counted.count, 3),
        encoder=rendition.encoder,
        encoder_version="",
        command=finished.command,
        cost=finished.cost,
    )
