"""Our decision for one title: which renditions, in which jobs, within which limits, and what each may give up."""

from __future__ import annotations

from include.base.errors import ConfigurationError
from include.domain.cost.features import title_features
from include.domain.media.media import Analysis, Inspection
from include.domain.plan.binding import deadline_notes, laid_out, work_of
from include.domain.plan.decide import decide
from include.domain.plan.limits import task_limit_s
from include.domain.plan.plan import Plan
from include.domain.title.title import TitleJob
from include.recipes import load_ladders, load_presets, load_tiers
from include.stages.core import ControlContext, stage


@stage(place="airflow")
def plan(
    ctx: ControlContext, title: TitleJob, source: Inspection, analysis: Analysis, *, codecs: tuple[str, ...]
) -> Plan:
    """Cut the ladders of ``codecs`` to the source and the tier; the first codec's core rungs are the title's.

    Each job gets its options with what they are predicted to take and to lose, for when it starts; the core rungs go
    out first where request, tier or deadline ask for it.
    """
    ladders = load_ladders()
    missing = [codec for codec in codecs if codec not in ladders]
    if missing or not codecs:
        raise ConfigurationError(
            f"pipeline {title.pipeline}: no ladder for {', '.join(missing) or 'no codec at all'}; "
            f"recipes/ladders.yaml has {', '.join(ladders)}"
        )
    policy, farm_share = load_tiers()[title.tier], ctx.farm_share()
    decision = decide(
        source,
        analysis,
        [ladders[codec] for codec in codecs],
        policy,
        tier=title.tier.value,
        ceiling_s=task_limit_s(ctx.settings.ffmpeg_timeout_s, source.duration_s),
        gpu=ctx.settings.gpu_slots > 0,
        predictor=farm_share.predictor,
    )
    known, now = title_features(title, source, analysis), ctx.clock()
    due = title.binding_deadline
    decision = laid_out(
        decision,
        known,
        policy=policy,
        presets=load_presets(),
        farm_share=farm_share,
        asked=title.playable_first if ctx.editions else False,
        left_s=None if due is None else (due - now).total_seconds(),
        degrade=ctx.settings.degrade,
    )
    # The deadline is that of the edition that goes out first.
    timed = decision.earliest
    work = work_of(timed, known, predictor=farm_share.predictor, policy=policy)
    notes = [edition.message[0].upper() + edition.message[1:] + "." for edition in decision.early]
    notes += deadline_notes(timed, work, publish_at=title.publish_at, now=now, farm_share=farm_share)
    return decision.model_copy(update={"notes": (*decision.notes, *notes)})
