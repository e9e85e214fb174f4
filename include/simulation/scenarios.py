"""The loads that the farm is tried with: titles drawn from distributions and a seed, and events with a name each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from include.domain.cost.features import expected_features, metadata_features
from include.domain.cost.forecast import Forecast, spread
from include.domain.cost.rates import SourceShape
from include.domain.cost.work import HIGHEST_FPS, TitleWork, title_work
from include.domain.order.value import score_points
from include.domain.plan.presets import Relative, faster_presets, quickest
from include.domain.recipe.codecs import UNIVERSAL
from include.domain.recipe.rungs import cut_ladder
from include.domain.recipe.tiers import core_of
from include.domain.title.request import Signals
from include.domain.title.title import Kind, Tier
from include.recipes import Recipes, load_recipes
from include.simulation.arrivals import bursty_gaps, even_gaps
from include.simulation.model import Encode, Farm, SimTitle, moment

NOISE = 0.05
"""Sigma of what no forecast knows: the same encode again takes a few percent more or less."""
OTHERS_SIGMA = 0.15
"""Sigma of the tasks beside the encodes, in the logarithm: content matters little to them."""


@dataclass(frozen=True, kw_only=True)
class Class:
    """One kind of title in a mix."""

    name: str
    share: float
    tier: Tier
    kind: Kind
    minutes: float
    """Median duration."""
    sigma: float
    """Of the duration's logarithm."""
    size: tuple[int, int]
    fps: float
    views: float
    """Median views in seven days."""
    views_sigma: float
    deadline_h: tuple[float, float] | None = None
    """Lead from arrival to ``publish_at``: median, and sigma of its logarithm."""


HD, HALF_HD = (1920, 1080), (1280, 720)
MIX = (
    Class(name="premium film", share=0.01, tier=Tier.PREMIUM, kind=Kind.MOVIE, minutes=95, sigma=0.2, size=HD, fps=24,
          views=1.5e6, views_sigma=1.2, deadline_h=(48, 0.5)),
    Class(name="premium series", share=0.04, tier=Tier.PREMIUM, kind=Kind.SERIES, minutes=42, sigma=0.3, size=HD,
          fps=25, views=8e5, views_sigma=1.2, deadline_h=(18, 0.5)),
    Class(name="premium trailer", share=0.05, tier=Tier.PREMIUM, kind=Kind.TRAILER, minutes=2, sigma=0.4, size=HD,
          fps=24, views=1.5e6, views_sigma=1.2, deadline_h=(3, 0.5)),
    Class(name="series", share=0.20, tier=Tier.STANDARD, kind=Kind.SERIES, minutes=22, sigma=0.5, size=HD, fps=25,
          views=2e4, views_sigma=1.5),
    Class(name="news", share=0.12, tier=Tier.STANDARD, kind=Kind.NEWS, minutes=2.5, sigma=0.6, size=HD, fps=30,
          views=1e4, views_sigma=1.5, deadline_h=(1.5, 0.5)),
    Class(name="users' uploads", share=0.58, tier=Tier.UGC, kind=Kind.UGC, minutes=3.2, sigma=1.1, size=HALF_HD, fps=30,
          views=250, views_sigma=2.2),
)  # fmt: skip
"""A platform's uploads: few premium titles with strict premieres, many short ones of users."""
LIVE = Class(name="live event", share=0, tier=Tier.PREMIUM, kind=Kind.LIVE_EVENT, minutes=60, sigma=0.1, size=HD,
             fps=50, views=3e6, views_sigma=0.5)  # fmt: skip
"""The recording of an event."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How many titles come, how fast they come, and how good the forecasts of their work are."""

    titles: int = 2000
    load: float = 0.9
    """Offered slot seconds per slot second."""
    seed: int = 1
    error: float = 0.2
    """Sigma of predicted over true time of a planned title, in the logarithm. Before the plan it is the prior's."""
    arrivals: Literal["bursts", "even"] = "bursts"
    """How titles come (:mod:`include.simulation.arrivals`)."""
    gaps: tuple[float, ...] | None = None
    """Times between arrivals instead, scaled to the load, from a place that the seed chooses on."""
    trends: tuple[tuple[float, float], ...] | None = None
    """Views of a title's first day and of its second; drawn for titles without a deadline, whose signals follow."""
    day_swing: float = 0.3
    """0–1: how far the arrival rate swings about its mean in the course of a day."""


def draw(wanted: Load, farm: Farm, recipes: Recipes, *, mix: Sequence[Class] = MIX) -> list[SimTitle]:
    """Titles that keep ``farm`` busy to the share ``wanted.load``."""
    rng = random.Random(wanted.seed)  # noqa: S311 - chance that can be repeated is what is wanted
    classes = rng.choices(mix, weights=[drawn.share for drawn in mix], k=wanted.titles)
    bodies = [body(f"t{number:05d}", drawn, wanted.error, rng, recipes) for number, drawn in enumerate(classes)]
    work_s = sum(title.true_work_s + title.tasks * farm.start_delay_s for title in bodies)
    gaps = _gaps(wanted, rng)
    scale = work_s / (farm.slots * wanted.load) / sum(gaps)
    now_s = 0.0
    titles = []
    for title, gap, drawn in zip(bodies, gaps, classes, strict=True):
        # In busy hours the same gap passes more quickly.
        now_s += gap * scale / (1 + wanted.day_swing * math.sin(2 * math.pi * now_s / 86400))
        titles.append(_arrives(title, now_s, drawn, wanted, rng, recipes))
    return titles


def body(name: str, drawn: Class, error: float, rng: random.Random, recipes: Recipes) -> SimTitle:
    """A title of a class, without its time of arrival."""
    seconds = max(2.0, drawn.minutes * 60 * math.exp(rng.gauss(0, drawn.sigma)))
    source = SourceShape(duration_s=seconds, width=drawn.size[0], height=drawn.size[1], fps=drawn.fps)
    expected = typical_work(source, drawn.tier, recipes)
    return shaped(name, drawn.name, drawn.tier, drawn.kind, source, expected, error, rng, recipes)


def typical_work(source: SourceShape, tier: Tier, recipes: Recipes) -> TitleWork:
    """As the product forecasts a title that nobody has looked at."""
    ladder, policy = recipes.ladders[UNIVERSAL.name], recipes.tiers[tier]
    return title_work(source, [ladder], policy, predictor=recipes.prior)


def shaped(
    name: str,
    group: str,
    tier: Tier,
    kind: Kind | None,
    source: SourceShape,
    expected: TitleWork,
    error: float,
    rng: random.Random,
    recipes: Recipes,
    *,
    complexity: float | None = None,
) -> SimTitle:
    """A title with its true times, which scatter about the forecast as the prior says. Its plan forecasts better.

    Its ``least`` is the least work that the product forecasts for such a source, whatever is expected of this title.

    Args:
        name: Of the title.
        group: Of the figures.
        tier: Of the title.
        kind: Of the title.
        source: What is decoded.
        expected: The forecast at its arrival.
        error: Sigma of the forecast at planning.
        rng: All chance.
        recipes: Presets and floors.
        complexity: True over expected time of its encodes; drawn where it is not given.
    """
    factor = math.exp(rng.gauss(0, recipes.rates.sigma_known)) if complexity is None else complexity
    # One title's encodes are misjudged together.
    misjudged = math.exp(rng.gauss(0, error))
    true_s = [forecast.p50_s * factor * math.exp(rng.gauss(0, NOISE)) for forecast in expected.encodes]
    foreseen = [spread(time_s * misjudged * math.exp(rng.gauss(0, NOISE)), max(error, NOISE)) for time_s in true_s]

    def other(forecast: Forecast) -> float:
        return forecast.p50_s * math.exp(rng.gauss(0, OTHERS_SIGMA))

    return SimTitle(
        name=name,
        group=group,
        arrival_s=0.0,
        tier=tier,
        kind=kind,
        signals=Signals(),
        value=0,
        deadline_s=None,
        expected=expected,
        least=_least_work(source, tier, recipes),
        planned=TitleWork(
            prepare=spread(expected.prepare.p50_s, OTHERS_SIGMA),
            encodes=tuple(foreseen),
            extras=spread(expected.extras.p50_s, OTHERS_SIGMA),
            finish=spread(expected.finish.p50_s, OTHERS_SIGMA),
        ),
        prepare_s=other(expected.prepare),
        encodes=_encodes(true_s, foreseen, tier, source, recipes),
        extras_s=other(expected.extras),
        finish_s=other(expected.finish),
    )


def _encodes(
    true_s: Sequence[float], foreseen: Sequence[Forecast], tier: Tier, source: SourceShape, recipes: Recipes
) -> tuple[Encode, ...]:
    """The encodes of a title, and what each may save and lose where the deadline is near."""
    may_lose = recipes.tiers[tier].vmaf_may_lose
    options = _faster(tier, source.width, source.height, source.fps)
    dropped = _dropped(tier, source.width, source.height)
    return tuple(
        Encode(true_s=time, forecast=seen, faster=faster, may_lose=may_lose, dropped_loss=loss)
        for time, seen, faster, loss in zip(true_s, foreseen, options, dropped, strict=True)
    )


def _least_work(source: SourceShape, tier: Tier, recipes: Recipes) -> TitleWork:
    """As the product forecasts the core alone, with the quickest presets that the tier allows."""
    policy, predictor = recipes.tiers[tier], recipes.prior
    core = core_of(recipes.ladders[UNIVERSAL.name], policy)
    presets = quickest(policy, presets=recipes.presets, predictor=predictor)
    return title_work(source, [core], presets, predictor=predictor)


@cache
def _faster(tier: Tier, width: int, height: int, fps: float) -> tuple[tuple[Relative, ...], ...]:
    """The presets of each rung; of a source long enough that the start of a worker does not count."""
    recipes = load_recipes()
    source = metadata_features(SourceShape(duration_s=3600, width=width, height=height, fps=fps))
    ladder, policy = recipes.ladders[UNIVERSAL.name], recipes.tiers[tier]
    return tuple(
        faster_presets(
            expected_features(source, cut, ladder, policy, fps=min(HIGHEST_FPS, fps)),
            presets=recipes.presets,
            predictor=recipes.prior,
        )
        for cut in cut_ladder(ladder.rungs, width=width, height=height)
    )


@cache
def _dropped(tier: Tier, width: int, height: int) -> tuple[float | None, ...]:
    """What each rung loses where it is left out; None for the core rungs."""
    recipes = load_recipes()
    names = [cut.rung.name for cut in cut_ladder(recipes.ladders[UNIVERSAL.name].rungs, width=width, height=height)]
    core = recipes.tiers[tier].core_of(names)
    return tuple(None if name in core else recipes.presets.dropped_rung for name in names)


def valued(title: SimTitle, recipes: Recipes) -> SimTitle:
    """The title with its value: the domain's score by its signals, at its arrival and when later signals come."""
    at = moment(title.arrival_s)
    worth = [
        score_points(
            tier=title.tier,
            kind=title.kind,
            signals=signals,
            created_at=at,
            publish_at=None if title.deadline_s is None else moment(title.deadline_s),
            now=at,
            policy=recipes.policy.value,
        )
        for signals in (title.signals, title.boost[1] if title.boost else title.signals)
    ]
    return replace(title, value=max(worth))


def idle_s(title: SimTitle, farm: Farm) -> float:
    """Wall time of the title on an idle farm that does not cut encodes."""
    longest = max((encode.true_s for encode in title.encodes), default=0.0)
    spread_out = (title.extras_s + sum(encode.true_s for encode in title.encodes)) / farm.slots
    return title.prepare_s + max(longest, spread_out, title.extras_s) + title.finish_s + farm.overhead_s


def _arrives(
    title: SimTitle, now_s: float, drawn: Class, wanted: Load, rng: random.Random, recipes: Recipes
) -> SimTitle:
    views = min(drawn.views * math.exp(rng.gauss(0, drawn.views_sigma)), 1e12)
    arrived = replace(title, arrival_s=now_s, signals=Signals(predicted_views_7d=views))
    if drawn.deadline_h is not None:
        lead_s = drawn.deadline_h[0] * 3600 * math.exp(rng.gauss(0, drawn.deadline_h[1]))
        # Nobody announces a premiere that a quiet farm could not keep.
        least_s = 2.5 * arrived.expected.elapsed(len(arrived.encodes)).p50_s + 600
        arrived = replace(arrived, deadline_s=now_s + max(lead_s, least_s))
    elif wanted.trends:
        first, second = rng.choice(wanted.trends)
        grown = Signals(predicted_views_7d=views, views_last_hour=views * max(0.0, second - first) / first / 24)
        arrived = replace(arrived, boost=(now_s + rng.uniform(0, 86400), grown))
    return valued(arrived, recipes)


def _gaps(wanted: Load, rng: random.Random) -> list[float]:
    if not wanted.gaps:
        return (bursty_gaps if wanted.arrivals == "bursts" else even_gaps)(wanted.titles, rng)
    first = rng.randrange(len(wanted.gaps))
    given = [wanted.gaps[(first + number) % len(wanted.gaps)] for number in range(wanted.titles)]
    return given if sum(given) > 0 else [1.0] * wanted.titles


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A load with something that happens to it."""

    name: str
    what: str
    """One sentence."""
    load: float
    focus: str | None
    """Group of the titles that it is about."""
    befalls: Callable[[list[SimTitle], Farm, random.Random, Recipes], tuple[list[SimTitle], Farm]]


def build(
    scenario: Scenario, wanted: Load, farm: Farm, recipes: Recipes, *, past: Sequence[SimTitle] = ()
) -> tuple[list[SimTitle], Farm]:
    """Titles in the order of arrival, and the farm that meets them.

    Args:
        scenario: What happens.
        wanted: The load that is drawn.
        farm: Before anything happens to it.
        recipes: The product's.
        past: These titles instead of drawn ones, when they came.
    """
    rng = random.Random(wanted.seed + 1)  # noqa: S311 - chance that can be repeated is what is wanted
    titles, on = scenario.befalls(list(past) or draw(wanted, farm, recipes), farm, rng, recipes)
    return sorted(titles, key=lambda title: title.arrival_s), on


def _extra(
    drawn: Class, at_s: float, lead_s: float, group: str, number: int, rng: random.Random, recipes: Recipes
) -> SimTitle:
    title = body(f"{group} {number}", drawn, 0.2, rng, recipes)
    views = Signals(predicted_views_7d=drawn.views)
    return valued(replace(title, group=group, arrival_s=at_s, deadline_s=at_s + lead_s, signals=views), recipes)


def _middle_s(titles: Sequence[SimTitle]) -> float:
    return titles[len(titles) // 2].arrival_s


def _premium_release(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    season = [_extra(MIX[1], _middle_s(titles), 8 * 3600, "premiere", number, rng, recipes) for number in range(8)]
    return [*titles, *season], farm


def _viral_title(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    uploads = [title for title in titles if title.tier is Tier.UGC]
    chosen = {title.name for title in rng.sample(uploads, max(1, len(uploads) // 50))}
    seen = Signals(predicted_views_7d=250, views_last_hour=50_000)
    return [
        valued(replace(title, group="viral", boost=(title.arrival_s + rng.uniform(0, 600), seen)), recipes)
        if title.name in chosen
        else title
        for title in titles
    ], farm


def _live_event(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    # The recording replaces the live stream at the cut-over, ready or not; its best scenes are wanted at once.
    over_s = _middle_s(titles)
    clip = replace(LIVE, minutes=3)
    clips = [_extra(clip, over_s, 2 * 3600, "live event", number, rng, recipes) for number in range(1, 7)]
    return [*titles, _extra(LIVE, over_s, 8 * 3600, "live event", 0, rng, recipes), *clips], farm


def _complex_animation(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    def harder(title: SimTitle) -> SimTitle:
        jobs = tuple(replace(job, true_s=job.true_s * 2.5, forecast=job.forecast.scaled(2.5)) for job in title.encodes)
        planned = title.planned.model_copy(update={"encodes": tuple(job.forecast for job in jobs)})
        return replace(title, group="animation", encodes=jobs, planned=planned)

    chosen = {title.name for title in titles if title.kind is Kind.SERIES and rng.random() < 0.25}
    return [harder(title) if title.name in chosen else title for title in titles], farm


def _surge(titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes) -> tuple[list[SimTitle], Farm]:
    first, second = titles[len(titles) // 3].arrival_s, titles[2 * len(titles) // 3].arrival_s

    def sooner_s(at_s: float) -> float:
        return max(0.0, min(at_s, second) - first) * 2 / 3

    def moved(title: SimTitle) -> SimTitle:
        by_s = sooner_s(title.arrival_s)
        return replace(
            title,
            group="surge" if first < title.arrival_s <= second else title.group,
            arrival_s=title.arrival_s - by_s,
            deadline_s=None if title.deadline_s is None else title.deadline_s - by_s,
            boost=None if title.boost is None else (title.boost[0] - by_s, title.boost[1]),
        )

    return [moved(title) for title in titles], farm


def _node_failures(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    return titles, replace(farm, node_failures_per_day=2.0, node_repair_s=3600.0)


def _zone_outages(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    return titles, replace(farm, zones=3, zone_failures_per_day=1.0, zone_repair_s=1800.0)


def _corrupt_sources(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    return [replace(title, corrupt=True, group="corrupt") if rng.random() < 0.15 else title for title in titles], farm


def _as_it_comes(
    titles: list[SimTitle], farm: Farm, rng: random.Random, recipes: Recipes
) -> tuple[list[SimTitle], Farm]:
    return titles, farm


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="usual", load=0.9, focus=None, befalls=_as_it_comes,
                 what="regular uploads, and nothing befalls them"),
        Scenario(name="premium_release", load=0.9, focus="premiere", befalls=_premium_release,
                 what="a premium season of eight episodes, due in eight hours, comes in beside regular uploads"),
        Scenario(name="viral_title", load=0.95, focus="viral", befalls=_viral_title,
                 what="one upload in fifty goes viral within ten minutes of its arrival"),
        Scenario(name="live_event", load=0.9, focus="live event", befalls=_live_event,
                 what="a live event ends: its recording must be on at the cut-over in eight hours, six clips in two"),
        Scenario(name="complex_animation", load=0.7, focus="animation", befalls=_complex_animation,
                 what="a quarter of the series takes 2.5 times as long as was expected at their arrival"),
        Scenario(name="surge", load=0.7, focus="surge", befalls=_surge,
                 what="a third of the titles comes three times as fast"),
        Scenario(name="node_failures", load=0.8, focus=None, befalls=_node_failures,
                 what="each node fails twice a day and is away for an hour"),
        Scenario(name="zone_outages", load=0.8, focus=None, befalls=_zone_outages,
                 what="spot capacity: each third of the nodes is taken away at once, daily, for half an hour"),
        Scenario(name="corrupt_sources", load=0.9, focus="corrupt", befalls=_corrupt_sources,
                 what="15 % of the mezzanines are broken and are rejected once they were looked at"),
        Scenario(name="insufficient_capacity", load=1.3, focus=None, befalls=_as_it_comes,
                 what="more work comes than the farm can do"),
    )
}  # fmt: skip
