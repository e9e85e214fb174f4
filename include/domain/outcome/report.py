"""The record of one title that is published beside its manifests as ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from include.base.document import Document
from include.domain.media.media import Analysis, AudioStream, Chapter, Finding, Inspection, SubtitleStream, VideoStream
from include.domain.outcome.results import (
    AudioRendition,
    AudioResult,
    CheckOutcome,
    CheckResult,
    Cost,
    EncodeResult,
    Fallback,
    PackagedRendition,
    QualityScore,
    RenditionVerdict,
    SourceVerdict,
    TextRendition,
    TextResult,
)
from include.domain.plan.degradation import Binding
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import Kind, Tier, TitleJob


class ReportedSource(Document):
    """The mezzanine, without its address: the report is as public as the manifests."""

    container: str
    size_bytes: int
    checksum: str
    duration_s: float
    bitrate_kbps: float | None
    video: VideoStream
    audio: tuple[AudioStream, ...]
    subtitles: tuple[SubtitleStream, ...]
    frames_decoded: int
    decode_errors: int


class FirstSet(Document):
    """What of a title goes out before the complete set, and what follows."""

    jobs: tuple[str, ...]
    """Names of the jobs of the first version."""
    rest: tuple[str, ...]
    """Names of those that follow."""
    why: Literal["asked", "tier", "deadline"] | None
    """Whose wish it is: the request's, the tier's, or the deadline's."""
    message: str
    """A sentence for people: why, and what it costs."""

    @classmethod
    def of(cls, plan: Plan) -> FirstSet | None:
        """The earliest edition of a plan; None where everything goes out at once."""
        if not plan.early:
            return None
        edition = plan.early[0]
        rest = tuple(name for name in plan.editions[-1].jobs if name not in edition.jobs)
        return cls(jobs=edition.jobs, rest=rest, why=edition.why, message=edition.message)


class ReportedPlan(Document):
    """What was decided, and why."""

    frame_rate: str
    segment_frames: int
    notes: tuple[str, ...]
    first: FirstSet | None
    """What went out, or goes out, as a first version, and why."""


class ReportedRendition(Document):
    """One rendition of the plan: ordered, encoded, checked, packaged. What it did not reach is None."""

    name: str
    rung: str
    core: bool
    outcome: CheckOutcome
    reasons: tuple[str, ...]
    recipe: Rendition
    """As it was made: a hardware encoder's where one made it, a quicker preset's where the deadline asked for it."""
    encoder_version: str | None
    fallback: Fallback | None
    """Why a software encoder made what a hardware encoder should have made."""
    degradation: Binding | None
    """What was given up for the title's deadline."""
    encode_cost: Cost | None
    check_cost: Cost | None
    vmaf: QualityScore | None
    packaged: PackagedRendition | None


class Report(Document):
    """The title's record."""

    title_id: str
    name: str | None
    request_id: str
    tier: Tier
    kind: Kind | None
    publish_at: datetime | None
    source: ReportedSource
    analysis: Analysis
    plan: ReportedPlan
    renditions: tuple[ReportedRendition, ...]
    """Lowest rung first."""
    audio: tuple[AudioRendition, ...]
    text: tuple[TextRendition, ...]
    chapters: tuple[Chapter, ...] = ()
    """From the title's zero."""
    duration_s: float
    degraded: bool
    whole: bool
    """False for a first version: the core rungs alone, by intention."""
    missing: tuple[str, ...]
    """Renditions that the plan had and the set lacks, and audio tracks that failed their checks; the renditions that a
    first version lacks follow with the next."""
    given_up: tuple[Binding, ...]
    """What the set lacks for the title's deadline."""
    findings: tuple[str, ...]
    """What was unusual, in sentences."""
    encode_cpu_s: float
    check_cost: Cost
    check_share: float | None = None
    """CPU time of the checks by that of the encodes; None where nothing was encoded."""
    tools: dict[str, str]
    files: dict[str, Any]
    """Entry points, relative to the report."""


def build_report(
    title: TitleJob,
    source: Inspection,
    analysis: Analysis,
    plan: Plan,
    encoded: tuple[EncodeResult, ...],
    audio: AudioResult,
    text: TextResult,
    verified: SourceVerdict,
    verdicts: CheckResult,
    rungs: tuple[PackagedRendition, ...],
    *,
    whole: bool = True,
    tools: dict[str, str],
    files: dict[str, Any],
) -> Report:
    """Put together what the stages found. Addresses and commands stay inside: they name machines and buckets."""
    results = {result.rendition: result for result in encoded}
    packaged = {rung.rendition: rung for rung in rungs}
    given_up = tuple(
        result.degradation
        for result in encoded
        if result.degradation and (result.rendition in packaged or not result.made)
    )
    encode_cpu_s = round(sum(result.cost.cpu_s for result in encoded), 3)
    findings: list[Finding] = [*source.warnings, *verified.warnings, *audio.warnings, *text.warnings]
    return Report(
        title_id=title.title_id,
        name=title.name,
        request_id=title.request_id,
        tier=title.tier,
        kind=title.kind,
        publish_at=title.publish_at,
        source=_reported_source(source, verified),
        analysis=analysis,
        plan=_reported_plan(plan),
        renditions=tuple(
            _reported(job, verdict, results.get(job.rendition.name), packaged.get(job.rendition.name))
            for job in plan.jobs
            for verdict in verdicts.renditions
            if verdict.rendition == job.rendition.name
        ),
        audio=_reported_audio(audio, verdicts),
        text=_reported_text(text, verdicts),
        chapters=source.chapters,
        duration_s=verified.duration_s,
        degraded=verdicts.degraded or bool(given_up),
        whole=whole,
        missing=_missing(plan, packaged, verdicts),
        given_up=given_up,
        findings=(*(finding.message for finding in findings), *verdicts.audio, *verdicts.of_tracks),
        encode_cpu_s=encode_cpu_s,
        check_cost=verdicts.cost,
        check_share=round(verdicts.cost.cpu_s / encode_cpu_s, 3) if encode_cpu_s else None,
        tools=tools,
        files=files,
    )


def _missing(plan: Plan, packaged: Mapping[str, PackagedRendition], verdicts: CheckResult) -> tuple[str, ...]:
    return (
        *(planned.name for planned in plan.renditions if planned.name not in packaged),
        *plan.left_out(),
        *verdicts.withheld,
        *(f"text_{name}" for name in verdicts.withheld_texts),
    )


def _reported_audio(audio: AudioResult, verdicts: CheckResult) -> tuple[AudioRendition, ...]:
    passed = (track for track in audio.renditions if track.name not in verdicts.withheld)
    return tuple(track.model_copy(update={"uri": f"audio/{track.name}"}) for track in passed)


def _reported_text(text: TextResult, verdicts: CheckResult) -> tuple[TextRendition, ...]:
    passed = (track for track in text.renditions if track.name not in verdicts.withheld_texts)
    return tuple(track.model_copy(update={"uri": f"text/{track.name}"}) for track in passed)


def _reported_plan(plan: Plan) -> ReportedPlan:
    return ReportedPlan(
        frame_rate=plan.frame_rate,
        segment_frames=plan.segment_frames,
        notes=plan.notes,
        first=FirstSet.of(plan),
    )


def _reported_source(source: Inspection, verified: SourceVerdict) -> ReportedSource:
    return ReportedSource(
        container=source.container,
        size_bytes=source.mezzanine.size_bytes,
        checksum=verified.checksum,
        duration_s=source.duration_s,
        bitrate_kbps=source.bitrate_kbps,
        video=source.video,
        audio=source.audio,
        subtitles=source.subtitles,
        frames_decoded=verified.frames,
        decode_errors=verified.decode_errors,
    )


def _reported(
    job: EncodeJob, verdict: RenditionVerdict, result: EncodeResult | None, packaged: PackagedRendition | None
) -> ReportedRendition:
    planned = job.rendition
    degradation = result.degradation if result else None
    made = result if result and result.made else None
    return ReportedRendition(
        name=planned.name,
        rung=planned.rung,
        core=planned.core,
        outcome=verdict.outcome,
        reasons=verdict.reasons,
        recipe=job.made_by(made.encoder, degradation.option if degradation else None) if made else planned,
        encoder_version=made.encoder_version if made else None,
        fallback=made.fallback if made else None,
        degradation=degradation,
        encode_cost=made.cost if made else None,
        check_cost=verdict.check_cost,
        vmaf=verdict.vmaf,
        packaged=packaged,
    )
