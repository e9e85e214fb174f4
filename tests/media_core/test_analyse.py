from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from include.base.errors import ConfigurationError
from include.domain.media.media import Analysis
from include.stages.analyse import analyse
from include.stages.core import StageContext
from include.stages.plan import plan
from tests.clips import Clips
from tests.media_core.conftest import inspected

Context = Callable[..., StageContext]
NO_SOUND: dict[str, Any] = {"languages": ()}


def analysed(ctx: StageContext) -> Analysis:
    result = analyse.function(ctx, ctx.title, inspected(ctx))
    assert isinstance(result, Analysis)
    return result


def test_a_moving_picture_with_a_tone_is_measured(clips: Clips, context: Context) -> None:
    result = analysed(context(clips("served-plain.mp4")))

    assert result.si_mean is not None
    assert result.si_mean > 50
    assert result.ti_mean is not None
    assert result.ti_mean > 5
    assert result.motion_mean
    assert result.loudness_lufs is not None
    assert -30 < result.loudness_lufs < -10
    assert result.true_peak_dbtp is not None
    assert result.true_peak_dbtp < -10
    assert not result.interlaced
    assert (result.black_share, result.freeze_share, result.crop) == (0.0, 0.0, None)
    assert result.brightest_s is not None


def test_the_same_clip_gives_the_same_analysis(clips: Clips, context: Context) -> None:
    clip = clips("served-plain.mp4")

    assert analysed(context(clip)) == analysed(context(clip))


def test_a_source_that_cannot_be_sought_tells_how_far_it_is_read(clips: Clips, context: Context) -> None:
    told: list[tuple[float, str]] = []
    options = {"seconds": 30.0, "size": "128x72", "rate": "10", "extra": ("-movflags", "+faststart"), **NO_SOUND}
    ctx = context(clips("long-front.mp4", **options))
    source = inspected(ctx).model_copy(update={"seeks": False})

    analyse.function(replace(ctx, report=lambda *each: told.append(each)), ctx.title, source)

    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    for at_s in (3, 13, 23):
        reading = [message for _, message in told if message.startswith(f"measuring at {at_s} s: ")]
        assert len(set(reading)) >= at_s, "each second of it"


def test_three_windows_are_measured_in_a_long_clip(clips: Clips, context: Context) -> None:
    options = {"seconds": 30.0, "size": "128x72", "rate": "10", "extra": ("-movflags", "+faststart"), **NO_SOUND}

    result = analysed(context(clips("long-front.mp4", **options)))

    assert [(each.start_s, each.duration_s) for each in result.windows] == [(3.0, 4.0), (13.0, 4.0), (23.0, 4.0)]


def test_black_and_stillness_are_seen_and_silence_has_no_loudness(clips: Clips, context: Context) -> None:
    result = analysed(context(clips("black.mp4", picture="color=color=black", tone="anullsrc=r=48000")))

    assert (result.black_share, result.loudness_lufs, result.true_peak_dbtp, result.brightest_s) == (
        1.0,
        None,
        None,
        None,
    )
    assert result.freeze_share is not None
    assert result.freeze_share > 0.9


def test_a_cut_is_found_at_its_time(clips: Clips, context: Context) -> None:
    filters = "drawbox=color=white:t=fill:enable='gte(t,1)'"

    result = analysed(context(clips("cut.mp4", filters=filters, **NO_SOUND)))

    assert tuple(round(time, 2) for time in result.scene_cuts) == (1.0,)
    assert result.scene_cuts_per_minute == 30.0


def test_black_bars_are_reported(clips: Clips, context: Context) -> None:
    filters = "drawbox=y=0:h=24:color=black:t=fill,drawbox=y=ih-24:h=24:color=black:t=fill"

    crop = analysed(context(clips("bars.mp4", filters=filters, **NO_SOUND))).crop

    assert crop is not None
    assert (crop.width, crop.height, crop.x, crop.y) == (320, 132, 0, 24)


def test_fields_are_seen_only_where_there_are_fields(clips: Clips, context: Context) -> None:
    combing = {"filters": "tinterlace=interleave_top,setfield=tff", "rate": "50"}
    flags = ("-c:v", "mpeg2video", "-q:v", "3", "-flags", "+ilme+ildct")

    combed = analysed(context(clips("fields.ts", video=flags, **combing, **NO_SOUND)))
    # Blurred: sharp synthetic patterns look combed to the filter.
    smooth = {"filters": "gblur=sigma=6,setfield=tff"}
    declared = analysed(context(clips("not-fields.ts", video=flags, **smooth, **NO_SOUND)))

    assert (combed.interlaced, combed.top_field_first) == (True, True)
    assert not declared.interlaced


def test_what_cannot_be_measured_is_none(clips: Clips, context: Context) -> None:
    ctx = context(clips("served-plain.mp4"))
    source = inspected(ctx)
    wrong = source.model_copy(
        update={
            "video": source.video.model_copy(update={"index": 7}),
            "audio": (source.audio[0].model_copy(update={"index": 8}),),
        }
    )

    result = analyse.function(ctx, ctx.title, wrong)

    assert Analysis(windows=result.windows) == result


def test_a_codec_without_a_ladder_is_a_wrong_configuration(clips: Clips, context: Context) -> None:
    ctx = context(clips("served-plain.mp4"))
    source = inspected(ctx)

    for codecs in (("h264", "av9"), ()):
        with pytest.raises(ConfigurationError, match=r"no ladder for .*recipes/ladders.yaml has h264, vp9"):
            plan.function(ctx, ctx.title, source, Analysis(windows=()), codecs=codecs)
