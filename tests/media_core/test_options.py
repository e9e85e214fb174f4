"""An encode by one of its job's options, and a title that goes out with what was given up for its deadline."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.domain.outcome.results import CheckOutcome, EncodeResult
from include.domain.plan.binding import bind
from include.domain.plan.plan import EncodeJob
from include.domain.title.title import Tier
from include.services.settling import history_rows
from include.stages.core import StageContext
from include.stages.encode import encode
from tests.clips import Clips
from tests.media_core.conftest import inspected
from tests.media_core.test_encode import SMALL, planned
from tests.titles import make_title

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Context = Callable[..., StageContext]


def bound(job: EncodeJob, option: str) -> EncodeJob:
    """The job as it binds where ``option`` is the best that fits."""
    # A small rung's presets are less than a tenth of a second apart.
    for left_ms in range(60_000, -60_000, -10):
        found = bind(job, publish_at=NOW + timedelta(milliseconds=left_ms), now=NOW)
        if found.binding is not None and found.binding.option == option:
            return found
    raise AssertionError(f"{job.name} never takes {option}")


@pytest.mark.parametrize("first", ["superfast", "medium"])
def test_a_job_encodes_the_option_that_it_took_and_a_retry_finds_it_whatever_it_takes(
    first: str, clips: Clips, context: Context
) -> None:
    ctx = context(clips("small.mp4", **SMALL), tier=Tier.STANDARD)
    source = inspected(ctx)
    decision = planned(ctx, source)
    job = decision.jobs[0]

    done = encode.function(ctx, ctx.title, source, decision, bound(job, first))
    again = [encode.function(ctx, ctx.title, source, decision, bound(job, name)) for name in ("medium", "superfast")]

    assert isinstance(done, EncodeResult)
    assert f"-preset {first}" in done.command
    assert (done.degradation is not None) == (first == "superfast")
    assert again == [done, done]
    assert len(ctx.store.list(ctx.kept_key("renditions"))) == 2


def test_a_title_goes_out_with_a_quicker_preset_and_without_a_rung_and_says_so_everywhere(
    clips: Clips, tmp_path: Path
) -> None:
    clip = clips("options.mp4", size="320x180", seconds=2.0, languages=())
    title = make_title(
        tmp_path,
        clip,
        tier=Tier.STANDARD,
        change=lambda plan: plan.model_copy(
            update={"jobs": tuple(bound(job, how) for job, how in zip(plan.jobs, ("fast", "drop"), strict=True))}
        ),
    )
    quick, left_out = title.renditions
    assert (quick.made, left_out.made) == (True, False)

    verdicts = title.check()
    packaged = title.package(verdicts)

    missing = verdicts.renditions[1]
    assert missing.outcome is CheckOutcome.MISSING
    assert missing.reasons[0].startswith("left out: costs 12.0 VMAF, saves ")
    assert (packaged.degraded, packaged.missing) == (True, ("h264_240p",))
    assert [(each.rendition, each.option) for each in packaged.given_up] == [
        ("h264_144p", "fast"),
        ("h264_240p", "drop"),
    ]
    report = json.loads(title.ctx.store.get_bytes(f"{packaged.prefix}/{packaged.report}"))
    assert [each["recipe"]["preset"] for each in report["renditions"]] == ["fast", "medium"]
    assert [each["degradation"]["instead_of"] for each in report["renditions"]] == ["medium", "medium"]
    assert [each["encode_cost"] is None for each in report["renditions"]] == [False, True]
    (row,) = history_rows(title.source, title.analysis, title.decision, title.renditions, verdicts)
    assert (row.rendition, row.features["preset"]) == ("h264_144p", "fast")
