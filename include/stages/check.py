"""Check: every rendition is decoded, counted and compared with the mezzanine before anything is packaged."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import run
from include.adapters.tools import encode_threads, ffmpeg, ffprobe
from include.adapters.vmaf import compare
from include.domain import qc
from include.domain.media import Analysis, Inspection
from include.domain.plan import Plan, Rendition
from include.domain.results import (
    AudioResult,
    CheckResult,
    Cost,
    EncodeResult,
    Outcome,
    QualityScore,
    RenditionVerdict,
    SourceVerdict,
)
from include.domain.title import TitleJob
from include.errors import EncoderCrashed
from include.stages.core import StageContext, stage


@stage
def check(
    ctx: StageContext,
    title: TitleJob,
    source: Inspection,
    analysis: Analysis,
    decision: Plan,
    renditions: tuple[EncodeResult, ...],
    sound: AudioResult,
    verified: SourceVerdict,
) -> CheckResult:
    """A verdict on every rendition of the plan; raises :class:`CoreRungMissing` where the title must not go out."""
    results = {result.rendition: result for result in renditions if result.made}
    left_out = {result.rendition: str(result.degradation) for result in renditions if not result.made}
    facts, reasons, costs = {}, {}, {}
    for position, planned in enumerate(decision.renditions):
        ctx.report(position / len(decision.jobs) / 2, f"decoding {planned.name}")
        name = planned.name
        if name not in results:
            continue
        facts[name], costs[name] = _decode(ctx, planned, results[name])
        reasons[name] = qc.faults(planned, facts[name], frames=qc.expected_frames(planned.frame_rate, verified))
    sound_ones = {name: each for name, each in facts.items() if not reasons[name]}
    for name, reason in qc.unlike_the_others(sound_ones).items():
        reasons[name] = (reason,)

    verdicts = []
    for position, planned in enumerate(decision.renditions):
        ctx.report(0.5 + position / len(decision.jobs) / 2, f"comparing {planned.name}")
        name = planned.name
        if name not in results:
            reason = left_out.get(name, "was not encoded: its job failed for good")
            verdicts.append(RenditionVerdict(rendition=name, outcome=Outcome.MISSING, reasons=(reason,)))
            continue
        score: QualityScore | None = None
        why_none: tuple[str, ...] = ()
        cost = costs[name]
        if not reasons[name]:
            score, why_none, compared = _compare(ctx, title, source, decision, planned, results[name], verified)
            cost = _sum(cost, compared)
        bad = (*reasons[name], *qc.picture_faults(score))
        verdicts.append(
            RenditionVerdict(
                rendition=name,
                outcome=Outcome.FAIL if bad else Outcome.PASS,
                reasons=(*bad, *why_none),
                vmaf=score,
                check_cost=cost,
            )
        )
    degraded = qc.conclude(decision, verdicts)
    return CheckResult(
        renditions=tuple(verdicts),
        audio=tuple(
            finding
            for track in sound.renditions
            for finding in qc.audio_faults(
                track,
                video_s=verified.duration_s,
                target_lufs=ctx.settings.loudness_target_lufs,
                ceiling_dbtp=ctx.settings.true_peak_dbtp,
            )
        ),
        degraded=degraded,
        cost=_sum(*(verdict.check_cost for verdict in verdicts if verdict.check_cost)),
    )


def decode_argv(program: str, path: Path) -> list[str]:
    """A full decode that counts frames on stdout and tells every error on stderr."""
    argv = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]
    return [*argv, "-i", f"file:{path}", "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"]


def packets_argv(program: str, path: Path) -> list[str]:
    """Size of the picture, and presentation time and keyframe flag of every packet, as JSON."""
    entries = "stream=width,height,time_base,duration,duration_ts:packet=pts,duration,flags"
    return [program, "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", f"file:{path}"]


def _decode(ctx: StageContext, planned: Rendition, result: EncodeResult) -> tuple[qc.RenditionFacts, Cost]:
    """What is in the rendition: decoded from first to last frame, and its packets listed."""
    path = ctx.store.local_copy(result.uri, ctx.scratch)
    decoded = run(decode_argv(ffmpeg(ctx.settings), path), timeout_s=ctx.time_left_s, check=False)
    # Reasons are published: no path of this machine in them.
    errors = [line.replace(str(path), planned.name) for line in decoded.stderr.splitlines() if line.strip()]
    if decoded.returncode != 0 and not errors:
        errors = [f"ffmpeg ended with {decoded.returncode}"]
    frames = re.findall(rb"^frame=\s*(\d+)", decoded.stdout, re.MULTILINE)
    listed = run(packets_argv(ffprobe(ctx.settings), path), timeout_s=ctx.time_left_s, check=False)
    found = json.loads(listed.stdout or b"{}")
    stream: dict[str, str] = next(iter(found.get("streams", [])), {})
    packets = sorted(
        (packet for packet in found.get("packets", []) if "pts" in packet), key=lambda packet: int(packet["pts"])
    )
    facts = qc.RenditionFacts(
        width=int(stream.get("width", 0)),
        height=int(stream.get("height", 0)),
        frames=int(frames[-1]) if frames else 0,
        duration_s=_presented_s(stream, packets, Fraction(planned.frame_rate)),
        keyframes=tuple(index for index, packet in enumerate(packets) if packet["flags"].startswith("K")),
        decode_errors=tuple(errors),
    )
    return facts, _sum(decoded.cost, listed.cost)


def _presented_s(stream: dict[str, str], packets: list[dict[str, str]], fps: Fraction) -> float:
    if not packets:
        return 0.0
    span = (int(packets[-1]["pts"]) - int(packets[0]["pts"])) * Fraction(stream["time_base"])
    return float(span + 1 / fps)


def _compare(
    ctx: StageContext,
    title: TitleJob,
    source: Inspection,
    decision: Plan,
    planned: Rendition,
    result: EncodeResult,
    verified: SourceVerdict,
) -> tuple[QualityScore | None, tuple[str, ...], Cost]:
    """The score, or None and why; a measurement that fails is no verdict on the rendition."""
    video = source.video
    windows = qc.comparison_windows(verified.duration_s, title.tier, frame_rate=planned.frame_rate)
    model = qc.vmaf_model(video.display_width, video.display_height)
    address, path = open_mezzanine(ctx, source), ctx.store.local_copy(result.uri, ctx.scratch)
    scores: list[float] = []
    costs: list[Cost] = []
    try:
        for window in windows or (None,):
            found, finished = compare(
                ctx.settings,
                address,
                path,
                video,
                decision.treatment,
                frame_rate=planned.frame_rate,
                model=model,
                window=window,
                threads=encode_threads(ctx.settings),
                scratch=ctx.scratch,
                timeout_s=ctx.time_left_s,
            )
            scores += found
            costs.append(finished.cost)
    except EncoderCrashed as error:
        return None, (f"VMAF was not measured: {error.message}",), _sum(*costs)
    return qc.pool(scores, sampled=windows is not None, model=model), (), _sum(*costs)


def _sum(*costs: Cost) -> Cost:
    return Cost(
        wall_s=round(sum(cost.wall_s for cost in costs), 3),
        cpu_s=round(sum(cost.cpu_s for cost in costs), 3),
        peak_memory_mb=max((cost.peak_memory_mb for cost in costs), default=0.0),
    )
