"""Our decision for one title: which renditions, in which jobs, within which limits."""

from __future__ import annotations

from include.domain.ladder import decide
from include.domain.media import Analysis, Inspection
from include.domain.plan import Plan
from include.domain.title import TitleJob
from include.errors import ConfigurationError
from include.recipes import load_ladders, load_tiers
from include.stages.core import ControlContext, stage


@stage(place="airflow")
def plan(
    ctx: ControlContext, title: TitleJob, source: Inspection, analysis: Analysis, *, codecs: tuple[str, ...]
) -> Plan:
    """Cut the ladders of ``codecs`` to the source and the tier; the first codec's core rungs are the title's."""
    ladders = load_ladders()
    missing = [codec for codec in codecs if codec not in ladders]
    if missing or not codecs:
        raise ConfigurationError(
            f"pipeline {title.pipeline}: no ladder for {', '.join(missing) or 'no codec at all'}; "
            f"recipes/ladders.yaml has {', '.join(ladders)}"
        )
    return decide(
        source,
        analysis,
        [ladders[codec] for codec in codecs],
        load_tiers()[title.tier],
        tier=title.tier.value,
        ceiling_s=ctx.settings.ffmpeg_timeout_s,
        gpu=ctx.settings.gpu_slots > 0,
    )
