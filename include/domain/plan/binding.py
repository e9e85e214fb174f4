"""Late binding: planning gives each encode job its options, and the job takes one of them when it starts.

The time until the deadline is shared out in proportion to the encodes' predicted times. Where a title has to save a
third of its time, each of its encodes saves a third, and the first one gives up no more than the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.domain.cost.features import EncodeFeatures, SourceFeatures, TitleFeatures
from include.domain.cost.forecast import Forecast
from include.domain.cost.predictor import Predictor
from include.domain.cost.work import TitleWork, work_with
from include.domain.media.frame_rate import parse_rate
from include.domain.plan.degradation import DROP, Binding, Choice, Option, best_that_fits
from include.domain.plan.editions import PublicationTimes, editions_of, later_s, time_to_publication
from include.domain.plan.plan import EncodeJob, EncodeOption, Plan
from include.domain.plan.presets import Presets, faster_presets, preset_options
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.tiers import TierPolicy


@dataclass(frozen=True, kw_only=True)
class FarmShare:
    """How quickly a title gets on with this farm."""

    predictor: Predictor
    """Of what its work takes here."""
    slots: int = 1
    """That the title may use at once."""
    overhead_s: float = 0.0
    """Of its life outside of its work."""


def features_of(plan: Plan, source: SourceFeatures, policy: TierPolicy) -> TitleFeatures:
    """What is known of a planned title."""
    compared = policy.compared(source.source_duration_s, parse_rate(plan.frame_rate))
    return TitleFeatures(source=source, encodes=plan.features(source), compared_frames=len(compared.positions))


def work_of(plan: Plan, source: SourceFeatures, *, predictor: Predictor, policy: TierPolicy) -> TitleWork:
    """Predicted work of a planned title, with nothing given up; its encodes are those of the plan's jobs."""
    title = features_of(plan, source, policy)
    return work_with([job.prediction.cpu_s for job in plan.jobs], predictor.predict_tasks([title])[0])


def least_work(plan: Plan, work: TitleWork) -> TitleWork:
    """The work with everything given up that the tier allows: the core rungs by their quickest allowed presets.

    Args:
        plan: With its options.
        work: With nothing given up.
    """
    quickest = zip(plan.jobs, quickest_work(plan, work).encodes, strict=True)
    least = (encode for job, encode in quickest if not any(_may_go(way.option) for way in job.options))
    return work.model_copy(update={"encodes": tuple(least)})


def _may_go(option: Option) -> bool:
    return option.name == DROP and option.allowed


def quickest_work(plan: Plan, work: TitleWork) -> TitleWork:
    """The work of all rungs, each by the quickest preset that the tier allows.

    Args:
        plan: With its options.
        work: With nothing given up.
    """
    quickest: list[Forecast] = []
    for job, encode in zip(plan.jobs, work.encodes, strict=True):
        presets = [way.option for way in job.options if way.option.allowed and way.rendition is not None]
        best = min(presets, key=lambda preset: preset.p50_s, default=None)
        quickest.append(encode if best is None else Forecast(p50_s=best.p50_s, p90_s=best.p90_s))
    return work.model_copy(update={"encodes": tuple(quickest)})


def with_options(
    plan: Plan,
    work: TitleWork,
    source: SourceFeatures,
    *,
    policy: TierPolicy,
    presets: Presets,
    farm_share: FarmShare,
) -> Plan:
    """The plan with the options of each job, and with the time of what follows it.

    A rung that is not core may be left out, whatever that loses: the core rungs are what the tier insists on. Jobs for
    GPUs have no options: the presets' losses are those of software encoders.

    Args:
        plan: Without options.
        work: Of its jobs, with nothing given up.
        source: What is decoded.
        policy: Of the title's tier: its floor.
        presets: What quicker ones lose.
        farm_share: Of the title on this farm.
    """
    jobs: list[EncodeJob] = []
    known = plan.features(source)
    for position, (job, encode, features) in enumerate(zip(plan.jobs, work.encodes, known, strict=True)):
        # Extras run beside the encodes, in the same slots.
        beside_s = sum(later.p50_s for later in work.encodes[position + 1 :]) + work.extras.p50_s
        options: tuple[EncodeOption, ...] = ()
        if not job.hardware:
            options = _options(job, encode, features, policy=policy, presets=presets, predictor=farm_share.predictor)
        changes = {
            "options": options,
            "after_s": round(beside_s / max(1, farm_share.slots), 3),
            "reserve_s": round(work.finish.p90_s + farm_share.overhead_s, 3),
        }
        jobs.append(job.model_copy(update=changes))
    return plan.model_copy(update={"jobs": tuple(jobs)})


def laid_out(
    plan: Plan,
    source: SourceFeatures,
    *,
    policy: TierPolicy,
    presets: Presets,
    farm_share: FarmShare,
    asked: bool | None,
    left_s: float | None,
    degrade: bool,
) -> Plan:
    """The plan with the options of its jobs, for everything at once or for its core rungs first.

    Jobs that follow a first version have no options: they bind to no deadline.

    Args:
        plan: Without options.
        source: What is decoded.
        policy: Of the title's tier.
        presets: What quicker ones lose.
        farm_share: Of the title on this farm.
        asked: Whether the request wants a first version; None leaves it to the tier's policy.
        left_s: Until the deadline that something may be given up for; None where there is none.
        degrade: Whether encodes may take quicker presets.
    """

    def reckoned(part: Plan) -> tuple[Plan, TitleWork, Forecast]:
        work = work_of(part, source, predictor=farm_share.predictor, policy=policy)
        part = with_options(part, work, source, policy=policy, presets=presets, farm_share=farm_share)
        quickest = quickest_work(part, work) if degrade else work
        return part, work, time_to_publication(quickest, slots=farm_share.slots, overhead_s=farm_share.overhead_s)

    core = tuple(job for job in plan.jobs if job.rendition.core)
    whole, whole_work, whole_s = reckoned(plan)
    first, first_work, first_s = reckoned(plan.model_copy(update={"jobs": core}))
    times = PublicationTimes(
        whole=whole_s, first=first_s, later_s=later_s(plan, whole_work, first_work, slots=farm_share.slots)
    )
    editions = editions_of(plan, times, asked=asked, rule=policy.playable_first, left_s=left_s)
    if not editions:
        return whole
    with_theirs = {job.name: job for job in first.jobs}
    jobs = tuple(with_theirs.get(job.name, job) for job in plan.jobs)
    return plan.model_copy(update={"jobs": jobs, "editions": editions})


def _options(
    job: EncodeJob,
    encode: Forecast,
    features: EncodeFeatures,
    *,
    policy: TierPolicy,
    presets: Presets,
    predictor: Predictor,
) -> tuple[EncodeOption, ...]:
    rendition = job.rendition
    faster = faster_presets(features, presets=presets, predictor=predictor)
    found = preset_options(faster, p50_s=encode.p50_s, p90_s=encode.p90_s, may_lose=policy.vmaf_may_lose)
    shifts = presets.crf.get(rendition.encoder, {})

    def by(preset: str) -> Rendition:
        # Never a higher CRF than planned: a loss that was measured at the same bit rate must not become larger.
        shift = min(0.0, shifts.get(preset, 0.0) - shifts.get(rendition.preset, 0.0))
        return rendition.model_copy(update={"preset": preset, "rate_control": rendition.rate_control.shifted(shift)})

    options = [EncodeOption(option=option, rendition=by(option.name)) for option in found]
    if not rendition.core:
        drop = Option(name=DROP, p50_s=0.0, p90_s=0.0, vmaf_loss=presets.dropped_rung)
        options.append(EncodeOption(option=drop, rendition=None))
    return tuple(options)


def bind(job: EncodeJob, *, publish_at: datetime | None, now: datetime, hurried: bool = False) -> EncodeJob:
    """The job with the option that it takes now: the one of the least loss that fits into the job's share of the time.

    A rung is left out only where no preset is likely to be in time; an option that the floor forbids is never taken.

    Args:
        job: With its options; one without any stays as it is.
        publish_at: The deadline, None where none counts.
        now: The time.
        hurried: As of :func:`best_that_fits`.
    """
    if not job.options:
        return job
    encodes = [offered.option for offered in job.options if offered.rendition is not None]
    drop = next(
        (offered.option for offered in job.options if offered.rendition is None and offered.option.allowed), None
    )
    best = encodes[0]
    time_left_s: float | None = None
    if publish_at is not None:
        whole_s = best.p50_s + job.after_s
        share = best.p50_s / whole_s if whole_s > 0 else 1.0
        time_left_s = ((publish_at - now).total_seconds() - job.reserve_s) * share
    choice = best_that_fits(encodes, time_left_s=time_left_s, hurried=hurried)
    if choice.fit == "late" and drop is not None and time_left_s is not None:
        choice = Choice(option=drop, fit="safe" if time_left_s >= 0 else "late", saved_s=best.p50_s)
    taken = next(offered for offered in job.options if offered.option == choice.option)
    binding = Binding(
        rendition=job.rendition.name,
        option=choice.option.name,
        instead_of=best.name if choice.option != best else None,
        vmaf_loss=choice.option.vmaf_loss,
        saved_s=round(choice.saved_s, 3),
        fit=choice.fit,
        time_left_s=None if time_left_s is None else round(time_left_s, 3),
    )
    return job.model_copy(update={"rendition": taken.rendition or job.rendition, "binding": binding})


def deadline_notes(
    plan: Plan, work: TitleWork, *, publish_at: datetime | None, now: datetime, farm_share: FarmShare
) -> list[str]:
    """Laxity and what may be given up, in sentences for the report; nothing for a title without a deadline."""
    if publish_at is None:
        return []
    needed = time_to_publication(work, slots=farm_share.slots, overhead_s=farm_share.overhead_s)
    spare_s = (publish_at - now).total_seconds() - needed.p90_s
    spare = f"{spare_s:.0f} s to spare" if spare_s >= 0 else f"{-spare_s:.0f} s too few"
    due = f"Due at {publish_at:%Y-%m-%d %H:%M:%S} UTC: {spare} at full quality, in {farm_share.slots} slots."
    return [due, f"For the deadline it may give up: {_what_may_go(plan.jobs)}."]


def _what_may_go(jobs: Sequence[EncodeJob]) -> str:
    said: list[str] = []
    for job in jobs:
        options = [offered.option for offered in job.options if offered.option.allowed][1:]
        presets = [option for option in options if option.name != DROP]
        last = [f"{presets[-1].name} ({presets[-1].vmaf_loss:g} VMAF)"] if presets else []
        last += ["the rung"] if len(presets) < len(options) else []
        said += [f"{job.name} down to {' or '.join(last)}"] if last else []
    return "; ".join(said) or "nothing"
