"""Our decision for one title: which renditions, in which jobs, within which limits, and what each may give up."""

from __future__ import annotations

from include.domain.binding import Recipes, deadline_notes, shape_of_source, with_options, work_of
from include.domain.ladder import decide
from include.domain.media import Analysis, Inspection
from include.domain.plan import Plan
from include.domain.title import TitleJob
from include.errors import ConfigurationError
from include.recipes import load_ladders, load_presets, load_rates, load_tiers
from include.stages.core import ControlContext, stage


@stage(place="airflow")
def plan(
    ctx: ControlContext, title: TitleJob, source: Inspection, analysis: Analysis, *, codecs: tuple[str, ...]
) -> Plan:
    """Cut the ladders of ``codecs`` to the source and the tier; the first codec's core rungs are the title's.

    Each job gets its options with what they are predicted to take and to lose, for when it starts.
    """
    ladders = load_ladders()
    missing = [codec for codec in codecs if codec not in ladders]
    if missing or not codecs:
        raise ConfigurationError(
            f"pipeline {title.pipeline}: no ladder for {', '.join(missing) or 'no codec at all'}; "
            f"recipes/ladders.yaml has {', '.join(ladders)}"
        )
    policy, rates, pace = load_tiers()[title.tier], load_rates(), ctx.pace()
    decision = decide(
        source,
        analysis,
        [ladders[codec] for codec in codecs],
        policy,
        tier=title.tier.value,
        ceiling_s=ctx.settings.ffmpeg_timeout_s,
        gpu=ctx.settings.gpu_slots > 0,
    )
    shape = shape_of_source(source)
    work = work_of(decision, shape, rates=rates, pace=pace, tier=title.tier)
    recipes = Recipes(policy=policy, presets=load_presets(), rates=rates)
    decision = with_options(decision, work, shape, recipes=recipes, pace=pace)
    notes = deadline_notes(decision, work, publish_at=title.publish_at, now=ctx.clock(), pace=pace)
    return decision.model_copy(update={"notes": (*decision.notes, *notes)})
