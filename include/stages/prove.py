"""Prove: every frame of a published set against the mezzanine, after the publication.

A stage of its own run, in slices: it works for a few minutes, keeps what it has, and leaves its slot to the next encode
that wants it (docs/decisions/0026-proof-after-publication.md). Nothing is said against a rendition by a score alone:
where one is conspicuous, the place is compared once more, and held against a smaller rendition and against excerpts of
the mezzanine, as the checks do it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from include.adapters.ffmpeg.commands import EncoderProgress, prelude
from include.adapters.ffmpeg.excerpts import thumbnails, thumbnails_argv, written
from include.adapters.ffmpeg.reading import complaints, frames_counted
from include.adapters.process import run
from include.adapters.store.documents import load_if_valid
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed, MissingInput
from include.domain.media.alignment import PICTURE_S, Thumbnails, widened
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Inspection, Window
from include.domain.outcome import rules as qc
from include.domain.outcome.proof import CONSPICUOUS, Moment, Proof, RenditionProof, Tally, outdone, stretches
from include.domain.outcome.results import CheckOutcome, CheckResult, Cost, EncodeResult, SourceVerdict
from include.domain.plan.plan import Plan
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import TitleJob
from include.stages.alignment import Original, misplaced_pictures
from include.stages.comparison import Comparison
from include.stages.core import StageContext, stage
from include.stages.progress import fetched, part

SLICE_S = 300.0
"""A slice begins no further stretch after so long: an encode that wants the slot waits no longer than this and one
stretch."""
AROUND_S = 0.5
"""How much is compared again before and behind a conspicuous frame."""
SHORT_BY = 2
"""Frames that a stretch may have less than it was asked for, by rounding at its ends."""
_STATE = "proof.json"


@stage
def prove(
    ctx: StageContext,
    title: TitleJob,
    source: Inspection,
    plan: Plan,
    renditions: tuple[EncodeResult, ...],
    verified: SourceVerdict,
    verdicts: CheckResult,
) -> Proof:
    """Compares every frame of each published rendition with the mezzanine; goes on where the slice before has ended."""
    comparison = Comparison(ctx=ctx, title=title, source=source, verified=verified, plan=plan)
    made = {result.rendition: result for result in renditions if result.made and result.rendition in verdicts.passed}
    shown = [planned for planned in plan.renditions if planned.name in made]
    # A larger picture is held against a smaller one.
    shown.sort(key=lambda each: each.width * each.height)
    work = _Slice(ctx=ctx, comparison=comparison, shown=shown, made=made)
    if not work.go_on():
        return work.proof()
    verdict = [work.verdict(position) for position in range(len(shown))]
    return Proof(done=True, renditions=tuple(verdict), cost=work.cost)


@dataclass(kw_only=True)
class _Slice:
    """One slice of a proof, and what those before it have left."""

    ctx: StageContext
    comparison: Comparison
    shown: list[Rendition]
    """The published renditions, the smallest first."""
    made: dict[str, EncodeResult]
    tallies: dict[str, Tally] = field(default_factory=dict)
    cost: Cost = field(default_factory=lambda: Cost.sum(()))

    def __post_init__(self) -> None:
        before = load_if_valid(self.ctx.store, self.ctx.kept_key(_STATE), Proof) or Proof()
        self.cost = before.cost
        kept = {tally.rendition: tally for tally in before.tallies}
        for name, result in self.made.items():
            tally = kept.get(name)
            known = tally is not None and tally.key == result.key
            self.tallies[name] = tally if tally and known else Tally(rendition=name, key=result.key)

    def proof(self) -> Proof:
        """All that the next slice needs."""
        return Proof(tallies=tuple(self.tallies.values()), cost=self.cost)

    def go_on(self) -> bool:
        """Compare stretch by stretch; False where the slice has ended before all are compared."""
        until = time.monotonic() + SLICE_S
        for position, planned in enumerate(self.shown):
            rate, seeks = planned.frame_rate, self.comparison.source.seeks
            total = max(1, round(Fraction(self.comparison.length_s) * parse_rate(rate)))
            before = self.tallies[planned.name].reached
            for first, count in stretches(total, reached=before, frame_rate=rate, seeks=seeks):
                if self.tallies[planned.name].faults:
                    break
                if time.monotonic() > until:
                    return False
                self.tallies[planned.name] = self._compare(planned, first, count, self._teller(position, first, total))
                self.ctx.store.put_bytes(self.ctx.kept_key(_STATE), self.proof().to_json().encode())
        return True

    def verdict(self, position: int) -> RenditionProof:
        """What is said of a rendition that is compared from its first to its last frame."""
        planned, tally = self.shown[position], self.tallies[self.shown[position].name]
        self.ctx.report(0.99, f"looking again at {planned.name}")
        places = () if tally.faults else tally.suspicious(self.comparison.model)
        wrong = next((said for moment in places if (said := self._look_again(position, tally, moment))), None)
        faults = (*tally.faults, *([wrong] if wrong else []))
        return RenditionProof(
            rendition=planned.name,
            outcome=CheckOutcome.FAIL if faults else CheckOutcome.PASS,
            reasons=(*faults, *tally.unread[:3]),
            vmaf=tally.score(self.comparison.model),
        )

    def _teller(self, position: int, first: int, total: int) -> Callable[[EncoderProgress], None]:
        """Hears the progress within a stretch, and tells that of the proof."""
        name, count = self.shown[position].name, len(self.shown)

        def tell(state: EncoderProgress) -> None:
            done = first + state.frames
            share = (position + min(1.0, done / total)) / count
            self.ctx.report(0.98 * share, f"proving {name}, frame {done} of {total}")

        return tell

    def _path(self, planned: Rendition) -> Path:
        """The rendition as it was published, as long as housekeeping has not removed it."""
        uri = self.made[planned.name].uri
        if self.ctx.store.size(uri) is None:
            raise MissingInput(f"{planned.name} cannot be proved: it is not in the work folder any more", reason="gone")
        begun = 0.98 * self.shown.index(planned) / len(self.shown)
        size = self.made[planned.name].size_bytes
        return fetched(self.ctx, uri, size, planned.name, part(self.ctx, begun, begun))

    def _compare(self, planned: Rendition, first: int, count: int, told: Callable[[EncoderProgress], None]) -> Tally:
        """The tally of a rendition after one more stretch."""
        tally, path = self.tallies[planned.name], self._path(planned)
        window = _window(first, count, planned)
        scores: list[float] = []
        complaint = ""
        try:
            scores, finished = self.comparison.stretch(planned, path, window, told=told)
            complaint = finished.stderr
            self.cost = Cost.sum((self.cost, finished.cost))
        except EncoderCrashed as error:
            complaint = error.message
        tally = tally.with_scores(scores, frame_rate=planned.frame_rate, wanted=count)
        if len(scores) >= count - SHORT_BY and not complaint.strip():
            return tally
        # It may be the mezzanine that it complains of: what a decode alone says is the rendition's.
        faults = self._faults(planned, path, window, count)
        if faults or len(scores) >= count - SHORT_BY:
            return tally.model_copy(update={"faults": faults})
        unread = f"{len(scores)} of {count} frames could be compared at {window.start_s:.1f} s"
        return tally.model_copy(update={"unread": (*tally.unread, unread)})

    def _faults(self, planned: Rendition, path: Path, window: Window, count: int) -> tuple[str, ...]:
        """What a decode of a stretch of a rendition says against it, in sentences."""
        argv = [
            *prelude(ffmpeg(self.ctx.settings), level="error", progress=True),
            *("-ss", f"{window.start_s:.6f}", "-t", f"{window.duration_s:.6f}", "-i", f"file:{path}"),
            *("-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"),
        ]
        finished = run(argv, timeout_s=self.ctx.time_left_s, check=False)
        self.cost = Cost.sum((self.cost, finished.cost))
        said = complaints(finished, path, planned.name)[:3]
        faults = [f"does not decode at {window.start_s:.1f} s: {line}" for line in said]
        frames = frames_counted(finished.stdout)
        if not faults and frames < count - SHORT_BY:
            faults = [f"has {frames} frames from {window.start_s:.1f} s on, the mezzanine has {count}"]
        return tuple(faults)

    def _look_again(self, position: int, tally: Tally, moment: Moment) -> str | None:
        """What is wrong at a conspicuous place, in a sentence; None where a second look finds nothing."""
        planned = self.shown[position]
        rate = parse_rate(planned.frame_rate)
        around = round(Fraction(AROUND_S) * rate)
        first = max(0, moment.frame - around)
        window = _window(first, min(tally.reached, moment.frame + around + 1) - first, planned)
        at_s = float(moment.frame / rate)
        try:
            own = self._again(planned, window)
            least = CONSPICUOUS * tally.median
            smaller = self._smaller(position) if min(own) < least else None
            found = outdone(own, self._again(smaller, window), least=least) if smaller else None
            if smaller and found:
                told = f"looks worse than {smaller.name} at {at_s:.2f} s: VMAF {found[0]:.0f}"
                return f"{told} against {found[1]:.0f}"
        except EncoderCrashed:
            return None  # it could be compared before: that was told then
        near = _window(max(0, moment.frame - 1), 3, planned)
        worst = own[moment.frame - first : moment.frame - first + 1]
        score = qc.pool(worst, sampled=False, model=self.comparison.model)
        original = Original(ctx=self.ctx, source=self.comparison.source, ears=(), places=(near,))
        odd = misplaced_pictures(original, self._shown_at(planned, near), frame_rate=rate)
        self.cost = Cost.sum((self.cost, *original.costs))
        return next(iter(qc.picture_faults(odd, recognised=qc.recognised([(odd, score)]))), None)

    def _smaller(self, position: int) -> Rendition | None:
        """The largest of the renditions that have fewer pixels."""
        planned = self.shown[position]
        below = (each for each in self.shown[:position] if each.width * each.height < planned.width * planned.height)
        return next(reversed(list(below)), None)

    def _again(self, planned: Rendition, window: Window) -> list[float]:
        scores, finished = self.comparison.stretch(planned, self._path(planned), window)
        self.cost = Cost.sum((self.cost, finished.cost))
        return scores

    def _shown_at(self, planned: Rendition, window: Window) -> Thumbnails:
        """Thumbnails of a rendition around a window, at their times in the title."""
        wide = widened(window, length_s=PICTURE_S)
        relative = Window(start_s=0.0, duration_s=wide.duration_s)
        argv = [
            *prelude(ffmpeg(self.ctx.settings), level="error", overwrite=True),
            *("-ss", f"{wide.start_s:.6f}", "-t", f"{wide.duration_s:.6f}", "-i", f"file:{self._path(planned)}"),
            *thumbnails_argv([relative]),
        ]
        with tempfile.TemporaryDirectory(dir=self.ctx.scratch) as folder:
            finished = written(run(argv, timeout_s=self.ctx.time_left_s, check=False, cwd=Path(folder)))
            self.cost = Cost.sum((self.cost, finished.cost))
            return thumbnails(Path(folder), zero_s=-wide.start_s)


def _window(first: int, count: int, planned: Rendition) -> Window:
    rate = parse_rate(planned.frame_rate)
    return Window(start_s=float(first / rate), duration_s=float(count / rate))
