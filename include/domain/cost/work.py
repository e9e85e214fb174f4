"""What a whole title will take, task by task: the predictions of its encodes and of its other tasks, put together."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from include.base.document import Document
from include.domain.cost.features import TitleFeatures, expected_features, metadata_features
from include.domain.cost.forecast import Forecast
from include.domain.cost.predictor import Predictor, TitleTasks
from include.domain.cost.rates import SourceShape
from include.domain.recipe.rungs import Cut, Ladder, Rung, cut_ladder
from include.domain.recipe.tiers import TierPolicy

HIGHEST_FPS = 60.0
"""Of a rendition."""


class TitleWork(Document):
    """Predicted slot seconds of one title, task by task."""

    prepare: Forecast
    encodes: tuple[Forecast, ...]
    extras: Forecast
    finish: Forecast

    @property
    def total(self) -> Forecast:
        """All of it."""
        return _together([self.prepare, *self.encodes, self.extras, self.finish])

    def elapsed(self, slots: int) -> Forecast:
        """From the start to the set that is ready to be published, with ``slots`` slots to itself."""
        beside = [*self.encodes, self.extras]
        width = min(slots, len(beside))
        longest = max(beside, key=lambda each: each.p50_s)
        spread_out = _together(beside).scaled(1 / width)
        return _together([self.prepare, max(longest, spread_out, key=lambda each: each.p50_s), self.finish])


def title_works(titles: Sequence[TitleFeatures], predictor: Predictor) -> list[TitleWork]:
    """Predicted work of each title, in their order; the predictor is asked once for all of them."""
    encodes = iter(predictor.predict_many([encode for title in titles for encode in title.encodes]))
    tasks = predictor.predict_tasks(titles)
    return [
        work_with([next(encodes).cpu_s for _ in title.encodes], beside)
        for title, beside in zip(titles, tasks, strict=True)
    ]


def work_with(encodes: Sequence[Forecast], tasks: TitleTasks) -> TitleWork:
    """The work of a title from that of its encodes and that of its other tasks."""
    return TitleWork(
        prepare=tasks.prepare.cpu_s,
        encodes=tuple(encodes),
        extras=tasks.extras.cpu_s,
        finish=tasks.finish.cpu_s,
    )


def expected_title(
    source: SourceShape, ladders: Sequence[Ladder], policy: TierPolicy, *, languages: int = 1, text_files: int = 0
) -> TitleFeatures:
    """What is known of a title that nobody has inspected.

    Args:
        source: As far as it is known.
        ladders: One per codec of the pipeline.
        policy: Of the title's tier.
        languages: In which its sound is wanted.
        text_files: Subtitles that the request brings along.
    """
    known = metadata_features(source, languages=languages, text_files=text_files)
    fps = min(HIGHEST_FPS, source.fps)
    return TitleFeatures(
        source=known,
        encodes=tuple(
            expected_features(known, cut, ladder, policy, fps=fps)
            for ladder in ladders
            for cut in _cuts(ladder.rungs, source.width, source.height)
        ),
        compared_frames=len(policy.compared(source.duration_s, Fraction(fps).limit_denominator(1001)).positions),
    )


def title_work(
    source: SourceShape, ladders: Sequence[Ladder], policy: TierPolicy, *, predictor: Predictor
) -> TitleWork:
    """Predicted work of a title that nobody has inspected; arguments as of :func:`expected_title`."""
    return title_works([expected_title(source, ladders, policy)], predictor)[0]


@lru_cache(maxsize=4096)
def _cuts(rungs: tuple[Rung, ...], width: int, height: int) -> tuple[Cut, ...]:
    """Of thousands of titles most have one of a few sizes, and exact fractions take their time."""
    return cut_ladder(rungs, width=width, height=height)


def _together(parts: Sequence[Forecast]) -> Forecast:
    """Durations that share their error, as the parts of one title do: medians and p90s add up."""
    return Forecast(p50_s=sum(each.p50_s for each in parts), p90_s=sum(each.p90_s for each in parts))
