"""Titles taken through the real stages of a worker, without Airflow: each distinct one once per test session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import (
    AudioResult,
    CheckResult,
    EncodeResult,
    ImagesResult,
    PackageResult,
    SourceVerdict,
    TextResult,
)
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.rungs import Rendition
from include.stages.analyse import analyse
from include.stages.audio import audio
from include.stages.check import check
from include.stages.core import StageContext
from include.stages.encode import encode
from include.stages.images import images
from include.stages.inspect import inspect
from include.stages.package import package
from include.stages.plan import plan
from include.stages.subtitles import subtitles
from include.stages.verify_source import verify_source
from tests.clips import stage_context

Change = Callable[[Plan], Plan]


@dataclass
class Title:
    """A title and what its stages have made of it."""

    ctx: StageContext
    source: Inspection
    analysis: Analysis
    decision: Plan
    renditions: tuple[EncodeResult, ...]
    sound: AudioResult
    text: TextResult
    stills: ImagesResult
    verified: SourceVerdict

    def check(self, before: CheckResult | None = None) -> CheckResult:
        """Run the stage ``check``."""
        return _run(
            self.ctx,
            check,
            self.source,
            self.analysis,
            self.decision,
            self.renditions,
            self.sound,
            self.text,
            self.verified,
            before,
        )

    def package(self, verdicts: CheckResult, *, progressive: bool = False) -> PackageResult:
        """Run the stage ``package``."""
        return _run(
            self.ctx,
            package,
            self.source,
            self.analysis,
            self.decision,
            self.renditions,
            self.sound,
            self.text,
            self.stills,
            self.verified,
            verdicts,
            progressive=progressive,
        )

    @property
    def folder(self) -> Path:
        """The packaged set."""
        return Path(self.ctx.store.readable(self.ctx.key("package")))


def make_title(
    folder: Path,
    mezzanine: Path,
    *,
    codecs: tuple[str, ...] = ("h264",),
    change: Change = lambda decision: decision,
    settings: dict[str, Any] | None = None,
    stills: bool = True,
    **title: Any,
) -> Title:
    """Everything before ``check``.

    Args:
        folder: Empty folder for store and scratch.
        mezzanine: The clip.
        codecs: As of the pipeline.
        change: Applied to the plan before the encodes.
        settings: Further settings.
        stills: Whether poster, sprite and previews are made; empty files stand in for them where not.
        title: Fields of the title job.
    """
    ctx = stage_context(folder, mezzanine, settings=settings, **title)
    source = _run(ctx, inspect)
    analysis = _run(ctx, analyse, source)
    decision = change(_run(ctx, plan, source, analysis, codecs=codecs))
    return Title(
        ctx=ctx,
        source=source,
        analysis=analysis,
        decision=decision,
        renditions=tuple(_run(ctx, encode, source, decision, job) for job in decision.jobs),
        sound=_run(ctx, audio, source),
        text=_run(ctx, subtitles, source),
        stills=_run(ctx, images, source, analysis) if stills else _no_stills(ctx),
        verified=_run(ctx, verify_source, source),
    )


def publish_quickly(folder: Path, mezzanine: Path, **options: Any) -> Title:
    """The title checked and packaged in its lowest rung, by the quickest presets, without stills: a CPU second or two.

    Args:
        folder: Where to work; made if need be.
        mezzanine: The clip.
        options: As of :func:`make_title`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = make_title(folder, mezzanine, change=lowest, stills=False, **options)
    made.package(made.check())
    return made


def lowest(decision: Plan) -> Plan:
    """The plan with its lowest rung alone, quickly encoded."""
    quick = fast(decision)
    return quick.model_copy(update={"jobs": quick.jobs[:1]})


def with_renditions(decision: Plan, alter: Callable[[Rendition], Rendition]) -> Plan:
    """The plan with its renditions altered."""
    jobs = tuple(EncodeJob(**{**dict(job), "rendition": alter(job.rendition)}) for job in decision.jobs)
    return decision.model_copy(update={"jobs": jobs})


def fast(decision: Plan) -> Plan:
    """The plan with the quickest presets: these tests are not about quality."""
    presets = {"h264": "ultrafast", "vp9": "8"}
    return with_renditions(
        decision, lambda each: each.model_copy(update={"preset": presets[each.codec], "profile": None, "tune": None})
    )


def _no_stills(ctx: StageContext) -> ImagesResult:
    names = {
        "poster": "poster.jpg", "thumbnail": "thumbnail.jpg", "sprite_vtt": "sprite.vtt",
        "preview_mp4": "preview.mp4", "preview_gif": "preview.gif",
    }  # fmt: skip
    keys = {field: ctx.key(f"images/{name}") for field, name in names.items()}
    sheet = ctx.key("images/sprite_001.jpg")
    for key in (*keys.values(), sheet):
        ctx.store.put_bytes(key, b"")
    return ImagesResult(**keys, sprites=(sheet,), poster_time_s=0.0)


def _run(ctx: StageContext, stage: Any, *documents: Any, **options: Any) -> Any:
    shutil.rmtree(ctx.scratch)
    ctx.scratch.mkdir()
    return stage.function(ctx, ctx.title, *documents, **options)
