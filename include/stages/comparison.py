"""How like the mezzanine the renditions look, by VMAF. A part of the stage ``check``.

Each rendition is compared while it is decoded, on frames all over the title, as many as its tier asks for: the
mezzanine is read and scaled once for all of them. Where a rendition looks wrong, every frame of longer stretches is
compared before anything is said against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import encode_threads
from include.adapters.vmaf import Reference, compare, make_reference
from include.base.errors import EncoderCrashed
from include.domain.media.media import Inspection
from include.domain.media.sampling import compared_frames, comparison_windows
from include.domain.outcome import rules as qc
from include.domain.outcome.results import Cost, EncodeResult, QualityScore, SourceVerdict
from include.domain.plan.plan import Plan
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import TitleJob
from include.recipes import load_tiers
from include.stages.core import StageContext
from include.stages.progress import Tell


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The comparison of one rendition with the mezzanine."""

    score: QualityScore | None = None
    why_none: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Comparison:
    """What the renditions of a title are compared with; read when it is first asked for."""

    ctx: StageContext
    title: TitleJob
    source: Inspection
    verified: SourceVerdict
    plan: Plan
    costs: list[Cost] = field(default_factory=list)
    """Of reading it."""
    report: Tell = lambda share, message: None
    """Gets how far the reading is."""
    failed: str = ""
    """Why it cannot be had."""

    @cached_property
    def reference(self) -> Reference | None:
        """Frames of the mezzanine, all over the title; None where they cannot be had, which is no verdict."""
        tier = load_tiers()[self.title.tier]
        # All renditions are made of the source in the same way.
        ordered = self.plan.renditions[0]
        try:
            reference, cost = make_reference(
                self.ctx.settings,
                open_mezzanine(self.ctx, self.source),
                self.source.video,
                ordered.treatment,
                frames=compared_frames(
                    self._length_s,
                    every_s=tier.compared_every_s,
                    most=tier.compared_frames,
                    frame_rate=ordered.frame_rate,
                ),
                frame_rate=ordered.frame_rate,
                model=self._model,
                threads=encode_threads(self.ctx.settings),
                scratch=self.ctx.scratch,
                timeout_s=self.ctx.time_left_s,
                on_share=lambda share: self.report(share, f"reading the mezzanine to compare with, {share:.0%}"),
            )
        except EncoderCrashed as error:
            self.failed = error.message
            return None
        self.costs.append(cost)
        return reference

    def scored(self, scores: list[float], complaint: str = "") -> Scored:
        """What comparing a rendition with the reference has given.

        Args:
            scores: Of its frames.
            complaint: Of the tool that has compared them.
        """
        if self.reference is None:
            return _not_measured(self.failed)
        if not scores:
            return _not_measured(complaint.strip() or "libvmaf wrote no scores")
        return Scored(score=qc.pool(scores, sampled=self.reference.frames.neighbours, model=self._model))

    def every_frame(self, planned: Rendition, result: EncodeResult) -> tuple[Scored, Cost]:
        """The score of a rendition on every frame of longer stretches, or of a short title, and what that cost."""
        windows = comparison_windows(self._length_s, frame_rate=planned.frame_rate)
        opened = open_mezzanine(self.ctx, self.source)
        path = self.ctx.store.local_copy(result.uri, self.ctx.scratch)
        scores: list[float] = []
        costs: list[Cost] = []
        try:
            for window in windows or (None,):
                found, finished = compare(
                    self.ctx.settings,
                    opened,
                    path,
                    self.source.video,
                    planned.treatment,
                    frame_rate=planned.frame_rate,
                    model=self._model,
                    window=window,
                    threads=encode_threads(self.ctx.settings),
                    scratch=self.ctx.scratch,
                    timeout_s=self.ctx.time_left_s,
                )
                scores += found
                costs.append(finished.cost)
        except EncoderCrashed as error:
            return _not_measured(error.message), Cost.sum(costs)
        return Scored(score=qc.pool(scores, sampled=windows is not None, model=self._model)), Cost.sum(costs)

    @property
    def _length_s(self) -> float:
        # Behind the source's last picture there is nothing to compare with: it is held.
        return min(self.verified.duration_s, self.source.video.end_s)

    @property
    def _model(self) -> str:
        return qc.vmaf_model(self.source.video.display_width, self.source.video.display_height)


def _not_measured(why: str) -> Scored:
    return Scored(why_none=(f"VMAF was not measured: {why}",))
