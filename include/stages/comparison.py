"""How like the mezzanine the renditions look, by VMAF. A part of the stage ``check``.

Each rendition is compared while it is decoded, on frames all over the title, as many as its tier asks for: the
mezzanine is read and scaled once for all of them. Where a rendition looks wrong, every frame of longer stretches is
compared before anything is said against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from include.adapters.ffmpeg.commands import EncoderProgress
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import Finished
from include.adapters.tools import encode_threads
from include.adapters.vmaf import Reference, compare, make_reference
from include.base.errors import EncoderCrashed
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Inspection, Window
from include.domain.media.sampling import comparison_windows
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
                self.opened,
                self.source.video,
                ordered.treatment,
                frames=tier.compared(self.length_s, parse_rate(ordered.frame_rate)),
                frame_rate=ordered.frame_rate,
                model=self.model,
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
        return Scored(score=qc.pool(scores, sampled=self.reference.frames.neighbours, model=self.model))

    def every_frame(self, planned: Rendition, result: EncodeResult) -> tuple[Scored, Cost]:
        """The score of a rendition on every frame of longer stretches, or of a short title, and what that cost."""
        windows = comparison_windows(self.length_s, frame_rate=planned.frame_rate)
        path = self.ctx.store.local_copy(result.uri, self.ctx.scratch)
        scores: list[float] = []
        costs: list[Cost] = []
        try:
            for window in windows or (None,):
                found, finished = self.stretch(planned, path, window)
                scores += found
                costs.append(finished.cost)
        except EncoderCrashed as error:
            return _not_measured(error.message), Cost.sum(costs)
        return Scored(score=qc.pool(scores, sampled=windows is not None, model=self.model)), Cost.sum(costs)

    def stretch(
        self,
        planned: Rendition,
        path: Path,
        window: Window | None,
        *,
        told: Callable[[EncoderProgress], None] = lambda state: None,
    ) -> tuple[list[float], Finished]:
        """Scores of every frame of a stretch of a rendition; see :func:`include.adapters.vmaf.compare`."""
        return compare(
            self.ctx.settings,
            self.opened,
            path,
            self.source.video,
            planned.treatment,
            frame_rate=planned.frame_rate,
            model=self.model,
            window=window,
            threads=encode_threads(self.ctx.settings),
            scratch=self.ctx.scratch,
            timeout_s=self.ctx.time_left_s,
            told=told,
        )

    @cached_property
    def opened(self) -> OpenedMezzanine:
        """The mezzanine, after a look that it is still the same."""
        return open_mezzanine(self.ctx, self.source)

    @property
    def length_s(self) -> float:
        """How much of the title there is to compare with: behind the source's last picture that one is held."""
        return min(self.verified.duration_s, self.source.video.end_s)

    @property
    def model(self) -> str:
        """Built-in model of libvmaf."""
        return qc.vmaf_model(self.source.video.display_width, self.source.video.display_height)


def _not_measured(why: str) -> Scored:
    return Scored(why_none=(f"VMAF was not measured: {why}",))
