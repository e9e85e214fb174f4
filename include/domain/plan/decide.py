"""From a source and a recipe to the plan of a title: which renditions, how large, with which limits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from include.base.pools import CPU_POOL, GPU_POOL
from include.domain.cost.features import SourceFeatures, encode_features, source_features
from include.domain.cost.predictor import Predictor
from include.domain.media.clock import title_frames
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Analysis, Inspection
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.codecs import CODECS
from include.domain.recipe.rate_control import CappedCrf, NvencCq
from include.domain.recipe.rungs import Cut, Ladder, Rendition, cut_ladder, even, output_frame_rate
from include.domain.recipe.tiers import TierPolicy
from include.domain.recipe.treatment import SourceTreatment, sdr_treatment

HIGH_RATE = Fraction(40)
HIGH_RATE_FACTOR = 1.5
"""More pictures per second need more bits, but neighbours differ less: half as much again at double the rate."""
BUFFER_S = 1.5
"""Seconds of the cap that the decoder's buffer holds: peaks stay within twice the average."""
BIT_DEPTH = 8
"""Of every rendition."""


def decide(
    source: Inspection,
    analysis: Analysis,
    ladders: Sequence[Ladder],
    policy: TierPolicy,
    *,
    tier: str,
    ceiling_s: float,
    gpu: bool,
    predictor: Predictor,
) -> Plan:
    """The plan of one title.

    Args:
        source: What the mezzanine is.
        analysis: What its samples show.
        ladders: One per codec; the first one's core rungs are those of the title.
        policy: Of the title's tier.
        tier: Its name, for the notes.
        ceiling_s: No job may take longer.
        gpu: Whether this farm has a place for an encode on a GPU.
        predictor: Of what each encode takes.
    """
    video = source.video
    treatment = sdr_treatment(video, analysis, field_pictures=policy.field_pictures)
    frame_rate = output_frame_rate(video, treatment)
    first = ladders[0]
    gop_frames = max(1, round(first.gop_s * frame_rate))
    segment_frames = gop_frames * max(1, round(first.segment_s / first.gop_s))
    known = source_features(source, analysis)
    jobs: list[tuple[int, int, EncodeJob]] = []
    for position, ladder in enumerate(ladders):
        cuts = cut_ladder(ladder.rungs, width=video.display_width, height=video.display_height)
        core = policy.core_of([cut.rung.name for cut in cuts])
        for cut in cuts:
            rendition = _rendition(
                cut,
                ladder,
                policy,
                frame_rate=frame_rate,
                gop_frames=gop_frames,
                frames=title_frames(source.duration_s, frame_rate),
                treatment=treatment,
                core=position == 0 and cut.rung.name in core,
            )
            hardware = _hardware(rendition, policy) if gpu else None
            job = _job(rendition, hardware, known, ceiling_s=ceiling_s, predictor=predictor)
            jobs.append((cut.pixels, position, job))
    jobs.sort(key=lambda entry: entry[:2])
    plan = Plan(
        jobs=tuple(job for _, _, job in jobs),
        segment_frames=segment_frames,
        frame_rate=str(frame_rate),
    )
    notes = (*_notes(plan, source, ladders, policy, tier, gop_frames), *(_hardware_notes(plan, tier) if gpu else ()))
    return plan.model_copy(update={"notes": notes})


def _rendition(
    cut: Cut,
    ladder: Ladder,
    policy: TierPolicy,
    *,
    frame_rate: Fraction,
    gop_frames: int,
    frames: int | None,
    treatment: SourceTreatment,
    core: bool,
) -> Rendition:
    rung, codec = cut.rung, CODECS[ladder.codec]
    # A source smaller than the box needs a smaller cap; less than in proportion, as small pictures have more detail.
    share = min(1.0, cut.pixels / (rung.width * rung.height)) ** 0.75
    maxrate = max(64, round(rung.maxrate_kbps * share * (HIGH_RATE_FACTOR if frame_rate > HIGH_RATE else 1.0)))
    return Rendition(
        name=f"{ladder.codec}_{rung.name}",
        rung=rung.name,
        codec=ladder.codec,
        encoder=codec.software.name,
        width=cut.width,
        height=cut.height,
        frame_rate=str(frame_rate),
        frames=frames,
        rate_control=CappedCrf(
            crf=rung.crf + policy.crf_offset, maxrate_kbps=maxrate, bufsize_kbps=round(maxrate * BUFFER_S)
        ),
        preset=policy.presets.get(ladder.codec, ladder.preset),
        tune=ladder.tune,
        profile=codec.profiles[BIT_DEPTH],
        gop_frames=gop_frames,
        treatment=treatment,
        core=core,
    )


def _hardware(rendition: Rendition, policy: TierPolicy) -> Rendition | None:
    """The same rendition by a hardware encoder; None where the tier, the codec or the size does not allow one."""
    preset, encoder = policy.hardware.get(rendition.codec), CODECS[rendition.codec].hardware
    control = rendition.rate_control
    if preset is None or encoder is None or not isinstance(control, CappedCrf):
        return None
    if not encoder.takes(rendition.width, rendition.height):
        return None
    changes = {"encoder": encoder.name, "preset": preset, "tune": encoder.tune, "rate_control": NvencCq.like(control)}
    return rendition.model_copy(update=changes)


def _job(
    rendition: Rendition,
    hardware: Rendition | None,
    source: SourceFeatures,
    *,
    ceiling_s: float,
    predictor: Predictor,
) -> EncodeJob:
    """The job with its prediction, which has room for either form: a hardware job may become the software encoder's."""
    forms = [rendition] if hardware is None else [rendition, hardware]
    predictions = predictor.predict_many([encode_features(source, form) for form in forms])
    prediction = predictions[0].with_room_for(predictions[-1])
    return EncodeJob(
        name=rendition.name,
        rendition=rendition,
        hardware=hardware,
        pool=GPU_POOL if hardware else CPU_POOL,
        prediction=prediction,
        time_limit_s=round(min(prediction.limit_s, ceiling_s), 1),
    )


def _notes(
    plan: Plan, source: Inspection, ladders: Sequence[Ladder], policy: TierPolicy, tier: str, gop_frames: int
) -> tuple[str, ...]:
    video = source.video
    names = ", ".join(f"{rendition.name} {rendition.width}×{rendition.height}" for rendition in plan.renditions)
    core = ", ".join(rendition.name for rendition in plan.renditions if rendition.core)
    highest = plan.renditions[-1]
    # All renditions have the same treatment.
    treatment = highest.treatment
    notes = [
        f"The source shows {video.display_width}×{video.display_height} at {video.frame_rate} fps; none is enlarged.",
        f"Rungs: {names}.",
        f"Tier {tier}: core rungs {core}; CRF offset {policy.crf_offset:+g}; preset "
        + ", ".join(f"{ladder.codec} {policy.presets.get(ladder.codec, ladder.preset)}" for ladder in ladders)
        + ".",
        f"A keyframe every {gop_frames} frames, segments of {plan.segment_frames} frames, at {plan.frame_rate} fps.",
    ]
    if parse_rate(plan.frame_rate) != video.fps:
        kind = "variable rate, average" if video.variable_frame_rate else "rate"
        notes.append(f"The source's {kind} {video.frame_rate} fps becomes a constant {plan.frame_rate} fps.")
    if highest.width * highest.height < even(video.display_width) * even(video.display_height):
        notes.append("The source is larger than the largest rung and is reduced to it.")
    if len({rendition.rung for rendition in plan.renditions}) == 1:
        notes.append("The source is no larger than the lowest rung: one rung at its own size.")
    if treatment.deinterlace:
        notes.append("The source is interlaced and is deinterlaced.")
    if treatment.inverse_telecine:
        notes.append("The source is film that was spread over the fields of video, and is put together again.")
    if treatment.field_pictures:
        notes.append("Each of its fields becomes a picture.")
    if treatment.tone_map:
        notes.append(f"The source is HDR ({video.color_transfer}) and is tone-mapped to BT.709.")
    if treatment.colours is not None and not treatment.tone_map:
        notes.append(f"The source's colours ({treatment.colours.primaries}) are converted to BT.709.")
    if treatment.over_black:
        notes.append("The source is transparent and is laid over black.")
    return tuple(notes)


def _hardware_notes(plan: Plan, tier: str) -> tuple[str, ...]:
    """Which encodes go to the farm's GPUs, and why the others do not."""
    wanted = [job.hardware for job in plan.jobs if job.hardware]
    if not wanted:
        return (f"Tier {tier} allows no hardware encoder for these renditions: the farm's GPUs are not used.",)
    names = ", ".join(rendition.name for rendition in wanted)
    note = f"Tier {tier} allows hardware: {names} on GPUs by {wanted[0].encoder} ({wanted[0].preset}) where that works."
    rest = [job.name for job in plan.jobs if not job.hardware]
    return (note, f"On CPUs, as NVENC has no such codec or size: {', '.join(rest)}.") if rest else (note,)
