"""The full checksum and the full decode of the mezzanine: they run beside the encodes and gate the publication."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from include.adapters import tools
from include.adapters.ffmpeg.decode import Decoded, decode
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.mezzanine import called_as_requested, local_path, open_mezzanine
from include.base.errors import MezzanineRejected, ToolTimeout
from include.domain.media.changes import picture_finding
from include.domain.media.clock import title_frames
from include.domain.media.media import Finding, Inspection, VideoStream
from include.domain.media.rejection import Reason, judge_decode
from include.domain.outcome.results import SourceVerdict
from include.domain.recipe.rungs import output_frame_rate
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.progress import Tell, counting, moving, part

CHUNK_BYTES = 4 * 1024**2
HASH_FROM, DECODE_FROM = 0.1, 0.2
"""Shares of the stage's progress at which the mezzanine is here, and at which the decode begins."""
EARLY_S = 1.0
EARLY_SHARE = 0.01
"""How much earlier than its container says a sound mezzanine may end: a second or this share, whichever is more."""


@stage
def verify_source(ctx: StageContext, title: TitleJob, source: Inspection) -> SourceVerdict:
    """Hash every byte and decode every frame."""
    fetching, hashing, decoding = (
        part(ctx, 0.0, HASH_FROM),
        part(ctx, HASH_FROM, DECODE_FROM),
        part(ctx, DECODE_FROM, 0.99),
    )
    # Over the network it would come twice, and a full decode is slower than any network.
    path = local_path(ctx, source.mezzanine, moving(fetching, "fetching the mezzanine", source.mezzanine.size_bytes))
    checksum = f"sha256:{_sha256(ctx, source, path, hashing)}"
    if title.checksum is not None and checksum != title.checksum:
        raise MezzanineRejected(
            f"the mezzanine has the checksum {checksum}, the request says {title.checksum}",
            reason=Reason.CHECKSUM_MISMATCH,
        )
    video = source.video
    end = video.end_s
    rate = output_frame_rate(video)
    result = decode(
        tools.ffmpeg(ctx.settings),
        OpenedMezzanine(address=str(path), origin_s=source.origin_s),
        video_index=video.index,
        audio_indexes=sorted({index for each in source.audio for index in each.streams}),
        constant_rate=str(rate),
        threads=tools.encode_threads(ctx.settings),
        timeout_s=ctx.time_left_s,
        on_time=counting(decoding, lambda seconds: f"decoded {seconds:.0f} of {end:.0f} s", whole=end),
    )
    shown_s, frames = float(result.frames / rate), title_frames(source.duration_s, rate)
    # What stands before the first picture that can be decoded is known since the inspection, and left out.
    missing = round(source.missing_s * float(video.fps))
    with called_as_requested(ctx):
        _judge(ctx, result, expected=round(end * float(rate)), short_s=end - shown_s, end_s=end, missing=missing)
    # The bytes that were decoded are those that were inspected, to the last.
    open_mezzanine(ctx, source)
    return SourceVerdict(
        checksum=checksum,
        frames=frames,
        duration_s=round(float(frames / rate), 6),
        decode_errors=result.errors,
        warnings=tuple(each for each in _warnings(result, video) if each not in source.warnings),
        cost=result.cost,
    )


def _judge(ctx: StageContext, result: Decoded, *, expected: int, short_s: float, end_s: float, missing: int) -> None:
    early = result.cut_short or (result.frames > 0 and short_s > max(EARLY_S, EARLY_SHARE * end_s))
    verdict = judge_decode(
        frames=result.frames,
        expected=expected,
        errors=max(0, result.errors - missing),
        tolerance=ctx.settings.decode_error_tolerance,
        ends_early=early,
    )
    if verdict is not None:
        reason, text = verdict
        detail = f" ({result.message})" if result.message else ""
        raise MezzanineRejected(f"the full decode found the mezzanine {reason}: {text}{detail}", reason=reason)


def _warnings(result: Decoded, video: VideoStream) -> list[Finding]:
    changed = picture_finding(result.looks, video, sampled=False)
    found = [changed] if changed else []
    if result.errors:
        found.append(Finding(code="decode_errors", message=f"{result.errors} damaged frames, within the tolerance"))
    if result.audio_errors:
        found.append(
            Finding(code="audio_decode_errors", message=f"{result.audio_errors} pieces of audio cannot be decoded")
        )
    return found


def _sha256(ctx: StageContext, source: Inspection, path: Path, report: Tell) -> str:
    digest, done = hashlib.sha256(), 0
    size = source.mezzanine.size_bytes
    told = counting(report, lambda done: f"checksum of {int(done) >> 20} of {size >> 20} MiB", whole=size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            told(done)
            if time.monotonic() > ctx.deadline:
                raise ToolTimeout(
                    "FFmpeg timeout: the task's time went by while the checksum was computed",
                    command=f"sha256 of {source.mezzanine.uri}",
                    stderr_tail="",
                    reason="timeout",
                )
    return digest.hexdigest()
