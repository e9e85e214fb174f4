"""Settle, the last stage of a title: it gathers what the run has left, and has the title concluded with it.

What a conclusion decides and writes stands in :mod:`include.services.settling`. The sweep of lost runs
(:mod:`include.services.lost_runs`) calls this stage for a run that ended without it.
"""

from __future__ import annotations

from include.base.errors import TitleEndedBadly
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import CheckResult, EncodeResult, PackageResult, PublishResult
from include.domain.outcome.settlement import RunResults, Settlement
from include.domain.plan.plan import Plan
from include.domain.title.title import GOOD_STATES, TitleJob
from include.stages.core import ControlContext, stage


@stage(place="airflow")
def settle(
    ctx: ControlContext,
    title: TitleJob,
    source: Inspection | None,
    analysis: Analysis | None,
    plan: Plan | None,
    renditions: tuple[EncodeResult, ...],
    verdicts: CheckResult | None,
    packaged: PackageResult | None,
    published: PublishResult | None,
) -> Settlement:
    """Writes history, alert, repair and dead letter, then the final state.

    The results of the publications are taken so that this stage follows them. Whether a set was published is the
    catalog's word: a publication may have died after the catalog had heard of it, and before its result was written.

    Raises the title's own failure in the end, so that its run is red in Airflow and a cleared run settles anew.
    """
    results = RunResults(
        source=source,
        analysis=analysis,
        plan=plan,
        renditions=renditions,
        verdicts=verdicts,
        packaged=packaged,
    )
    concluded = ctx.conclude(ctx, results)
    if concluded.state not in GOOD_STATES:
        raise TitleEndedBadly(f"title {concluded.state}: {concluded.message}", reason=concluded.reason)
    return concluded
