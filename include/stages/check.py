"""Check: every rendition is decoded, counted and compared with the mezzanine before anything is packaged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.excerpts import thumbnails, thumbnails_argv, written
from include.adapters.ffmpeg.following import follow
from include.adapters.ffmpeg.listing import REORDERED, list_packets
from include.adapters.ffmpeg.reading import complaints, frames_counted
from include.adapters.process import Finished
from include.adapters.tools import encode_threads, ffmpeg, ffprobe
from include.adapters.vmaf import Reference
from include.domain.media.alignment import PICTURE_S, Thumbnails, widened
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Analysis, Inspection, Window
from include.domain.outcome import rules as qc
from include.domain.outcome.results import (
    AudioResult,
    CheckOutcome,
    CheckResult,
    Cost,
    EncodeResult,
    RenditionVerdict,
    SourceVerdict,
    TextResult,
)
from include.domain.plan.plan import Plan
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import TitleJob
from include.stages.alignment import Original, ears_for, misplaced_pictures, track_verdict
from include.stages.comparison import Comparison, Scored
from include.stages.core import StageContext, stage
from include.stages.progress import Tell, counting, fetched, part, within
from include.stages.text_timing import text_verdicts

REFERENCE_TO, LISTEN_FROM, TEXTS_FROM = 0.1, 0.8, 0.95
"""Shares of the stage's progress: the frames to compare with are read; then the sound begins, then the text."""
FETCHED, LISTED = 0.1, 0.99
"""Shares of a rendition's part: it is here, it is decoded and listed. Then it is held against the source."""


@stage
def check(
    ctx: StageContext,
    title: TitleJob,
    source: Inspection,
    analysis: Analysis,
    plan: Plan,
    renditions: tuple[EncodeResult, ...],
    audio: AudioResult,
    text: TextResult,
    verified: SourceVerdict,
    before: CheckResult | None = None,
) -> CheckResult:
    """A verdict on every rendition of the plan; raises :class:`CoreRungMissing` where the title must not go out.

    What has passed ``before``, for the title's first version, is not decoded and compared again.
    """
    results = {result.rendition: result for result in renditions if result.made}
    left_out = {result.rendition: str(result.degradation) for result in renditions if not result.made}
    known = _still_good(before, results)
    original = Original(ctx=ctx, source=source, ears=ears_for(audio.renditions))
    comparison = Comparison(ctx=ctx, title=title, source=source, verified=verified, plan=plan)
    decoded = _decode_all(ctx, plan, results, known, verified, original, comparison)
    recognised = _recognised(comparison, plan, results, decoded)
    verdicts = []
    for planned in plan.renditions:
        name = planned.name
        if name not in results:
            reason = left_out.get(name, "was not encoded: its job failed for good")
            verdicts.append(RenditionVerdict(rendition=name, outcome=CheckOutcome.MISSING, reasons=(reason,)))
        elif _stands(known, decoded, name):
            verdicts.append(known[name])
        else:
            verdicts.append(_verdict(results[name], decoded[name], recognised=recognised))
    degraded = qc.conclude(plan, verdicts)
    listening = _parts(ctx, len(audio.renditions), first=LISTEN_FROM, last=TEXTS_FROM)
    heard = [track_verdict(original, *each) for each in zip(audio.renditions, listening, strict=True)]
    tracks = qc.with_their_stereo(audio.renditions, heard)
    lacks_sound = qc.withhold(audio.renditions, tracks)
    texts = text_verdicts(ctx, source, text.renditions, part(ctx, TEXTS_FROM, 1.0))
    lacks_text = any(verdict.outcome is not CheckOutcome.PASS for verdict in texts)
    return CheckResult(
        renditions=tuple(verdicts),
        audio=(*_findings(ctx, audio, verified), *original.unread),
        tracks=tracks,
        texts=texts,
        degraded=degraded or lacks_sound or lacks_text,
        cost=Cost.sum(
            (
                *(verdict.check_cost for verdict in verdicts if verdict.check_cost),
                *(verdict.check_cost for verdict in tracks),
                *original.costs,
                *comparison.costs,
            )
        ),
    )


def _recognised(
    comparison: Comparison, plan: Plan, results: dict[str, EncodeResult], decoded: dict[str, _Decoded]
) -> bool:
    """Whether VMAF knows the picture where the excerpts do not; asked on every frame before the answer is no."""

    def known() -> bool:
        sound = (each for each in decoded.values() if each.scored and not each.reasons)
        return qc.recognised((each.misplaced, each.scored.score) for each in sound if each.scored)

    for planned in plan.renditions:
        found = decoded.get(planned.name)
        if found is None or found.reasons or not any(each.foreign for each in found.misplaced) or known():
            continue
        again, cost = comparison.every_frame(planned, results[planned.name])
        decoded[planned.name] = replace(found, scored=again, cost=Cost.sum((found.cost, cost)))
    return known()


def _findings(ctx: StageContext, audio: AudioResult, verified: SourceVerdict) -> Iterator[str]:
    for track in audio.renditions:
        yield from qc.audio_faults(
            track,
            video_s=verified.duration_s,
            target_lufs=ctx.settings.loudness_target_lufs,
            ceiling_dbtp=ctx.settings.true_peak_dbtp,
        )


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """What the full decode of one rendition shows."""

    frames: int
    reasons: tuple[str, ...]
    """Why it must not go out; empty for a good one."""
    cost: Cost
    misplaced: tuple[qc.Misplaced, ...] = ()
    """What its thumbnails say against it, beside those reasons."""
    scored: Scored | None = None
    """How like the mezzanine it looks."""


def _decode_all(
    ctx: StageContext,
    plan: Plan,
    results: dict[str, EncodeResult],
    known: dict[str, RenditionVerdict],
    verified: SourceVerdict,
    original: Original,
    comparison: Comparison,
) -> dict[str, _Decoded]:
    """Each finished rendition by name, decoded unless its verdict is known, and held against the others."""
    decoded: dict[str, _Decoded] = {}
    reports = _parts(ctx, len(plan.renditions), first=REFERENCE_TO, last=LISTEN_FROM)
    comparison.report = part(ctx, 0.0, REFERENCE_TO)
    for planned, report in zip(plan.renditions, reports, strict=True):
        name = planned.name
        if name not in results:
            continue
        if name in known:
            cost = known[name].check_cost or Cost.sum(())
            decoded[name] = _Decoded(frames=known[name].frames or 0, reasons=(), cost=cost)
            continue
        facts, shown, scored, cost = _decode(ctx, planned, results[name], original.windows, comparison, report)
        reasons = qc.faults(planned, facts, frames=qc.expected_frames(planned.frame_rate, verified))
        original.report = within(report, LISTED, 1.0)
        odd = misplaced_pictures(original, shown, frame_rate=parse_rate(planned.frame_rate))
        decoded[name] = _Decoded(frames=facts.frames, reasons=reasons, cost=cost, misplaced=odd, scored=scored)
    good = {name: found.frames for name, found in decoded.items() if not found.reasons}
    unlike = {name: (reason,) for name, reason in qc.unlike_the_others(good).items()}
    return {name: replace(found, reasons=unlike.get(name, found.reasons)) for name, found in decoded.items()}


def _verdict(result: EncodeResult, decoded: _Decoded, *, recognised: bool) -> RenditionVerdict:
    """The verdict on a rendition; the quality of one that is faulty says nothing."""
    bad = (*decoded.reasons, *qc.picture_faults(decoded.misplaced, recognised=recognised))
    scored = None if decoded.reasons else decoded.scored
    return RenditionVerdict(
        rendition=result.rendition,
        outcome=CheckOutcome.FAIL if bad else CheckOutcome.PASS,
        reasons=(*bad, *(scored.why_none if scored else ())),
        vmaf=scored.score if scored else None,
        check_cost=decoded.cost,
        key=result.key,
        frames=decoded.frames,
    )


def _stands(known: dict[str, RenditionVerdict], decoded: dict[str, _Decoded], name: str) -> bool:
    """Whether the verdict of an earlier check still holds."""
    return name in known and not decoded[name].reasons


def _still_good(before: CheckResult | None, results: dict[str, EncodeResult]) -> dict[str, RenditionVerdict]:
    """Verdicts of renditions that have passed already and are still the same, by name."""
    return {
        verdict.rendition: verdict
        for verdict in (before.renditions if before else ())
        if verdict.outcome is CheckOutcome.PASS
        and verdict.rendition in results
        and verdict.key == results[verdict.rendition].key
    }


def decode_argv(
    program: str, path: Path, windows: Sequence[Window], reference: Reference | None, *, threads: int
) -> list[str]:
    """A full decode that counts frames on stdout, tells every error on stderr, and writes thumbnails of the windows.

    Args:
        program: ffmpeg.
        path: Of the rendition.
        windows: Where thumbnails are wanted.
        reference: What it is compared with by the way; None for nothing.
        threads: Of the comparison.
    """
    argv = prelude(program, level="error", overwrite=True, progress=True)
    compared, output = reference.argv(threads=threads) if reference else ([], [])
    argv += ["-i", f"file:{path}", *compared, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"]
    return [*argv, *thumbnails_argv(windows), *output]


def _parts(ctx: StageContext, count: int, *, first: float, last: float) -> list[Tell]:
    """Reports of so many equal parts of the stage, between two shares of its progress."""
    each = (last - first) / max(1, count)
    return [part(ctx, first + number * each, first + (number + 1) * each) for number in range(count)]


def _counted(
    report: Tell, planned: Rendition, result: EncodeResult, first: float, last: float
) -> Callable[[int], None]:
    """Reports by the frames of a rendition that were seen, from one share of its part to another."""
    return counting(
        within(report, first, last),
        lambda frames: f"checking {planned.name}: frame {frames} of {result.frames}",
        whole=result.frames,
    )


def _decode(
    ctx: StageContext,
    planned: Rendition,
    result: EncodeResult,
    windows: Sequence[Window],
    comparison: Comparison,
    report: Tell,
) -> tuple[qc.RenditionFacts, Thumbnails, Scored, Cost]:
    """What is in the rendition: decoded from first to last frame, thumbnails around the windows, its packets listed."""
    path = fetched(ctx, result.uri, result.size_bytes, planned.name, within(report, 0.0, FETCHED))
    wide = [widened(window, length_s=PICTURE_S) for window in windows]
    # Listing the packets is quicker than decoding them.
    decoding, listing_them = (
        _counted(report, planned, result, FETCHED, 0.9),
        _counted(report, planned, result, 0.9, LISTED),
    )
    with tempfile.TemporaryDirectory(dir=ctx.scratch) as name:
        folder, reference = Path(name), comparison.reference
        report(FETCHED, f"decoding and comparing {planned.name}")

        def decode(reference: Reference | None) -> Finished:
            argv = decode_argv(ffmpeg(ctx.settings), path, wide, reference, threads=encode_threads(ctx.settings))
            limits = {"timeout_s": ctx.time_left_s, "check": False, "cwd": folder}
            return written(follow(argv, lambda state: decoding(state.frames), **limits))

        decoded = decode(reference)
        costs = [decoded.cost]
        scored = comparison.scored(reference.scores(folder) if reference else [], decoded.stderr_tail)
        if reference and (decoded.returncode != 0 or decoded.stderr.strip()):
            # It may be the comparison that complains: what a decode alone says is the rendition's.
            decoded = decode(None)
            costs.append(decoded.cost)
        shown = thumbnails(folder, zero_s=0.0)
    errors = complaints(decoded, path, planned.name)
    listed, listing = list_packets(ffprobe(ctx.settings), path, timeout_s=ctx.time_left_s, on_count=listing_them)
    if not listed.orderly:
        errors.append(f"a picture comes more than {REORDERED} packets from its place")
    facts = qc.RenditionFacts(
        width=listed.width,
        height=listed.height,
        frames=frames_counted(decoded.stdout),
        duration_s=listed.presented_s(1 / parse_rate(planned.frame_rate)),
        keyframes=tuple(listed.keyframes),
        decode_errors=tuple(errors),
    )
    return facts, shown, scored, Cost.sum((*costs, listing))
