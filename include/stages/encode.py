"""Encodes one rendition, or finds it done."""

from __future__ import annotations

from pathlib import Path

from include.adapters import tools
from include.adapters.ffmpeg import ProgressParser, encode_argv
from include.adapters.ffprobe import number, packets, picture_streams, probe
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import Finished, failed, run
from include.domain.document import digest
from include.domain.media import Inspection
from include.domain.plan import EncodeJob, Plan, Rendition
from include.domain.results import EncodeResult
from include.domain.title import TitleJob
from include.errors import EncoderCrashed
from include.stages.core import StageContext, stage

SUFFIXES = {"libx264": "mp4", "libvpx-vp9": "webm"}
OVERRUN_S = 1.0
VERIFY_LIMIT_S = 600.0


@stage
def encode(ctx: StageContext, title: TitleJob, source: Inspection, decision: Plan, job: EncodeJob) -> EncodeResult:
    """Encode video only, with closed and aligned GOPs at an exact constant rate; verify it; then store it."""
    rendition = job.rendition
    version = tools.ffmpeg_version(ctx.settings)
    key = rendition_key(source, decision, rendition, version)
    name = ctx.key(f"renditions/{rendition.name}.{key}")
    uri = f"{name}.{SUFFIXES[rendition.encoder]}"
    known = _finished(ctx, f"{name}.json")
    if known is not None and ctx.store.size(uri) == known.size_bytes:
        return known

    video = source.video
    seconds = video.start_time_s + video.duration_s
    output = ctx.scratch / f"{rendition.name}.{SUFFIXES[rendition.encoder]}"
    argv = encode_argv(
        tools.ffmpeg(ctx.settings),
        open_mezzanine(ctx, source),
        video,
        decision.treatment,
        rendition,
        str(output),
        threads=tools.encode_threads(ctx.settings),
        duration_s=seconds + OVERRUN_S,
    )
    expected = max(1, round(seconds * _fps(rendition)))
    parser = ProgressParser()

    def progress(line: str) -> None:
        state = parser.feed(line)
        if state is not None:
            speed = f", {state.speed:.2g}×" if state.speed else ""
            share = min(0.99, state.frames / expected)
            ctx.report(share, f"{rendition.name}: frame {state.frames} of about {expected}{speed}")

    finished = run(argv, timeout_s=min(job.time_limit_s, ctx.time_left_s), on_line=progress)
    # A source that was replaced while it was read gives a rendition of neither.
    open_mezzanine(ctx, source)
    result = _verified(ctx, rendition, output, finished, expected=expected).model_copy(
        update={"key": key, "uri": uri, "encoder_version": version}
    )
    # The record first: a rendition that lies in the store has one, and is never encoded again.
    ctx.store.put_bytes(f"{name}.json", result.to_json().encode())
    ctx.store.put_file(uri, output)
    return result


def rendition_key(source: Inspection, decision: Plan, rendition: Rendition, encoder_version: str) -> str:
    """Sixteen hex digits over everything that decides the bytes."""
    identity = source.mezzanine
    return digest(
        {
            "mezzanine": [identity.size_bytes, identity.marker],
            "video": source.video.model_dump(mode="json"),
            "treatment": decision.treatment.model_dump(mode="json"),
            "recipe": rendition.recipe_hash,
            "encoder": encoder_version,
        }
    )[:16]


def _finished(ctx: StageContext, key: str) -> EncodeResult | None:
    try:
        return EncodeResult.from_json(ctx.store.get_bytes(key))
    except FileNotFoundError:
        return None


def _verified(
    ctx: StageContext, rendition: Rendition, output: Path, finished: Finished, *, expected: int
) -> EncodeResult:
    """What came out, measured; raises :class:`EncoderCrashed` where it is not what was wanted."""
    size = output.stat().st_size if output.is_file() else 0
    if size == 0:
        raise failed(finished, EncoderCrashed, f"{rendition.name}: the encoder ended well and wrote nothing")
    program, limit_s = tools.ffprobe(ctx.settings), min(VERIFY_LIMIT_S, ctx.time_left_s)
    found = probe(program, str(output), timeout_s=limit_s)
    streams = picture_streams(found)
    fps = _fps(rendition)
    if len(found.streams) != 1 or len(streams) != 1:
        raise failed(finished, EncoderCrashed, f"{rendition.name}: {len(found.streams)} streams instead of one video")
    stream = streams[0]
    counted = packets(program, str(output), index=int(stream["index"]), timeout_s=limit_s)
    got = (stream.get("codec_name"), stream.get("width"), stream.get("height"))
    if got != (rendition.codec, rendition.width, rendition.height):
        wanted = (rendition.codec, rendition.width, rendition.height)
        raise failed(finished, EncoderCrashed, f"{rendition.name}: {got} came out instead of {wanted}")
    # Half a second: containers round the duration that the expectation stands on. The checks count exactly.
    if abs(counted.count - expected) > max(2, fps / 2):
        raise failed(
            finished, EncoderCrashed, f"{rendition.name}: {counted.count} frames came out instead of about {expected}"
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
        encoder_version="",
        command=finished.command,
        cost=finished.cost,
    )


def _fps(rendition: Rendition) -> float:
    numerator, _, denominator = rendition.frame_rate.partition("/")
    return int(numerator) / int(denominator or 1)
